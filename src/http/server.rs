//! A server: `net::serve`, with hyper on each connection.
//!
//! A connection ends by itself, by a limit (`activity.rs`), or since the server shuts down: then it
//! is asked to finish the requests it has, and takes no more. A client that breaks off is no error
//! of the server; an error of the service, or of a body that it gave, is one, and goes where errors
//! of handlers go: `Builder::on_unhandled`.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Response;
use hyper::body::Body as HttpBody;
use hyper_util::server::conn::auto;
use tower_service::Service;

use super::activity::{Activity, Verdict, Watched};
use super::service::Limited;
use super::{Body, Request};
use crate::compat::OnItsCore;
use crate::compat::hyper::{Executor, Timer};
use crate::net::{self, Address, ShutdownReport, TcpStream};
use crate::sync::Event;
use crate::time::{Instant, Sleep, sleep_until};

/// What an error of a service or of its bodies can be.
type AnyError = Box<dyn Error + Send + Sync>;

/// Serves HTTP/1.1 and HTTP/2 (with prior knowledge) on an address, with the default
/// [`ServeOptions`].
///
/// The service is cloned for each connection. `poll_ready` is awaited before each call.
///
/// # Errors
///
/// As [`ListenOptions::bind`](net::ListenOptions::bind).
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Strict**: it does not wait.
#[track_caller]
pub fn serve<S, B>(address: impl Address, service: S) -> impl Future<Output = io::Result<Server>>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<AnyError>,
    B: HttpBody + 'static,
    B::Error: Into<AnyError>,
{
    ServeOptions::new().serve(address, service)
}

/// Limits of a [`Server`], all per connection but the number of connections.
///
/// ```
/// use corio::time::Duration;
/// use corio::http::ServeOptions;
/// use corio::net;
///
/// let options = ServeOptions::new()
///     .net(net::ServeOptions::new().max_connections(10_000))
///     .head_timeout(Duration::from_secs(5))
///     .body_limit(1 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct ServeOptions {
    net: net::ServeOptions,
    head_timeout: Duration,
    idle_timeout: Duration,
    body_timeout: Duration,
    head_limit: usize,
    headers_max: usize,
    body_limit: u64,
    streams_max: u32,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions::new()
    }
}

impl ServeOptions {
    /// The defaults that each setting names.
    pub fn new() -> ServeOptions {
        ServeOptions {
            net: net::ServeOptions::new(),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            head_limit: 32 << 10,
            headers_max: 100,
            body_limit: u64::MAX,
            streams_max: 100,
        }
    }

    /// How many connections there may be, and how the listeners are made.
    pub fn net(mut self, net: net::ServeOptions) -> ServeOptions {
        self.net = net;
        self
    }

