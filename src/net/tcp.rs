//! A TCP connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::accept::Accepted;
use super::{Address, DetachedTcpStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::driver::{self, Chunk, Fd, Op, Payload, Segment, SocketOption};
use crate::executor::Core;
use crate::executor::operation::{Operation, core_for};
use crate::io::{Closed, Detach, Lines, Reader, Separators, Source, Stream};

/// A TCP connection, with an inbox of what has arrived and an outbox of what is to be sent.
///
/// Reading takes `&mut self`: there is one reader. Writing takes `&self` and may be done by several
/// tasks. [`split`](Self::split) and [`into_split`](Self::into_split) give the two directions to
/// two tasks.
///
/// Dropping it sends what was written, then FIN, and waits for the peer's end in the background,
/// for the linger limit at most; [`close`](Self::close) does the same and tells how it went.
///
/// There is no way to the bare descriptor: whoever had it would miss what the inbox holds.
/// [`as_fd`](AsFd::as_fd) is for socket options; it panics once the stream was detached.
/// [`detach`](Self::detach) takes the whole connection to another core.
///
/// ```
/// # corio::run(async {
/// let listener = corio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = corio::net::TcpStream::connect(listener.local_addr()?).await?;
/// let mut server = listener.accept().await?;
/// client.write(b"one line\n").await?;
/// assert_eq!(server.read_line(80).await?, b"one line\n");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "StreamReader")]
#[doc(alias = "StreamWriter")]
pub struct TcpStream {
    stream: Rc<Stream>,
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `ConnectionRefused`; `InvalidInput` for a text that is no address.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the connection may have been made by the time the connect is dropped; then it is
    /// closed.
    #[doc(alias = "open_connection")]
    #[track_caller]
    pub fn connect(address: impl Address) -> impl Future<Output = io::Result<TcpStream>> {
        let called_at = Location::caller();
        async move { TcpStream::connect_from(called_at, address.to_socket_addr()?, None).await }
    }

    /// Connects to `address`, from `local` if there is one.
    pub(super) async fn connect_from(
        called_at: &'static Location<'static>,
        address: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<TcpStream> {
        let core = core_for(called_at);
        let raw = core.driver.borrow_mut().open_socket(&address)?.into_raw_fd();
        let fd = core.fd(raw);
        core.driver.borrow_mut().set_option(raw, SocketOption::NoDelay(true))?;
        if let Some(local) = local {
            core.driver.borrow_mut().bind(raw, &local)?;
        }
        let payload = Payload::Address(Box::new(driver::Address::from(&address)));
        let result = Operation::start(&core, Op::Connect { fd: raw }, payload, &fd).await;
        match result {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(TcpStream::from_fd(core, fd)),
        }
    }

    pub(super) fn from_fd(core: Rc<Core>, fd: Rc<Fd>) -> TcpStream {
        TcpStream::from_stream(Stream::new(core, fd, Source::Tcp))
    }

    pub(super) fn from_stream(stream: Rc<Stream>) -> TcpStream {
        TcpStream { stream }
    }

    /// A stream that nobody has used yet, for another core; `None` if somebody has.
    pub(super) fn into_detached(self) -> Option<DetachedTcpStream> {
        self.stream.pack_at_rest().map(DetachedTcpStream::new)
    }

    read_methods!();
    write_methods!();
    name_methods!();

    /// Sends everything, then FIN, then reads and throws away until the peer has ended too, and
    /// closes. A stream closed with unread input would be reset, and what was flushed be lost; so
    /// the peer's end is waited for, as long as the linger limit.
    ///
    /// # Errors
    ///
    /// The first error of the stream's sends; `TimedOut` if the peer takes nothing for the linger
    /// limit: then the connection is reset.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the closing goes on in the background.
    #[doc(alias = "wait_closed")]
    pub async fn close(self) -> io::Result<Closed> {
        self.stream.core().check_turning()?;
        if self.stream.is_empty_shell() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let closed = self.stream.finish().await;
        self.stream.is_finished.set(true);
        closed
    }

    /// Takes the connection out of this stream, to be moved to another core: the descriptor with
    /// its options, the bytes that were not read, and those that were not sent. What is in flight
    /// is ended first. What is left here says `NotConnected` from then on.
    ///
    /// Two halves have to be put together again before ([`OwnedReadHalf::reunite`]).
    ///
    /// ```
    /// use corio::net::{TcpListener, TcpStream};
    /// # corio::cores::Cores::available()?.count(2).on_start(|_| {}).block_on(|core| async move {
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut client = TcpStream::connect(listener.local_addr()?).await?;
    /// let mut server = listener.accept().await?;
    /// client.write(b"hello\n").await?;
    ///
    /// let detached = server.detach().await?;
    /// let moved = core.handle(1).spawn(|| async {
    ///     let mut server = detached.attach();
    ///     let line = server.read_line(100).await?;
    ///     server.write(&line).await
    /// });
    /// assert_eq!(client.read_line(100).await?, b"hello\n");
    /// moved.await.unwrap()
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// `NotConnected` if it was detached before. An error of the connection is none here: it goes
    /// along.
    ///
    /// # Cancellation
    ///
    /// **Strict**: until it is done, the stream has everything, and goes on when this is dropped.
    pub async fn detach(&mut self) -> io::Result<DetachedTcpStream> {
        Detach::new(&self.stream).await.map(DetachedTcpStream::new)
    }

    /// Lends the two directions, to be used side by side in one task.
    ///
    /// Where `futures::AsyncReadExt` is in scope, `stream.split()` means that trait's: write
    /// `TcpStream::split(&mut stream)` there.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(&self.stream), WriteHalf::new(&self.stream))
    }

    /// Gives the two directions away, to two tasks. The connection is closed when both are gone.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let shared = Rc::new(self);
        (OwnedReadHalf(Rc::clone(&shared)), OwnedWriteHalf(shared))
    }

    /// Turns the kernel's joining of small packets off (the default, as in asyncio) or on:
    /// TCP_NODELAY, see tcp(7). What a turn wrote leaves as one send anyway.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        let mut driver = self.stream.core().driver.borrow_mut();
        driver.set_option(self.stream.fd().raw(), SocketOption::NoDelay(on))
    }

    /// Whether TCP_NODELAY is set.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.stream.core().driver.borrow_mut().no_delay(self.stream.fd().raw())
    }

    /// How long a close waits for the peer without any progress: 5 s by default.
    pub fn set_linger(&mut self, linger: Duration) {
        self.stream.set_linger(linger);
    }

    /// Whether it is told (`Builder::on_unhandled`) if the stream is dropped and what was written
    /// cannot be sent: on by default. A server whose clients may break off at any time turns it
    /// off, or each of them could fill its log.
    pub fn set_report_unsent(&mut self, on: bool) {
        self.stream.set_report_unsent(on);
    }
}

impl Accepted for TcpStream {
    fn accepted(core: &Rc<Core>, fd: Rc<Fd>) -> TcpStream {
        TcpStream::from_fd(Rc::clone(core), fd)
    }

    fn under(&self) -> &Rc<Stream> {
        &self.stream
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

impl Reader for TcpStream {
    fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if !self.stream.is_finished.get() {
            self.stream.finish_in_background();
        }
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd().as_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .finish()
    }
}

read_traits!(TcpStream);
write_traits!(TcpStream);
