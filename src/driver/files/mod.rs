//! Operations on files: plain data, asked of the ring where the kernel has them there, and of a
//! helper thread as the system call of the same name where it has not.
//!
//! ```text
//!                 the ring has it           ring.rs: one submission
//!   FileOp ──┬───────────────────────▶ ─────────────────────────────────▶ completion
//!            │ it has not, or epoll      call.rs: one system call
//!            └───────────────────────▶ on a helper thread (threads.rs) ──▶ completion
//! ```
//!
//! Either way the operation points at the same memory (`memory.rs`), which lies in its slot until
//! the last completion. A helper's call cannot be interrupted: its slot outlives a teardown that
//! gave up on it, and a descriptor that it opens too late is closed by the helper.

mod aligned;
mod call;
mod entries;

mod memory;
mod ring;
mod status;
mod threads;
mod words;

use std::os::fd::RawFd;

pub use aligned::AlignedBuffer;
pub(super) use aligned::{AlignedPool, REGIONS_MAX};
pub(super) use call::read_now;
pub(crate) use entries::{RawEntry, entries};
pub(super) use memory::region;
pub(crate) use memory::{Memories, Memory, Paths, Second, memory_of};
pub(super) use ring::submission;
pub(crate) use status::{Status, StatusPlace, kind};
pub(crate) use threads::Helpers;
pub use words::Advice;
pub(crate) use words::{
    AllocateMode, LinkFlags, LockKind, OpenHow, StatusFlags, is_about_links, is_cancelled,
    is_escape, is_no_call, is_no_copy, is_without_positions,
};

use super::Feature;

/// Stands for the current folder where an operation wants the descriptor of one.
pub(crate) const HERE: RawFd = libc::AT_FDCWD;

/// The most that one read or write asks for: the kernel caps it below 2 GiB, the rest goes on.
const LENGTH_MAX: usize = 1 << 30;

/// One of the two ends of a splice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpliceEnd {
    pub(crate) fd: RawFd,
    pub(crate) position: Option<u64>,
}

/// An operation on a file or on a name. Those on names take them relative to a folder, or to
/// [`HERE`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileOp {
    /// Payload [`Paths`]; the result is a descriptor, closed on exec.
    Open { folder: RawFd, how: OpenHow },
    /// Payload [`Memory`] or [`Memories`]: into the memory from its byte `from` on. Without a
    /// position it goes on where the last one ended.
    Read { fd: RawFd, position: Option<u64>, from: usize, length: usize },
    /// Payload a segment, a batch, [`Memory`] or [`Memories`], from its byte `from` on; an append
    /// has no single piece.
    Write { fd: RawFd, position: Option<u64>, from: usize, append: bool },
    /// Payload none.
    Sync { fd: RawFd, data_only: bool },
    /// Payload [`StatusPlace`].
    Status { folder: RawFd, flags: StatusFlags },
    /// Payload none.
    SetLength { fd: RawFd, length: u64 },
    /// Payload none.
    Allocate { fd: RawFd, mode: AllocateMode, position: u64, length: u64 },
    /// Payload none.
    Advise { fd: RawFd, advice: Advice, position: u64, length: u64 },
    /// Payload [`Paths`].
    Unlink { folder: RawFd, is_folder: bool },
    /// Payload [`Paths`], two of them.
    Rename { replace: bool },
    /// Payload [`Paths`].
    MakeFolder { mode: u32 },
    /// Payload [`Paths`], two of them.
    Link { flags: LinkFlags },
    /// Payload [`Paths`]: what the link says, and where it is made.
    Symlink,
    /// Payload [`Paths`], with room for the answer.
    ReadLink,
    /// Payload [`Memory`], filled with what [`entries`] takes apart.
    Entries { fd: RawFd },
    /// Payload none. It never waits.
    Lock { fd: RawFd, kind: LockKind },
    /// Payload none.
    SetMode { fd: RawFd, mode: u32 },
    /// Payload [`Paths`]. Follows links.
    SetModeAt { mode: u32 },
    /// Payload [`Second`]. Both descriptors go on from where they are.
    CopyRange { from: RawFd, to: RawFd, length: usize },
    /// Payload [`Second`]. One of the two is a pipe, and has no position.
    Splice { from: SpliceEnd, to: SpliceEnd, length: usize },
    /// Payload the descriptor, which is closed whatever becomes of the operation.
    Close,
}

impl FileOp {
    /// What the ring has to have for it; `None` for what no ring has.
    pub(super) fn feature(self) -> Option<Feature> {
        match self {
            FileOp::Open { how, .. } if how.has_rules() => Some(Feature::Openat2),
            FileOp::Open { .. } => Some(Feature::Openat),
            FileOp::Splice { .. } => Some(Feature::Splice),
            FileOp::Read { .. } => Some(Feature::Read),
            FileOp::Write { .. } => Some(Feature::Write),
            FileOp::Sync { .. } => Some(Feature::Fsync),
            FileOp::Status { .. } => Some(Feature::Statx),
            FileOp::SetLength { .. } => Some(Feature::Ftruncate),
            FileOp::Allocate { .. } => Some(Feature::Fallocate),
            // A submission has 32 bits for the length.
            FileOp::Advise { length, .. } if length > u64::from(u32::MAX) => None,
            FileOp::Advise { .. } => Some(Feature::Fadvise),
            FileOp::Unlink { .. } => Some(Feature::Unlinkat),
            FileOp::Rename { .. } => Some(Feature::Renameat),
            FileOp::MakeFolder { .. } => Some(Feature::Mkdirat),
            FileOp::Link { .. } => Some(Feature::Linkat),
            FileOp::Symlink => Some(Feature::Symlinkat),
            FileOp::ReadLink
            | FileOp::Entries { .. }
            | FileOp::Lock { .. }
            | FileOp::SetMode { .. }
            | FileOp::SetModeAt { .. }
            | FileOp::CopyRange { .. }
            | FileOp::Close => None,
        }
    }

    /// Whether its result is a descriptor, which somebody has to own.
    pub(crate) fn opens(self) -> bool {
        matches!(self, FileOp::Open { .. })
    }
}
