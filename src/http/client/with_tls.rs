//! TLS for addresses of the scheme `https`, and which version of HTTP it agrees on.

use std::cell::OnceCell;
use std::io;

use super::connecting::Stream;
use super::error::{Error, Phase};
use crate::tls::{self, TlsStream};

/// What TLS is spoken with, made when it is first needed: reading the system's roots takes a while.
#[derive(Default)]
pub(super) struct Connector {
    /// The user's own, if there is one.
    given: Option<tls::Connector>,
    with_http2: OnceCell<tls::Connector>,
    without_http2: OnceCell<tls::Connector>,
}

impl From<tls::Connector> for Connector {
    fn from(given: tls::Connector) -> Connector {
        Connector { given: Some(given), ..Connector::default() }
    }
}

impl Connector {
    /// A connection on a stream, and whether it is for HTTP/2, which is offered on demand.
    pub(super) async fn secure<S: Stream>(
        &self,
        host: &str,
        stream: S,
        offers_http2: bool,
    ) -> Result<(TlsStream<S>, bool), Error> {
        let failed = |error: io::Error| {
            Error::new(Phase::Connect, format!("no TLS with {host}")).because(error)
        };
        let connector = self.offering(offers_http2).map_err(failed)?;
        let stream = connector.connect(host, stream).await.map_err(failed)?;
        let is_http2 = stream.alpn() == Some(b"h2");
        Ok((stream, is_http2))
    }

    fn offering(&self, http2: bool) -> io::Result<&tls::Connector> {
        let place = if http2 { &self.with_http2 } else { &self.without_http2 };
        if let Some(made) = place.get() {
            return Ok(made);
        }
        let base = match &self.given {
            Some(given) => given.clone(),
            None => tls::Connector::new()?,
        };
        // The copy shares the sessions that can be taken up again.
        let mut config = tls::rustls::ClientConfig::clone(base.config());
        config.alpn_protocols = if http2 { vec!["h2".into()] } else { Vec::new() };
        config.alpn_protocols.push("http/1.1".into());
        Ok(place.get_or_init(|| config.into()))
    }
}
