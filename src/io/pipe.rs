//! Pipes and the standard streams: the two directions of the stream's state machine, each by
//! itself.
//!
//! A reader is a stream whose outbox is never used, a writer one whose input ended before it began.
//! What was written is sent before a writer is gone, however long the reader takes: unlike a
//! connection's peer, a child that computes is no broken peer.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{Chunk, Lines, Reader, Segment, Separators, Source, Stream};
use crate::driver::{Fd, Inherited};
use crate::executor::Core;

/// How long a dropped writer waits for its reader: as long as its runtime runs.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Makes a pipe: what is written to the second end is read from the first.
///
/// ```
/// # corio::run(async {
/// let (mut reader, writer) = corio::io::pipe()?;
/// writer.write(b"through\n").await?;
/// drop(writer);
/// assert_eq!(reader.read_line(100).await?, b"through\n");
/// assert_eq!(reader.read_line(100).await?, b"", "the end");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The kernel's, such as a lack of descriptors.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[doc(alias = "connect_read_pipe")]
#[doc(alias = "connect_write_pipe")]
#[track_caller]
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let core = Core::current();
    let (reader, writer) = core.driver.borrow_mut().open_pipe()?;
    let (reader, writer) = (core.fd(reader), core.fd(writer));
    let reader = PipeReader::over(&core, reader, Source::Pipe);
    Ok((reader, PipeWriter::over(&core, writer, Source::Pipe)))
}

/// The reading end of a pipe, or the standard input: all the reads of a stream.
///
/// Dropping it closes it; a writer at the other end then gets `BrokenPipe`.
pub struct PipeReader {
    stream: Rc<Stream>,
}

/// The writing end of a pipe, or the standard output or error: all the writes of a stream.
///
/// Dropping it writes what is left in the background, then closes it; the reader then sees the end.
/// [`close`](Self::close) does the same and tells how it went.
pub struct PipeWriter {
    stream: Rc<Stream>,
}

impl PipeReader {
    fn over(core: &Rc<Core>, fd: Rc<Fd>, source: Source) -> PipeReader {
        PipeReader { stream: Stream::new(Rc::clone(core), fd, source) }
    }

    /// Takes over a descriptor to read from: of a pipe, a FIFO, a terminal, a device, a file from
    /// where it is. Its open file is set not to block, which others that share it will notice.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn from_fd(descriptor: impl Into<OwnedFd>) -> io::Result<PipeReader> {
        let core = Core::current();
        let (fd, source) = take_over(&core, descriptor.into())?;
        Ok(PipeReader::over(&core, fd, source))
    }

    read_methods!();
}

impl PipeWriter {
    fn over(core: &Rc<Core>, fd: Rc<Fd>, source: Source) -> PipeWriter {
        let stream = Stream::new(Rc::clone(core), fd, source);
        stream.only_writes();
        stream.set_linger(PATIENCE);
        PipeWriter { stream }
    }

    /// Takes over a descriptor to write to: see [`PipeReader::from_fd`].
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn from_fd(descriptor: impl Into<OwnedFd>) -> io::Result<PipeWriter> {
        let core = Core::current();
        let (fd, source) = take_over(&core, descriptor.into())?;
        Ok(PipeWriter::over(&core, fd, source))
    }

    fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    write_methods!();

    /// Writes everything, then closes: the reader sees the end.
    ///
    /// # Errors
    ///
    /// The first error of the writes, such as `BrokenPipe` if the reader is gone.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the writing and closing go on in the background.
    pub async fn close(self) -> io::Result<()> {
        self.stream.core().check_turning()?;
        let closed = self.stream.finish().await;
        self.stream.is_finished.set(true);
        closed.map(drop)
    }
}

fn take_over(core: &Rc<Core>, descriptor: OwnedFd) -> io::Result<(Rc<Fd>, Source)> {
    let fd = core.fd(descriptor.into_raw_fd());
    let kind = core.driver.borrow_mut().kind_of(fd.as_fd())?;
    core.driver.borrow_mut().set_nonblocking(fd.raw(), true)?;
    let source = match kind {
        Inherited::File => Source::File,
        Inherited::Socket | Inherited::Other => Source::Pipe,
    };
    Ok((fd, source))
}

impl Reader for PipeReader {
    fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.stream.stop_receiving();
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        if !self.stream.is_finished.get() {
            self.stream.finish_in_background();
        }
    }
}

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd().as_fd()
    }
}

impl AsFd for PipeWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.fd().as_fd()
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeReader").field("fd", &self.stream.fd().raw()).finish()
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeWriter").field("fd", &self.stream.fd().raw()).finish()
    }
}

read_traits!(PipeReader);
write_traits!(PipeWriter);

/// The standard input, whatever it is: a terminal, a pipe, a file or a socket.
///
/// It has an inbox, so it reads ahead: make one and keep it. What it has read and nobody took is
/// gone with it, and `std::io::stdin` beside it would take bytes away.
///
/// # Errors
///
/// The kernel's, for instance if the input is closed.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[track_caller]
pub fn stdin() -> io::Result<PipeReader> {
    let core = Core::current();
    let (fd, source) = adopt(&core, io::stdin().as_fd(), false)?;
    Ok(PipeReader::over(&core, fd, source))
}

/// The standard output, whatever it is. What is written through it and by `println!` may come in
/// another order than it was written in.
///
/// ```no_run
/// # corio::run(async {
/// let output = corio::io::stdout()?;
/// output.write(b"hello\n").await?;
/// output.flush().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The kernel's, for instance if the output is closed.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[track_caller]
pub fn stdout() -> io::Result<PipeWriter> {
    let core = Core::current();
    let (fd, source) = adopt(&core, io::stdout().as_fd(), true)?;
    Ok(PipeWriter::over(&core, fd, source))
}

/// The standard error, as [`stdout`].
///
/// # Errors
///
/// The kernel's, for instance if it is closed.
///
/// # Panics
///
/// If no runtime runs on this thread.
#[track_caller]
pub fn stderr() -> io::Result<PipeWriter> {
    let core = Core::current();
    let (fd, source) = adopt(&core, io::stderr().as_fd(), true)?;
    Ok(PipeWriter::over(&core, fd, source))
}

fn adopt(
    core: &Rc<Core>,
    inherited: BorrowedFd<'_>,
    for_writing: bool,
) -> io::Result<(Rc<Fd>, Source)> {
    let (raw, kind) = core.driver.borrow_mut().adopt_inherited(inherited, for_writing)?;
    let source = match kind {
        Inherited::Socket => Source::Shared,
        Inherited::File => Source::File,
        Inherited::Other => Source::Pipe,
    };
    Ok((core.fd(raw), source))
}
