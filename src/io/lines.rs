//! Lines as a stream of `futures`: a read of a line that is polled again and again.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::Stream;
use super::reading::Search;

/// The lines of a stream, each with its `\n`, from the `lines` of `TcpStream` and its reading
/// halves.
///
/// It ends with the input, or after an error: one that is too long stays in the stream.
///
/// # Cancellation
///
/// **Strict**: a line is taken when it is given; dropping this, or a wait for the next, takes
/// nothing.
#[must_use = "a stream does nothing until it is polled"]
pub struct Lines<'a> {
    stream: &'a Rc<Stream>,
    limit: usize,
    search: Search,
    is_over: bool,
}

impl<'a> Lines<'a> {
    /// The caller holds the stream's reader for `'a`.
    pub(crate) fn new(stream: &'a Rc<Stream>, limit: usize) -> Lines<'a> {
        Lines { stream, limit, search: Search::line(limit), is_over: false }
    }
}

impl futures_util::Stream for Lines<'_> {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let line = ready!(this.stream.poll_line(&mut this.search, context));
        this.stream.stop_waiting();
        this.search = Search::line(this.limit);
        this.is_over = line.as_ref().map_or(true, Vec::is_empty);
        match line {
            Ok(line) if line.is_empty() => Poll::Ready(None),
            line => Poll::Ready(Some(line)),
        }
    }
}

impl Drop for Lines<'_> {
    fn drop(&mut self) {
        self.stream.stop_waiting();
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("limit", &self.limit).finish()
    }
}
