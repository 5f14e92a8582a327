//! A file sent into a stream by the kernel, without a copy in this process: `wide_pipe.rs` draws
//! the way.
//!
//! It is one writer among the others: it waits for its turn, and until what was written before is
//! sent; the others wait until it is done. Where the kernel has no such way (files that are made up
//! as they are read, descriptors that others have as well) the bytes go through memory.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Bound;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::stream::os_error;
use super::wide_pipe::{PIECE_BYTES, WidePipe};
use super::{Segment, Stream};
use crate::driver::{Op, Payload, is_no_copy};
use crate::executor::operation::Operation;
use crate::fs::File;

/// What is read at a time where bytes go through memory.
const READ_BYTES: usize = 64 << 10;

/// A range of a file on its way into a stream: the future of the streams' `sendfile`.
///
/// Awaited through `&mut`, it can be given up and taken up again, and says how far it is. What a
/// file has is sent as it is when it leaves: who changes it meanwhile changes what is sent, also of
/// bytes that count as sent and that the peer has not confirmed yet.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("page");
/// # corio::fs::write(&path, "<p>hello").await?;
/// let (mut client, server) = corio::net::UnixStream::pair()?;
/// let file = corio::fs::File::open(&path).await?;
/// server.write(b"HTTP/1.0 200 OK\r\n\r\n").await?;
/// let mut sending = server.sendfile(&file, ..);
/// let limit = std::time::Duration::from_secs(10);
/// if corio::timeout(limit, &mut sending).await.is_err() {
///     eprintln!("the client took only {} bytes", sending.sent());
/// }
/// # assert_eq!(sending.sent(), 8);
/// drop(sending);
/// drop(server);
/// let mut page = Vec::new();
/// client.read_to_end(&mut page).await?;
/// assert!(page.ends_with(b"\r\n\r\n<p>hello"));
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is sent until it is awaited"]
pub struct Sendfile<'a> {
    sending: Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>,
    sent: Rc<Cell<u64>>,
}

/// The first byte of a range, and how many there are.
fn start_and_length(range: (Bound<u64>, Bound<u64>)) -> (u64, u64) {
    let start = match range.0 {
        Bound::Included(start) => start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.1 {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => end,
        Bound::Unbounded => u64::MAX,
    };
    // No file reaches further.
    let end = end.min(i64::MAX as u64);
    (start, end.saturating_sub(start))
}

impl<'a> Sendfile<'a> {
    pub(crate) fn new(
        stream: &'a Rc<Stream>,
        file: &'a File,
        range: (Bound<u64>, Bound<u64>),
    ) -> Sendfile<'a> {
        let (start, length) = start_and_length(range);
        let sent = Rc::<Cell<u64>>::default();
        let way = Way { stream, file, start, length, sent: Rc::clone(&sent) };
        Sendfile { sending: Box::pin(way.go()), sent }
    }

    /// How many bytes of the range are sent by now: in the kernel's hands, or, where they go
    /// through memory, in the stream's.
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }
}

impl Future for Sendfile<'_> {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let polled = self.sending.as_mut().poll(context);
        polled.map_ok(|()| self.sent.get())
    }
}

impl fmt::Debug for Sendfile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sendfile").field("sent", &self.sent()).finish_non_exhaustive()
    }
}

/// Where from, where to, and how far.
struct Way<'a> {
    stream: &'a Rc<Stream>,
    file: &'a File,
    start: u64,
    length: u64,
    sent: Rc<Cell<u64>>,
}

impl Way<'_> {
    async fn go(self) -> io::Result<()> {
        let _turn = self.stream.take_turn().await?;
        let source = self.stream.source.get();
        if source.splices() && self.through_pipe().await? {
            return Ok(());
        }
        self.through_memory().await
    }

    fn rest(&self) -> u64 {
        self.length - self.sent.get()
    }

    fn advance(&self, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
    }

    /// False if the kernel does not move bytes from this file, or not to this stream.
    async fn through_pipe(&self) -> io::Result<bool> {
        let core = self.stream.core();
        let pipe = WidePipe::open(core)?;
        core.driver.borrow_mut().set_nonblocking(self.stream.fd().raw(), true)?;
        while self.rest() > 0 {
            let position = self.start + self.sent.get();
            let length = self.rest().min(PIECE_BYTES as u64) as usize;
            let filled = pipe.fill(self.file.descriptor(), position, length).await;
            match usize::try_from(filled) {
                Ok(0) => break,
                Ok(count) => {
                    if !self.empty(&pipe, count).await? {
                        return Ok(false);
                    }
                }
                Err(_) => match os_error(-filled) {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if is_no_copy(&error) => return Ok(false),
                    error => return Err(error),
                },
            }
        }
        Ok(true)
    }

    /// Sends what the pipe holds. False if the stream takes nothing out of pipes.
    async fn empty(&self, pipe: &WidePipe, mut held: usize) -> io::Result<bool> {
        let stream = self.stream;
        while held > 0 {
            stream.check_unbroken()?;
            let moved = pipe.to_stream(stream.fd(), held);
            if let Ok(count) = usize::try_from(moved) {
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                held -= count;
                self.advance(count);
                continue;
            }
            match os_error(-moved) {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::WouldBlock => self.room().await?,
                error if is_no_copy(&error) => return Ok(false),
                // Every later write is told as well.
                _ => stream.fail_writes(-moved),
            }
        }
        Ok(true)
    }

    /// Waits until the stream has room.
    async fn room(&self) -> io::Result<()> {
        let (core, fd) = (self.stream.core(), self.stream.fd());
        let poll = Op::PollOut { fd: fd.raw() };
        match Operation::start(core, poll, Payload::None, fd).await {
            error if error < 0 => Err(os_error(-error)),
            _ => Ok(()),
        }
    }

    async fn through_memory(&self) -> io::Result<()> {
        while self.rest() > 0 {
            let position = self.start + self.sent.get();
            let length = self.rest().min(READ_BYTES as u64) as usize;
            let chunk = self.file.read_at(position, length).await?;
            if chunk.is_empty() {
                break;
            }
            self.stream.check_unbroken()?;
            self.advance(chunk.len());
            self.stream.queue(Segment::from(chunk));
            self.stream.flush().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_any_kind_ends_where_files_end() {
        let of = |start, end| start_and_length((start, end));
        let most = i64::MAX as u64;
        assert_eq!(of(Bound::Unbounded, Bound::Unbounded), (0, most));
        assert_eq!(of(Bound::Included(3), Bound::Excluded(5)), (3, 2));
        assert_eq!(of(Bound::Included(3), Bound::Included(5)), (3, 3));
        assert_eq!(of(Bound::Excluded(3), Bound::Unbounded), (4, most - 4));
        assert_eq!(of(Bound::Included(5), Bound::Excluded(3)), (5, 0));
        assert_eq!(of(Bound::Included(u64::MAX), Bound::Included(u64::MAX)), (u64::MAX, 0));
    }
}
