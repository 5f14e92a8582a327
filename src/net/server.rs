//! A server: listeners, and a task for each connection, which the server owns.
//!
//! ```text
//!             close, shutdown              the last handler ends
//!   serving ───────────────────▶ closing ─────────────────────────▶ closed
//!                                  │ shutdown: grace is over        ▲
//!                                  ▼                                │
//!                         handlers are asked to end ── or aborted ──┘
//! ```
//!
//! A connection's handler is a task like any other. The server knows it and its stream, so it can
//! let it finish, ask it to end, or reset the connection, and tell afterwards how far each came.
//! An error of one handler goes to the runtime's hook and ends nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::accept::{Accept, Accepted};
use super::listener::Listener;
use super::places::Places;
use super::unix::UnixName;
use super::{Address, ListenOptions, TcpListener, TcpStream, UnixListener, UnixStream};
use crate::executor::task::{AnyTask, Observe};
use crate::executor::{Core, Unhandled};
use crate::io::Stream;
use crate::sync::Event;
use crate::task::TaskOutput;
use crate::time::{sleep, timeout};

/// How long handlers that were asked to end have, before they are aborted.
const CANCEL_LIMIT: Duration = Duration::from_millis(250);

/// How long an accept loop rests after an error of its socket.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address` and runs `handler` for each connection, as a task of its own: asyncio's
/// `start_server`. See [`ServeOptions`] for limits and more addresses.
///
/// Dropping the [`Server`] leaves it serving until the runtime ends.
///
/// ```
/// use corio::net::{TcpStream, serve};
/// # corio::run(async {
/// let server = serve("127.0.0.1:0", async |mut stream: TcpStream| {
///     let line = stream.read_line(100).await?;
///     stream.write(&line).await
/// });
/// let server = server.await?;
///
/// let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
/// client.write(b"hello\n").await?;
/// assert_eq!(client.read_line(100).await?, b"hello\n");
/// drop(client);
/// let report = server.shutdown(std::time::Duration::from_secs(1)).await;
/// assert_eq!(report.aborted(), 0);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
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
#[doc(alias = "start_server")]
#[doc(alias = "create_server")]
#[track_caller]
pub fn serve<H, F>(address: impl Address, handler: H) -> impl Future<Output = io::Result<Server>>
where
    H: Fn(TcpStream) -> F + 'static,
    F: Future + 'static,
    F::Output: TaskOutput + 'static,
{
    ServeOptions::new().serve(address, handler)
}

/// Settings for a [`Server`].
///
/// ```
/// use corio::net::{ListenOptions, ServeOptions, TcpStream};
/// # corio::run(async {
/// let server = ServeOptions::new()
///     .listen(ListenOptions::new().backlog(128))
///     .max_connections(1000)
///     .serve("127.0.0.1:0", async |stream: TcpStream| stream.close().await.map(drop))
///     .await?;
/// assert!(server.is_serving());
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ServeOptions {
    listen: ListenOptions,
    connections_max: Option<usize>,
    more_addresses: Vec<SocketAddr>,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions::new()
    }
}

impl ServeOptions {
    /// One address, no limit on connections, and the default [`ListenOptions`].
    pub fn new() -> ServeOptions {
        let listen = ListenOptions::new();
        ServeOptions { listen, connections_max: None, more_addresses: Vec::new() }
    }

    /// How the listeners are made.
    pub fn listen(mut self, listen: ListenOptions) -> ServeOptions {
        self.listen = listen;
        self
    }

    /// At most so many connections are open at a time, at least 1; further clients wait in the
    /// kernel's backlog, and are accepted as others end.
    pub fn max_connections(mut self, count: usize) -> ServeOptions {
        self.connections_max = Some(count.max(1));
        self
    }

    /// Listens on this address as well.
    pub fn also(mut self, address: SocketAddr) -> ServeOptions {
        self.more_addresses.push(address);
        self
    }

    /// Starts serving.
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`], for any of the addresses: then it listens on none.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn serve<H, F>(
        self,
        address: impl Address,
        handler: H,
    ) -> impl Future<Output = io::Result<Server>>
    where
        H: Fn(TcpStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let called_at = Location::caller();
        async move {
            let listen = self.listen.clone();
            let mut listeners = vec![listen.clone().bind_from(called_at, address).await?];
            for address in self.more_addresses {
                listeners.push(listen.clone().bind_from(called_at, address).await?);
            }
            let handles = listeners.into_iter().map(Listening::Tcp).collect();
            Ok(Server::start(handles, self.connections_max, handler, called_at))
        }
    }

    /// Starts serving on the name of a Unix socket: see [`serve_unix`](super::serve_unix). Only the
    /// limits of the [`ListenOptions`] are for these.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`].
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn serve_unix<H, F>(
        self,
        name: impl UnixName,
        handler: H,
    ) -> impl Future<Output = io::Result<Server>>
    where
        H: Fn(UnixStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let called_at = Location::caller();
        async move {
            let listener = UnixListener::serving(called_at, name, &self.listen)?;
            let handles = vec![Listening::Unix(listener)];
            Ok(Server::start(handles, self.connections_max, handler, called_at))
        }
    }
}

