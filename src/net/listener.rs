//! A listener: accepted connections wait in its inbox.
//!
//! ```text
//!             turn end: arm()                          no room for a whole backlog: cancel
//!   resting ─────────────────▶ standing (multishot) ─────────────────────▶ single accepts,
//!      ▲                            │                                       one a free place
//!      │        last completion     │                                            │
//!      └────────────────────────────┴────────────────────────────────────────────┘
//!   out of descriptors: paused, until a timer of the runtime arms it again
//! ```
//!
//! A multishot accept takes the whole backlog in one enter, so it stands only while the inbox has
//! room for that; otherwise there are single accepts, at most one for each free place. Where
//! several listeners share few places, each polls for a client first, and accepts once there is one
//! and a place for it. Whoever waits for `accept` may go away: the connection stays in the inbox.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::accept::{Accept, Incoming, closed};
use super::places::Places;
use super::{Address, ListenOptions, ListeningSocket, TcpStream};
use crate::cores::CoreHandle;
use crate::driver::{Fd, Feature, Op, Payload, SocketOption, Token};
use crate::executor::slots::{Done, Receive, Start};
use crate::executor::waiting::WaitQueue;
use crate::executor::{Core, Errand, Life, TurnEnd, Unhandled};
use crate::time::sleep;

/// Single accepts in flight at a time.
const SINGLES_MAX: usize = 16;

/// What an operation is to its listener.
const ROLE_ACCEPT: u8 = 0;
const ROLE_POLL: u8 = 1;

/// How long a listener without descriptors waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// A pause is reported once in this time.
const REPORT_PERIOD: Duration = Duration::from_secs(60);

/// A listening TCP socket.
///
/// The first `accept` starts accepting; from then on connections are accepted as they come and wait
/// in the listener's inbox, so a `timeout` around `accept` in a loop loses nobody.
///
/// ```
/// # corio::run(async {
/// let listener = corio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let client = corio::net::TcpStream::connect(listener.local_addr()?).await?;
/// let server = listener.accept().await?;
/// assert_eq!(server.peer_addr()?, client.local_addr()?);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "start_server")]
pub struct TcpListener {
    inner: Rc<Listener>,
}

/// What listeners of all kinds have in common.
pub(super) struct Listener {
    pub(super) core: Rc<Core>,
    /// Gone once the listener is closed.
    fd: RefCell<Option<Rc<Fd>>>,
    pub(super) inbox: RefCell<VecDeque<Rc<Fd>>>,
    inbox_limit: usize,
    backlog: usize,
    pub(super) waiting: RefCell<WaitQueue>,
    pub(super) closers: RefCell<WaitQueue>,
    /// Accepts and the poll in flight, and whether the one accept is a multishot.
    pub(super) in_flight: RefCell<Vec<Token>>,
    is_polling: Cell<bool>,
    /// The poll has found a client.
    has_client: Cell<bool>,
    is_standing: Cell<bool>,
    is_stopping: Cell<bool>,
    arm_asked: Cell<bool>,
    is_paused: Cell<bool>,
    reported_at_ns: Cell<Option<u64>>,
    pub(super) is_closed: Cell<bool>,
    is_dropped: Cell<bool>,
    pub(super) error: Cell<Option<i32>>,
    /// Shared with others if there is a limit on connections.
    places: RefCell<Option<Arc<Places>>>,
    /// Others have the socket too, so it goes on listening when this listener stops.
    is_kept: Cell<bool>,
    /// The socket of a listener that has stopped, until it is sure that its last accepts have kept
    /// no client from the others.
    sweeping: RefCell<Option<Rc<Fd>>>,
}

