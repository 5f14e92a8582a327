//! The stream to a server: TCP, a Unix socket, or either made secret.
//!
//! The library offers to ask for TLS itself, but then what it reads and writes could not be counted
//! (`traffic.rs`). So the question is put here, and the library is given a stream that is ready.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::Error;
use crate::net::{TcpStream, UnixStream};

/// `SSLRequest`: its length, and 1234.5679 where others have the protocol's version.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Where a connection leads, so that another one can be made to the same server.
pub(super) enum Peer {
    Tcp { host: String, address: SocketAddr },
    Unix(PathBuf),
}

impl Peer {
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match self {
            Peer::Tcp { address, .. } => Ok(Socket::Tcp(TcpStream::connect(*address).await?)),
            Peer::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// The name that the server's certificate has to have.
    pub(super) fn host(&self) -> &str {
        match self {
            Peer::Tcp { host, .. } => host,
            Peer::Unix(_) => "",
        }
    }
}

/// A stream that libraries of tokio's world can use.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Secret(Box<dyn Duplex>),
}

/// A stream that was made secret.
pub(super) type Secured = io::Result<Box<dyn Duplex>>;

/// Makes a stream secret; what [`ConnectOptions::tls`](super::ConnectOptions) is given.
pub(super) trait Secure {
    fn secure<'a>(&'a self, stream: TcpStream, host: &'a str) -> LocalBoxFuture<'a, Secured>;
}

impl Socket {
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Socket::Secret(_))
    }

    /// Makes a stream secret as the mode wants it. What goes over a Unix socket is not secret, as
    /// in the server's own library.
    pub(super) async fn prepare(
        self,
        host: &str,
        mode: SslMode,
        negotiation: SslNegotiation,
        secure: Option<&Rc<dyn Secure>>,
    ) -> Result<Socket, Error> {
        let Socket::Tcp(mut stream) = self else {
            return Ok(self);
        };
        let is_required = mode == SslMode::Require;
        let secure = match secure {
            Some(secure) if mode != SslMode::Disable => secure,
            None if is_required => {
                return Err(Error::invalid(
                    "`sslmode=require`, and nothing to make a stream secret with: give the \
                     options a connector (feature `tls`)",
                ));
            }
            _ => return Ok(Socket::Tcp(stream)),
        };
        if negotiation == SslNegotiation::Postgres {
            stream.write(&TLS_REQUEST).await?;
            let mut answer = [0];
            stream.read_exact(&mut answer).await?;
            match answer[0] {
                b'S' => {}
                _ if is_required => {
                    return Err(Error::invalid("`sslmode=require`, and the server has no TLS"));
                }
                _ => return Ok(Socket::Tcp(stream)),
            }
        }
        Ok(Socket::Secret(secure.secure(stream, host).await?))
    }
}

/// Hands the library a stream that is secret already, where it would make it so.
pub(super) struct Prepared;

pub(super) struct PreparedStream<S>(S);

impl<S: Duplex> TlsConnect<S> for Prepared {
    type Stream = PreparedStream<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<PreparedStream<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        ready(Ok(PreparedStream(stream)))
    }
}

impl<S: Duplex> TlsStream for PreparedStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Passes reads and writes on to what is inside.
macro_rules! passes_on {
    ([$($generics:tt)*] $type:ty, $this:ident => $inner:expr) => {
        impl<$($generics)*> AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let $this = &mut *self;
                $inner.poll_read(context, buffer)
            }
        }

        impl<$($generics)*> AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $this = &mut *self;
                $inner.poll_write(context, bytes)
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                let $this = &mut *self;
                $inner.poll_flush(context)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                let $this = &mut *self;
                $inner.poll_shutdown(context)
            }
        }
    };
}

passes_on!([] Socket, this => Pin::new(match this {
    Socket::Tcp(stream) => stream as &mut dyn Duplex,
    Socket::Unix(stream) => stream,
    Socket::Secret(stream) => stream,
}));
passes_on!([S: Duplex] PreparedStream<S>, this => Pin::new(&mut this.0));
