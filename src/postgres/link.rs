//! A session with a server: the task that drives it, and its way back from whoever had it.
//!
//! ```text
//!               hand_back                    quiet
//!   in use ──────────────────▶ handed back ────────▶ its pool's next, or closed in good order
//!                                   │ not quiet            ▲
//!                                   ▼                      │ quiet
//!                              being quietened ────────────┘
//!                                   │ limit, or an error
//!                                   ▼
//!                                 cut off
//! ```
//!
//! Who drops a connection may have left a request on its way, or a transaction open. The task knows
//! once it has polled the library, which then has sent everything out of its line (`traffic.rs`).
//! If something is unanswered, the server is asked to cancel it, by a connection of its own. The
//! server ends that connection after it has sent the signal, and a session that is signalled while
//! it has nothing to do forgets it before it reads the next request. So once that connection has
//! ended and every answer is in, the signal cannot hit what comes later.
//!
//! But it may come too early: the two connections know nothing of each other, and a session that
//! has not read its request yet forgets the signal, too. So it is sent again while there is no
//! answer.
//!
//! Source: PostgreSQL's documentation, "Canceling Requests in Progress".

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, CancelToken, Notification};

use super::pool::Home;
use super::traffic::{Counted, Traffic};
use super::transport::{Peer, Prepared, PreparedStream, Socket};
use super::{Client, ConnectOptions, Error};
use crate::sync::{Notify, broadcast};
use crate::task::spawn;
use crate::time::timeout;

/// How long a session has to become quiet, when it is in no pool.
const QUIET_LIMIT_DEFAULT: Duration = Duration::from_secs(5);

/// How long an answer is waited for before the server is asked once more, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(super) type Library =
    tokio_postgres::Connection<Counted<Socket>, PreparedStream<Counted<Socket>>>;

type Listeners = crate::sync::broadcast::Sender<Notification>;

/// A session, as its task and its holder share it.
pub(super) struct Link {
    options: ConnectOptions,
    peer: Peer,
    token: CancelToken,
    traffic: Rc<Traffic>,
    /// That of the task that drives it.
    waker: RefCell<Option<Waker>>,
    handed_back: RefCell<Option<HandedBack>>,
    /// Each time the library was polled.
    polled: Notify,
    is_cut_off: Cell<bool>,
    has_ended: Cell<bool>,
    listeners: RefCell<Option<Listeners>>,
    /// What the server, or the network, ended the session with.
    cause: RefCell<Option<tokio_postgres::Error>>,
}

/// What comes back from whoever used a session.
pub(super) struct HandedBack {
    pub(super) client: Client,
    pub(super) home: Option<Home>,
}

impl Link {
    pub(super) fn new(
        options: ConnectOptions,
        peer: Peer,
        traffic: Rc<Traffic>,
        token: CancelToken,
    ) -> Rc<Link> {
        Rc::new(Link {
            options,
            peer,
            token,
            traffic,
            waker: RefCell::new(None),
            handed_back: RefCell::new(None),
            polled: Notify::new(),
            is_cut_off: Cell::new(false),
            has_ended: Cell::new(false),
            listeners: RefCell::new(None),
            cause: RefCell::new(None),
        })
    }

