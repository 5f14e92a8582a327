//! A WebSocket: messages over a stream of bytes, from the handshake to the end.
//!
//! ```text
//!            close, or the peer's close                both were sent
//!     Open ─────────────────────────────▶ Closing ───────────────────▶ Ending
//!      │                                     │                           │ its end is told,
//!      │ a breach of the protocol            │ the same                  ▼ or it takes too long
//!      └──────────────▶ Failing ◀────────────┘                         Over
//!                          └──── the peer was told, or it takes too long ─▲
//! ```
//!
//! tungstenite's core frames, masks, checks and answers. What is here: who is waited for, for how
//! long (`patience.rs`), and what becomes of the stream. The rest of a breach's connection is not
//! read: the error is returned as soon as the peer has been told, and the stream is ended.
//!
//! A peer that pings and does not read has the answers pile up. After so many, it is not read
//! either.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::{Sink, Stream};
use tungstenite::Error;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::message::{close_frame, code_for, io_error};
use super::patience::{Due, Patience};
use super::wire::{Side, Wire};
use super::{Message, Options};
use crate::time::{Duration, Instant};

/// Answers to pings that a peer may leave unread before it is not read any more.
const UNREAD_PONGS_MAX: usize = 64;

/// Pings whose answers are waited for, for the sake of the latency.
const PINGS_NOTED_MAX: usize = 16;

/// Where the connection stands: see the top of the file.
enum Stage {
    Open,
    Closing,
    Ending,
    Failing(io::Error),
    Over,
}

/// A WebSocket on a stream: from [`connect`](super::connect), [`accept`](super::accept) or an
/// [`upgrade`](super::Server::upgrade).
///
/// It is a `Stream` and a `Sink` of `futures` as well; [`into_split`](WebSocket::into_split) gives
/// its two directions to two tasks.
///
/// Dropping it ends the stream without a close: the peer sees the connection end.
pub struct WebSocket<S> {
    core: tungstenite::WebSocket<Wire<S>>,
    stage: Stage,
    patience: Patience,
    write_limit: usize,
    subprotocol: Option<String>,
    close_frame: Option<CloseFrame>,
    unread_pongs: usize,
    /// Numbers of pings and when they were sent.
    pings: VecDeque<(u64, Instant)>,
    pings_sent: u64,
    latency: Option<Duration>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// A WebSocket whose handshake is over; `read` came behind it.
    pub(super) fn new(
        wire: Wire<S>,
        read: Vec<u8>,
        role: Role,
        options: &Options,
        subprotocol: Option<String>,
    ) -> WebSocket<S> {
        let config = Some(options.config());
        let core = tungstenite::WebSocket::from_partially_read(wire, read, role, config);
        WebSocket::with_core(core, options, subprotocol)
    }

    /// The same, of a core that is there already.
    pub(super) fn with_core(
        core: tungstenite::WebSocket<Wire<S>>,
        options: &Options,
        subprotocol: Option<String>,
    ) -> WebSocket<S> {
        WebSocket {
            core,
            stage: Stage::Open,
            patience: Patience::new(options),
            write_limit: options.write_limit,
            subprotocol,
            close_frame: None,
            unread_pongs: 0,
            pings: VecDeque::new(),
            pings_sent: 0,
            latency: None,
        }
    }

    /// Receives the next message; `None` after the peer has closed. Pings are answered meanwhile,
    /// and the peer's silence is noticed.
    ///
    /// # Errors
    ///
    /// For a breach of the protocol, `InvalidData`, and `FileTooLarge` for too long a message: the
    /// peer is told and the connection ended. `UnexpectedEof` if the peer ended the connection
    /// without a close, `TimedOut` if it answers no ping or does not come to the end of a close;
    /// the stream's own errors. After an error there is `None`.
    ///
    /// # Cancellation
    ///
    /// **Strict**: no message is lost, and a part of one stays for the next call.
    pub async fn recv(&mut self) -> io::Result<Option<Message>> {
        poll_fn(|context| self.poll_recv(context)).await.transpose()
    }

