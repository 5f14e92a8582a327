//! What has arrived and was not read yet. A plain data structure: it knows no kernel.
//!
//! Bytes lie in chunks, in order. Three rules keep the core's buffers in circulation:
//!
//! * a chunk that fills little of its buffer is copied behind the last one, if there is room, and
//!   its buffer goes back: a peer that drips single bytes pins one buffer, not thousands;
//! * what a large demand (`read_exact` of megabytes) holds beyond the stream's share is copied
//!   into one growing allocation, and the buffers go back;
//! * `[inbox-front-is-stable]`: only the reader takes bytes out, and an allocation grows only while
//!   a demand is being waited for; so a slice that `fill_buf` lent stays valid while the reader is
//!   borrowed, whatever arrives meanwhile.

use super::queue::Queue;
use crate::driver::Chunk;

/// How the input ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The peer sent FIN.
    Eof,
    /// The kernel's error number.
    Error(i32),
}

/// Unread bytes, and what comes after them.
#[derive(Default)]
pub(super) struct Inbox {
    chunks: Queue<Chunk>,
    bytes: usize,
    pooled_count: usize,
    end: Option<End>,
}

impl Inbox {
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// How many of the core's buffers are held.
    pub(super) fn pooled_count(&self) -> usize {
        self.pooled_count
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// The first end counts; what comes after it is an echo of it.
    pub(super) fn set_end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Takes a chunk in. With `gather`, it is copied into heap memory that may grow. Returns the
    /// chunk if its bytes were copied, for the caller to drop.
    pub(super) fn push(&mut self, chunk: Chunk, gather: bool) -> Option<Chunk> {
        self.bytes += chunk.len();
        if let Some(last) = self.chunks.back_mut() {
            if gather && last.grow(&chunk) {
                return Some(chunk);
            }
            if chunk.is_little() && last.append(&chunk) {
                return Some(chunk);
            }
        }
        if gather && chunk.is_pooled() {
            self.chunks.push_back(Chunk::from_vec(chunk.to_vec()));
            return Some(chunk);
        }
        self.pooled_count += usize::from(chunk.is_pooled());
        self.chunks.push_back(chunk);
        None
    }

    /// The first unread bytes; empty if there are none.
    pub(super) fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    /// The unread bytes, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(|chunk| &chunk[..])
    }

