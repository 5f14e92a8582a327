//! A file as a stream of bytes: reads that run ahead, writes that are joined.
//!
//! ```text
//!                          in the page cache: a plain call, when it is asked for
//!   user ◀── shown ◀─┬──────────────────────────────────────────────── file
//!         fill_buf   └────── ahead ◀────────────────────────────────── file
//!                          cold: the next pieces are on their way
//!   user ──▶ joined ───────▶ sending ────────────────────────────────▶ file
//!             write    full, or flush
//! ```
//!
//! The operations belong to the cursor, so a dropped wait loses neither bytes nor the place. Only
//! one side is in use at a time: a read waits for what was written before, and a write or a seek
//! gives up what was read ahead. The pieces begin small and double while the file is read on. What
//! is cached is best copied when it is wanted, into the same memory again; only where the disk has
//! to be waited for are several pieces asked for at once.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, SeekFrom};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};

use super::File;
use super::calls::{checked, checked_position};
use super::paths::itself;
use crate::driver::{
    FileOp, Memory, Op, Payload, StatusFlags, StatusPlace, is_cancelled, is_without_positions,
};
use crate::executor::operation::Operation;
use crate::executor::{Core, Leave, Life, Unhandled};

/// The first piece that is read, and what pieces grow to.
const PIECE_BYTES_MIN: usize = 16 << 10;
const PIECE_BYTES_MAX: usize = 256 << 10;

/// So many pieces are on their way while a file is read on that is not in the page cache.
const AHEAD_MAX: usize = 4;

/// Writes are joined up to so many bytes.
const JOINED_BYTES_MAX: usize = 128 << 10;

/// A file that is read and written on from a position: `futures`' `AsyncRead`, `AsyncBufRead`,
/// `AsyncWrite` and `AsyncSeek`. Made by [`File::cursor`].
///
/// While one piece is used, the next ones are read, unless they are in the page cache. What is
/// written is joined and leaves when there is enough of it, with `flush`, and with `close`; a
/// cursor that is dropped writes the rest in the background, and an error of that goes to
/// [`Builder::on_unhandled`](crate::Builder::on_unhandled). The first error of a write stays: every
/// later write and flush tells it.
///
/// Pipes and terminals, which have no positions, are read and written on as they come.
///
/// ```
/// use futures_util::{AsyncBufReadExt, AsyncWriteExt, StreamExt};
///
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("list");
/// let mut out = corio::fs::File::create(&path).await?.cursor(0);
/// for number in 0..3 {
///     out.write_all(format!("line {number}\n").as_bytes()).await?;
/// }
/// out.close().await?;
///
/// let mut lines = corio::fs::File::open(&path).await?.cursor(0).lines();
/// assert_eq!(lines.next().await.unwrap()?, "line 0");
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct Cursor {
    file: Rc<File>,
    core: Rc<Core>,
    /// Of the next byte that the user gets or gives.
    position: u64,
    has_positions: bool,
    /// A plain call has shown that: the ring reads a pipe at any position.
    is_sure: bool,
    /// What was read, and how much of it the user has had.
    shown: Vec<u8>,
    used: usize,
    /// In the order of their positions.
    ahead: VecDeque<Step>,
    piece_bytes: usize,
    /// A plain call was put off to this poll.
    gave_way: bool,
    /// Memory that is used again.
    spare: Vec<u8>,
    /// What was written and has not left, which ends at `position`.
    joined: Vec<u8>,
    sending: Option<Step>,
    write_error: Option<(io::ErrorKind, Option<i32>)>,
    /// The status that a seek from the end asked for.
    asked: Option<Operation>,
}

/// An operation of the cursor's, and where it is at.
struct Step {
    operation: Operation,
    position: u64,
    /// Bytes of a write that are through.
    done: usize,
    /// Bytes that a read asks for.
    length: usize,
}

impl Cursor {
    pub(super) fn new(file: Rc<File>, position: u64) -> Cursor {
        let core = Rc::clone(&file.core);
        Cursor {
            file,
            core,
            position,
            has_positions: true,
            is_sure: false,
            shown: Vec::new(),
            used: 0,
            ahead: VecDeque::new(),
            piece_bytes: PIECE_BYTES_MIN,
            gave_way: false,
            spare: Vec::new(),
            joined: Vec::new(),
            sending: None,
            write_error: None,
            asked: None,
        }
    }

