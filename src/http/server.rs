//! A server: `net`'s, with hyper on each connection.
//!
//! What it is, how it is closed and what its end tells are those of `net`. Its connections hear of
//! that (`net::server_closing`), so they end once they have answered what they were asked.

use std::future::Future;
use std::io;
use std::rc::Rc;

use super::ServeOptions;
use super::connection::Connections;
use super::service::HttpService;
use crate::cores::CoreHandle;
use crate::net::{Address, CoresServer, ListeningSocket, Server};

/// Serves HTTP/1.1 and HTTP/2 (with prior knowledge) on an address, with the default
/// [`ServeOptions`]. For many cores see [`serve_on`].
///
/// The service is cloned for each connection. `poll_ready` is awaited before each call.
///
/// # Errors
///
/// As [`ListenOptions::bind`](crate::net::ListenOptions::bind).
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Strict**: it does not wait.
#[track_caller]
pub fn serve<S: HttpService>(
    address: impl Address,
    service: S,
) -> impl Future<Output = io::Result<Server>> {
    ServeOptions::new().serve(address, service)
}

/// Serves on several cores, from any of them, with the default [`ServeOptions`]: `make` is called
/// on each and makes the service there, which need not be `Send`.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use corio::cores::Core;
/// use corio::http::{Body, Request, Response, serve_on, service_fn};
///
/// #[corio::main(cores = 2)]
/// async fn main() -> std::io::Result<()> {
///     let server = serve_on(Core::current().handles(), "127.0.0.1:0", || {
///         // Each core counts for itself, without a lock.
///         let count = Rc::new(Cell::new(0));
///         service_fn(move |_: Request<Body>| {
///             count.set(count.get() + 1);
///             let text = format!("request {} of this core\n", count.get());
///             async { std::io::Result::Ok(Response::new(text)) }
///         })
///     });
///     let server = server.await?;
///     println!("listening on {}", server.local_addrs()[0]);
///     // A real server: server.serve_until_signal(GRACE).await?
///     assert!(server.shutdown(std::time::Duration::ZERO).await.is_complete());
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// As [`net::ServeOptions::serve_on`](crate::net::ServeOptions::serve_on).
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Strict**: one that is dropped serves nowhere.
#[track_caller]
pub fn serve_on<A, M, S>(
    cores: &[CoreHandle],
    address: A,
    make: M,
) -> impl Future<Output = io::Result<CoresServer>> + use<A, M, S>
where
    A: Address,
    M: FnOnce() -> S + Clone + Send + 'static,
    S: HttpService,
{
    ServeOptions::new().serve_on(cores, address, make)
}

impl ServeOptions {
    /// Starts serving on this core: see [`serve`].
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`](crate::net::ListenOptions::bind), for any of the addresses.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn serve<S: HttpService>(
        self,
        address: impl Address,
        service: S,
    ) -> impl Future<Output = io::Result<Server>> {
        let (net, connections) = (self.net.clone(), Connections::new(self));
        let handler = move |stream| Rc::clone(&connections).converse(stream, service.clone());
        net.serve(address, handler)
    }

    /// Starts serving on several cores: see [`serve_on`]. Which core gets a connection is said by
    /// [`net::ServeOptions::accept`](crate::net::ServeOptions::accept); the limit on connections is
    /// one for all.
    ///
    /// # Errors
    ///
    /// As [`net::ServeOptions::serve_on`](crate::net::ServeOptions::serve_on).
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped serves nowhere.
    #[track_caller]
    pub fn serve_on<A, M, S>(
        self,
        cores: &[CoreHandle],
        address: A,
        make: M,
    ) -> impl Future<Output = io::Result<CoresServer>> + use<A, M, S>
    where
        A: Address,
        M: FnOnce() -> S + Clone + Send + 'static,
        S: HttpService,
    {
        let net = self.net.clone();
        net.serve_on(cores, address, move || {
            let (connections, service) = (Connections::new(self), make());
            move |stream| Rc::clone(&connections).converse(stream, service.clone())
        })
    }

    /// As [`serve_on`](Self::serve_on), from sockets that listen already: those that a service
    /// manager or a predecessor passed.
    ///
    /// # Errors
    ///
    /// As [`net::ServeOptions::serve_sockets_on`](crate::net::ServeOptions::serve_sockets_on).
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped serves nowhere.
    #[track_caller]
    pub fn serve_sockets_on<M, S>(
        self,
        cores: &[CoreHandle],
        sockets: Vec<ListeningSocket>,
        make: M,
    ) -> impl Future<Output = io::Result<CoresServer>> + use<M, S>
    where
        M: FnOnce() -> S + Clone + Send + 'static,
        S: HttpService,
    {
        let net = self.net.clone();
        net.serve_sockets_on(cores, sockets, move || {
            let (connections, service) = (Connections::new(self), make());
            move |stream| Rc::clone(&connections).converse(stream, service.clone())
        })
    }
}