    /// Sends a message, and waits until the stream has taken the whole of it. A peer that does not
    /// read has it wait.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after a close of either side, otherwise the stream's own.
    ///
    /// # Cancellation
    ///
    /// **Weak**: one that is dropped has sent nothing, or the whole message: then what the stream
    /// did not take goes out with the next call of any kind.
    pub async fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        let mut message = Some(message.into());
        poll_fn(|context| self.poll_send(context, &mut message)).await
    }

    /// Sends a ping. The answer is taken by [`recv`](Self::recv) and gives the
    /// [`latency`](Self::latency).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancellation
    ///
    /// **Weak**: as [`send`](Self::send).
    pub async fn ping(&mut self) -> io::Result<()> {
        let mut is_written = false;
        poll_fn(|context| self.poll_ping(context, &mut is_written)).await
    }

    /// Closes: sends the code and the reason, throws away what still comes, and waits until the
    /// peer has closed, too, and the stream has ended. Does nothing if it is closed already.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a code that is never sent, such as 1006, and for a reason of more than
    /// 123 bytes. Otherwise as [`recv`](Self::recv): `TimedOut` if the peer does not answer.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the close has begun, and nothing can be sent any more. The next `close` or `recv`
    /// goes on with it.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> io::Result<()> {
        self.begin_close(close_frame(code, reason)?);
        poll_fn(|context| self.poll_closed(context)).await
    }

    pub(super) fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Message>>> {
        self.core.get_mut().attend(Side::Receiver, context.waker());
        loop {
            match &self.stage {
                Stage::Open | Stage::Closing => match ready!(self.poll_message(context)) {
                    Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                    Ok(None) => drop(self.turn_to(Stage::Ending)),
                    Err(error) => drop(self.turn_to(Stage::Failing(error))),
                },
                Stage::Ending | Stage::Failing(_) => {
                    ready!(self.poll_end(context));
                    if let Stage::Failing(error) = self.turn_to(Stage::Over) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    /// Goes on to another stage, tells the other half, and returns the one before.
    fn turn_to(&mut self, stage: Stage) -> Stage {
        self.core.get_ref().wake_halves();
        if !matches!(stage, Stage::Over) {
            self.patience.wait_for_close();
        }
        mem::replace(&mut self.stage, stage)
    }

    /// The next message while the connection is open in one direction at least.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Message>>> {
        loop {
            if self.core.get_ref().unsent() == 0 {
                self.unread_pongs = 0;
            }
            if self.unread_pongs >= UNREAD_PONGS_MAX {
                // Its error is for who sends; reading goes on.
                match self.core.get_mut().poll_drain() {
                    Poll::Ready(_) => self.unread_pongs = 0,
                    Poll::Pending => return self.poll_patience(context),
                }
            }
            let has_closed = !self.core.can_read();
            match self.core.read() {
                Ok(tungstenite::Message::Text(text)) => {
                    return Poll::Ready(Ok(Some(Message::Text(text))));
                }
                Ok(tungstenite::Message::Binary(bytes)) => {
                    return Poll::Ready(Ok(Some(Message::Binary(bytes))));
                }
                Ok(tungstenite::Message::Ping(_)) => self.unread_pongs += 1,
                Ok(tungstenite::Message::Pong(payload)) => self.note_pong(&payload),
                Ok(tungstenite::Message::Close(frame)) => {
                    self.close_frame = frame;
                    self.turn_to(Stage::Closing);
                }
                Ok(tungstenite::Message::Frame(_)) => unreachable!("the core gives out messages"),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What was answered, and what a dropped `send` left. As above, of the error.
                    let _ = self.core.get_mut().poll_drain();
                    return self.poll_patience(context);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Poll::Ready(Ok(None));
                }
                // The peer has closed: what still happens to the stream is no news.
                Err(_) if has_closed => return Poll::Ready(Ok(None)),
                Err(error) => {
                    self.tell_breach(&error);
                    return Poll::Ready(Err(io_error(error)));
                }
            }
        }
    }

    /// Nothing has come: what is to be done about it.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Message>>> {
        loop {
            let wire = self.core.get_mut();
            match ready!(self.patience.poll(context, || wire.take_heard())) {
                Due::Ping => self.write_ping(),
                Due::Silence => {
                    self.abandon(CloseCode::Error, "no answer to a ping");
                    let text = "the peer has said nothing for an interval, and answers no ping";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
                }
                // Both have closed, and the server does not end the connection: so the client does.
                Due::Close if !self.core.can_read() => return Poll::Ready(Ok(None)),
                Due::Close => {
                    let text = "the peer has not answered the close in time";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
                }
            }
        }
    }

    /// Tells the stream's end. Ready once that is out, has failed or takes too long.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.core.get_mut().poll_end().is_ready() {
            return Poll::Ready(());
        }
        self.patience.poll(context, || false).map(|_| ())
    }

    fn tell_breach(&mut self, error: &Error) {
        if let Some(code) = code_for(error) {
            let mut reason = error.to_string();
            reason.truncate(reason.floor_char_boundary(100));
            self.abandon(code, &reason);
        }
    }

    /// Puts a close behind everything written. Nobody waits for an answer to it.
    fn abandon(&mut self, code: CloseCode, reason: &str) {
        let frame = CloseFrame { code, reason: reason.into() };
        // It fails only if it is closed already.
        let _ = self.core.close(Some(frame));
    }

    /// Sends a close, if none has been sent.
    pub(super) fn begin_close(&mut self, frame: CloseFrame) {
        if matches!(self.stage, Stage::Open) {
            // The wire takes everything: what can fail is a write after a close.
            let _ = self.core.close(Some(frame));
            self.turn_to(Stage::Closing);
        }
    }

    fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match ready!(self.poll_recv(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn check_open(&self) -> io::Result<()> {
        match self.stage {
            Stage::Open => Ok(()),
            _ => Err(io_error(Error::AlreadyClosed)),
        }
    }

    pub(super) fn poll_send_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open()?;
        let limit = self.write_limit;
        let wire = self.core.get_mut();
        wire.attend(Side::Sender, context.waker());
        match wire.unsent() >= limit.max(1) {
            true => wire.poll_drain(),
            false => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn start(&mut self, message: Message) -> io::Result<()> {
        self.check_open()?;
        self.core.write(message.into()).map_err(io_error)
    }

    /// Waits until the stream has taken everything.
    pub(super) fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.core.get_mut();
        wire.attend(Side::Sender, context.waker());
        wire.poll_drain()
    }

    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<io::Result<()>> {
        if message.is_some() {
            ready!(self.poll_send_room(context))?;
        }
        if let Some(message) = message.take() {
            self.start(message)?;
        }
        self.poll_sent(context)
    }

    pub(super) fn poll_ping(
        &mut self,
        context: &mut Context<'_>,
        is_written: &mut bool,
    ) -> Poll<io::Result<()>> {
        if !*is_written {
            ready!(self.poll_send_room(context))?;
            self.write_ping();
            *is_written = true;
        }
        self.poll_sent(context)
    }

    fn write_ping(&mut self) {
        self.pings_sent += 1;
        self.pings.truncate(PINGS_NOTED_MAX - 1);
        self.pings.push_front((self.pings_sent, Instant::now()));
        let payload = Bytes::copy_from_slice(&self.pings_sent.to_be_bytes());
        // It fails only if it is closed already.
        let _ = self.core.write(tungstenite::Message::Ping(payload));
    }

    fn note_pong(&mut self, payload: &[u8]) {
        let number = payload.try_into().map(u64::from_be_bytes).ok();
        let Some(place) = self.pings.iter().position(|ping| Some(ping.0) == number) else { return };
        self.latency = Some(self.pings[place].1.elapsed());
        // Older ones are answered by this as well: RFC 6455, section 5.5.3.
        self.pings.truncate(place);
    }
}

impl<S> WebSocket<S> {
    /// What the two agreed on in the handshake.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// What the peer's close said, once it has come; `None` also if it said nothing. A code that
    /// may not be sent reads as 1002.
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.close_frame.as_ref()
    }

    /// How long the last answered ping took. Pings go out by themselves where the peer is silent,
    /// see [`Options::ping_interval`], and by [`ping`](Self::ping).
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// The stream under it.
    pub fn get_ref(&self) -> &S {
        self.core.get_ref().stream()
    }

    pub(super) fn split(&mut self) {
        self.core.get_mut().split();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = io::Result<Message>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Message>>> {
        self.poll_recv(context)
    }
}

/// Closing it is [`WebSocket::close`] with the code 1000: what still comes is thrown away.
impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Message> for WebSocket<S> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_room(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> io::Result<()> {
        self.start(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.begin_close(CloseFrame { code: CloseCode::Normal, reason: "".into() });
        self.poll_closed(context)
    }
}

impl<S: fmt::Debug> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("stream", self.get_ref())
            .field("subprotocol", &self.subprotocol)
            .field("close_frame", &self.close_frame)
            .finish_non_exhaustive()
    }
}
