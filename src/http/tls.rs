//! Serving over TLS: features `http` and `tls`.

use std::sync::Arc;

use super::ServeOptions;
use super::transport::{Secure, Securing, Transport};
use crate::net::TcpStream;
use crate::tls::rustls::ServerConfig;
use crate::tls::{Acceptor, TlsStream};

/// What is offered by ALPN, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl ServeOptions {
    /// Serves over TLS. HTTP/2 and HTTP/1.1 are offered by ALPN, unless the acceptor offers
    /// something already.
    ///
    /// The handshake has as long as a head: [`head_timeout`](Self::head_timeout).
    ///
    /// ```
    /// use corio::http::{Body, Request, Response, ServeOptions, service_fn};
    /// use corio::tls::Acceptor;
    ///
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    /// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// # corio::run(async {
    /// let acceptor = Acceptor::builder().certificate(chain, key).build()?;
    /// let hello = service_fn(async |_: Request<Body>| {
    ///     std::io::Result::Ok(Response::new("hello\n".to_owned()))
    /// });
    /// let server = ServeOptions::new().tls(acceptor).serve("127.0.0.1:0", hello).await?;
    /// # assert_eq!(server.local_addrs().len(), 1);
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    pub fn tls(mut self, acceptor: Acceptor) -> ServeOptions {
        let acceptor = match acceptor.config().alpn_protocols.is_empty() {
            false => acceptor,
            true => {
                let mut config = ServerConfig::clone(acceptor.config());
                config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
                Acceptor::from(config)
            }
        };
        self.secure = Some(Arc::new(acceptor));
        self
    }
}

impl Secure for Acceptor {
    fn secure(&self, stream: TcpStream) -> Securing {
        let acceptor = self.clone();
        Box::pin(async move {
            let stream: Box<dyn Transport> = Box::new(acceptor.accept(stream).await?);
            Ok(stream)
        })
    }
}

impl Transport for TlsStream<TcpStream> {
    fn stream(&mut self) -> &mut TcpStream {
        self.get_mut()
    }
}
