//! Unix sockets: calls that never block, as plain system calls.
//!
//! They are asked of the driver for the same reason as those of other sockets (`socket.rs`). The
//! standard library makes names and pairs, so that nothing of that is written twice.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net as unix;
use std::path::Path;

use super::socket::check;
use super::{Address, AnyDriver};

/// The two kinds of Unix sockets there are here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LocalKind {
    Stream,
    Datagram,
}

/// Who is at the other end of a Unix socket, as the kernel knew when the connection was made:
/// SO_PEERCRED, see unix(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Credentials {
    /// The process.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

impl AnyDriver {
    /// A Unix socket, closed on exec.
    pub(crate) fn open_local(&mut self, kind: LocalKind) -> io::Result<RawFd> {
        let kind = match kind {
            LocalKind::Stream => libc::SOCK_STREAM,
            LocalKind::Datagram => libc::SOCK_DGRAM,
        };
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) })
    }

    pub(crate) fn local_pair(&mut self, kind: LocalKind) -> io::Result<(RawFd, RawFd)> {
        match kind {
            LocalKind::Stream => {
                unix::UnixStream::pair().map(|(a, b)| (a.into_raw_fd(), b.into_raw_fd()))
            }
            LocalKind::Datagram => {
                unix::UnixDatagram::pair().map(|(a, b)| (a.into_raw_fd(), b.into_raw_fd()))
            }
        }
    }

    pub(crate) fn bind_local(&mut self, fd: RawFd, address: &unix::SocketAddr) -> io::Result<()> {
        let address = Address::from(address);
        // SAFETY: [plain-call] the address is valid for its length.
        check(unsafe { libc::bind(fd, address.as_ptr(), address.length()) }).map(drop)
    }

    /// Connects at once or not at all: `WouldBlock` if the listener's backlog is full.
    pub(crate) fn connect_local(
        &mut self,
        fd: RawFd,
        address: &unix::SocketAddr,
    ) -> io::Result<()> {
        let address = Address::from(address);
        self.set_nonblocking(fd, true)?;
        // SAFETY: [plain-call] the address is valid for its length.
        let connected = check(unsafe { libc::connect(fd, address.as_ptr(), address.length()) });
        self.set_nonblocking(fd, false)?;
        connected.map(drop)
    }

    pub(crate) fn local_name(&mut self, fd: RawFd) -> io::Result<unix::SocketAddr> {
        let mut address = Address::empty();
        let length: *mut libc::socklen_t = address.length_mut();
        // SAFETY: [plain-call] the storage is valid for the length that is passed with it.
        check(unsafe { libc::getsockname(fd, address.as_mut_ptr(), length) })?;
        address.to_unix_addr()
    }

    pub(crate) fn local_peer_name(&mut self, fd: RawFd) -> io::Result<unix::SocketAddr> {
        let mut address = Address::empty();
        let length: *mut libc::socklen_t = address.length_mut();
        // SAFETY: [plain-call] the storage is valid for the length that is passed with it.
        check(unsafe { libc::getpeername(fd, address.as_mut_ptr(), length) })?;
        address.to_unix_addr()
    }

    pub(crate) fn peer_credentials(&mut self, fd: RawFd) -> io::Result<Credentials> {
        let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = mem::size_of::<libc::ucred>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        // SAFETY: [plain-call] the value is valid for the length that is passed with it.
        check(unsafe {
            libc::getsockopt(fd, level, name, (&raw mut found).cast(), &raw mut length)
        })?;
        Ok(Credentials { pid: found.pid, uid: found.uid, gid: found.gid })
    }

    /// Ends both directions at once, whatever holds the descriptor: operations in flight end.
    pub(crate) fn shutdown_both(&mut self, fd: RawFd) {
        // SAFETY: [plain-call] no memory is passed. That it is not connected is as good.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }

    /// The device and the inode of a socket in the file system, by which it is known again.
    pub(crate) fn socket_file(&mut self, path: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::symlink_metadata(path).ok()?;
        metadata.file_type().is_socket().then(|| (metadata.dev(), metadata.ino()))
    }

    /// Removes the name of a socket, if it is still that socket's.
    pub(crate) fn remove_socket_file(&mut self, path: &Path, known: (u64, u64)) {
        if self.socket_file(path) == Some(known) {
            // Somebody else may have been faster, or own the folder: the name stays then.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether nobody listens on this name any more.
    pub(crate) fn is_stale_socket(&mut self, address: &unix::SocketAddr) -> bool {
        let Ok(raw) = self.open_local(LocalKind::Stream) else { return false };
        let refused = self.connect_local(raw, address);
        super::socket::close(raw);
        refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// A descriptor that refers to the same file.
    pub(crate) fn duplicate(&mut self, fd: RawFd) -> io::Result<RawFd> {
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
    }
}
