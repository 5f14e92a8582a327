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

mod across;
mod ends;
mod policy;
mod shared;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};

pub use across::CoresServer;
pub use ends::{ConnectionEnd, CoreEnd, CoresReport, ShutdownReport, Stage};
pub use policy::AcceptPolicy;
pub use shared::server_closing;
use shared::{Accepting, Listening, Seat, Shared};

use super::accept::Accepted;
use super::places::Places;
use super::unix::UnixName;
use super::{Address, ListenOptions, TcpStream, UnixListener, UnixStream};
use crate::executor::Core;
use crate::signal::{Signal, Signals};
use crate::task::TaskOutput;
use crate::time::deadline_after;

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
    policy: AcceptPolicy,
    steers: bool,
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
        ServeOptions {
            listen,
            connections_max: None,
            more_addresses: Vec::new(),
            policy: AcceptPolicy::default(),
            steers: false,
        }
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

    /// Which core gets a connection, where several serve.
    pub fn accept(mut self, policy: AcceptPolicy) -> ServeOptions {
        self.policy = policy;
        self
    }

    /// With [`AcceptPolicy::ReusePort`]: the kernel gives a connection to the core on whose CPU its
    /// first packet was handled, by a classic BPF program (SO_ATTACH_REUSEPORT_CBPF, see
    /// socket(7)). It pays where the queues of the network card are spread over the same CPUs. A
    /// CPU without a core spreads its connections. Off by default.
    pub fn steer_by_cpu(mut self, on: bool) -> ServeOptions {
        self.steers = on;
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
            let listeners = listeners.into_iter().map(Listening::Tcp).collect();
            Ok(Server::start(listeners, self.connections_max, handler, called_at))
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
            let listeners = vec![Listening::Unix(listener)];
            Ok(Server::start(listeners, self.connections_max, handler, called_at))
        }
    }
}

/// A listening server and its connections.
///
/// Dropping it leaves it serving until the runtime ends.
pub struct Server {
    shared: Rc<Shared>,
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
        let shared = Shared::new(listeners, Box::new(|| {}));
        let (serving, handler) = (Rc::downgrade(&shared), Rc::new(handler));
        let take: Rc<dyn Fn(S)> = Rc::new(move |stream| {
            let Some(shared) = serving.upgrade() else { return };
            let seat = Seat::of(places.clone(), None);
            shared.start(stream, seat, &handler);
        });
        for listener in &shared.listeners {
            let accepting = Accepting::new(&shared, listener);
            Core::current().spawn(accepting.run(Rc::clone(&take)), called_at, true);
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
        !self.shared.closing.is_set()
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.shared.connection_count()
    }

    /// Stops listening. Connections that are open go on, and their handlers may look at
    /// [`server_closing`]; those that were accepted and whose handler has not begun are served as
    /// well.
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
        self.shared.shutdown(deadline_after(grace)).await
    }

    /// Serves until SIGINT or SIGTERM, then [`shutdown`](Self::shutdown)s with this grace. A second
    /// signal ends the grace: what is open is reset at once.
    ///
    /// # Errors
    ///
    /// If signals cannot be listened to.
    ///
    /// # Cancellation
    ///
    /// **Weak**: signals stay blocked (see [`signal`](crate::signal)); a shutdown that has begun
    /// stops where it is.
    pub async fn serve_until_signal(&self, grace: Duration) -> io::Result<ShutdownReport> {
        let signals = Signals::new(ENDING)?;
        signals.recv().await?;
        until_second(&signals, self.shutdown(grace), || self.abort_clients()).await
    }
}

/// The signals that ask a server to end.
const ENDING: [Signal; 2] = [Signal::Interrupt, Signal::Terminate];

/// Waits for a shutdown; a signal meanwhile has everything aborted.
async fn until_second<T>(
    signals: &Signals,
    shutdown: impl Future<Output = T>,
    abort: impl Fn(),
) -> io::Result<T> {
    let mut shutdown = pin!(shutdown);
    loop {
        match select(shutdown.as_mut(), pin!(signals.recv())).await {
            Either::Left((report, _)) => return Ok(report),
            Either::Right((signal, _)) => {
                signal?;
                abort();
            }
        }
    }
}

struct Closer<'a>(&'a Rc<Shared>);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close();
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