    /// The file under it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the next read or write is.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn start(&self, op: FileOp, payload: Payload) -> Operation {
        Operation::standing(&self.core, Op::File(op), payload, &self.file.fd)
    }

    fn kernels(&self, position: u64) -> Option<u64> {
        self.has_positions.then_some(position)
    }

    // Reading.

    fn read_ahead(&mut self, position: u64) {
        let length = self.piece_bytes;
        let memory = Memory::Vec(emptied(std::mem::take(&mut self.spare), length));
        let (fd, at) = (self.file.fd.raw(), self.kernels(position));
        let op = FileOp::Read { fd, position: at, from: 0, length };
        let operation = self.start(op, Payload::Memory(memory));
        self.ahead.push_back(Step { operation, position, done: 0, length });
    }

    /// Ready if something is shown, or the file is at its end.
    fn poll_shown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.joined.is_empty() || self.sending.is_some() {
            ready!(self.poll_sent(context))?;
        }
        let mut tries = 0;
        while self.used == self.shown.len() {
            self.core.check_turning()?;
            checked_position(self.position)?;
            if self.ahead.is_empty() && ready!(self.poll_cached(context)) {
                return Poll::Ready(Ok(()));
            }
            if self.ahead.is_empty() {
                self.read_ahead(self.position);
            }
            let Some(first) = self.ahead.front_mut() else { continue };
            let result = ready!(Pin::new(&mut first.operation).poll(context));
            let Some(Step { operation, length: asked, .. }) = self.ahead.pop_front() else {
                continue;
            };
            if is_without_positions(result) && self.has_positions {
                self.has_positions = false;
                continue;
            }
            if is_cancelled(result) && self.core.life() < Life::Draining && tries == 0 {
                // Those behind it do not begin where this one did.
                self.ahead.clear();
                tries += 1;
                continue;
            }
            let length = checked(result).inspect_err(|_| self.ahead.clear())?;
            if let Payload::Memory(memory) = operation.take_payload() {
                self.show(memory, length, asked);
            }
            if length == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready with whether the next piece was shown, since it is in the page cache.
    fn poll_cached(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let may_try = self.file.may_be_cached() || !self.is_sure;
        if !self.has_positions || !may_try {
            return Poll::Ready(false);
        }
        match self.core.ask_leave(self.piece_bytes) {
            Leave::Granted => self.gave_way = false,
            Leave::NextPoll if !self.gave_way => {
                self.gave_way = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Leave::NextPoll | Leave::Never => {
                self.gave_way = false;
                return Poll::Ready(false);
            }
        }
        let asked = self.piece_bytes;
        let mut memory = Memory::Vec(emptied(std::mem::take(&mut self.shown), asked));
        self.used = 0;
        let result = self.file.try_cached(self.position, &mut memory, asked);
        self.has_positions = !is_without_positions(result);
        self.is_sure = self.has_positions;
        if result > 0 {
            self.show(memory, result as usize, asked);
        } else if let Memory::Vec(bytes) = memory {
            self.spare = bytes;
        }
        Poll::Ready(result > 0)
    }

    fn show(&mut self, mut memory: Memory, length: usize, asked: usize) {
        memory.set_filled(length);
        let Memory::Vec(bytes) = memory else { return };
        let before = std::mem::replace(&mut self.shown, bytes);
        if before.capacity() > 0 {
            self.spare = before;
        }
        self.used = 0;
        // A piece that was cut off is the last one, or what a pipe had.
        if length < asked || !self.is_sure {
            return self.ahead.clear();
        }
        self.piece_bytes = (self.piece_bytes * 2).min(PIECE_BYTES_MAX);
        if self.file.may_be_cached() {
            return;
        }
        while self.ahead.len() < AHEAD_MAX {
            let last = self.ahead.back().map(|last| last.position + last.length as u64);
            self.read_ahead(last.unwrap_or(self.position + length as u64));
        }
    }

    fn take(&mut self, count: usize) {
        let left = self.shown.len() - self.used;
        assert!(count <= left, "cannot consume {count} of {left} bytes that are shown");
        self.used += count;
        self.position += count as u64;
    }

    /// The place changes: what was read is of no use.
    fn forget_shown(&mut self) {
        self.shown.clear();
        self.used = 0;
        self.ahead.clear();
        self.piece_bytes = PIECE_BYTES_MIN;
    }

    // Writing.

    fn error(&self) -> io::Result<()> {
        match self.write_error {
            None => Ok(()),
            Some((_, Some(number))) => Err(io::Error::from_raw_os_error(number)),
            Some((kind, None)) => Err(io::Error::from(kind)),
        }
    }

    /// Has what is joined leave, if nothing else is on its way.
    fn send(&mut self) {
        if self.sending.is_some() || self.joined.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.joined);
        let position = self.position - bytes.len() as u64;
        self.send_rest(bytes, position, 0);
    }

    fn send_rest(&mut self, bytes: Vec<u8>, position: u64, done: usize) {
        let at = self.kernels(position + done as u64);
        let op = FileOp::Write { fd: self.file.fd.raw(), position: at, from: done, append: false };
        let length = bytes.len();
        let operation = self.start(op, Payload::Memory(Memory::Vec(bytes)));
        self.sending = Some(Step { operation, position, done, length });
    }

    /// Ready if nothing is on its way.
    fn poll_sending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut tries = 0;
        while let Some(sending) = &mut self.sending {
            let result = ready!(Pin::new(&mut sending.operation).poll(context));
            let (payload, position) = (sending.operation.take_payload(), sending.position);
            let mut done = sending.done;
            self.sending = None;
            let Payload::Memory(Memory::Vec(bytes)) = payload else {
                self.write_error = Some((io::ErrorKind::Other, None));
                break;
            };
            let mut may_go_on = true;
            if is_without_positions(result) && self.has_positions {
                self.has_positions = false;
            } else if is_cancelled(result) && self.core.life() < Life::Draining && tries == 0 {
                tries += 1;
            } else {
                match checked(result) {
                    Ok(0) => self.write_error = Some((io::ErrorKind::WriteZero, None)),
                    Ok(count) => done += count,
                    Err(error) => self.write_error = Some((error.kind(), error.raw_os_error())),
                }
                may_go_on = self.write_error.is_none();
            }
            if may_go_on && done < bytes.len() {
                self.send_rest(bytes, position, done);
            } else if self.joined.capacity() == 0 {
                self.joined = bytes;
                self.joined.clear();
            }
        }
        Poll::Ready(self.error())
    }

    /// Ready if all that was written is in the file.
    fn poll_sent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.core.check_turning()?;
            ready!(self.poll_sending(context))?;
            if self.joined.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.send();
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if self.asked.is_none() {
            let fd = &self.file.fd;
            let op = Op::File(FileOp::Status { folder: fd.raw(), flags: StatusFlags::Itself });
            let payload = StatusPlace::of(itself());
            self.asked = Some(Operation::standing(&self.core, op, payload, fd));
        }
        let Some(asked) = &mut self.asked else { return Poll::Ready(Ok(self.position)) };
        let result = ready!(Pin::new(&mut *asked).poll(context));
        let payload = asked.take_payload();
        self.asked = None;
        checked(result)?;
        match payload {
            Payload::Status(place) => Poll::Ready(Ok(place.status().length)),
            _ => unreachable!("a completed operation gives its payload back"),
        }
    }
}

