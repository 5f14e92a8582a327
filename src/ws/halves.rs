//! The two directions of a WebSocket, for two tasks of one core.
//!
//! They share the WebSocket, since receiving answers pings and closes. The wire wakes both where
//! either may go on.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::{Sink, Stream};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::message::close_frame;
use super::{Message, WebSocket};
use crate::time::Duration;

/// The sending direction of a WebSocket, from [`WebSocket::into_split`].
pub struct Sender<S>(Rc<RefCell<WebSocket<S>>>);

/// The receiving direction of a WebSocket, from [`WebSocket::into_split`].
pub struct Receiver<S>(Rc<RefCell<WebSocket<S>>>);

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Gives the two directions to two tasks. The stream ends when both are gone.
    ///
    /// Pings are answered, and closes too, while the receiver receives.
    ///
    /// ```
    /// use corio::net::UnixStream;
    /// use corio::ws::{CloseCode, Client, Message, Server};
    /// # corio::run(async {
    /// let (near, far) = UnixStream::pair()?;
    /// let peer = corio::spawn(async move {
    ///     let mut socket = Server::new().accept(far).await?;
    ///     while let Some(message) = socket.recv().await? {
    ///         socket.send(message).await?;
    ///     }
    ///     std::io::Result::Ok(())
    /// });
    /// let socket = Client::new().handshake("ws://here/", near).await?;
    /// let (mut sender, mut receiver) = socket.into_split();
    /// let writing = corio::spawn(async move {
    ///     sender.send("hello").await?;
    ///     sender.close(CloseCode::Normal, "that was all").await
    /// });
    /// assert_eq!(receiver.recv().await?, Some(Message::from("hello")));
    /// assert_eq!(receiver.recv().await?, None);
    /// writing.await.unwrap()?;
    /// peer.await.unwrap()
    /// # }).unwrap();
    /// ```
    pub fn into_split(mut self) -> (Sender<S>, Receiver<S>) {
        self.split();
        let shared = Rc::new(RefCell::new(self));
        (Sender(Rc::clone(&shared)), Receiver(shared))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// As [`WebSocket::send`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as there.
    pub async fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        let mut message = Some(message.into());
        poll_fn(|context| self.0.borrow_mut().poll_send(context, &mut message)).await
    }

    /// As [`WebSocket::ping`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as there.
    pub async fn ping(&mut self) -> io::Result<()> {
        let mut is_written = false;
        poll_fn(|context| self.0.borrow_mut().poll_ping(context, &mut is_written)).await
    }

    /// Sends a close, and waits until the stream has taken it. It is the receiver that hears the
    /// peer's last messages and its answer, and ends the stream.
    ///
    /// # Errors
    ///
    /// `InvalidInput` as with [`WebSocket::close`], otherwise the stream's own.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the close has begun, and nothing can be sent any more.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> io::Result<()> {
        self.0.borrow_mut().begin_close(close_frame(code, reason)?);
        poll_fn(|context| self.0.borrow_mut().poll_sent(context)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// As [`WebSocket::recv`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Strict**: no message is lost, and a part of one stays for the next call.
    pub async fn recv(&mut self) -> io::Result<Option<Message>> {
        poll_fn(|context| self.0.borrow_mut().poll_recv(context)).await.transpose()
    }
}

impl<S> Receiver<S> {
    /// What the peer's close said, once it has come; `None` also if it said nothing.
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.0.borrow().close_frame().cloned()
    }

    /// How long the last answered ping took.
    pub fn latency(&self) -> Option<Duration> {
        self.0.borrow().latency()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Receiver<S> {
    type Item = io::Result<Message>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Message>>> {
        self.0.borrow_mut().poll_recv(context)
    }
}

/// Closing it sends a close (1000), and waits until the stream has taken it.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for Sender<S> {
    type Error = io::Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send_room(context)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        self.0.borrow_mut().start(message)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_sent(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.0.borrow_mut().begin_close(frame);
        self.0.borrow_mut().poll_sent(context)
    }
}

impl<S> fmt::Debug for Sender<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<S> fmt::Debug for Receiver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
