//! An HTTP/1.1 and HTTP/2 client on hyper's connections: feature `http-client`.
//!
//! A [`Client`] keeps connections to the hosts that it talks to, and is cheap to clone. It stays on
//! its core: each core has its own.
//!
//! ```
//! use std::convert::Infallible;
//! use corio::http::{self, Body, Client, Request, Response};
//!
//! # corio::run(async {
//! let hello = http::service_fn(async |request: Request<Body>| {
//!     Ok::<_, Infallible>(Response::new(format!("hello {}", request.uri().path())))
//! });
//! let server = http::serve("127.0.0.1:0", hello).await?;
//! let address = server.local_addrs()[0];
//!
//! let client = Client::new();
//! let answer = client.get(format!("http://{address}/world")).send().await?;
//! assert_eq!(answer.status(), 200);
//! assert_eq!(answer.text().await?, "hello /world");
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! A body can be read as it comes: [`Response::chunk`]. A request's can be made as it goes:
//! [`Body::wrap`].
//!
//! # What is asked again, and what is not
//!
//! A server may close a connection at the moment when a request goes out on it. A request of which
//! nothing was sent, or that the server says it did not look at, is sent again; one that may have
//! had an effect only if its method is idempotent, once. Everything else is an error, and the
//! caller's decision.
//!
//! # Cancellation
//!
//! A request that is dropped at any moment leaves nothing behind: its connection is closed (with
//! HTTP/2, its stream is reset), and no answer reaches another request.

mod again;
mod authorization;
mod body;
mod connecting;
mod cookies;
mod decoding;
mod error;
mod exchange;
mod incoming;
mod lease;
mod options;
mod pool;
mod proxy;
mod redirect;
mod request;
mod response;
#[cfg(feature = "tls")]
mod with_tls;
#[cfg(not(feature = "tls"))]
mod without_tls;

use std::fmt;
use std::rc::Rc;

use hyper::{HeaderMap, Method};

pub use body::Body;
pub use error::{Error, Phase};
pub use options::ClientBuilder;
pub use pool::PoolStats;
pub use request::RequestBuilder;
pub use response::{Response, ResponseBody};

use connecting::Connecting;
use cookies::Jar;
use exchange::Settings;
use pool::Pool;
use proxy::Rules;

/// An HTTP client, and its connections: asyncio users know it as aiohttp's `ClientSession`.
///
/// Clones share everything. When the last one is dropped, connections that are not in use are
/// closed, and the others behind their answers.
#[derive(Clone)]
#[doc(alias = "ClientSession")]
pub struct Client(Rc<Shared>);

/// What clones of a client share.
struct Shared {
    settings: Settings,
    /// Of every request.
    headers: HeaderMap,
    pool: Rc<Pool>,
    connecting: Connecting,
    rules: Rules,
    jar: Jar,
}

impl Client {
    /// A client with the defaults that [`ClientBuilder`] names.
    pub fn new() -> Client {
        Client::builder().build().expect("the defaults make a client")
    }

    /// Settings, and then a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Asks for what is at an address.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Asks for the head of an answer only.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Gives the server something to work on.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Puts something at an address.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Changes what is at an address.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Removes what is at an address.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self, method, url.as_ref())
    }

    /// What its connections are doing.
    pub fn pool_stats(&self) -> PoolStats {
        self.0.pool.stats()
    }

    /// Forgets all cookies.
    pub fn clear_cookies(&self) {
        self.0.jar.clear();
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("pool", &self.pool_stats()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Adds those fields that a request has not.
    fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}
