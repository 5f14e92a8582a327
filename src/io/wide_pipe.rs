//! A pipe that bytes go through between a file and a stream, without passing through this process.
//!
//! ```text
//!             an operation: waits for the disk           a call that answers at once
//!   file ◀──────────────────────────────────────▶ pipe ◀─────────────────────────────▶ stream
//! ```
//!
//! Only the half on the file's side is an operation, of the ring or of a helper. The half on the
//! stream's side is a call that does not block, and a poll where it would have. So what is given up
//! leaves nothing behind that goes on moving bytes of the stream, and a peer that takes its time
//! holds none of the few threads that wait for disks.

use std::io;
use std::rc::Rc;

use crate::driver::{Fd, FileOp, Op, Second, SpliceEnd, WIDE_BYTES};
use crate::executor::Core;
use crate::executor::operation::Operation;

/// The most that goes through at a time.
pub(super) const PIECE_BYTES: usize = WIDE_BYTES;

/// Both ends of the pipe. Operations in flight share them.
pub(super) struct WidePipe {
    core: Rc<Core>,
    near: Rc<Fd>,
    far: Rc<Fd>,
}

impl WidePipe {
    pub(super) fn open(core: &Rc<Core>) -> io::Result<WidePipe> {
        let (near, far) = core.driver.borrow_mut().open_wide_pipe()?;
        Ok(WidePipe { core: Rc::clone(core), near: core.fd(near), far: core.fd(far) })
    }

    /// Starts to fill the empty pipe from a file; ends with the scope that is polled now.
    pub(super) fn fill(&self, file: &Rc<Fd>, position: u64, length: usize) -> Operation {
        let from = SpliceEnd { fd: file.raw(), position: Some(position) };
        let to = SpliceEnd { fd: self.far.raw(), position: None };
        let op = Op::File(FileOp::Splice { from, to, length: length.min(PIECE_BYTES) });
        Operation::start(&self.core, op, Second::of(&self.far), file)
    }

    /// Starts to empty the pipe into a file; goes on beyond the scope that is polled now.
    pub(super) fn drain(&self, file: &Rc<Fd>, position: u64, length: usize) -> Operation {
        let from = SpliceEnd { fd: self.near.raw(), position: None };
        let to = SpliceEnd { fd: file.raw(), position: Some(position) };
        let op = Op::File(FileOp::Splice { from, to, length });
        Operation::standing(&self.core, op, Second::of(&self.near), file)
    }

    /// Moves what the stream takes at once out of the pipe: the count, or `-errno`.
    pub(super) fn to_stream(&self, fd: &Fd, length: usize) -> i32 {
        self.core.driver.borrow_mut().splice_now(self.near.raw(), fd.raw(), length)
    }

    /// Moves what has arrived at the stream into the pipe, likewise.
    pub(super) fn of_stream(&self, fd: &Fd, length: usize) -> i32 {
        let length = length.min(PIECE_BYTES);
        self.core.driver.borrow_mut().splice_now(fd.raw(), self.far.raw(), length)
    }

    /// Whether the file takes what is spliced into it. The pipe is empty.
    pub(super) fn can_drain_into(&self, file: &Fd) -> bool {
        self.core.driver.borrow_mut().takes_splices(self.near.raw(), file.raw())
    }

    /// Takes back what is in the pipe.
    pub(super) fn take_back(&self, length: usize) -> Vec<u8> {
        self.core.driver.borrow_mut().empty_pipe(self.near.raw(), length)
    }
}
