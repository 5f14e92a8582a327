//! A WebSocket as an upgrade of an HTTP request: features `http` and `ws` together.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBuf, Write};
use tungstenite::protocol::Role;

use super::wire::Wire;
use super::{Server, WebSocket};
use crate::http::{Request, Response};
use crate::time::timeout;

/// Answers a request for a WebSocket, as a default [`Server`] does: see [`Server::upgrade`].
///
/// ```
/// use std::convert::Infallible;
/// use corio::http::{Body, Request, Response, service_fn};
/// use corio::ws::{self, CloseCode, Message};
///
/// # corio::run(async {
/// let service = service_fn(async |mut request: Request<Body>| {
///     let (response, socket) = ws::upgrade(&mut request);
///     corio::spawn(async move {
///         let mut socket = socket.await?;
///         while let Some(message) = socket.recv().await? {
///             socket.send(message).await?;
///         }
///         std::io::Result::Ok(())
///     });
///     Ok::<Response<String>, Infallible>(response)
/// });
/// let server = corio::http::serve("127.0.0.1:0", service).await?;
///
/// let mut socket = ws::connect(&format!("ws://{}/", server.local_addrs()[0])).await?;
/// socket.send("hello").await?;
/// assert_eq!(socket.recv().await?, Some(Message::from("hello")));
/// socket.close(CloseCode::Normal, "").await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub fn upgrade<B, R: Default>(
    request: &mut Request<B>,
) -> (Response<R>, impl Future<Output = io::Result<WebSocket<Upgraded>>> + 'static + use<B, R>) {
    Server::new().upgrade(request)
}

impl Server {
    /// Answers a request for a WebSocket: a response, which has to be returned to the client, and a
    /// future of the WebSocket, which is to be awaited elsewhere, since it waits for that.
    ///
    /// It takes the requests of `http` and those of axum. It is HTTP/1.1 that can be upgraded; a
    /// browser opens a connection of its own for it.
    ///
    /// # Errors
    ///
    /// Of the future: as [`Server::accept`]; the response says it to the client.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the connection is dropped.
    pub fn upgrade<B, R: Default>(
        &self,
        request: &mut Request<B>,
    ) -> (Response<R>, impl Future<Output = io::Result<WebSocket<Upgraded>>> + 'static + use<B, R>)
    {
        let (response, agreed) = match self.answer(request) {
            Ok((response, subprotocol)) => {
                let upgrade = hyper::upgrade::on(request);
                (response.map(|()| R::default()), Ok((upgrade, subprotocol)))
            }
            Err(refusal) => (refusal.response(), Err(refusal.error)),
        };
        let options = self.options;
        let socket = async move {
            let (upgrade, subprotocol) = agreed?;
            let upgraded = match timeout(options.handshake_timeout, upgrade).await {
                Ok(upgraded) => Upgraded(upgraded.map_err(io::Error::other)?),
                Err(_) => {
                    let text = "the response of the upgrade was not sent in time";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            };
            let wire = Wire::new(upgraded);
            Ok(WebSocket::new(wire, Vec::new(), Role::Server, &options, subprotocol))
        };
        (response, socket)
    }
}

/// The connection of an upgraded request, plain or with TLS.
pub struct Upgraded(hyper::upgrade::Upgraded);

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(&mut self.0).poll_read(context, buffer.unfilled()))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}