    /// Takes the first chunk, whole.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front();
        if let Some(chunk) = &chunk {
            self.bytes -= chunk.len();
            self.pooled_count -= usize::from(chunk.is_pooled());
        }
        chunk
    }

    /// Takes up to `count` bytes out. Chunks that were read to their end are dropped here: they
    /// are corio's own and run no foreign code.
    pub(super) fn consume(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.chunks.front_mut() else { return };
            if count < front.len() {
                front.advance(count);
                self.bytes -= count;
                return;
            }
            count -= front.len();
            self.pop();
        }
    }

    /// Copies bytes into `buffer` and takes them out; the number of bytes.
    pub(super) fn take_into(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        for piece in self.pieces() {
            let count = piece.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&piece[..count]);
            filled += count;
            if filled == buffer.len() {
                break;
            }
        }
        self.consume(filled);
        filled
    }

    /// Takes the first `count` bytes, or all if there are fewer.
    pub(super) fn take_vec(&mut self, count: usize) -> Vec<u8> {
        let mut taken = vec![0; count.min(self.bytes)];
        self.take_into(&mut taken);
        taken
    }

    /// Drops everything unread.
    pub(super) fn clear(&mut self) {
        self.consume(self.bytes);
    }

    /// The separator that ends first, of those that begin at `from` or later: where it begins and
    /// ends. Of two that end together it is the longer one.
    pub(super) fn find_first<'a>(
        &self,
        separators: impl Iterator<Item = &'a [u8]>,
        from: usize,
    ) -> Option<(usize, usize)> {
        let found = separators.filter_map(|separator| {
            let end = self.find(separator, from)?;
            Some((end - separator.len(), end))
        });
        found.min_by_key(|&(start, end)| (end, start))
    }

    /// Where `separator` ends, if it begins at `from` or later.
    fn find(&self, separator: &[u8], from: usize) -> Option<usize> {
        match separator {
            [byte] => self.find_byte(*byte, from),
            _ => self.find_long(separator, from),
        }
    }

    fn find_byte(&self, byte: u8, from: usize) -> Option<usize> {
        let mut offset = 0;
        for piece in self.pieces() {
            let skip = from.saturating_sub(offset).min(piece.len());
            if let Some(at) = memchr::memchr(byte, &piece[skip..]) {
                return Some(offset + skip + at + 1);
            }
            offset += piece.len();
        }
        None
    }

    fn find_long(&self, separator: &[u8], from: usize) -> Option<usize> {
        let first = *separator.first()?;
        let mut from = from;
        while let Some(after_first) = self.find_byte(first, from) {
            let start = after_first - 1;
            if self.starts_with(separator, start) {
                return Some(start + separator.len());
            }
            from = after_first;
        }
        None
    }

    fn starts_with(&self, separator: &[u8], at: usize) -> bool {
        let mut rest = separator;
        let mut offset = 0;
        for piece in self.pieces() {
            let skip = at.saturating_sub(offset).min(piece.len());
            let here = &piece[skip..];
            let count = here.len().min(rest.len());
            if here[..count] != rest[..count] {
                return false;
            }
            rest = &rest[count..];
            if rest.is_empty() {
                return true;
            }
            offset += piece.len();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(pieces: &[&[u8]]) -> Inbox {
        let mut inbox = Inbox::default();
        for piece in pieces {
            inbox.bytes += piece.len();
            inbox.chunks.push_back(Chunk::from_vec(piece.to_vec()));
        }
        inbox
    }

    #[test]
    fn a_separator_across_chunks_is_found() {
        let inbox = inbox(&[b"ab\r", b"\r", b"\nx\r\n"]);
        assert_eq!(inbox.find(b"\r\n", 0), Some(5));
        assert_eq!(inbox.find(b"\r\n", 4), Some(8));
        assert_eq!(inbox.find(b"\n", 5), Some(8));
        assert_eq!(inbox.find(b"\r\n\r\n", 0), None);
    }

    #[test]
    fn of_several_separators_the_one_that_ends_first_counts() {
        let inbox = inbox(&[b"ab\r", b"\ncd"]);
        let first = |separators: &[&[u8]], from| inbox.find_first(separators.iter().copied(), from);
        assert_eq!(first(&[b"cd", b"b\r\nc", b"\n"], 0), Some((3, 4)));
        assert_eq!(first(&[b"\n", b"\r\n"], 0), Some((2, 4)), "the longer of two");
        assert_eq!(first(&[b"\n", b"\r\n"], 3), Some((3, 4)));
        assert_eq!(first(&[b"b\r\ncd", b"x"], 0), Some((1, 6)));
        assert_eq!(first(&[b"x"], 0), None);
    }

    #[test]
    fn bytes_are_taken_in_order_across_chunks() {
        let mut inbox = inbox(&[b"abc", b"", b"defg"]);
        let mut two = [0; 2];
        assert_eq!(inbox.take_into(&mut two), 2);
        assert_eq!((&two, inbox.len()), (b"ab", 5));
        assert_eq!(inbox.take_vec(3), b"cde");
        assert_eq!(inbox.front(), b"fg");
        inbox.consume(9);
        assert_eq!((inbox.len(), inbox.front()), (0, &b""[..]));
    }

    #[test]
    fn gathered_bytes_lie_in_one_allocation() {
        let mut inbox = Inbox::default();
        for byte in 0..100u8 {
            inbox.push(Chunk::from_vec(vec![byte; 10]), true);
        }
        assert_eq!(inbox.chunks.len(), 1);
        assert_eq!(inbox.len(), 1000);
    }
}
