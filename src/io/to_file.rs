//! A stream read into a file by the kernel: `wide_pipe.rs` draws the way.
//!
//! ```text
//!   stop receiving ──▶ write what the inbox holds ──▶ stream to pipe ──▶ pipe to file ──▶ ...
//!                                                       ▲ nothing there: poll    │
//!                                                       └────────────────────────┘
//! ```
//!
//! The standing receive would take bytes that belong behind those in the pipe; so it rests, and the
//! next read arms it again. What is in the pipe has left the stream: a future that is dropped then
//! leaves the second half of the way to a task of the runtime's own. What cannot be written goes
//! back to the inbox, which is empty meanwhile.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::inbox::End;
use super::stream::os_error;
use super::wide_pipe::{PIECE_BYTES, WidePipe};
use super::{Chunk, Stream};
use crate::driver::{Fd, Op, Payload, is_no_copy};
use crate::executor::operation::Operation;
use crate::executor::{Life, Unhandled};
use crate::fs::{File, check_position};

/// Bytes of a stream on their way into a file: the future of the streams' `read_to_file`. Its value
/// is their number.
///
/// Awaited through `&mut`, it can be given up and taken up again, and says how far it is. While it
/// is at it, the stream does not receive ahead of what goes into the file.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("upload");
/// let (client, mut server) = corio::net::UnixStream::pair()?;
/// client.write(b"12 bytes of it, and more").await?;
/// let file = corio::fs::File::create(&path).await?;
/// assert_eq!(server.read_to_file(&file, 0, 12).await?, 12);
/// assert_eq!(corio::fs::read(&path).await?, b"12 bytes of ");
/// assert_eq!(&server.read_chunk().await?.unwrap()[..], b"it, and more");
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is read until it is awaited"]
pub struct ReadToFile<'a> {
    stream: &'a Rc<Stream>,
    reading: Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>,
    shared: Rc<Shared>,
}

type Landing = Pin<Box<dyn Future<Output = Result<(), Stranded>>>>;

/// What the future shares with what it does.
#[derive(Default)]
struct Shared {
    written: Rc<Cell<u64>>,
    /// The way from the pipe to the file, while there is something in the pipe.
    landing: RefCell<Option<Landing>>,
}

impl Shared {
    /// Nothing is borrowed while it is polled: that may run foreign code.
    fn poll_landing(&self, context: &mut Context<'_>) -> Poll<Result<(), Stranded>> {
        let Some(mut landing) = self.landing.take() else { return Poll::Ready(Ok(())) };
        let polled = landing.as_mut().poll(context);
        if polled.is_pending() {
            self.landing.replace(Some(landing));
        }
        polled
    }
}

/// What could not be written, and why.
struct Stranded {
    bytes: Vec<u8>,
    error: io::Error,
}

impl<'a> ReadToFile<'a> {
    pub(crate) fn new(
        stream: &'a Rc<Stream>,
        file: &'a File,
        position: u64,
        length: u64,
    ) -> ReadToFile<'a> {
        let shared = Rc::<Shared>::default();
        let length = length.min((i64::MAX as u64).saturating_sub(position));
        let way = Way { stream, file, position, length, shared: Rc::clone(&shared) };
        ReadToFile { stream, reading: Box::pin(way.go()), shared }
    }

    /// How many bytes are in the file by now.
    pub fn written(&self) -> u64 {
        self.shared.written.get()
    }
}

impl Future for ReadToFile<'_> {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let polled = self.reading.as_mut().poll(context);
        polled.map_ok(|()| self.written())
    }
}

impl Drop for ReadToFile<'_> {
    fn drop(&mut self) {
        let Some(landing) = self.shared.landing.take() else { return };
        let core = self.stream.core();
        // A runtime that ends lets the operation that is in flight end, and starts none.
        if core.life() >= Life::Draining {
            return;
        }
        let (core, guard) = (Rc::clone(core), core.linger_guard());
        let finish = {
            let core = Rc::clone(&core);
            async move {
                let _guard = guard;
                if let Err(stranded) = landing.await {
                    core.report(&Unhandled::WriteFailed { error: stranded.error });
                }
            }
        };
        core.spawn(finish, Location::caller(), true);
    }
}

impl fmt::Debug for ReadToFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadToFile").field("written", &self.written()).finish_non_exhaustive()
    }
}

/// Where from, where to, and how far.
struct Way<'a> {
    stream: &'a Rc<Stream>,
    file: &'a File,
    position: u64,
    length: u64,
    shared: Rc<Shared>,
}

