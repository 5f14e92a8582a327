//! The client's side.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::TlsStream;
use super::certificates::{add_roots, add_system_roots, certificates, private_key, refused};
use super::handshake::shake_hands;

/// Makes TLS connections as a client.
///
/// One is made for all connections: a clone shares its certificates, and the tickets by which a
/// later connection to the same server is resumed. It may go to other cores.
#[doc(alias = "SSLContext")]
#[doc(alias = "ssl")]
#[doc(alias = "create_default_context")]
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// One that trusts the roots of the system. It reads their files: make it once.
    ///
    /// # Errors
    ///
    /// `NotFound` if the system has none.
    pub fn new() -> io::Result<Connector> {
        Connector::builder().build()
    }

    /// One with roots, a certificate or protocols of its own.
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder::default()
    }

    /// Shakes hands on a stream, new or used: what was read from it before is the caller's, what it
    /// has received since belongs to the handshake.
    ///
    /// The server has to show a certificate for `server_name`, a name of DNS or an IP address.
    ///
    /// A server that refuses this side's certificate may say so only after the handshake (TLS 1.3):
    /// the first read is then the error.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a name that is none; `InvalidData` with a [`TlsError`](super::TlsError)
    /// inside if either side refuses; `UnexpectedEof` if the server goes away; otherwise those of
    /// the stream.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the stream is dropped with it, and so closed.
    #[doc(alias = "start_tls")]
    #[doc(alias = "wrap_socket")]
    pub async fn connect<S>(&self, server_name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{server_name}` is neither a name of DNS nor an IP address"),
            )
        })?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name).map_err(refused)?;
        shake_hands(stream, tls.into()).await
    }

    /// What it was made from.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl From<Arc<ClientConfig>> for Connector {
    fn from(config: Arc<ClientConfig>) -> Connector {
        Connector { config }
    }
}

impl From<ClientConfig> for Connector {
    fn from(config: ClientConfig) -> Connector {
        Connector::from(Arc::new(config))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("alpn", &self.config.alpn_protocols).finish()
    }
}

/// Makes a [`Connector`].
///
/// Certificates and keys are given as the bytes of a PEM file (one or several certificates) or as
/// DER; [`build`](Self::build) tells what is wrong with them.
#[must_use = "a builder does nothing until `build`"]
#[derive(Clone, Default)]
pub struct ConnectorBuilder {
    roots: Vec<Vec<u8>>,
    with_system_roots: bool,
    own: Option<(Vec<u8>, Vec<u8>)>,
    protocols: Vec<Vec<u8>>,
}

impl ConnectorBuilder {
    /// Trusts these roots, and no longer those of the system.
    #[doc(alias = "load_verify_locations")]
    pub fn root_certificates(mut self, roots: impl AsRef<[u8]>) -> ConnectorBuilder {
        self.roots.push(roots.as_ref().to_vec());
        self
    }

    /// Trusts the roots of the system beside those that are given.
    #[doc(alias = "load_default_certs")]
    pub fn system_roots(mut self) -> ConnectorBuilder {
        self.with_system_roots = true;
        self
    }

    /// Shows this certificate to servers that ask for one: its chain, its own first, and its key.
    #[doc(alias = "load_cert_chain")]
    pub fn client_certificate(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> ConnectorBuilder {
        self.own = Some((chain.as_ref().to_vec(), key.as_ref().to_vec()));
        self
    }

    /// Offers these protocols by ALPN, the best first, as `h2` and `http/1.1`.
    #[doc(alias = "set_alpn_protocols")]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.protocols = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// The connector.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for certificates or a key that cannot be read, or do not belong together;
    /// `NotFound` if the system's roots are asked for and it has none.
    pub fn build(self) -> io::Result<Connector> {
        let mut roots = RootCertStore::empty();
        for bytes in &self.roots {
            add_roots(&mut roots, bytes)?;
        }
        if self.roots.is_empty() || self.with_system_roots {
            add_system_roots(&mut roots)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_root_certificates(roots);
        let mut config = match &self.own {
            Some((chain, key)) => config
                .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                .map_err(refused)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols;
        Ok(Connector::from(config))
    }
}

impl fmt::Debug for ConnectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorBuilder")
            .field("protocols", &self.protocols)
            .finish_non_exhaustive()
    }
}