/// Memory without contents that has room for a piece.
fn emptied(mut memory: Vec<u8>, length: usize) -> Vec<u8> {
    memory.clear();
    memory.reserve_exact(length);
    memory
}

impl AsyncBufRead for Cursor {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let cursor = self.get_mut();
        ready!(cursor.poll_shown(context))?;
        Poll::Ready(Ok(&cursor.shown[cursor.used..]))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.take(count);
    }
}

impl AsyncRead for Cursor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let shown = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = shown.len().min(buffer.len());
        buffer[..count].copy_from_slice(&shown[..count]);
        self.take(count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Cursor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.core.check_turning()?;
        self.error()?;
        self.forget_shown();
        while self.joined.len() >= JOINED_BYTES_MAX {
            ready!(self.poll_sending(context))?;
            self.send();
        }
        let room = JOINED_BYTES_MAX - self.joined.len();
        let count = bytes.len().min(room);
        checked_position(self.position.saturating_add(count as u64))?;
        self.joined.extend_from_slice(&bytes[..count]);
        self.position += count as u64;
        if self.joined.len() >= JOINED_BYTES_MAX {
            self.send();
        }
        Poll::Ready(Ok(count))
    }

    /// Ready once all is in the file; it may not be on the disk: see
    /// [`File::sync_all`](crate::fs::File::sync_all).
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }

    /// As `poll_flush`: the file is closed with the cursor.
    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(context)
    }
}

impl AsyncSeek for Cursor {
    fn poll_seek(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        ready!(self.poll_sent(context))?;
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => ready!(self.poll_end(context))?.checked_add_signed(by),
        };
        let before_the_start = || {
            io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start of the file")
        };
        let target = checked_position(target.ok_or_else(before_the_start)?)?;
        if target != self.position {
            self.forget_shown();
            self.position = target;
        }
        Poll::Ready(Ok(target))
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let is_clean = self.joined.is_empty() && self.sending.is_none();
        if is_clean || self.write_error.is_some() {
            return;
        }
        let core = Rc::clone(&self.core);
        if core.life() >= Life::Draining {
            let error = io::Error::other(
                "its runtime ended before the rest of a file was written; cure: `flush` or `close` \
                 the cursor before that",
            );
            return core.report(&Unhandled::WriteFailed { error });
        }
        let mut rest = Cursor::new(Rc::clone(&self.file), self.position);
        rest.has_positions = self.has_positions;
        rest.joined = std::mem::take(&mut self.joined);
        rest.sending = self.sending.take();
        let guard = core.linger_guard();
        let reporter = Rc::clone(&core);
        let finish = async move {
            let _guard = guard;
            let sent = std::future::poll_fn(|context| rest.poll_sent(context)).await;
            if let Err(error) = sent {
                reporter.report(&Unhandled::WriteFailed { error });
            }
        };
        core.spawn(finish, Location::caller(), true);
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("position", &self.position).finish_non_exhaustive()
    }
}
