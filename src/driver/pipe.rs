//! Pipes, terminals and what else is read and written without being a socket.
//!
//! The loop must never block in such a read, and the flag for that belongs to the *open file*,
//! which a terminal shares with the shell that started us. So the ends of a pipe of our own are
//! made non-blocking, and what was inherited is opened anew where that is possible.
#![allow(unsafe_code)] // System calls.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use super::AnyDriver;
use super::handing::set_nonblocking;
use super::socket::check;

/// What an inherited descriptor turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inherited {
    Socket,
    /// A pipe, a terminal, a device, or a file.
    Other,
}

impl AnyDriver {
    /// A pipe, closed on exec, whose ends do not block: what is read from and what is written to.
    pub(crate) fn open_pipe(&mut self) -> io::Result<(RawFd, RawFd)> {
        let mut ends = [0; 2];
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: [plain-call] there is room for two descriptors.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
        Ok((ends[0], ends[1]))
    }

    pub(crate) fn set_nonblocking(&mut self, fd: RawFd, on: bool) -> io::Result<()> {
        set_nonblocking(&fd, on)
    }

    /// Lets the file of a descriptor go that others may still borrow: its number stands for
    /// /dev/null from now on. The other end of a pipe sees that this one is closed.
    pub(crate) fn end_pipe(&mut self, fd: RawFd) -> io::Result<()> {
        let nothing = File::open("/dev/null")?;
        self.release(fd);
        // SAFETY: [fd-is-ours] the number is ours and stays open.
        check(unsafe { libc::dup3(nothing.as_raw_fd(), fd, libc::O_CLOEXEC) }).map(drop)
    }

    /// A descriptor of our own for an inherited one, for reading or for writing.
    pub(crate) fn adopt_inherited(
        &mut self,
        fd: BorrowedFd<'_>,
        for_writing: bool,
    ) -> io::Result<(RawFd, Inherited)> {
        let file = File::from(fd.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        if kind.is_socket() {
            return Ok((file.into_raw_fd(), Inherited::Socket));
        }
        if kind.is_file() {
            // It shares its position with whoever else has it, and opened anew it would not.
            return Ok((file.into_raw_fd(), Inherited::Other));
        }
        let own = OpenOptions::new()
            .read(!for_writing)
            .write(for_writing)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Not where it is somebody else's terminal, or the pipe has no other end.
        Ok((own.unwrap_or(file).into_raw_fd(), Inherited::Other))
    }
}
