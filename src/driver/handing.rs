//! Descriptors that go elsewhere and come from there: another core, or another process.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use super::AnyDriver;
use super::socket::{self, check};

impl AnyDriver {
    /// Takes a descriptor in that another driver may have used. The ring waits for what would
    /// block, unless the descriptor says that it must not.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> RawFd {
        if let AnyDriver::Uring(_) = self {
            // A descriptor that is open has flags, which its holder may set.
            let _ = set_nonblocking(&fd, false);
        }
        fd.into_raw_fd()
    }

    /// Forgets a descriptor that goes elsewhere.
    pub(super) fn release(&mut self, fd: RawFd) {
        if let AnyDriver::Epoll(epoll) = self {
            epoll.release(fd);
        }
    }
}

/// What a socket that no driver has can be asked.
pub(crate) fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    socket::local_address(fd.as_raw_fd())
}

/// See [`local_address`].
pub(crate) fn peer_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    socket::peer_address(fd.as_raw_fd())
}

/// Closes a connection such that the peer sees an error.
pub(crate) fn close_by_reset(fd: OwnedFd) {
    socket::reset(fd.as_raw_fd());
}

/// Whether calls on a descriptor return at once where they would block.
pub(super) fn set_nonblocking(fd: &impl AsRawFd, on: bool) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: [plain-call] no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let wanted = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    if flags != wanted {
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) })?;
    }
    Ok(())
}