/// A listening server and its connections.
///
/// Dropping it leaves it serving until the runtime ends.
pub struct Server {
    shared: Rc<Shared>,
}

/// A listener of one kind or the other.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn shared(&self) -> &Rc<Listener> {
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

struct Shared {
    listeners: Vec<Listening>,
    addresses: Vec<SocketAddr>,
    places: Option<Rc<Places>>,
    is_closed: Cell<bool>,
    number_last: Cell<u64>,
    connections: RefCell<BTreeMap<u64, Connection>>,
    ends: RefCell<Vec<ConnectionEnd>>,
    /// A shutdown wants to know how connections end.
    keeps_ends: Cell<bool>,
    /// Set while there is no connection.
    is_idle: Event,
    closed: Event,
}

struct Connection {
    task: Rc<dyn AnyTask>,
    stream: Weak<Stream>,
    peer: Option<SocketAddr>,
    stage: Stage,
}

/// How far a connection came before it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Its handler finished by itself.
    Finished,
    /// Its handler was asked to end, and did.
    Cancelled,
    /// Its handler was dropped, and the connection reset.
    Aborted,
}

/// How one connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ConnectionEnd {
    /// The other end; `None` if it was gone when the connection was accepted.
    pub peer: Option<SocketAddr>,
    /// How far it came.
    pub stage: Stage,
}

/// What [`Server::shutdown`] did with each connection that was open.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The connections, in the order in which they ended.
    pub connections: Vec<ConnectionEnd>,
}

impl ShutdownReport {
    /// Connections whose handlers finished by themselves.
    pub fn finished(&self) -> usize {
        self.count(Stage::Finished)
    }

    /// Connections whose handlers ended since they were asked to.
    pub fn cancelled(&self) -> usize {
        self.count(Stage::Cancelled)
    }

    /// Connections whose handlers did not end, and that were reset.
    pub fn aborted(&self) -> usize {
        self.count(Stage::Aborted)
    }

    fn count(&self, stage: Stage) -> usize {
        self.connections.iter().filter(|it| it.stage == stage).count()
    }
}

impl Server {
    fn start<S, H, F>(
        listeners: Vec<Listening>,
        connections_max: Option<usize>,
        handler: H,
        called_at: &'static Location<'static>,
    ) -> Server
    where
        S: Accepted,
        H: Fn(S) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let places = connections_max.map(|max| Places::new(max, listeners.len()));
        for (listener, places) in listeners.iter().zip(places.iter().cycle()) {
            listener.shared().share_places(places);
        }
        let shared = Shared::new(listeners, places);
        let handler = Rc::new(handler);
        for listening in &shared.listeners {
            let listener = Rc::clone(listening.shared());
            let accepting = Rc::clone(&shared).accept(listener, Rc::clone(&handler));
            Core::current().spawn(accepting, called_at, false);
        }
        Server { shared }
    }

    /// The Internet addresses it listens on; those it listened on, once it is closed.
    #[doc(alias = "sockets")]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// Whether it accepts connections.
    pub fn is_serving(&self) -> bool {
        !self.shared.is_closed.get()
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.shared.connections.borrow().len()
    }

    /// Stops listening. Connections that are open go on; those that were accepted and whose handler
    /// has not begun are served as well.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Asks the handlers of all open connections to end. A handler that does not catch that drops
    /// its stream, which sends what was written before it ends.
    pub fn close_clients(&self) {
        self.shared.end_clients(Stage::Cancelled);
    }

    /// Resets all open connections, and drops their handlers.
    pub fn abort_clients(&self) {
        self.shared.end_clients(Stage::Aborted);
    }

    /// Waits until the server was closed and the last of its connections has ended.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it only waits.
    pub async fn wait_closed(&self) {
        self.shared.closed.wait().await;
        self.shared.is_idle.wait().await;
    }

    /// Serves until it is closed, and its connections have ended. If the wait is cancelled or
    /// dropped, the server is closed.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server is closed. Connections go on.
    pub async fn serve_forever(&self) {
        let _closer = Closer(&self.shared);
        self.wait_closed().await;
    }

    /// Ends the server in good order: stops accepting, gives handlers `grace` to finish, then asks
    /// those that are left to end, and resets those that still do not a quarter of a second later.
    /// Says how far each connection came that was open or came up meanwhile.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server is closed, and the connections go on from where they were.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let shared = &self.shared;
        shared.keeps_ends.set(true);
        shared.close();
        shared.closed.wait().await;
        if timeout(grace, shared.is_idle.wait()).await.is_err() {
            shared.end_clients(Stage::Cancelled);
            if timeout(CANCEL_LIMIT, shared.is_idle.wait()).await.is_err() {
                shared.end_clients(Stage::Aborted);
                // Their futures are dropped in the next turn; operations that the kernel keeps
                // are not waited for any longer than a cancel is.
                let _ = timeout(CANCEL_LIMIT, shared.is_idle.wait()).await;
            }
        }
        let mut connections = shared.ends.take();
        connections.extend(shared.connections.borrow().values().map(Connection::end));
        ShutdownReport { connections }
    }
}

