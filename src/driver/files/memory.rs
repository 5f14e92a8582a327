//! The memory of operations on files: names, and buffers for reads and writes.
//!
//! `[slot-keeps-memory]`: as payloads these lie in their slot while in flight; whoever makes the
//! submission or the system call takes addresses out of them once, in `push`.
#![allow(unsafe_code)] // Memory that the kernel filled.

use std::ffi::CString;
use std::rc::Rc;

use bytes::BytesMut;
use io_uring::types;

use super::aligned::{AlignedBuffer, AlignedPool};
use crate::driver::{Fd, Payload, Segment};

/// One or two names.
#[derive(Default)]
pub(crate) struct Paths {
    pub(crate) first: CString,
    pub(crate) second: CString,
    /// Where a link is read to.
    pub(crate) answer: Vec<u8>,
    /// How a file is opened that has rules for its path.
    pub(super) how: types::OpenHow,
}

impl Paths {
    pub(crate) fn one(first: CString) -> Payload {
        Payload::Paths(Box::new(Paths { first, ..Paths::default() }))
    }

    pub(crate) fn two(first: CString, second: CString) -> Payload {
        Payload::Paths(Box::new(Paths { first, second, ..Paths::default() }))
    }

    /// With room for the target of a link.
    pub(crate) fn with_answer(first: CString, length: usize) -> Payload {
        let answer = vec![0; length];
        Payload::Paths(Box::new(Paths { first, answer, ..Paths::default() }))
    }
}

/// What an operation on two descriptors has beside the one that its slot keeps: the other one, and
/// where the positions lie in it that are no descriptor's own.
pub(crate) struct Second {
    pub(super) positions: [i64; 2],
    _other: Rc<Fd>,
}

impl Second {
    pub(crate) fn of(other: &Rc<Fd>) -> Payload {
        Payload::Second(Box::new(Second { positions: [0; 2], _other: Rc::clone(other) }))
    }
}

/// Memory that a file is read into or written from.
pub(crate) enum Memory {
    Vec(Vec<u8>),
    Bytes(BytesMut),
    Slice(Box<[u8]>),
    Aligned(AlignedBuffer),
}

impl Memory {
    /// How much a read may fill.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Memory::Vec(bytes) => bytes.capacity(),
            Memory::Bytes(bytes) => bytes.capacity(),
            Memory::Slice(bytes) => bytes.len(),
            Memory::Aligned(buffer) => buffer.capacity(),
        }
    }

    /// What is written.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Memory::Vec(bytes) => bytes,
            Memory::Bytes(bytes) => bytes,
            Memory::Slice(bytes) => bytes,
            Memory::Aligned(buffer) => buffer,
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Memory::Vec(bytes) => bytes.as_mut_ptr(),
            Memory::Bytes(bytes) => bytes.as_mut_ptr(),
            Memory::Slice(bytes) => bytes.as_mut_ptr(),
            Memory::Aligned(buffer) => buffer.as_room(),
        }
    }

    /// A read has filled the memory up to `length`.
    pub(crate) fn set_filled(&mut self, length: usize) {
        assert!(length <= self.capacity(), "a read fills no more than the memory has room for");
        match self {
            // SAFETY: [kernel-filled] reads filled the memory from its start up to `length`, which
            // is within the capacity.
            Memory::Vec(bytes) => unsafe { bytes.set_len(length) },
            // SAFETY: [kernel-filled] as above.
            Memory::Bytes(bytes) => unsafe { bytes.set_len(length) },
            Memory::Slice(_) => {}
            Memory::Aligned(buffer) => buffer.resize(length),
        }
    }
}

/// Several pieces of memory for one read or write, with the list that tells the kernel of them.
pub(crate) struct Memories {
    pub(crate) memories: Vec<Memory>,
    pieces: Vec<libc::iovec>,
}

impl Memories {
    pub(crate) fn of(memories: Vec<Memory>) -> Payload {
        Payload::Memories(Box::new(Memories { memories, pieces: Vec::new() }))
    }

    /// The rooms, or for a write the bytes, behind the first `from`.
    pub(super) fn pieces(&mut self, from: usize, for_write: bool) -> &[libc::iovec] {
        self.pieces.clear();
        let mut skip = from;
        for memory in &mut self.memories {
            let length = if for_write { memory.as_slice().len() } else { memory.capacity() };
            let skipped = skip.min(length);
            skip -= skipped;
            if skipped < length && self.pieces.len() < libc::UIO_MAXIOV as usize {
                let base = memory.as_mut_ptr().wrapping_add(skipped).cast();
                self.pieces.push(libc::iovec { iov_base: base, iov_len: length - skipped });
            }
        }
        &self.pieces
    }

    /// A read has filled the memories, one after the other, up to `length` in all.
    pub(crate) fn set_filled(&mut self, length: usize) {
        let mut rest = length;
        for memory in &mut self.memories {
            let filled = rest.min(memory.capacity());
            memory.set_filled(filled);
            rest -= filled;
        }
    }
}

/// The single piece of memory that a payload is, if it is one.
pub(crate) fn memory_of(payload: Payload) -> Option<Memory> {
    match payload {
        Payload::Memory(memory) => Some(memory),
        _ => None,
    }
}

/// The number of the registered region of this pool that a payload lies in, if it lies in one.
pub(in crate::driver) fn region(payload: &Payload, pool: &Rc<AlignedPool>) -> Option<u16> {
    match payload {
        Payload::Memory(Memory::Aligned(buffer)) => buffer.region(pool),
        _ => None,
    }
}

/// Where the bytes of a write lie.
pub(super) enum Source {
    One(*const u8, usize),
    Many(*const libc::iovec, usize),
}

/// What a write of this payload writes, from its byte `from` on.
pub(super) fn source(payload: &mut Payload, from: usize) -> Source {
    let rest = |bytes: &[u8]| {
        let rest = &bytes[from..];
        Source::One(rest.as_ptr(), rest.len().min(super::LENGTH_MAX))
    };
    match payload {
        Payload::Memory(memory) => rest(memory.as_slice()),
        Payload::Segment(segment) => rest(Segment::as_slice(segment)),
        Payload::Memories(memories) => {
            let pieces = memories.pieces(from, true);
            Source::Many(pieces.as_ptr(), pieces.len())
        }
        Payload::Batch(batch) => {
            let pieces = batch.pieces();
            Source::Many(pieces.as_ptr(), pieces.len())
        }
        _ => unreachable!("a write has bytes for its payload"),
    }
}

/// Where the bytes of a read go.
pub(super) enum Room {
    One(*mut u8, usize),
    Many(*const libc::iovec, usize),
}

/// The room of this payload for a read.
pub(super) fn room(payload: &mut Payload, from: usize, length: usize) -> Room {
    match payload {
        Payload::Memory(memory) => {
            let length = length.min(memory.capacity() - from).min(super::LENGTH_MAX);
            Room::One(memory.as_mut_ptr().wrapping_add(from), length)
        }
        Payload::Memories(memories) => {
            let pieces = memories.pieces(from, false);
            Room::Many(pieces.as_ptr(), pieces.len())
        }
        _ => unreachable!("a read has memory for its payload"),
    }
}
