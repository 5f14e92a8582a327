//! The server's side.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::TlsStream;
use super::certificates::{add_roots, certificates, private_key, refused};
use super::handshake::shake_hands;

/// Makes TLS connections as a server.
///
/// One is made for all connections, and clones share it, on other cores as well: a client resumes
/// its session on whichever core it comes to.
#[doc(alias = "SSLContext")]
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// One with a certificate. Servers of several names, and certificates that change while they
    /// serve, are made from a [`ServerConfig`] with a resolver.
    pub fn builder() -> AcceptorBuilder {
        AcceptorBuilder::default()
    }

    /// Shakes hands on a stream, new or used: what was read from it before is the caller's, what it
    /// has received since belongs to the handshake.
    ///
    /// A client may take its time; put a [`timeout`](crate::timeout) around it.
    ///
    /// # Errors
    ///
    /// `InvalidData` with a [`TlsError`](super::TlsError) inside if either side refuses, or the
    /// client speaks something else; `UnexpectedEof` if it goes away; otherwise those of the
    /// stream.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the stream is dropped with it, and so closed.
    #[doc(alias = "start_tls")]
    #[doc(alias = "wrap_socket")]
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(refused)?;
        shake_hands(stream, tls.into()).await
    }

    /// What it was made from.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl From<Arc<ServerConfig>> for Acceptor {
    fn from(config: Arc<ServerConfig>) -> Acceptor {
        Acceptor { config }
    }
}

impl From<ServerConfig> for Acceptor {
    fn from(config: ServerConfig) -> Acceptor {
        Acceptor::from(Arc::new(config))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("alpn", &self.config.alpn_protocols).finish()
    }
}

/// Makes an [`Acceptor`].
///
/// Certificates and keys are given as the bytes of a PEM file (one or several certificates) or as
/// DER; [`build`](Self::build) tells what is wrong with them.
#[must_use = "a builder does nothing until `build`"]
#[derive(Clone, Default)]
pub struct AcceptorBuilder {
    own: Option<(Vec<u8>, Vec<u8>)>,
    client_roots: Vec<Vec<u8>>,
    is_optional: bool,
    protocols: Vec<Vec<u8>>,
}

impl AcceptorBuilder {
    /// The server's certificate: its chain, its own first, and its key.
    #[doc(alias = "load_cert_chain")]
    pub fn certificate(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> AcceptorBuilder {
        self.own = Some((chain.as_ref().to_vec(), key.as_ref().to_vec()));
        self
    }

    /// Takes only clients that show a certificate which these roots vouch for.
    #[doc(alias = "CERT_REQUIRED")]
    pub fn client_roots(mut self, roots: impl AsRef<[u8]>) -> AcceptorBuilder {
        self.client_roots.push(roots.as_ref().to_vec());
        self
    }

    /// With [`client_roots`](Self::client_roots): takes clients without a certificate, too.
    #[doc(alias = "CERT_OPTIONAL")]
    pub fn client_certificate_optional(mut self) -> AcceptorBuilder {
        self.is_optional = true;
        self
    }

    /// Offers these protocols by ALPN, the best first. A client that offers others is refused, one
    /// that offers none is not.
    #[doc(alias = "set_alpn_protocols")]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.protocols = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// The acceptor.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for certificates or a key that are missing, cannot be read, or do not belong
    /// together.
    pub fn build(self) -> io::Result<Acceptor> {
        let Some((chain, key)) = &self.own else {
            let missing = "a server needs a certificate: give one to `certificate`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, missing));
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let config = match self.client_roots.is_empty() {
            true => config.with_no_client_auth(),
            false => {
                let mut roots = RootCertStore::empty();
                for bytes in &self.client_roots {
                    add_roots(&mut roots, bytes)?;
                }
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                if self.is_optional {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier = verifier.build().map_err(io::Error::other)?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            config.with_single_cert(certificates(chain)?, private_key(key)?).map_err(refused)?;
        // What a client needs to resume is in its ticket, not here.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(refused)?;
        config.alpn_protocols = self.protocols;
        Ok(Acceptor::from(config))
    }
}

impl fmt::Debug for AcceptorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptorBuilder")
            .field("protocols", &self.protocols)
            .finish_non_exhaustive()
    }
}