    /// How long the head of a request may take, from its first byte to its last, 10 s by default;
    /// then the connection is reset.
    pub fn head_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.head_timeout = timeout;
        self
    }

    /// How long a connection may stand without any byte in either direction while no service works
    /// for it, 60 s by default; then it is closed, and reset if that takes as long again.
    pub fn idle_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.idle_timeout = timeout;
        self
    }

    /// How long a service that reads a request's body waits for the next piece of it, 30 s by
    /// default; then it reads an error.
    pub fn body_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.body_timeout = timeout;
        self
    }

    /// The bytes of a request's head, 32 KiB by default and at least 8 KiB. A longer one is
    /// answered with 431.
    pub fn head_limit(mut self, bytes: usize) -> ServeOptions {
        self.head_limit = bytes.max(8 << 10);
        self
    }

    /// The header fields of a request of HTTP/1.1, 100 by default. More are answered with 431.
    pub fn headers_max(mut self, count: usize) -> ServeOptions {
        self.headers_max = count;
        self
    }

    /// The bytes of a request's body, without a limit by default: a body is read piece by piece, so
    /// it is the service that keeps it or not. A service that reads a longer one reads an error.
    pub fn body_limit(mut self, bytes: u64) -> ServeOptions {
        self.body_limit = bytes;
        self
    }

    /// The requests that a connection of HTTP/2 may have open at a time, 100 by default.
    pub fn streams_max(mut self, count: u32) -> ServeOptions {
        self.streams_max = count;
        self
    }

    fn protocol(&self) -> auto::Builder<Executor> {
        let mut protocol = auto::Builder::new(Executor);
        protocol
            .http1()
            .timer(Timer)
            .header_read_timeout(None)
            .max_buf_size(self.head_limit)
            .max_headers(self.headers_max);
        let head_limit = u32::try_from(self.head_limit).unwrap_or(u32::MAX);
        protocol
            .http2()
            .timer(Timer)
            .max_header_list_size(head_limit)
            .max_concurrent_streams(self.streams_max);
        protocol
    }

    /// Starts serving: see [`serve`].
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`](net::ListenOptions::bind), for any of the addresses.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn serve<S, B>(
        self,
        address: impl Address,
        service: S,
    ) -> impl Future<Output = io::Result<Server>>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<AnyError>,
        B: HttpBody + 'static,
        B::Error: Into<AnyError>,
    {
        let closing = Rc::new(Event::new());
        let shared = Rc::new((self.protocol(), self.clone(), Rc::clone(&closing)));
        let handler = move |stream: TcpStream| {
            let (shared, service) = (Rc::clone(&shared), service.clone());
            async move {
                let (protocol, options, closing) = &*shared;
                let activity = Activity::new();
                let conversing = options.converse(protocol, closing, &activity, stream, service);
                let outcome = conversing.await;
                // An upgraded connection goes on elsewhere, and counts as long as it does.
                activity.stream_gone().await;
                outcome
            }
        };
        let serving = self.net.serve(address, handler);
        async move { Ok(Server { server: serving.await?, closing }) }
    }

    /// One connection, from its first byte to its end.
    async fn converse<S, B>(
        &self,
        protocol: &auto::Builder<Executor>,
        closing: &Event,
        activity: &Rc<Activity>,
        stream: TcpStream,
        service: S,
    ) -> Result<(), hyper::Error>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<AnyError>,
        B: HttpBody + 'static,
        B::Error: Into<AnyError>,
    {
        let service = Limited::new(service, activity, self.body_limit, self.body_timeout);
        let stream = OnItsCore::new(Watched::new(stream, activity));
        let mut connection = pin!(protocol.serve_connection_with_upgrades(stream, service));
        let mut closed = pin!(closing.wait());
        let mut clock = Clock::new(self, activity);
        let mut is_ending = false;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
                    return Poll::Ready(told(outcome));
                }
                let should_end = match clock.poll(context) {
                    // Or it had its time to end in good order.
                    Poll::Ready(verdict) if is_ending || verdict == Verdict::Late => {
                        activity.give_up();
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(_) => true,
                    Poll::Pending => !is_ending && closed.as_mut().poll(context).is_ready(),
                };
                if !should_end {
                    return Poll::Pending;
                }
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await
    }
}

/// What of a connection's outcome is for others to know: errors that the service made.
fn told(outcome: Result<(), AnyError>) -> Result<(), hyper::Error> {
    match outcome.map_err(|error| error.downcast::<hyper::Error>()) {
        Err(Ok(error)) if error.is_user() => Err(*error),
        _ => Ok(()),
    }
}

/// The one timer of a connection.
struct Clock<'a> {
    options: &'a ServeOptions,
    activity: &'a Activity,
    sleep: Sleep,
}

impl<'a> Clock<'a> {
    fn new(options: &'a ServeOptions, activity: &'a Activity) -> Clock<'a> {
        let sleep = sleep_until(Instant::now() + options.head_timeout.min(options.idle_timeout));
        Clock { options, activity, sleep }
    }

    /// Ready when the connection's time is over; never with `Until`.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Verdict> {
        while Pin::new(&mut self.sleep).poll(context).is_ready() {
            let (head, idle) = (self.options.head_timeout, self.options.idle_timeout);
            let now = Instant::now();
            match self.activity.verdict(now, head, idle) {
                Verdict::Until(then) => self.sleep.reset(then),
                over => {
                    self.sleep.reset(now + idle);
                    return Poll::Ready(over);
                }
            }
        }
        Poll::Pending
    }
}

/// An HTTP server and its connections. Dropping it leaves it serving until the runtime ends.
pub struct Server {
    server: net::Server,
    closing: Rc<Event>,
}

impl Server {
    /// The addresses it listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.server.connection_count()
    }

    /// Stops listening, and has each connection end once it has answered what it was asked.
    pub fn close(&self) {
        self.server.close();
        self.closing.set();
    }

    /// Waits until it is closed and every connection has ended.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it only waits.
    pub async fn wait_closed(&self) {
        self.server.wait_closed().await;
    }

    /// Stops listening, lets each connection answer what it was asked, for `grace` at most, and
    /// then ends them as [`net::Server::shutdown`] does. Tells how far each came.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server is closed, and the connections end as after [`close`](Self::close).
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        self.closing.set();
        self.server.shutdown(grace).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.local_addrs()).finish_non_exhaustive()
    }
}
