//! What a server on one core consists of: listeners, and the connections with their tasks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::policy::Loads;
use super::{ConnectionEnd, ShutdownReport, Stage};
use crate::context::{Context, ContextVar};
use crate::executor::task::{AnyTask, How, Observe};
use crate::executor::{Core, Unhandled};
use crate::io::Stream;
use crate::net::accept::{Accept, Accepted};
use crate::net::listener::Listener;
use crate::net::places::Places;
use crate::net::{TcpListener, UnixListener};
use crate::sync::Event;
use crate::task::TaskOutput;
use crate::time::{Instant, sleep, timeout_at};

/// How long handlers that were asked to end have, before they are aborted.
const CANCEL_LIMIT: Duration = Duration::from_millis(250);

/// How long operations of aborted handlers are waited for, which the kernel keeps.
const ABORT_LIMIT: Duration = Duration::from_millis(150);

/// How long an accept loop rests after an error of its socket.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Set when the server begins to close whose handler runs here.
static CLOSING: ContextVar<Rc<Event>> = ContextVar::local("the server's closing");

/// Waits until the server begins to close whose handler runs here, by whatever way. A handler that
/// serves one request after the other takes no further one then. The tasks that a handler spawns
/// are told as well; anywhere else it is never ready.
///
/// ```
/// use corio::net::{TcpStream, serve, server_closing};
/// use corio::select;
/// # corio::run(async {
/// let server = serve("127.0.0.1:0", async |mut stream: TcpStream| {
///     loop {
///         select! {
///             line = stream.read_line(100) => stream.write(&line?).await?,
///             _ = server_closing() => return std::io::Result::Ok(()),
///         };
///     }
/// });
/// let server = server.await?;
/// let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
/// client.write(b"hello\n").await?;
/// assert_eq!(client.read_line(100).await?, b"hello\n");
/// // The client stays, and holds nothing up.
/// let report = server.shutdown(std::time::Duration::from_secs(10)).await;
/// assert_eq!(report.finished(), 1);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Cancellation
///
/// **Strict**: it only waits.
pub async fn server_closing() {
    match CLOSING.try_get() {
        Some(closing) => closing.wait().await,
        None => std::future::pending().await,
    }
}

/// A listener of one kind or the other.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    pub(super) fn shared(&self) -> &Rc<Listener> {
        match self {
            Listening::Tcp(listener) => listener.shared(),
            Listening::Unix(listener) => listener.shared(),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }
}

/// One core's part of a server, or all of it.
pub(super) struct Shared {
    pub(super) listeners: Vec<Listening>,
    pub(super) addresses: Vec<SocketAddr>,
    /// Listeners that may still bring somebody.
    accepting: Cell<usize>,
    /// Set when it begins to close.
    pub(super) closing: Rc<Event>,
    /// In which handlers start.
    context: Cell<Context>,
    number_last: Cell<u64>,
    connections: RefCell<BTreeMap<u64, Connection>>,
    ends: RefCell<Vec<ConnectionEnd>>,
    /// A shutdown wants to know how connections end.
    keeps_ends: Cell<bool>,
    /// Set while there is no connection.
    pub(super) is_idle: Event,
    /// Set when nobody can come any more.
    pub(super) closed: Event,
    /// Told when the last listener has ended.
    when_drained: Box<dyn Fn()>,
}

/// What a connection counts for, until it is dropped: a place, and the load of its core.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) places: Option<Arc<Places>>,
    pub(super) load: Option<(Arc<Loads>, usize)>,
}

impl Seat {
    pub(super) fn of(places: Option<Arc<Places>>, load: Option<(Arc<Loads>, usize)>) -> Seat {
        Seat { places, load }
    }

    /// The core that it was meant for is not the one.
    pub(super) fn leave_core(&mut self) {
        if let Some((loads, index)) = self.load.take() {
            loads.release(index);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The load first: who sees the place free sees the core's true load.
        if let Some((loads, index)) = &self.load {
            loads.release(*index);
        }
        if let Some(places) = &self.places {
            places.give_back(1);
        }
    }
}

struct Connection {
    task: Rc<dyn AnyTask>,
    stream: Weak<Stream>,
    peer: Option<SocketAddr>,
    stage: Stage,
    seat: Seat,
}

impl Connection {
    fn end(&self) -> ConnectionEnd {
        ConnectionEnd { peer: self.peer, stage: self.stage }
    }
}

impl Shared {
    pub(super) fn new(listeners: Vec<Listening>, when_drained: Box<dyn Fn()>) -> Rc<Shared> {
        let addresses = listeners.iter().filter_map(Listening::address).collect();
        let accepting = listeners.len();
        let is_idle = Event::new();
        is_idle.set();
        let (closing, mut context) = (Rc::new(Event::new()), Context::default());
        context.run(|| CLOSING.set(Rc::clone(&closing)));
        Rc::new(Shared {
            listeners,
            addresses,
            accepting: Cell::new(accepting),
            closing,
            context: Cell::new(context),
            number_last: Cell::new(0),
            connections: RefCell::default(),
            ends: RefCell::default(),
            keeps_ends: Cell::new(false),
            is_idle,
            closed: Event::new(),
            when_drained,
        })
    }