impl Way<'_> {
    async fn go(self) -> io::Result<()> {
        let core = self.stream.core();
        core.check_turning()?;
        check_position(self.position)?;
        let pipe = Rc::new(WidePipe::open(core)?);
        let mut splices =
            self.stream.source.get().splices() && pipe.can_drain_into(self.file.descriptor());
        if splices {
            core.driver.borrow_mut().set_nonblocking(self.stream.fd().raw(), true)?;
            self.stream.rest().await;
        }
        loop {
            self.empty_inbox().await?;
            let end = self.stream.inbox.borrow().end();
            match end {
                _ if self.rest() == 0 => return Ok(()),
                Some(End::Eof) => return Ok(()),
                Some(End::Error(error)) => return Err(os_error(error)),
                None if splices => splices = self.through_pipe(&pipe).await?,
                None => self.stream.fill().await?,
            }
        }
    }

    fn rest(&self) -> u64 {
        self.length - self.shared.written.get()
    }

    /// Writes what was received before.
    async fn empty_inbox(&self) -> io::Result<()> {
        loop {
            let piece = {
                let inbox = self.stream.inbox.borrow();
                let front = inbox.front();
                let length = self.rest().min(front.len() as u64) as usize;
                front[..length].to_vec()
            };
            if piece.is_empty() {
                return Ok(());
            }
            let (count, written) = (piece.len(), self.shared.written.get());
            self.file.write_all_at(self.position + written, piece).await?;
            // Now, and not before: a write that was given up leaves the bytes in the stream.
            self.shared.written.set(written + count as u64);
            self.stream.consume(count);
        }
    }

    /// Moves bytes until the stream has ended or enough was moved. False if the kernel does not
    /// move any out of this stream.
    async fn through_pipe(&self, pipe: &Rc<WidePipe>) -> io::Result<bool> {
        let stream = self.stream;
        while self.rest() > 0 && stream.inbox.borrow().end().is_none() {
            stream.core().check_turning()?;
            let length = self.rest().min(PIECE_BYTES as u64) as usize;
            let moved = pipe.of_stream(stream.fd(), length);
            match usize::try_from(moved) {
                Ok(0) => {
                    let end = stream.end_of_input();
                    stream.inbox.borrow_mut().set_end(end);
                }
                Ok(count) => self.land(pipe, count).await?,
                Err(_) => match os_error(-moved) {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if error.kind() == io::ErrorKind::WouldBlock => self.news().await?,
                    error if is_no_copy(&error) => return Ok(false),
                    _ => stream.receive_failed(-moved),
                },
            }
        }
        Ok(true)
    }

    /// Writes what the pipe holds.
    async fn land(&self, pipe: &Rc<WidePipe>, held: usize) -> io::Result<()> {
        let written = Rc::clone(&self.shared.written);
        let position = self.position + written.get();
        let (pipe, file) = (Rc::clone(pipe), Rc::clone(self.file.descriptor()));
        let landing = land(pipe, file, position, held, written);
        self.shared.landing.replace(Some(Box::pin(landing)));
        let landed = poll_fn(|context| self.shared.poll_landing(context)).await;
        landed.map_err(|Stranded { bytes, error }| {
            self.stream.inbox.borrow_mut().push(Chunk::from_vec(bytes), false);
            error
        })
    }

    /// Waits until something has arrived.
    async fn news(&self) -> io::Result<()> {
        let (core, fd) = (self.stream.core(), self.stream.fd());
        let poll = Op::Poll { fd: fd.raw(), multishot: false };
        match Operation::start(core, poll, Payload::None, fd).await {
            error if error < 0 => Err(os_error(-error)),
            _ => Ok(()),
        }
    }
}

/// Moves so many bytes from a pipe to a file, whoever waits for it.
async fn land(
    pipe: Rc<WidePipe>,
    file: Rc<Fd>,
    mut position: u64,
    mut held: usize,
    written: Rc<Cell<u64>>,
) -> Result<(), Stranded> {
    while held > 0 {
        let drained = pipe.drain(&file, position, held).await;
        let error = match usize::try_from(drained) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                held -= count;
                position += count as u64;
                written.set(written.get() + count as u64);
                continue;
            }
            Err(_) => os_error(-drained),
        };
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Stranded { bytes: pipe.take_back(held), error });
        }
    }
    Ok(())
}

impl Stream {
    /// Ends the standing receive, and waits until it has ended. The next read arms it again.
    async fn rest(self: &Rc<Self>) {
        poll_fn(|context| {
            self.stop_receiving();
            if !self.is_receiving() {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            let old = self.reader.borrow_mut().replace(waker);
            drop(old);
            Poll::Pending
        })
        .await;
    }
}
