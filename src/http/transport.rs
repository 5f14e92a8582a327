//! What a connection of HTTP goes over: a stream, or a session of TLS on one.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use hyper::rt;

use crate::net::TcpStream;

/// A connection that can be cut off.
pub(super) trait Transport: rt::Read + rt::Write + Unpin {
    /// The stream that carries it, to say how it ends.
    fn stream(&mut self) -> &mut TcpStream;
}

impl Transport for TcpStream {
    fn stream(&mut self) -> &mut TcpStream {
        self
    }
}

/// Either of the two, as one type: what is upgraded is told by it.
pub(super) enum Wire {
    Plain(TcpStream),
    Secured(Box<dyn Transport>),
}

impl Wire {
    pub(super) fn transport(&mut self) -> Pin<&mut dyn Transport> {
        match self {
            Wire::Plain(stream) => Pin::new(stream),
            Wire::Secured(stream) => Pin::new(&mut **stream),
        }
    }
}

/// A handshake.
pub(super) type Securing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>>>>;

/// Puts TLS on streams, on any core.
pub(super) trait Secure: fmt::Debug + Send + Sync {
    fn secure(&self, stream: TcpStream) -> Securing;
}
