//! `wss://`: features `tls` and `ws` together.

use std::io;

use super::client::Target;
use super::{Client, WebSocket};
use crate::net::TcpStream;
use crate::time::timeout;
use crate::tls::{Connector, TlsStream};

impl Client {
    /// Connects by TCP and TLS to a URL such as `wss://host/path`, and opens a WebSocket there.
    ///
    /// A server needs nothing of its own for it: [`Server::accept`](super::Server::accept) takes
    /// what
    /// [`Acceptor::accept`](crate::tls::Acceptor::accept) gives.
    ///
    /// ```no_run
    /// use corio::tls::Connector;
    /// use corio::ws::Client;
    /// # corio::run(async {
    /// let connector = Connector::new()?;
    /// let mut socket = Client::new().connect_tls("wss://example.com/chat", &connector).await?;
    /// socket.send("hello").await?;
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a URL that is none, or of another scheme. As [`TcpStream::connect`], as
    /// [`Connector::connect`], and as [`handshake`](Self::handshake): `TimedOut` if either of both
    /// takes longer than [`Options::handshake_timeout`](super::Options::handshake_timeout).
    ///
    /// # Cancellation
    ///
    /// **Weak**: the connection is dropped.
    pub async fn connect_tls(
        &self,
        url: &str,
        connector: &Connector,
    ) -> io::Result<WebSocket<TlsStream<TcpStream>>> {
        let target = Target::of(url)?;
        if !target.is_secure {
            let text = "a ws:// URL is without TLS: use `connect`, or write wss://";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        let connecting = connector.connect(&target.host, stream);
        let Ok(connected) = timeout(self.options.handshake_timeout, connecting).await else {
            let text = "the server did not shake hands for TLS in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        };
        self.handshake(url, connected?).await
    }
}
