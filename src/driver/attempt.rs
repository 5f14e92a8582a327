//! Attempts: system calls that answer at once, with the result that the ring would give.
//!
//! What would block answers `-EAGAIN`. The epoll driver makes every operation of these.
#![allow(unsafe_code)] // System calls with payloads.

use std::io;
use std::os::fd::RawFd;

use super::Payload;
use super::handing::set_nonblocking;
use super::socket::pending_error;

pub(super) fn would_block(error: i32) -> bool {
    error == libc::EAGAIN || error == libc::EINTR
}

pub(super) fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A result as the ring would give it.
pub(super) fn result_of(answer: i32) -> i32 {
    if answer >= 0 { answer } else { -last_error() }
}

pub(super) fn accept(fd: RawFd) -> i32 {
    let _ = set_nonblocking(&fd, true);
    let (name, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: [plain-call] the peer's address is not asked for.
    result_of(unsafe { libc::accept4(fd, name, length, libc::SOCK_CLOEXEC) })
}

pub(super) fn connect(fd: RawFd, payload: &mut Payload, begun: bool) -> i32 {
    if begun {
        return pending_error(fd);
    }
    let Payload::Address(address) = payload else {
        unreachable!("a connect has an address for its payload")
    };
    if let Err(error) = set_nonblocking(&fd, true) {
        return -error.raw_os_error().unwrap_or(libc::EIO);
    }
    // SAFETY: [slot-keeps-memory] the address is valid for its length.
    match result_of(unsafe { libc::connect(fd, address.as_ptr(), address.length()) }) {
        error if error == -libc::EINPROGRESS => -libc::EAGAIN,
        result => result,
    }
}

pub(super) fn receive_into(fd: RawFd, place: *mut u8, room: usize) -> i32 {
    // SAFETY: [slot-keeps-memory] the place is a payload's or a lent buffer's, valid for the room.
    let length = unsafe { libc::recv(fd, place.cast(), room, libc::MSG_DONTWAIT) };
    result_of(length as i32)
}

/// Whether a descriptor is ready now for one of these events.
pub(super) fn poll(fd: RawFd, events: i16) -> i32 {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: [plain-call] one entry is passed.
    match result_of(unsafe { libc::poll(&raw mut entry, 1, 0) }) {
        0 => -libc::EAGAIN,
        count if count > 0 => i32::from(entry.revents),
        error => error,
    }
}

/// One message into the room of its payload.
pub(super) fn receive_message(fd: RawFd, payload: &mut Payload) -> i32 {
    let Payload::Message(message) = payload else {
        unreachable!("a message has its room for its payload")
    };
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: [slot-keeps-memory] the header points into the payload.
    result_of(unsafe { libc::recvmsg(fd, message.header(), flags) } as i32)
}

/// Reads what is there. It is asked first, since the descriptor may be shared with processes that
/// want it to block.
pub(super) fn pipe_read(fd: RawFd, place: *mut u8, room: usize) -> i32 {
    match poll(fd, libc::POLLIN) {
        // SAFETY: [slot-keeps-memory] the place is a payload's or a lent buffer's, valid for the
        // room.
        ready if ready > 0 => result_of(unsafe { libc::read(fd, place.cast(), room) } as i32),
        error => error,
    }
}

/// Writes as much as there is room for.
pub(super) fn pipe_write(fd: RawFd, payload: &Payload) -> i32 {
    match poll(fd, libc::POLLOUT) {
        ready if ready > 0 => {
            let pieces = payload.pieces_from(0);
            let count = pieces.len() as i32;
            // SAFETY: [plain-call] the pieces are valid through the call.
            result_of(unsafe { libc::writev(fd, pieces.as_ptr(), count) } as i32)
        }
        error => error,
    }
}
