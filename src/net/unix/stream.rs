//! A Unix stream: the stream's state machine over a Unix socket.

use std::fmt;
use std::future::Future;
use std::io;
use std::net;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{
    Credentials, OwnedReadHalf, OwnedWriteHalf, ReadHalf, SocketAddr, UnixName, WriteHalf,
};
use crate::driver::{Chunk, Fd, LocalKind, Segment};
use crate::executor::Core;
use crate::executor::operation::core_for;
use crate::io::{Closed, Lines, Reader, Separators, Source, Stream};
use crate::net::accept::Accepted;
use crate::time::sleep;

/// How long a connect waits before it tries a full backlog again, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A Unix stream, with an inbox of what has arrived and an outbox of what is to be sent: all that
/// a [`TcpStream`](crate::net::TcpStream) is, and descriptors can be passed.
///
/// ```
/// use corio::net::UnixStream;
/// # corio::run(async {
/// let (mut a, mut b) = UnixStream::pair()?;
/// a.write(b"one line\n").await?;
/// assert_eq!(b.read_line(80).await?, b"one line\n");
///
/// // A file of one process becomes a file of another.
/// let file = std::fs::File::open("/dev/null")?;
/// a.send_fds(b"x", &[&file]).await?;
/// let (count, files) = b.recv_fds(&mut [0; 8]).await?;
/// assert_eq!((count, files.len()), (1, 1));
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "open_unix_connection")]
pub struct UnixStream {
    stream: Rc<Stream>,
}

impl UnixStream {
    /// Connects to a name. Where the listener's backlog is full, tries again until it is not.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `NotFound` or `ConnectionRefused`; `InvalidInput` for what is no name.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: as long as it waits, nothing is connected.
    #[doc(alias = "open_unix_connection")]
    #[doc(alias = "create_unix_connection")]
    #[track_caller]
    pub fn connect(name: impl UnixName) -> impl Future<Output = io::Result<UnixStream>> {
        UnixStream::connect_from(Location::caller(), name.to_unix_addr())
    }

    async fn connect_from(
        called_at: &'static Location<'static>,
        name: io::Result<SocketAddr>,
    ) -> io::Result<UnixStream> {
        let (core, name) = (core_for(called_at), name?);
        let raw = core.driver.borrow_mut().open_local(LocalKind::Stream)?;
        let fd = core.fd(raw);
        let (mut pause, pause_max) = PATIENCE;
        loop {
            let connected = core.driver.borrow_mut().connect_local(raw, &name);
            match connected {
                Ok(()) => return Ok(UnixStream::from_fd(core, fd)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            pause = (pause * 2).min(pause_max);
        }
    }

    /// Two streams that are connected with each other.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let core = Core::current();
        let (a, b) = core.driver.borrow_mut().local_pair(LocalKind::Stream)?;
        let (a, b) = (core.fd(a), core.fd(b));
        Ok((UnixStream::from_fd(Rc::clone(&core), a), UnixStream::from_fd(core, b)))
    }

    /// Takes over a connected Unix stream of the standard library's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn from_std(stream: std::os::unix::net::UnixStream) -> UnixStream {
        let core = Core::current();
        let fd = core.fd(stream.into_raw_fd());
        UnixStream::from_fd(core, fd)
    }

    fn from_fd(core: Rc<Core>, fd: Rc<Fd>) -> UnixStream {
        UnixStream { stream: Stream::new(core, fd, Source::Local) }
    }

    read_methods!();
    write_methods!();
    local_name_methods!();

    /// Who is at the other end: the process that connected, listened, or made the pair.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[doc(alias = "SO_PEERCRED")]
    pub fn peer_cred(&self) -> io::Result<Credentials> {
        self.stream.core().driver.borrow_mut().peer_credentials(self.stream.fd().raw())
    }

    /// As [`write`](Self::write), and passes descriptors along with the first byte. They are
    /// duplicated when this is called, so they may be closed at once. At least one byte must go
    /// with them, and at most 253 fit.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `InvalidInput` for no byte or too many descriptors.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has written and passed nothing.
    #[doc(alias = "SCM_RIGHTS")]
    pub fn send_fds<D: AsFd>(
        &self,
        bytes: &[u8],
        descriptors: &[D],
    ) -> impl Future<Output = io::Result<()>> {
        let duplicates: io::Result<Vec<OwnedFd>> =
            descriptors.iter().map(|it| it.as_fd().try_clone_to_owned()).collect();
        let checked = Stream::check_passing(bytes.len(), descriptors.len()).and(duplicates);
        let bytes = bytes.to_vec();
        async move {
            let segment = Segment::passing(bytes, checked?);
            self.stream.write_owned(segment).await
        }
    }

    /// As [`read`](Self::read), with the descriptors that came with the bytes. They are closed on
    /// exec; those that nobody takes are closed with the stream, and of more than 16 messages that
    /// wait the oldest ones.
    ///
    /// The first call opens the stream for descriptors: those that arrived before it, while bytes
    /// were being read otherwise, were closed by the kernel. So let it be the first read.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); an error also if descriptors were lost, since the process has as
    /// many open as it may.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped has taken nothing.
    #[doc(alias = "SCM_RIGHTS")]
    pub async fn recv_fds(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.stream.take_passed();
        let count = self.stream.read(buffer).await?;
        Ok((count, self.stream.claim_passed()?))
    }

    /// Sends everything, then the end, then reads and throws away until the peer has ended too, and
    /// closes: see [`TcpStream::close`](crate::net::TcpStream::close).
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the closing goes on in the background.
    #[doc(alias = "wait_closed")]
    pub async fn close(self) -> io::Result<Closed> {
        self.stream.core().check_turning()?;
        let closed = self.stream.finish().await;
        self.stream.is_finished.set(true);
        closed
    }

    /// Lends the two directions, to be used side by side in one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(&self.stream), WriteHalf::new(&self.stream))
    }

    /// Gives the two directions away, to two tasks. The connection is closed when both are gone.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let shared = Rc::new(self);
        (OwnedReadHalf(Rc::clone(&shared)), OwnedWriteHalf(shared))
    }

    /// How long a close waits for the peer without any progress: 5 s by default.
    pub fn set_linger(&mut self, linger: Duration) {
        self.stream.set_linger(linger);
    }
}

impl Accepted for UnixStream {
    fn accepted(core: &Rc<Core>, fd: Rc<Fd>) -> UnixStream {
        UnixStream::from_fd(Rc::clone(core), fd)
    }

    fn under(&self) -> &Rc<Stream> {
        &self.stream
    }

    fn peer(&self) -> Option<net::SocketAddr> {
        None
    }
}

impl Reader for UnixStream {
    fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }
}

impl Drop for UnixStream {
    fn drop(&mut self) {
        if !self.stream.is_finished.get() {
            self.stream.finish_in_background();
        }
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd().as_fd()
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixStream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .finish()
    }
}

read_traits!(UnixStream);
write_traits!(UnixStream);
