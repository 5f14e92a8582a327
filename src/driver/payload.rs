//! The memory that an operation in flight points to.
//!
//! `[slot-keeps-memory]`: a payload lives in its slot from push until the last completion, at an
//! address that never moves, and nobody reads, changes or drops it meanwhile. Only the driver makes
//! pointers from it, in `push`.
#![allow(unsafe_code)] // A buffer that the kernel filled is declared initialised.

use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};

use super::files::{Memories, Memory, Paths, Second, StatusPlace};
use super::message::passing;
use super::{Address, Chunk, Message};

/// Fewer bytes than this are not worth a segment of their own.
const LITTLE_BYTES: usize = 256;

/// What the kernel may read or write until an operation's last completion.
#[derive(Default)]
pub(crate) enum Payload {
    /// The operation points to nothing.
    #[default]
    None,
    /// The peer of a connect.
    Address(Box<Address>),
    /// Where a receive without a pool puts its bytes.
    Buffer(ReceiveBuffer),
    /// One piece to send.
    Segment(Segment),
    /// Several pieces to send as one.
    Batch(Box<Batch>),
    /// Names of files.
    Paths(Box<Paths>),
    /// Where the status of a file is put.
    Status(Box<StatusPlace>),
    /// Memory that a file is read into or written from.
    Memory(Memory),
    /// Several pieces of it.
    Memories(Box<Memories>),
    /// The second descriptor of an operation that has two.
    Second(Box<Second>),
    /// A descriptor that is to be closed.
    Descriptor(OwnedFd),
    /// Bytes with an address, or with what goes beside them.
    Message(Box<Message>),
}

impl Payload {
    /// How many bytes a send of this payload sends.
    pub(super) fn sending_bytes(&self) -> usize {
        match self {
            Payload::Segment(segment) => segment.len(),
            Payload::Batch(batch) => batch.segments.iter().map(Segment::len).sum(),
            _ => unreachable!("a send has a segment or a batch for its payload"),
        }
    }

    /// The control messages that go with the first byte.
    pub(super) fn control(&self) -> Vec<u8> {
        match self {
            Payload::Batch(batch) => batch.passed(),
            _ => Vec::new(),
        }
    }

    /// The pieces of a send behind its first `skip` bytes.
    pub(super) fn pieces_from(&self, skip: usize) -> Vec<libc::iovec> {
        let segments = match self {
            Payload::Segment(segment) => std::slice::from_ref(segment),
            Payload::Batch(batch) => &batch.segments[..],
            _ => unreachable!("a send has a segment or a batch for its payload"),
        };
        let mut skip = skip;
        let rests = segments.iter().map(|segment| {
            let bytes = segment.as_slice();
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            &bytes[skipped..]
        });
        let rests = rests.filter(|rest| !rest.is_empty());
        rests.map(piece).collect()
    }
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Heap memory for one receive.
pub(crate) struct ReceiveBuffer(Vec<u8>);

impl ReceiveBuffer {
    pub(crate) fn new(length: usize) -> ReceiveBuffer {
        ReceiveBuffer(Vec::with_capacity(length))
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The first `length` bytes, which a completed receive filled.
    pub(crate) fn into_chunk(mut self, length: usize) -> Chunk {
        assert!(length <= self.0.capacity());
        // SAFETY: [kernel-filled] the receive completed with `length`, so the kernel wrote that
        // many bytes from the start of the allocation, whose capacity was checked above.
        unsafe { self.0.set_len(length) };
        Chunk::from_vec(self.0)
    }
}

/// Owned bytes on their way out: what `write_owned` takes.
///
/// Made from a [`Chunk`], [`Bytes`], a `Vec<u8>` or a `&'static [u8]`, never with a copy.
pub struct Segment(Kind);

enum Kind {
    Chunk(Chunk),
    Bytes(Bytes),
    /// The bytes from `start` on.
    Vec {
        bytes: Vec<u8>,
        start: usize,
    },
    /// As above, with descriptors that go with the first byte.
    Passing {
        bytes: Vec<u8>,
        start: usize,
        descriptors: Vec<OwnedFd>,
    },
}

impl Segment {
    /// Bytes, at least one, with descriptors that go with the first.
    pub(crate) fn passing(bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Segment {
        Segment(Kind::Passing { bytes, start: 0, descriptors })
    }

    /// Whether it has to leave in a send of its own.
    pub(crate) fn leaves_alone(&self) -> bool {
        matches!(&self.0, Kind::Passing { .. })
    }

    /// An empty one with room, for small writes to be joined into.
    pub(crate) fn with_capacity(capacity: usize) -> Segment {
        Segment(Kind::Vec { bytes: Vec::with_capacity(capacity), start: 0 })
    }

    /// The bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Kind::Chunk(chunk) => chunk,
            Kind::Bytes(bytes) => bytes,
            Kind::Vec { bytes, start } | Kind::Passing { bytes, start, .. } => &bytes[*start..],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether a copy of these bytes costs less than keeping the memory they lie in.
    pub(crate) fn is_little(&self) -> bool {
        match &self.0 {
            Kind::Chunk(chunk) => chunk.is_little(),
            Kind::Bytes(_) | Kind::Vec { .. } => self.len() < LITTLE_BYTES,
            Kind::Passing { .. } => false,
        }
    }

    /// Appends a copy of `bytes` if there is room for it without moving what is there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        match &mut self.0 {
            Kind::Vec { bytes: tail, .. } if tail.capacity() - tail.len() >= bytes.len() => {
                tail.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// The bytes as any thread may have them: only those of a chunk, whose memory is its core's,
    /// are copied.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self.0 {
            Kind::Chunk(chunk) => Bytes::from(chunk.to_vec()),
            Kind::Bytes(bytes) => bytes,
            Kind::Vec { bytes, start } | Kind::Passing { bytes, start, .. } => {
                Bytes::from(bytes).slice(start..)
            }
        }
    }

