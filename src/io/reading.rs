//! Reads: they wait for bytes in the inbox, and take them. Dropping a read takes nothing.
//!
//! Every read polls `poll_demand` with the number of unread bytes it needs before it can take any;
//! bytes that came before the end or an error are delivered first.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::inbox::End;
use super::separators::{Separators, each};
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

/// How far a search for a separator has come, and how far it may go.
pub(super) struct Search {
    /// A match begins here or later.
    from: usize,
    /// A match ends within so many bytes.
    limit: usize,
    /// So many bytes may have come without a match.
    rest_limit: usize,
}

impl Search {
    fn until(limit: usize) -> Search {
        // After `limit` bytes without the separator it cannot end within them.
        Search { from: 0, limit, rest_limit: limit.saturating_sub(1) }
    }

    pub(super) fn line(limit: usize) -> Search {
        // A last line without its end may be as long as one with it.
        Search { from: 0, limit, rest_limit: limit }
    }
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

    /// Polls until a separator has come, and says where it ends; `None` if the input ended first.
    fn poll_separator(
        self: &Rc<Self>,
        separators: &(impl Separators + ?Sized),
        search: &mut Search,
        context: &Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        self.core.check_turning()?;
        let longest = each(separators).map(<[u8]>::len).max().unwrap_or_default();
        loop {
            let (found, length) = {
                let inbox = self.inbox.borrow();
                (inbox.find_first(each(separators), search.from), inbox.len())
            };
            // A separator that is not whole yet begins here at the earliest.
            let rest = (length + 1).saturating_sub(longest);
            match found {
                Some((_, end)) if end <= search.limit => return Poll::Ready(Ok(Some(end))),
                Some((consumed, _)) => return Poll::Ready(Err(LimitOverrun { consumed }.into())),
                None if length > search.rest_limit => {
                    return Poll::Ready(Err(LimitOverrun { consumed: rest }.into()));
                }
                None => search.from = rest,
            }
            match self.poll_demand(length + 1, context)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Supply::Ended) => return Poll::Ready(Ok(None)),
                Poll::Ready(Supply::Enough) => {}
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
        separators: &(impl Separators + ?Sized),
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let count = separators.count();
        assert!(count > 0, "there is no separator to read until");
        assert!(each(separators).all(|it| !it.is_empty()), "a separator needs at least one byte");
        let _demand = Demand(self);
        let mut search = Search::until(limit);
        match poll_fn(|context| self.poll_separator(separators, &mut search, context)).await? {
            Some(end) => Ok(self.take(end)),
            None => Err(self.incomplete(None)),
        }
    }

    /// Polls for a line, or what there is at the end of the input.
    pub(super) fn poll_line(
        self: &Rc<Self>,
        search: &mut Search,
        context: &Context<'_>,
    ) -> Poll<io::Result<Vec<u8>>> {
        match self.poll_separator(b"\n", search, context)? {
            Poll::Pending => Poll::Pending,
            Poll::Ready(end) => Poll::Ready(Ok(self.take(end.unwrap_or(usize::MAX)))),
        }
    }

    pub(crate) async fn read_line(self: &Rc<Self>, limit: usize) -> io::Result<Vec<u8>> {
        let _demand = Demand(self);
        let mut search = Search::line(limit);
        poll_fn(|context| self.poll_line(&mut search, context)).await
    }

    /// Whether the input has ended and all of it was read.
    pub(crate) fn at_eof(&self) -> bool {
        let inbox = self.inbox.borrow();
        inbox.len() == 0 && inbox.end() == Some(End::Eof)
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