    /// Runs the handler of a connection.
    pub(super) fn start<S, H, F>(self: &Rc<Self>, stream: S, seat: Seat, handler: &Rc<H>)
    where
        S: Accepted,
        H: Fn(S) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let (core, peer) = (Core::current(), stream.peer());
        let number = self.number_last.get() + 1;
        self.number_last.set(number);
        self.is_idle.clear();
        let weak_stream = Rc::downgrade(stream.under());
        let work = handle(Rc::clone(handler), stream, peer);
        let mut context = self.context.take();
        let task = context.run(|| core.spawn(work, Location::caller(), false));
        self.context.set(context);
        // Nobody takes its outcome: a panic is reported.
        task.header().has_handle.set(false);
        let task: Rc<dyn AnyTask> = task;
        let observer = Rc::new(Observer { number, shared: Rc::clone(self) });
        let connection = Connection {
            task: Rc::clone(&task),
            stream: weak_stream,
            peer,
            stage: Stage::Finished,
            seat,
        };
        self.connections.borrow_mut().insert(number, connection);
        if !task.header().observe(Rc::<Observer>::clone(&observer)) {
            // The runtime ends, and with it the server.
            observer.ended(&core, How::Cancelled);
            self.close();
        }
        core.announce(&task);
    }

    pub(super) fn close(&self) {
        if !self.closing.is_set() {
            self.closing.set();
            for listener in &self.listeners {
                listener.shared().stop();
            }
        }
    }

    pub(super) fn end_clients(&self, stage: Stage) {
        let mut streams = Vec::new();
        let mut tasks = Vec::new();
        for connection in self.connections.borrow_mut().values_mut() {
            connection.stage = stage;
            streams.extend(connection.stream.upgrade());
            tasks.push(Rc::clone(&connection.task));
        }
        let core = Core::try_current();
        for task in tasks {
            match (stage, &core) {
                (Stage::Aborted, _) => drop(task.header().abort()),
                (_, Some(core)) => drop(core.ask_task(&*task, Some("its server closes".into()))),
                (_, None) => {}
            }
        }
        if stage == Stage::Aborted {
            for stream in streams {
                stream.abort();
            }
        }
    }

    fn ended(&self, number: u64) {
        let connection = self.connections.borrow_mut().remove(&number);
        let Some(connection) = connection else { return };
        if self.keeps_ends.get() {
            self.ends.borrow_mut().push(connection.end());
        }
        if self.connections.borrow().is_empty() {
            self.is_idle.set();
        }
        let was_limited = connection.seat.places.is_some();
        drop(connection);
        if was_limited {
            self.accept_more();
        }
    }

    /// A place may have become free.
    pub(super) fn accept_more(&self) {
        for listener in &self.listeners {
            listener.shared().accept_more();
        }
    }

    /// Connections that are open.
    pub(super) fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// See [`Server::shutdown`](super::Server::shutdown).
    pub(super) async fn shutdown(&self, grace_end: Instant) -> ShutdownReport {
        self.keeps_ends.set(true);
        self.close();
        let cancel_end = grace_end + CANCEL_LIMIT;
        // What was accepted is served. The core that accepts may be stuck, hence the limit.
        let _ = timeout_at(cancel_end, self.closed.wait()).await;
        if timeout_at(grace_end, self.is_idle.wait()).await.is_err() {
            self.end_clients(Stage::Cancelled);
            if timeout_at(cancel_end, self.is_idle.wait()).await.is_err() {
                self.end_clients(Stage::Aborted);
                // Their futures are dropped in the next turn; operations that the kernel keeps
                // are not waited for for long.
                let _ = timeout_at(cancel_end + ABORT_LIMIT, self.is_idle.wait()).await;
            }
        }
        let mut connections = self.ends.take();
        connections.extend(self.connections.borrow().values().map(Connection::end));
        ShutdownReport { connections }
    }
}

/// The loop that accepts for one listener. However it ends, nobody waits for it in vain.
pub(super) struct Accepting {
    shared: Rc<Shared>,
    listener: Rc<Listener>,
}

impl Accepting {
    pub(super) fn new(shared: &Rc<Shared>, listening: &Listening) -> Accepting {
        Accepting { shared: Rc::clone(shared), listener: Rc::clone(listening.shared()) }
    }

    /// Hands on what the listener accepts, until it is closed and its inbox is empty.
    pub(super) async fn run<S: Accepted>(self, take: Rc<dyn Fn(S)>) {
        loop {
            match Accept::<S>::new(&self.listener).await {
                Ok(stream) => take(stream),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    // An accept that was in flight may still bring somebody.
                    self.listener.close().await;
                    if self.listener.waiting_count() == 0 {
                        break;
                    }
                }
                Err(error) => {
                    Core::current().report(&Unhandled::AcceptPaused { error });
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.close();
        shared.accepting.set(shared.accepting.get() - 1);
        if shared.accepting.get() == 0 {
            shared.closed.set();
            (shared.when_drained)();
        }
    }
}

/// A connection's handler, whose error is told to the runtime's hook. It is called in here, so that
/// a panic of the closure is its connection's affair, too.
async fn handle<S, H, F>(handler: Rc<H>, stream: S, peer: Option<SocketAddr>)
where
    H: Fn(S) -> F,
    F: Future,
    F::Output: TaskOutput,
{
    let future = handler(stream);
    drop(handler);
    if let Err(error) = future.await.into_result() {
        Core::current().report(&Unhandled::HandlerFailed { peer, error });
    }
}

struct Observer {
    number: u64,
    shared: Rc<Shared>,
}

impl Observe for Observer {
    fn ended(self: Rc<Self>, _core: &Rc<Core>, _how: How) {
        self.shared.ended(self.number);
    }
}