impl TcpListener {
    /// Listens on `address` with the default [`ListenOptions`].
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`].
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn bind(address: impl Address) -> impl Future<Output = io::Result<TcpListener>> {
        ListenOptions::new().bind_from(Location::caller(), address)
    }

    pub(super) fn over(inner: Rc<Listener>) -> TcpListener {
        TcpListener { inner }
    }

    /// What serves.
    pub(super) fn shared(&self) -> &Rc<Listener> {
        &self.inner
    }

    /// The next connection. Several tasks may wait; they are served first come, first served.
    ///
    /// A peer that is gone already makes no error here: its stream says so.
    ///
    /// # Errors
    ///
    /// After [`close`](Self::close), once the inbox is empty; or the kernel's, for a socket that
    /// does not listen any more. A lack of descriptors is no error: the listener pauses, reports it
    /// once, and goes on.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a connection stays in the listener's inbox until an `accept` returns it.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        Accept::new(&self.inner).await
    }

    /// The connections as a stream, which ends when the listener is closed.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming::new(Accept::new(&self.inner))
    }

    /// How many accepted connections wait in the inbox.
    pub fn waiting(&self) -> usize {
        self.inner.waiting_count()
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// The kernel's; `NotConnected` after [`close`](Self::close).
    #[doc(alias = "sockets")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let fd = self.inner.descriptor()?;
        self.inner.core.driver.borrow_mut().local_address(fd.raw())
    }

    /// The socket, to be passed to others: a successor process above all. From now on it goes on
    /// listening when this listener is closed, for as long as anybody has it.
    ///
    /// # Errors
    ///
    /// The kernel's; `NotConnected` after [`close`](Self::close).
    pub fn socket(&self) -> io::Result<ListeningSocket> {
        self.inner.socket()
    }

    /// Stops listening: accepts in flight are ended, and the socket is closed. What is in the inbox
    /// can still be accepted; after that, `accept` is an error.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the closing goes on.
    pub async fn close(&self) {
        self.inner.close().await;
    }
}

impl Listener {
    pub(super) fn new(
        core: Rc<Core>,
        fd: Rc<Fd>,
        inbox_limit: usize,
        backlog: usize,
    ) -> Rc<Listener> {
        Rc::new(Listener {
            core,
            fd: RefCell::new(Some(fd)),
            inbox: RefCell::default(),
            inbox_limit,
            backlog,
            waiting: RefCell::default(),
            closers: RefCell::default(),
            in_flight: RefCell::default(),
            is_polling: Cell::new(false),
            has_client: Cell::new(false),
            is_standing: Cell::new(false),
            is_stopping: Cell::new(false),
            arm_asked: Cell::new(false),
            is_paused: Cell::new(false),
            reported_at_ns: Cell::new(None),
            is_closed: Cell::new(false),
            is_dropped: Cell::new(false),
            error: Cell::new(None),
            places: RefCell::default(),
            is_kept: Cell::new(false),
            sweeping: RefCell::default(),
        })
    }

    /// Has the listener accept no more than there are free places. Call it before the first
    /// accept.
    pub(super) fn share_places(&self, places: &Arc<Places>) {
        self.places.replace(Some(Arc::clone(places)));
    }

    /// Its descriptor; an error after its close.
    pub(super) fn descriptor(&self) -> io::Result<Rc<Fd>> {
        self.fd.borrow().clone().ok_or_else(closed)
    }

    /// How many accepted connections wait in the inbox.
    pub(super) fn waiting_count(&self) -> usize {
        self.inbox.borrow().len()
    }

    /// See [`TcpListener::socket`].
    pub(super) fn socket(&self) -> io::Result<ListeningSocket> {
        let fd = self.descriptor()?;
        self.keep();
        ListeningSocket::duplicate(&*fd)
    }

    /// Others have the socket too.
    pub(super) fn keep(&self) {
        self.is_kept.set(true);
    }

    fn free_count(&self) -> usize {
        let in_inbox = self.inbox_limit.saturating_sub(self.inbox.borrow().len());
        let places = self.places.borrow();
        places.as_ref().map_or(in_inbox, |it| in_inbox.min(it.free_for(self.reserved_count())))
    }

    /// Places that the accepts in flight may take. A standing one takes a whole backlog in one
    /// enter.
    fn reserved_count(&self) -> usize {
        match self.is_standing.get() {
            true => self.backlog + 1,
            false => self.singles_count(),
        }
    }

    fn singles_count(&self) -> usize {
        self.in_flight.borrow().len() - usize::from(self.is_polling.get())
    }

    /// Whether an accept is started only for a client that is there, since one that waits would
    /// keep the place from the other listeners.
    fn looks_first(&self) -> bool {
        self.places.borrow().as_ref().is_some_and(|places| places.are_shared())
    }

    /// Takes places for accepts that are being started. Another core may be first.
    fn take_places(&self, count: usize) -> bool {
        self.places.borrow().as_ref().is_none_or(|places| places.try_take(count))
    }

    /// Has accepts armed at the end of the turn, if there is room for more than are in flight.
    pub(super) fn accept_more(self: &Rc<Self>) {
        let is_busy = self.is_standing.get() || self.is_stopping.get() || self.arm_asked.get();
        if self.is_resting() || is_busy {
            return;
        }
        // Who has said that it wants a place has to look once more.
        if self.has_to_arm() || (self.says_it_wants_a_place() && self.has_to_arm()) {
            self.arm_asked.set(true);
            self.core.arm_at_turn_end(Rc::<Listener>::clone(self));
        }
    }

    fn says_it_wants_a_place(&self) -> bool {
        let places = self.places.borrow();
        let Some(places) = places.as_ref().filter(|it| it.are_of_many_cores()) else {
            return false;
        };
        let wants = self.has_client.get() && self.singles_count() == 0;
        if wants {
            places.want(CoreHandle::of(&self.core));
        }
        wants
    }

    fn has_to_arm(&self) -> bool {
        let looks = self.looks_first() && !self.has_client.get();
        match looks {
            true => self.in_flight.borrow().is_empty(),
            false => self.singles_count() < self.singles_wanted(),
        }
    }

    fn is_resting(&self) -> bool {
        self.is_closed.get() || self.is_paused.get() || self.error.get().is_some()
    }

    fn singles_wanted(&self) -> usize {
        let at_once = if self.looks_first() { 1 } else { SINGLES_MAX };
        self.free_count().min(at_once)
    }

    fn may_stand(&self) -> bool {
        let features = self.core.features();
        let is_alone = self.places.borrow().as_ref().is_none_or(|it| !it.are_of_many_cores());
        is_alone && features.has(Feature::AcceptMultishot) && self.free_count() > self.backlog
    }

    fn arm(self: Rc<Self>) {
        self.arm_asked.set(false);
        if self.is_resting() || self.core.life() >= Life::Draining {
            return;
        }
        let Some(fd) = self.fd.borrow().clone() else { return };
        let is_idle = self.in_flight.borrow().is_empty();
        if is_idle && self.may_stand() && self.take_places(self.backlog + 1) {
            self.is_standing.set(true);
            return self.start(&fd, Op::Accept { fd: fd.raw(), multishot: true }, ROLE_ACCEPT);
        }
        if self.looks_first() && !self.has_client.get() {
            if self.in_flight.borrow().is_empty() {
                self.is_polling.set(true);
                self.start(&fd, Op::Poll { fd: fd.raw(), multishot: false }, ROLE_POLL);
            }
            return;
        }
        while self.singles_count() < self.singles_wanted() && self.take_places(1) {
            self.has_client.set(false);
            self.start(&fd, Op::Accept { fd: fd.raw(), multishot: false }, ROLE_ACCEPT);
        }
        if self.has_client.get() {
            // Another core was first.
            self.accept_more();
        }
    }

    fn start(self: &Rc<Self>, fd: &Rc<Fd>, op: Op, role: u8) {
        let token = self.core.start(Start {
            op,
            payload: Payload::None,
            fd: Some(Rc::clone(fd)),
            receiver: Rc::<Listener>::clone(self),
            role,
            owner: None,
        });
        self.in_flight.borrow_mut().push(token);
    }

    /// Ends the accepts in flight; what they bring until then is kept.
    fn cancel_accepts(&self) {
        let tokens = self.in_flight.borrow().clone();
        for token in tokens {
            self.core.cancel(token);
        }
    }

    /// Stops listening, and does not wait for the accepts in flight to end.
    pub(super) fn stop(&self) {
        self.is_closed.set(true);
        self.cancel_accepts();
        // The slots in flight hold the descriptor, and with the last of them it is closed. It
        // stops listening now: clients are refused, and the address can be bound again.
        let fd = self.fd.borrow_mut().take();
        match fd {
            Some(fd) if self.is_kept.get() => drop(self.sweeping.borrow_mut().replace(fd)),
            Some(fd) => {
                let mut driver = self.core.driver.borrow_mut();
                driver.reset(fd.raw());
                // A Unix socket knows only this way to stop listening.
                driver.shutdown_both(fd.raw());
            }
            None => {}
        }
        self.end_sweep_if_idle();
        let waiting = self.waiting.borrow_mut().all();
        for waker in waiting {
            self.core.wake(waker);
        }
    }

    fn end_sweep_if_idle(&self) {
        if self.in_flight.borrow().is_empty() {
            let swept = self.sweeping.borrow_mut().take();
            drop(swept);
        }
    }

    /// After the last accept of a stopped listener whose socket others have: takes a client that it
    /// may have kept from them. The accept is ended at once, in case that somebody was quicker.
    fn sweep(self: &Rc<Self>) {
        let Some(fd) = self.sweeping.borrow().clone() else { return };
        let is_last = self.in_flight.borrow().is_empty() && self.core.life() < Life::Draining;
        let has_client =
            is_last && self.core.driver.borrow_mut().keeps_client_from_others(fd.raw());
        if has_client && !self.is_dropped.get() && self.take_places(1) {
            self.start(&fd, Op::Accept { fd: fd.raw(), multishot: false }, ROLE_ACCEPT);
            self.cancel_accepts();
        }
        self.end_sweep_if_idle();
    }

    /// Its handle is gone: who is in the inbox is sent away.
    pub(super) fn end(&self) {
        self.is_dropped.set(true);
        self.stop();
        let unclaimed = self.inbox.take();
        for fd in &unclaimed {
            self.reset(fd);
        }
        if let Some(places) = &*self.places.borrow() {
            places.give_back(unclaimed.len());
        }
    }

    pub(super) fn wake_first(&self) {
        let has_news =
            !self.inbox.borrow().is_empty() || self.error.get().is_some() || self.is_closed.get();
        if has_news {
            let first = self.waiting.borrow_mut().first();
            if let Some(waker) = first {
                self.core.wake(waker);
            }
        }
    }

    fn accepted(&self, raw: i32) {
        let fd = self.core.fd(raw);
        if self.is_dropped.get() {
            self.reset(&fd);
        } else {
            self.inbox.borrow_mut().push_back(fd);
            if let Some(places) = &*self.places.borrow() {
                places.hold();
            }
        }
    }

    fn reset(&self, fd: &Fd) {
        let counter = &self.core.counters.dropped_connections;
        crate::executor::count(counter);
        // If it cannot be set, the connection ends with FIN instead.
        let _ = self.core.driver.borrow_mut().set_option(fd.raw(), SocketOption::LingerZero);
    }

    fn failed(self: &Rc<Self>, error: i32) {
        match error {
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            // The peer gave up, or its network did: accept(2) says to go on.
            libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EPERM => {}
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => self.pause(error),
            error => self.error.set(Some(error)),
        }
    }

    /// No descriptors: connections wait in the backlog until some were closed.
    fn pause(self: &Rc<Self>, error: i32) {
        // While the runtime ends nothing is armed again, and nobody would end the pause.
        if self.is_paused.replace(true) || self.core.life() >= Life::Draining {
            return;
        }
        let now_ns = self.core.now_ns();
        let period_ns = REPORT_PERIOD.as_nanos() as u64;
        if self.reported_at_ns.get().is_none_or(|at_ns| now_ns - at_ns > period_ns) {
            self.reported_at_ns.set(Some(now_ns));
            let error = io::Error::from_raw_os_error(error);
            self.core.report(&Unhandled::AcceptPaused { error });
        }
        let listener = Rc::clone(self);
        let resume = async move {
            sleep(PAUSE).await;
            listener.is_paused.set(false);
            listener.accept_more();
        };
        self.core.spawn(resume, Location::caller(), true);
    }
}

impl Receive for Listener {
    fn complete(self: Rc<Self>, _core: &Rc<Core>, done: Done) {
        let reserved_before = self.reserved_count();
        match done.result {
            error if error < 0 => self.failed(-error),
            _ if done.role == ROLE_POLL => self.has_client.set(true),
            // It takes its place before the accept gives its own back.
            raw => self.accepted(raw),
        }
        if !done.more {
            self.is_polling.set(self.is_polling.get() && done.role != ROLE_POLL);
            self.in_flight.borrow_mut().retain(|token| *token != done.token);
            if self.is_standing.replace(false) {
                self.is_stopping.set(false);
            }
        }
        if let Some(places) = &*self.places.borrow() {
            places.give_back(reserved_before - self.reserved_count());
        }
        if done.more && !self.may_stand() && !self.is_stopping.replace(true) {
            self.cancel_accepts();
        }
        self.sweep();
        self.wake_first();
        self.accept_more();
        if self.in_flight.borrow().is_empty() {
            let closers = self.closers.borrow_mut().all();
            for waker in closers {
                self.core.wake(waker);
            }
        }
    }
}

impl TurnEnd for Listener {
    fn turn_end(self: Rc<Self>, _core: &Rc<Core>, _errand: Errand) {
        self.arm();
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener").field("local", &self.local_addr().ok()).finish()
    }
}
