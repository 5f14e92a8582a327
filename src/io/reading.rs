//! Reads: they wait for bytes in the inbox, and take them. Dropping a read takes nothing.
//!
//! Every read polls `poll_demand` with the number of unread bytes it needs before it can take any;
//! bytes that came before the end or an error are delivered first.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::inbox::End;
use super::stream::os_error;
use super::{Chunk, IncompleteRead, LimitOverrun, Stream};

/// The one reader of a stream: whoever holds it `&mut` is the only one to take bytes out.
///
/// For `TcpStream` and reading halves only, which `Stream::lend` relies upon.
pub(crate) trait Reader {
    /// What it reads from.
    fn stream(&self) -> &Rc<Stream>;
}

/// What a reader finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Supply {
    /// As many bytes as were demanded.
    Enough,
    /// The peer sent FIN before that many.
    Ended,
}

/// Withdraws a reader's demand when its future is dropped, so that a read that was given up does
/// not go on filling the inbox.
struct Demand<'a>(&'a Rc<Stream>);

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

impl Stream {
    fn poll_demand(
        self: &Rc<Self>,
        count: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<Supply>> {
        self.core.check_turning()?;
        let (length, end) = {
            let inbox = self.inbox.borrow();
            (inbox.len(), inbox.end())
        };
        let supply = match end {
            _ if length >= count => Ok(Supply::Enough),
            Some(End::Eof) => Ok(Supply::Ended),
            Some(End::Error(error)) => Err(os_error(error)),
            None => {
                self.wait_for(count, context.waker());
                return Poll::Pending;
            }
        };
        self.stop_waiting();
        Poll::Ready(supply)
    }

    async fn demand(self: &Rc<Self>, count: usize) -> io::Result<Supply> {
        let _demand = Demand(self);
        poll_fn(|context| self.poll_demand(count, context)).await
    }

    /// Polls for the next chunk; `None` at the end.
    pub(crate) fn poll_chunk(
        self: &Rc<Self>,
        context: &Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        // What is here needs no look at anything else.
        if self.inbox.borrow().len() == 0 {
            match self.poll_demand(1, context)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Supply::Ended) => return Poll::Ready(Ok(None)),
                Poll::Ready(Supply::Enough) => {}
            }
        } else {
            self.core.check_turning()?;
        }
        let mut chunk = self.inbox.borrow_mut().pop();
        self.made_room();
        if let Some(chunk) = &mut chunk {
            spare_scarce_buffer(chunk);
        }
        Poll::Ready(Ok(chunk))
    }

    pub(crate) async fn read_chunk(self: &Rc<Self>) -> io::Result<Option<Chunk>> {
        let _demand = Demand(self);
        poll_fn(|context| self.poll_chunk(context)).await
    }

    /// Polls for bytes to copy into `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        self: &Rc<Self>,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match self.poll_demand(1, context)? {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Supply::Ended) => Poll::Ready(Ok(0)),
            Poll::Ready(Supply::Enough) => {
                let count = self.inbox.borrow_mut().take_into(buffer);
                self.made_room();
                Poll::Ready(Ok(count))
            }
        }
    }

    pub(crate) async fn read(self: &Rc<Self>, buffer: &mut [u8]) -> io::Result<usize> {
        let _demand = Demand(self);
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    pub(crate) async fn read_exact(self: &Rc<Self>, buffer: &mut [u8]) -> io::Result<()> {
        let expected = buffer.len();
        match self.demand(expected).await? {
            Supply::Enough => {
                self.inbox.borrow_mut().take_into(buffer);
                self.made_room();
                Ok(())
            }
            Supply::Ended => Err(self.incomplete(Some(expected))),
        }
    }

    fn incomplete(&self, expected: Option<usize>) -> io::Error {
        let partial = self.inbox.borrow_mut().take_vec(usize::MAX);
        IncompleteRead { partial, expected }.into()
    }

    /// Waits until `separator` has come, and says where it ends; `None` if the input ended first,
    /// after at most `rest_limit` bytes.
    async fn separator_end(
        self: &Rc<Self>,
        separator: &[u8],
        limit: usize,
        rest_limit: usize,
    ) -> io::Result<Option<usize>> {
        assert!(!separator.is_empty(), "a separator needs at least one byte");
        self.core.check_turning()?;
        let mut from = 0;
        loop {
            let (found, length) = {
                let inbox = self.inbox.borrow();
                (inbox.find(separator, from), inbox.len())
            };
            match found {
                Some(end) if end <= limit => return Ok(Some(end)),
                Some(_) => return Err(LimitOverrun { consumed: limit }.into()),
                None if length > rest_limit => return Err(LimitOverrun { consumed: limit }.into()),
                None => {}
            }
            from = (length + 1).saturating_sub(separator.len());
            if self.demand(length + 1).await? == Supply::Ended {
                return Ok(None);
            }
        }
    }

    fn take(self: &Rc<Self>, count: usize) -> Vec<u8> {
        let taken = self.inbox.borrow_mut().take_vec(count);
        self.made_room();
        taken
    }

    pub(crate) async fn read_until(
        self: &Rc<Self>,
        separator: &[u8],
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        // After `limit` bytes without the separator it cannot end within them.
        match self.separator_end(separator, limit, limit.saturating_sub(1)).await? {
            Some(end) => Ok(self.take(end)),
            None => Err(self.incomplete(None)),
        }
    }

    pub(crate) async fn read_line(self: &Rc<Self>, limit: usize) -> io::Result<Vec<u8>> {
        // A last line without its end may be as long as one with it.
        match self.separator_end(b"\n", limit, limit).await? {
            Some(end) => Ok(self.take(end)),
            None => Ok(self.take(usize::MAX)),
        }
    }

    pub(crate) async fn read_to_end(self: &Rc<Self>, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let before = buffer.len();
        while let Some(chunk) = self.read_chunk().await? {
            buffer.extend_from_slice(&chunk);
        }
        Ok(buffer.len() - before)
    }

    /// Polls until there are unread bytes or the end.
    pub(crate) fn poll_fill(self: &Rc<Self>, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_demand(1, context).map_ok(|_| ())
    }

    pub(crate) async fn fill(self: &Rc<Self>) -> io::Result<()> {
        self.demand(1).await.map(|_| ())
    }

    /// Lends the first unread bytes for as long as the reader is borrowed.
    #[allow(unsafe_code)] // Lends bytes out of a RefCell.
    pub(crate) fn lend<R: Reader>(reader: &mut R) -> &[u8] {
        let inbox = reader.stream().inbox.borrow();
        let (first, length) = (inbox.front().as_ptr(), inbox.front().len());
        drop(inbox);
        // SAFETY: [inbox-front-is-stable] only the reader takes bytes out, and it stays borrowed
        // for as long as the slice lives. What arrives meanwhile is written behind these bytes,
        // and moves no allocation since nobody waits.
        unsafe { std::slice::from_raw_parts(first, length) }
    }

    /// Takes `count` bytes out, which `lend` showed.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[track_caller]
    pub(crate) fn consume(self: &Rc<Self>, count: usize) {
        let length = self.inbox.borrow().len();
        assert!(count <= length, "cannot consume {count} of {length} bytes");
        self.inbox.borrow_mut().consume(count);
        self.made_room();
    }
}

/// When the pool has few buffers left, what is lent to the user is a copy.
fn spare_scarce_buffer(chunk: &mut Chunk) {
    if chunk.is_scarce() {
        *chunk = Chunk::from_vec(chunk.to_vec());
    }
}
