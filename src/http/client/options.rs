//! What can be set for a client.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::connecting::{Connecting, Protocol};
use super::cookies::Jar;
use super::error::{Error, Phase};
use super::exchange::Settings;
use super::pool::{Limits, Pool};
use super::proxy::Proxies;
use super::{Client, Shared};

const USER_AGENT_DEFAULT: &str = concat!("corio/", env!("CARGO_PKG_VERSION"));

/// Builds a [`Client`].
///
/// ```
/// use corio::http::Client;
/// use corio::time::Duration;
///
/// let client = Client::builder()
///     .timeout(Duration::from_secs(30))
///     .connections_per_host(10)
///     .header("accept-language", "de")
///     .cookies(true)
///     .build()?;
/// # let _ = client;
/// # Ok::<_, corio::http::client::Error>(())
/// ```
#[must_use = "it builds a client"]
pub struct ClientBuilder {
    settings: Settings,
    limits: Limits,
    connecting: Connecting,
    proxies: Proxies,
    headers: HeaderMap,
    keeps_cookies: bool,
    wrong: Option<Error>,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_DEFAULT));
        ClientBuilder {
            settings: Settings {
                timeout: Some(Duration::from_secs(300)),
                connect_timeout: Some(Duration::from_secs(30)),
                head_timeout: None,
                body_timeout: None,
                follows_redirects: true,
                redirects_max: 10,
                decompresses: true,
                body_limit: 64 << 20,
            },
            limits: Limits {
                connections_max: 100,
                idle_max: 100,
                idle_timeout: Duration::from_secs(15),
            },
            connecting: Connecting::default(),
            proxies: Proxies::default(),
            headers,
            keeps_cookies: false,
            wrong: None,
        }
    }
}

impl ClientBuilder {
    /// The time for a request from [`send`](super::RequestBuilder::send) to the end of its answer's
    /// body, with redirects; 5 minutes by default.
    #[doc(alias = "ClientTimeout")]
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> ClientBuilder {
        self.settings.timeout = limit.into();
        self
    }

    /// The time to make a connection: the name's look-up, the proxy's tunnel and TLS with it; 30 s
    /// by default. A request that waits for one of its host's connections is not yet in it.
    #[doc(alias = "sock_connect")]
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> ClientBuilder {
        self.settings.connect_timeout = limit.into();
        self
    }

    /// How long the server may take to answer, or to take the next piece of the request's body;
    /// without a limit by default.
    pub fn head_timeout(mut self, limit: impl Into<Option<Duration>>) -> ClientBuilder {
        self.settings.head_timeout = limit.into();
        self
    }

    /// How long the next piece of an answer's body may take while it is waited for; without a limit
    /// by default.
    #[doc(alias = "sock_read")]
    pub fn body_timeout(mut self, limit: impl Into<Option<Duration>>) -> ClientBuilder {
        self.settings.body_timeout = limit.into();
        self
    }

    /// The bytes that a body may have that is read whole, decompressed; 64 MiB by default.
    pub fn body_limit(mut self, bytes: u64) -> ClientBuilder {
        self.settings.body_limit = bytes;
        self
    }

    /// The connections of HTTP/1.1 to each host, 100 by default. A request that finds them all in
    /// use waits for one, first come, first served. HTTP/2 takes one connection to a host.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[doc(alias = "limit_per_host")]
    #[track_caller]
    pub fn connections_per_host(mut self, count: usize) -> ClientBuilder {
        assert!(count > 0, "without a connection no request is answered");
        self.limits.connections_max = count;
        self
    }

    /// The connections to each host that are kept for the next request, 100 by default; none if it
    /// is zero.
    pub fn idle_per_host(mut self, count: usize) -> ClientBuilder {
        self.limits.idle_max = count;
        self
    }

    /// How long a connection is kept for the next request, 15 s by default. It should be shorter
    /// than the server's own limit.
    #[doc(alias = "keepalive_timeout")]
    pub fn idle_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.limits.idle_timeout = limit;
        self
    }

    /// Whether redirects are followed, as they are by default.
    #[doc(alias = "allow_redirects")]
    pub fn follow_redirects(mut self, follows: bool) -> ClientBuilder {
        self.settings.follows_redirects = follows;
        self
    }

    /// How many redirects a request follows, 10 by default. One more is an error.
    #[doc(alias = "max_redirects")]
    pub fn redirects_max(mut self, count: usize) -> ClientBuilder {
        self.settings.redirects_max = count;
        self
    }

    /// Whether compressed answers are asked for (gzip, br, zstd) and decompressed, as they are by
    /// default. A request that has an `Accept-Encoding` of its own gets what comes.
    #[doc(alias = "auto_decompress")]
    pub fn decompress(mut self, decompresses: bool) -> ClientBuilder {
        self.settings.decompresses = decompresses;
        self
    }

    /// Whether cookies that servers set are kept and sent back to them, which they are not by
    /// default. No list of public suffixes is known: a server may set cookies for all of its
    /// domain's neighbours.
    #[doc(alias = "CookieJar")]
    pub fn cookies(mut self, keeps: bool) -> ClientBuilder {
        self.keeps_cookies = keeps;
        self
    }

    /// A header field of every request that has none of this name.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> ClientBuilder {
        let parts = (HeaderName::try_from(name.as_ref()), HeaderValue::from_bytes(value.as_ref()));
        if let (Ok(name), Ok(value)) = parts {
            self.headers.insert(name, value);
        } else {
            let text = format!("`{}` is no header, or its value is none", name.as_ref());
            self.wrong = Some(Error::new(Phase::Request, text));
        }
        self
    }

    /// Speaks HTTP/1.1 only.
    pub fn http1_only(mut self) -> ClientBuilder {
        self.connecting.protocol = Protocol::Http1;
        self
    }

    /// Speaks HTTP/2 only, also without TLS. By default it is spoken if TLS agrees on it.
    pub fn http2_prior_knowledge(mut self) -> ClientBuilder {
        self.connecting.protocol = Protocol::Http2;
        self
    }

    /// What TLS is spoken with: its roots, and a certificate of the client's own. The protocols
    /// that it offers by ALPN are the client's. By default the system's roots are trusted.
    #[cfg(feature = "tls")]
    #[doc(alias = "ssl")]
    pub fn tls(mut self, connector: crate::tls::Connector) -> ClientBuilder {
        self.connecting.connector = connector.into();
        self
    }

    /// The proxy for all addresses but those that `except` lists as `NO_PROXY` does: names with
    /// their subdomains, addresses, networks, with commas between.
    ///
    /// By default the environment tells: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`,
    /// for all but this machine itself.
    pub fn proxy(mut self, address: impl Into<String>, except: impl Into<String>) -> ClientBuilder {
        self.proxies = Proxies::Given { proxy: address.into(), except: except.into() };
        self
    }

    /// No proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> ClientBuilder {
        self.proxies = Proxies::None;
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// For a header that is none, or a proxy's address that is none.
    pub fn build(self) -> Result<Client, Error> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        Ok(Client(Rc::new(Shared {
            settings: self.settings,
            headers: self.headers,
            pool: Pool::new(self.limits),
            connecting: self.connecting,
            rules: self.proxies.rules()?,
            jar: Jar::new(self.keeps_cookies),
        })))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, limits) = (&self.settings, &self.limits);
        f.debug_struct("ClientBuilder")
            .field("settings", settings)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}
