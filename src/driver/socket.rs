//! Calls on sockets that never block, as plain system calls.
//!
//! `bind`, `listen`, options, names, `shutdown` and `close` cost less this way than as ring
//! operations (`shutdown` would even wake a kernel worker). They are asked of the driver all the
//! same, so that a simulated network can answer them.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Address, AnyDriver, Limit, Payload};

/// A socket option in the kernel's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketOption {
    ReuseAddress(bool),
    ReusePort(bool),
    NoDelay(bool),
    /// Probe an idle connection after this long.
    KeepAlive(Option<Duration>),
    ReceiveBuffer(usize),
    SendBuffer(usize),
    /// Closing resets the connection.
    LingerZero,
}

impl AnyDriver {
    /// A stream socket for this address, closed on exec.
    pub(crate) fn open_socket(&mut self, address: &SocketAddr) -> io::Result<OwnedFd> {
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        // SAFETY: [plain-call] no memory is passed.
        let raw =
            check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(raw) })
    }

    pub(crate) fn bind(&mut self, fd: RawFd, address: &SocketAddr) -> io::Result<()> {
        let address = Address::from(address);
        // SAFETY: [plain-call] the address is valid for its length.
        check(unsafe { libc::bind(fd, address.as_ptr(), address.length()) }).map(drop)
    }

    pub(crate) fn listen(&mut self, fd: RawFd, backlog: u32) -> io::Result<()> {
        let backlog = backlog.min(i32::MAX as u32) as i32;
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::listen(fd, backlog) }).map(drop)
    }

    pub(crate) fn local_address(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        local_address(fd)
    }

    pub(crate) fn peer_address(&mut self, fd: RawFd) -> io::Result<SocketAddr> {
        peer_address(fd)
    }

    pub(crate) fn set_option(&mut self, fd: RawFd, option: SocketOption) -> io::Result<()> {
        set_option(fd, option)
    }

    pub(crate) fn no_delay(&mut self, fd: RawFd) -> io::Result<bool> {
        let mut on: libc::c_int = 0;
        let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: [plain-call] the value is valid for the length that is passed with it.
        check(unsafe {
            libc::getsockopt(
                fd,
                libc::IPPROTO_TCP,
                libc::TCP_NODELAY,
                (&raw mut on).cast(),
                &raw mut length,
            )
        })?;
        Ok(on != 0)
    }

    /// Sends FIN: the peer reads the end.
    pub(crate) fn shutdown_write(&mut self, fd: RawFd) -> io::Result<()> {
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
    }

    /// Resets the connection at once, whatever holds the descriptor: operations in flight end.
    pub(crate) fn reset(&mut self, fd: RawFd) {
        reset(fd);
    }
}

pub(super) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    let mut address = Address::empty();
    let length: *mut libc::socklen_t = address.length_mut();
    // SAFETY: [plain-call] the storage is valid for the length that is passed with it.
    check(unsafe { libc::getsockname(fd, address.as_mut_ptr(), length) })?;
    address.to_socket_addr()
}

pub(super) fn peer_address(fd: RawFd) -> io::Result<SocketAddr> {
    let mut address = Address::empty();
    let length: *mut libc::socklen_t = address.length_mut();
    // SAFETY: [plain-call] the storage is valid for the length that is passed with it.
    check(unsafe { libc::getpeername(fd, address.as_mut_ptr(), length) })?;
    address.to_socket_addr()
}

/// See [`AnyDriver::reset`].
pub(super) fn reset(fd: RawFd) {
    let mut address = Address::empty();
    // SAFETY: [plain-data] the pointer is to a whole sockaddr_storage.
    unsafe { (*address.as_mut_ptr()).sa_family = libc::AF_UNSPEC as libc::sa_family_t };
    // SAFETY: [plain-call] connecting to AF_UNSPEC disconnects, see connect(2).
    unsafe { libc::connect(fd, address.as_ptr(), address.length()) };
    // Where that is refused, the last close resets.
    let _ = set_option(fd, SocketOption::LingerZero);
}

fn set_option(fd: RawFd, option: SocketOption) -> io::Result<()> {
    match option {
        SocketOption::ReuseAddress(on) => {
            set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &i32::from(on))
        }
        SocketOption::ReusePort(on) => {
            set(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &i32::from(on))
        }
        SocketOption::NoDelay(on) => set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &i32::from(on)),
        SocketOption::KeepAlive(after) => {
            set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &i32::from(after.is_some()))?;
            let Some(after) = after else { return Ok(()) };
            let seconds = after.as_secs().clamp(1, i32::MAX as u64) as i32;
            set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, &seconds)
        }
        SocketOption::ReceiveBuffer(bytes) => {
            set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &clamped(bytes))
        }
        SocketOption::SendBuffer(bytes) => {
            set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &clamped(bytes))
        }
        SocketOption::LingerZero => {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
        }
    }
}

fn clamped(bytes: usize) -> i32 {
    bytes.min(i32::MAX as usize) as i32
}

pub(super) fn set<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: [plain-call] the value is valid for its length.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), length) })
        .map(drop)
}