    /// Drops the first `count` bytes, which were sent.
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Kind::Chunk(chunk) => chunk.advance(count),
            Kind::Bytes(bytes) => bytes.advance(count),
            Kind::Vec { start, .. } => *start += count,
            Kind::Passing { start, descriptors, .. } => {
                *start += count;
                if count > 0 {
                    descriptors.clear();
                }
            }
        }
    }
}

impl From<Chunk> for Segment {
    fn from(chunk: Chunk) -> Segment {
        Segment(Kind::Chunk(chunk))
    }
}

impl From<Bytes> for Segment {
    fn from(bytes: Bytes) -> Segment {
        Segment(Kind::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Segment {
    fn from(bytes: Vec<u8>) -> Segment {
        Segment(Kind::Vec { bytes, start: 0 })
    }
}

impl From<&'static [u8]> for Segment {
    fn from(bytes: &'static [u8]) -> Segment {
        Segment(Kind::Bytes(Bytes::from_static(bytes)))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Segment {
    fn from(bytes: &'static [u8; N]) -> Segment {
        Segment(Kind::Bytes(Bytes::from_static(bytes)))
    }
}

impl From<&'static str> for Segment {
    fn from(text: &'static str) -> Segment {
        Segment(Kind::Bytes(Bytes::from_static(text.as_bytes())))
    }
}

impl From<String> for Segment {
    fn from(text: String) -> Segment {
        Segment::from(text.into_bytes())
    }
}

/// Several segments that leave in one send, with the header that tells the kernel where they are.
pub(crate) struct Batch {
    segments: Vec<Segment>,
    pieces: Vec<libc::iovec>,
    control: Vec<u8>,
    header: libc::msghdr,
}

impl Batch {
    pub(crate) fn new(segments: Vec<Segment>) -> Box<Batch> {
        // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Batch { segments, pieces: Vec::new(), control: Vec::new(), header })
    }

    /// The control message that passes the descriptors of the first segment.
    fn passed(&self) -> Vec<u8> {
        match self.segments.first().map(|segment| &segment.0) {
            Some(Kind::Passing { descriptors, .. }) if !descriptors.is_empty() => {
                passing(descriptors)
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// The list of the pieces. It points into this batch, which must stay where it is.
    pub(super) fn pieces(&mut self) -> &mut [libc::iovec] {
        self.pieces.clear();
        let longest = libc::UIO_MAXIOV as usize;
        self.pieces.extend(self.segments.iter().take(longest).map(|it| piece(it.as_slice())));
        &mut self.pieces
    }

    /// The header for the kernel, likewise.
    pub(super) fn header(&mut self) -> *const libc::msghdr {
        self.pieces();
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        self.control = self.passed();
        if !self.control.is_empty() {
            self.header.msg_control = self.control.as_mut_ptr().cast();
            self.header.msg_controllen = self.control.len();
        }
        &raw const self.header
    }
}