    /// As [`quieten`](Self::quieten), for a holder who stays.
    pub(super) async fn quieten_in_time(&self) -> Result<(), Error> {
        self.turn().await;
        match timeout(QUIET_LIMIT_DEFAULT, self.quieten(None)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server did not answer what was cancelled; likely a stream of rows or a copy \
                 is held elsewhere and not polled; cure: drop it first",
            ))),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    pub(super) fn take_cause(&self) -> Option<tokio_postgres::Error> {
        self.cause.borrow_mut().take()
    }

    /// A receiver of what other sessions tell this one.
    pub(super) fn listen(&self, capacity: usize) -> crate::sync::broadcast::Receiver<Notification> {
        if let Some(listeners) = &*self.listeners.borrow() {
            return listeners.subscribe();
        }
        let (sender, receiver) = broadcast(capacity);
        // After its end there is nobody to close it.
        if !self.has_ended() {
            *self.listeners.borrow_mut() = Some(sender);
        }
        receiver
    }

    /// Takes a session back. Its task decides what becomes of it.
    pub(super) fn hand_back(&self, handed_back: HandedBack) {
        if self.has_ended() {
            return;
        }
        *self.handed_back.borrow_mut() = Some(handed_back);
        self.wake();
    }

    /// Ends the session without waiting for anything.
    fn cut_off(&self) {
        self.is_cut_off.set(true);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(
        self: &Rc<Link>,
        library: &mut Library,
        context: &mut Context<'_>,
    ) -> Poll<Option<tokio_postgres::Error>> {
        let old = self.waker.borrow_mut().replace(context.waker().clone());
        drop(old);
        if self.is_cut_off.get() {
            return Poll::Ready(None);
        }
        self.traffic.begin_poll();
        loop {
            match library.poll_message(context) {
                Poll::Ready(Some(Ok(message))) => self.tell(message),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(error)),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let handed_back = self.handed_back.borrow_mut().take();
        if let Some(handed_back) = handed_back {
            self.send_home(handed_back);
        }
        self.polled.notify_waiters();
        Poll::Pending
    }

    fn tell(&self, message: AsyncMessage) {
        if let (AsyncMessage::Notification(notification), Some(listeners)) =
            (message, &*self.listeners.borrow())
        {
            // Nobody may listen any more; that is their choice.
            let _ = listeners.send(notification);
        }
    }

    fn send_home(self: &Rc<Link>, handed_back: HandedBack) {
        if self.traffic.is_quiet() && !self.traffic.is_in_transaction() {
            handed_back.arrive(self);
            return;
        }
        let link = Rc::clone(self);
        drop(spawn(async move {
            let limit = handed_back.home.as_ref().map_or(QUIET_LIMIT_DEFAULT, Home::quiet_limit);
            let quiet = timeout(limit, link.quieten(Some(&handed_back.client))).await;
            match quiet {
                Ok(Ok(())) => handed_back.arrive(&link),
                _ => link.cut_off(),
            }
        }));
    }

    /// Waits until the task has polled the library.
    pub(super) async fn turn(&self) {
        if !self.has_ended() {
            let polled = self.polled.notified();
            self.wake();
            polled.await;
        }
    }

    /// Has the server cancel what is unanswered, and waits until nothing is; then ends the
    /// transaction that is left open, if there is a client to do so by.
    pub(super) async fn quieten(&self, client: Option<&Client>) -> Result<(), Error> {
        let mut pause = PAUSE_MIN;
        loop {
            if self.has_ended() {
                return Err(self.ended());
            }
            let answered = self.traffic.answered();
            if !self.traffic.is_quiet() {
                self.cancel().await?;
                pause = match timeout(pause, self.wait_for_answer(answered)).await {
                    Ok(()) => PAUSE_MIN,
                    Err(_) => PAUSE_MAX.min(pause * 2),
                };
            } else if let Some(client) = client.filter(|_| self.traffic.is_in_transaction()) {
                match client.batch_execute("ROLLBACK").await {
                    // A cancel that was meant for what came before it.
                    Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                    other => other?,
                }
                self.turn().await;
            } else {
                return Ok(());
            }
        }
    }

    /// Waits for one more answer, or until nothing is unanswered.
    async fn wait_for_answer(&self, answered: u64) {
        loop {
            let polled = self.polled.notified();
            let is_over = self.traffic.is_quiet() || self.traffic.answered() != answered;
            if is_over || self.has_ended() {
                return;
            }
            polled.await;
        }
    }

    /// Asks the server, by a connection of its own, to cancel what this session does now; ready
    /// when the server has done so.
    async fn cancel(&self) -> Result<(), Error> {
        let socket = self.peer.connect().await?;
        let mut socket = self.options.prepare(socket, &self.peer).await?;
        self.token.cancel_query_raw(&mut socket, Prepared).await?;
        // The server ends the connection when it has sent the signal. How it ends does not matter.
        let mut bytes = [0; 64];
        poll_fn(|context| {
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut socket).poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(io::Result::Ok(()));
                }
            }
        })
        .await
        .or(Ok(()))
    }

    fn ended(&self) -> Error {
        match self.take_cause() {
            Some(cause) => Error::Postgres(cause),
            None => Error::Io(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl HandedBack {
    /// The session is quiet: the pool's next may have it. Without a pool the client's drop ends it.
    fn arrive(self, link: &Rc<Link>) {
        if let Some(home) = self.home {
            home.take_back(self.client, link);
        }
    }
}

/// Drives a session to its end.
pub(super) async fn drive(library: Library, link: Rc<Link>) {
    // Declared in this order, so that the stream is gone when the end is told.
    let end = End(Rc::clone(&link));
    let mut library = library;
    let cause = poll_fn(|context| link.poll(&mut library, context)).await;
    *link.cause.borrow_mut() = cause;
    drop(library);
    drop(end);
}

/// Tells the end of a session, also if its task is dropped.
struct End(Rc<Link>);

impl Drop for End {
    fn drop(&mut self) {
        let link = &self.0;
        link.has_ended.set(true);
        let listeners = link.listeners.borrow_mut().take();
        let handed_back = link.handed_back.borrow_mut().take();
        drop((listeners, handed_back));
        link.polled.notify_waiters();
    }
}