pub(super) fn check(result: i32) -> io::Result<i32> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Sends a payload from its byte `skip` on, as far as it does not block: bytes sent, or `-errno`.
pub(super) fn send_now(fd: RawFd, payload: &Payload, skip: usize) -> i32 {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let sent = if let Payload::Segment(segment) = payload {
        let bytes = &segment.as_slice()[skip..];
        // A result must fit an i32; the rest of a larger piece is sent next.
        let length = bytes.len().min(1 << 30);
        // SAFETY: [plain-call] the bytes are valid for their length.
        unsafe { libc::send(fd, bytes.as_ptr().cast(), length, flags) }
    } else {
        let mut pieces = payload.pieces_from(skip);
        // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = pieces.as_mut_ptr();
        header.msg_iovlen = pieces.len();
        let mut control = if skip == 0 { payload.control() } else { Vec::new() };
        if !control.is_empty() {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = control.len();
        }
        // SAFETY: [plain-call] the header points to pieces that are valid through the call.
        unsafe { libc::sendmsg(fd, &raw const header, flags) }
    };
    match sent {
        -1 => -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
        sent => sent as i32,
    }
}

/// The outcome of a connect that was begun, as the ring would give it.
pub(super) fn pending_error(fd: RawFd) -> i32 {
    let mut entry = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: [plain-call] one entry is passed.
    if unsafe { libc::poll(&raw mut entry, 1, 0) } == 0 {
        return -libc::EAGAIN;
    }
    let mut error: libc::c_int = 0;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: [plain-call] the value is valid for the length that is passed with it.
    let got =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut error).cast(), &raw mut length) };
    match check(got) {
        Ok(_) => -error,
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Closes a descriptor; errors of close say nothing that a caller could act upon.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: [fd-is-ours] the last holder of the descriptor calls this, once.
    unsafe { libc::close(fd) };
}

/// A resource limit, by the kernel's number for it.
pub(super) fn limit(resource: libc::__rlimit_resource_t) -> Limit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: [plain-call] `limit` is a valid place for the result.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    let finite = |value: libc::rlim_t| (value != libc::RLIM_INFINITY).then_some(value);
    Limit { soft: finite(limit.rlim_cur), hard: finite(limit.rlim_max) }
}

/// A listener for trials: on an address that the kernel picks in the abstract namespace, which
/// works without any network and leaves no file; or where such sockets are not allowed, on the
/// loopback.
pub(super) fn trial_listener() -> io::Result<OwnedFd> {
    trial_listener_of(libc::AF_UNIX).or_else(|_| trial_listener_of(libc::AF_INET))
}

pub(super) fn trial_listener_of(family: i32) -> io::Result<OwnedFd> {
    let socket = trial_socket(family)?;
    let loopback = Address::from(&SocketAddr::from(([127, 0, 0, 1], 0)));
    let length = match family {
        libc::AF_INET => loopback.length(),
        // Only the family is passed, which asks for an automatic address.
        _ => mem::size_of::<libc::sa_family_t>() as libc::socklen_t,
    };
    let mut address = loopback;
    // SAFETY: [plain-data] the pointer is to a whole sockaddr_storage.
    unsafe { (*address.as_mut_ptr()).sa_family = family as libc::sa_family_t };
    // SAFETY: [plain-call] the address is valid for its length.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr(), length) })?;
    // SAFETY: [plain-call] no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), 1) })?;
    Ok(socket)
}

/// A client of [`trial_listener`], waiting in its backlog.
pub(super) fn trial_connect(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let address = trial_address(listener)?;
    let client = trial_socket(address.family())?;
    // SAFETY: [plain-call] the address is valid for its length.
    check(unsafe { libc::connect(client.as_raw_fd(), address.as_ptr(), address.length()) })?;
    Ok(client)
}

/// Where a trial's listener is reached.
pub(super) fn trial_address(listener: &OwnedFd) -> io::Result<Address> {
    let mut address = Address::empty();
    let length: *mut libc::socklen_t = address.length_mut();
    // SAFETY: [plain-call] the storage is valid for the length that is passed with it.
    check(unsafe { libc::getsockname(listener.as_raw_fd(), address.as_mut_ptr(), length) })?;
    Ok(address)
}

/// The other end of [`trial_connect`].
pub(super) fn trial_accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let (name, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (fd, flags) = (listener.as_raw_fd(), libc::SOCK_CLOEXEC);
    // SAFETY: [plain-call] the peer's address is not asked for.
    let fd = check(unsafe { libc::accept4(fd, name, length, flags) })?;
    // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a byte, which a new connection always has room for.
pub(super) fn trial_send(socket: &OwnedFd) -> io::Result<()> {
    let byte = [0u8];
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: [plain-call] the byte is valid for its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), byte.as_ptr().cast(), 1, flags) };
    check(sent as i32).map(drop)
}

pub(super) fn trial_socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: [plain-call] no memory is passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_can_be_held_over_either_family() {
        for family in [libc::AF_UNIX, libc::AF_INET] {
            let listener = trial_listener_of(family).unwrap();
            let client = trial_connect(&listener).unwrap();
            let server = trial_accept(&listener).unwrap();
            trial_send(&client).unwrap();
            trial_send(&server).unwrap();
        }
        assert!(trial_listener_of(libc::AF_UNSPEC).is_err());
    }
}