struct Closer<'a>(&'a Rc<Shared>);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Connection {
    fn end(&self) -> ConnectionEnd {
        ConnectionEnd { peer: self.peer, stage: self.stage }
    }
}

impl Shared {
    fn new(listeners: Vec<Listening>, places: Option<Rc<Places>>) -> Rc<Shared> {
        let addresses = listeners.iter().filter_map(Listening::address).collect();
        let is_idle = Event::new();
        is_idle.set();
        Rc::new(Shared {
            listeners,
            addresses,
            places,
            is_closed: Cell::new(false),
            number_last: Cell::new(0),
            connections: RefCell::default(),
            ends: RefCell::default(),
            keeps_ends: Cell::new(false),
            is_idle,
            closed: Event::new(),
        })
    }

    /// Serves what a listener accepts, until it is closed and its inbox is empty.
    async fn accept<S, H, F>(self: Rc<Self>, listener: Rc<Listener>, handler: Rc<H>)
    where
        S: Accepted,
        H: Fn(S) -> F,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        loop {
            match Accept::<S>::new(&listener).await {
                Ok(stream) => self.start(stream, &*handler),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    // An accept that was in flight may still bring somebody.
                    listener.close().await;
                    if listener.waiting_count() == 0 {
                        break;
                    }
                }
                Err(error) => {
                    Core::current().report(&Unhandled::AcceptPaused { error });
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
        let is_last = self.listeners.iter().all(|it| it.shared().is_done());
        if is_last {
            self.closed.set();
        }
    }

    fn start<S, H, F>(self: &Rc<Self>, stream: S, handler: &H)
    where
        S: Accepted,
        H: Fn(S) -> F,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let (core, peer) = (Core::current(), stream.peer());
        let number = self.number_last.get() + 1;
        self.number_last.set(number);
        self.is_idle.clear();
        let weak_stream = Rc::downgrade(stream.under());
        let work = handle(handler(stream), peer);
        let task = core.spawn(work, Location::caller(), false);
        // Nobody takes its outcome: a panic is reported.
        task.header().has_handle.set(false);
        let task: Rc<dyn AnyTask> = task;
        let observer = Rc::new(Observer { number, shared: Rc::clone(self) });
        let connection = Connection {
            task: Rc::clone(&task),
            stream: weak_stream,
            peer,
            stage: Stage::Finished,
        };
        self.connections.borrow_mut().insert(number, connection);
        if !task.header().observe(Rc::<Observer>::clone(&observer)) {
            observer.ended(&core, true);
        }
        core.announce(&task);
    }

    fn close(&self) {
        if !self.is_closed.replace(true) {
            for listener in &self.listeners {
                listener.shared().stop();
            }
        }
    }

    fn end_clients(&self, stage: Stage) {
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
        if let Some(places) = &self.places {
            places.release();
            for listener in &self.listeners {
                listener.shared().accept_more();
            }
        }
    }
}

/// A connection's handler, whose error is told to the runtime's hook.
async fn handle<F>(handler: F, peer: Option<SocketAddr>)
where
    F: Future,
    F::Output: TaskOutput,
{
    if let Err(error) = handler.await.into_result() {
        Core::current().report(&Unhandled::HandlerFailed { peer, error });
    }
}

struct Observer {
    number: u64,
    shared: Rc<Shared>,
}

impl Observe for Observer {
    fn ended(self: Rc<Self>, _core: &Rc<Core>, _was_cancelled: bool) {
        self.shared.ended(self.number);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local", &self.local_addrs())
            .field("is_serving", &self.is_serving())
            .field("connections", &self.connection_count())
            .finish()
    }
}
