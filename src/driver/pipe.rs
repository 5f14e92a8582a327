//! Pipes, terminals and what else is read and written without being a socket.
//!
//! The loop must never block in such a read, and the flag for that belongs to the *open file*,
//! which a terminal shares with the shell that started us. So the ends of a pipe of our own are
//! made non-blocking, and what was inherited is opened anew where that is possible. An ordinary
//! file has no such flag: a read of it waits for the disk, and is an operation of files.
//!
//! A pipe is also the kernel's way from a file to a socket and back, by splice(2).
#![allow(unsafe_code)] // System calls.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::AnyDriver;
use super::attempt::result_of;
use super::handing::set_nonblocking;
use super::socket::check;

/// The room of a pipe on the way between a file and a socket.
pub(crate) const WIDE_BYTES: usize = 256 << 10;

/// What an inherited descriptor turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inherited {
    Socket,
    /// An ordinary file, or a disk.
    File,
    /// A pipe, a terminal, or another device.
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

    /// As [`open_pipe`](Self::open_pipe), for bytes on their way through the kernel: with more room
    /// than others, if this process may have that.
    pub(crate) fn open_wide_pipe(&mut self) -> io::Result<(RawFd, RawFd)> {
        let (near, far) = self.open_pipe()?;
        // SAFETY: [plain-call] no memory is passed. A refusal leaves the room as it is.
        unsafe { libc::fcntl(far, libc::F_SETPIPE_SZ, WIDE_BYTES as libc::c_int) };
        Ok((near, far))
    }

    /// Moves bytes between a pipe and what does not block, as far as that goes at once: the count,
    /// or `-errno`.
    pub(crate) fn splice_now(&mut self, from: RawFd, to: RawFd, length: usize) -> i32 {
        let (here, flags) = (std::ptr::null_mut(), libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE);
        // SAFETY: [plain-call] no positions are passed.
        result_of(unsafe { libc::splice(from, here, to, here, length, flags) } as i32)
    }

    /// Whether a file takes what is spliced into it, asked with an empty pipe.
    pub(crate) fn takes_splices(&mut self, empty_pipe: RawFd, file: RawFd) -> bool {
        self.splice_now(empty_pipe, file, 1) == -libc::EAGAIN
    }

    /// Takes out what a pipe holds, up to this length.
    pub(crate) fn empty_pipe(&mut self, fd: RawFd, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        // SAFETY: [plain-call] the bytes are valid for their length.
        let count = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), length) };
        bytes.truncate(count.max(0) as usize);
        bytes
    }

    /// What a descriptor is that was inherited or handed over.
    pub(crate) fn kind_of(&mut self, fd: BorrowedFd<'_>) -> io::Result<Inherited> {
        // SAFETY: [plain-data] stat is integers; all zeroes is a value of it.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: [plain-call] the place for the status is valid.
        check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) })?;
        Ok(match status.st_mode & libc::S_IFMT {
            libc::S_IFSOCK => Inherited::Socket,
            libc::S_IFREG | libc::S_IFBLK => Inherited::File,
            _ => Inherited::Other,
        })
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
        let kind = self.kind_of(fd)?;
        let file = File::from(fd.try_clone_to_owned()?);
        if kind != Inherited::Other {
            // A file shares its position with whoever else has it, and opened anew it would not.
            return Ok((file.into_raw_fd(), kind));
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
