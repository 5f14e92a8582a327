//! TLS 1.2 and 1.3 on any stream, by rustls: feature `tls`.
//!
//! [`Connector`] is the client's side, [`Acceptor`] the server's; each is made once and cloned.
//! What they make is a [`TlsStream`] around the stream they were given. That may be one of corio's
//! or any other with the traits of `futures`, and it may have carried a plain dialogue before: what
//! asyncio calls `start_tls` is [`Connector::connect`] and [`Acceptor::accept`] on a used stream.
//!
//! ```
//! use corio::net::{TcpListener, TcpStream};
//! use corio::tls::{Acceptor, Connector};
//!
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
//! # let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
//! # corio::run(async {
//! // A certificate of its own, which the client trusts: both as PEM.
//! let acceptor = Acceptor::builder().certificate(&certificate, &key).build()?;
//! let connector = Connector::builder().root_certificates(&certificate).build()?;
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let address = listener.local_addr()?;
//! let server = corio::spawn(async move {
//!     let mut stream = acceptor.accept(listener.accept().await?).await?;
//!     let mut buffer = [0; 100];
//!     let count = stream.read(&mut buffer).await?;
//!     stream.write(&buffer[..count]).await?;
//!     stream.shutdown().await
//! });
//!
//! let mut stream = connector.connect("localhost", TcpStream::connect(address).await?).await?;
//! stream.write(b"in secret").await?;
//! let mut buffer = [0; 100];
//! let count = stream.read(&mut buffer).await?;
//! assert_eq!(&buffer[..count], b"in secret");
//! server.await.unwrap()
//! # }).unwrap();
//! ```
//!
//! rustls is the whole of TLS (RFC 8446, RFC 5246); what is here is the way of its bytes. It is
//! [re-exported](rustls), and both sides are also made from its configurations, for what the
//! builders do not offer.

mod acceptor;
mod certificates;
mod connector;
mod error;
mod handshake;
#[cfg(feature = "hyper")]
mod hyper;
mod session;
mod stream;
#[cfg(feature = "tokio-io")]
mod tokio_io;

pub use acceptor::{Acceptor, AcceptorBuilder};
pub use connector::{Connector, ConnectorBuilder};
pub use error::TlsError;
pub use rustls;
pub use stream::TlsStream;
