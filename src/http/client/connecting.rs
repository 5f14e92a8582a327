//! A new connection: to the server or its proxy, then TLS, then hyper's hand-shake.

use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Read, Write};
use url::{Host, Url};

use super::error::{Error, Phase};
use super::lease::Lease;
use super::pool::{Key, Place, Sender};
use super::proxy::Proxy;
#[cfg(feature = "tls")]
use super::with_tls::Connector;
#[cfg(not(feature = "tls"))]
use super::without_tls::Connector;
use crate::compat::hyper::{Executor, Timer};
use crate::net;

/// How often a connection of HTTP/2 that is in use is asked whether it is still there, and how long
/// that may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Streams that corio's client can speak over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Read + Write + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Read + Write + Unpin + 'static> Stream for S {}

/// Where a request goes, and which way.
pub(super) struct Target {
    pub(super) key: Key,
    pub(super) proxy: Option<Proxy>,
}

impl Target {
    pub(super) fn new(url: &Url, proxy: Option<Proxy>) -> Result<Target, Error> {
        let none = || Error::new(Phase::Request, "the address has no host").at(url);
        let host = match url.host().ok_or_else(none)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port_or_known_default().ok_or_else(none)?;
        let is_secure = url.scheme() == "https";
        let key = Key { is_secure, host, port, proxy: proxy.as_ref().map(Proxy::name) };
        Ok(Target { key, proxy })
    }

    /// Whether the proxy is to pass single requests on.
    pub(super) fn forwarded(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.key.is_secure)
    }

    /// Whether a connection may turn out to be one of HTTP/2.
    pub(super) fn may_share(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Http1 => false,
            Protocol::Negotiated => self.key.is_secure,
            Protocol::Http2 => true,
        }
    }

    fn authority(&self) -> String {
        let Key { host, port, .. } = &self.key;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Which version of HTTP a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Protocol {
    /// What TLS agrees on; HTTP/1.1 without it.
    #[default]
    Negotiated,
    Http1,
    Http2,
}

/// How connections are made.
#[derive(Default)]
pub(super) struct Connecting {
    pub(super) protocol: Protocol,
    pub(super) connector: Connector,
}

impl Connecting {
    /// Makes a connection for a place.
    pub(super) async fn connect(&self, target: &Target, place: Place<'_>) -> Result<Lease, Error> {
        let Some(proxy) = &target.proxy else {
            let stream = tcp(&target.key.host, target.key.port).await?;
            return self.converse(target, place, stream).await;
        };
        let stream = tcp(&proxy.host, proxy.port).await?;
        if proxy.is_secure {
            let (stream, _) = self.connector.secure(&proxy.host, stream, false).await?;
            self.through(proxy, target, place, stream).await
        } else {
            self.through(proxy, target, place, stream).await
        }
    }

    async fn through<S: Stream>(
        &self,
        proxy: &Proxy,
        target: &Target,
        place: Place<'_>,
        stream: S,
    ) -> Result<Lease, Error> {
        if target.forwarded().is_some() {
            return start(place, stream, false).await;
        }
        let stream = proxy.tunnel(stream, &target.authority()).await?;
        self.converse(target, place, stream).await
    }

    /// Speaks with the server itself.
    async fn converse<S: Stream>(
        &self,
        target: &Target,
        place: Place<'_>,
        stream: S,
    ) -> Result<Lease, Error> {
        if !target.key.is_secure {
            return start(place, stream, self.protocol == Protocol::Http2).await;
        }
        let offers_http2 = self.protocol != Protocol::Http1;
        let secured = self.connector.secure(&target.key.host, stream, offers_http2);
        let (stream, is_http2) = secured.await?;
        start(place, stream, is_http2 || self.protocol == Protocol::Http2).await
    }
}

async fn tcp(host: &str, port: u16) -> Result<net::TcpStream, Error> {
    net::connect(host, port).await.map_err(|error| {
        Error::new(Phase::Connect, format!("cannot connect to {host}:{port}")).because(error)
    })
}

async fn start<S: Stream>(place: Place<'_>, stream: S, is_http2: bool) -> Result<Lease, Error> {
    let failed = |error| {
        Error::new(Phase::Connect, "the server does not speak this version of HTTP").because(error)
    };
    if is_http2 {
        let mut protocol = http2::Builder::new(Executor);
        protocol.timer(Timer).keep_alive_interval(PING_INTERVAL);
        let (sender, connection) = protocol.handshake(stream).await.map_err(failed)?;
        return Ok(place.open(Sender::Two(sender), connection));
    }
    let (sender, connection) = http1::handshake(stream).await.map_err(failed)?;
    Ok(place.open(Sender::One(sender), connection))
}
