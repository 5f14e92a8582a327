//! Which proxy stands between, and how a connection is had through it.
//!
//! An `http` address is asked for at the proxy itself, in its absolute form. For an `https` one the
//! proxy is asked for a tunnel (CONNECT), and TLS is spoken with the server behind it.

use futures_util::try_join;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::rt::{Read, Write};
use hyper::{Method, Request, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::{Host, Position, Url};

use super::error::{Error, Phase};

/// Where proxies are named.
#[derive(Default)]
pub(super) enum Proxies {
    /// In `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    #[default]
    Environment,
    None,
    Given {
        proxy: String,
        except: String,
    },
}

impl Proxies {
    pub(super) fn rules(&self) -> Result<Rules, Error> {
        match self {
            Proxies::Environment => {
                Ok(Rules { matcher: Some(Matcher::from_env()), spares_own: true })
            }
            Proxies::None => Ok(Rules { matcher: None, spares_own: false }),
            Proxies::Given { proxy, except } => {
                let all = Matcher::builder().all(proxy.clone());
                if all.build().intercept(&Uri::from_static("http://host.invalid")).is_none() {
                    let text = format!("`{proxy}` is no address of a proxy");
                    return Err(Error::new(Phase::Connect, text));
                }
                let matcher = Matcher::builder().all(proxy.clone()).no(except.clone()).build();
                Ok(Rules { matcher: Some(matcher), spares_own: false })
            }
        }
    }
}

/// Which proxy is for which address.
pub(super) struct Rules {
    matcher: Option<Matcher>,
    /// What the environment says is not meant for this machine itself.
    spares_own: bool,
}

/// The proxy for an address.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) is_secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authorization: Option<HeaderValue>,
}

impl Rules {
    pub(super) fn proxy_for(&self, url: &Url) -> Result<Option<Proxy>, Error> {
        let Some(matcher) = &self.matcher else {
            return Ok(None);
        };
        if self.spares_own && is_own(url) {
            return Ok(None);
        }
        let target: Uri = match url[..Position::AfterPath].parse() {
            Ok(target) => target,
            Err(_) => return Ok(None),
        };
        matcher.intercept(&target).map(|found| Proxy::new(&found)).transpose()
    }
}

fn is_own(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Proxy {
    fn new(found: &Intercept) -> Result<Proxy, Error> {
        let uri = found.uri();
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                let scheme = other.unwrap_or("none");
                let text = format!("a proxy of the scheme `{scheme}` is none of `http` or `https`");
                return Err(Error::new(Phase::Connect, text));
            }
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        Ok(Proxy {
            is_secure,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authorization: found.basic_auth().cloned(),
        })
    }

    pub(super) fn name(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// Asks the proxy for a tunnel to `authority`; the stream then leads there.
    pub(super) async fn tunnel<S>(&self, stream: S, authority: &str) -> Result<S, Error>
    where
        S: Read + Write + Unpin + 'static,
    {
        let failed = |text: &str| Error::new(Phase::Connect, format!("the proxy {text}"));
        let broken = |error: hyper::Error| failed("did not answer").because(error);
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(authority)
            .header(HOST, authority)
            .body(String::new())
            .map_err(|error| failed("cannot be asked for such a host").because(error))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        let agreed = async {
            match sender.send_request(request).await.map_err(broken)?.status() {
                status if status.is_success() => Ok(()),
                status => Err(failed(&format!("makes no tunnel: it answered {status}"))),
            }
        };
        let released = async { connection.without_shutdown().await.map_err(broken) };
        let ((), parts) = try_join!(agreed, released)?;
        if !parts.read_buf.is_empty() {
            return Err(failed("sent bytes that nobody behind it was asked for"));
        }
        Ok(parts.io)
    }
}
