//! Descriptors that a core listens to beside sockets: its bell, and signals.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::explain_shortage;
use super::socket::check;

/// Signals that were ever blocked since somebody listened to them, one bit each.
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// An eventfd that other threads ring to wake a sleeping core.
///
/// A multishot poll reports each ring as an event of its own, so the counter is read only before a
/// poll is armed anew. It is never closed: a bell rung on a closed and reused number would write
/// into a stranger's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bell(RawFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        // SAFETY: [plain-call] no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        check(fd).map(Bell).map_err(explain_shortage)
    }

    pub(crate) fn raw(self) -> RawFd {
        self.0
    }

    /// Wakes the core that polls this bell. Never blocks; a counter that is full rings too.
    pub(crate) fn ring(self) {
        let one: u64 = 1;
        // SAFETY: [plain-call] eight bytes are passed, as an eventfd wants.
        unsafe { libc::write(self.0, (&raw const one).cast(), mem::size_of::<u64>()) };
    }
}

impl Bell {
    /// Takes the rings so far out of the counter.
    pub(crate) fn clear(self) {
        let mut count: u64 = 0;
        // SAFETY: [plain-call] eight bytes of room are passed, as an eventfd wants.
        unsafe { libc::read(self.0, (&raw mut count).cast(), mem::size_of::<u64>()) };
    }
}

/// A descriptor from which the named signals are read, or the known one, which told of others; they
/// are blocked for this thread.
pub(crate) fn open_signals(known: Option<RawFd>, numbers: &[i32]) -> io::Result<RawFd> {
    // SAFETY: [plain-data] a sigset_t is integers; all zeroes is a value of it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: [plain-call] the set is valid.
    unsafe { libc::sigemptyset(&raw mut set) };
    for number in numbers {
        // SAFETY: [plain-call] the set is valid; a bad number is an error.
        check(unsafe { libc::sigaddset(&raw mut set, *number) })?;
    }
    let block = libc::SIG_BLOCK;
    // SAFETY: [plain-call] the set is valid, and the old mask is not asked for.
    let blocked = unsafe { libc::pthread_sigmask(block, &raw const set, std::ptr::null_mut()) };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    let bits = numbers.iter().fold(0, |bits, number| bits | 1u64 << number);
    BLOCKED.fetch_or(bits, Ordering::Relaxed);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: [plain-call] the set is valid.
    check(unsafe { libc::signalfd(known.unwrap_or(-1), &raw const set, flags) })
}

/// Whether signals were blocked since somebody listens to them.
pub(super) fn blocks_signals() -> bool {
    BLOCKED.load(Ordering::Relaxed) != 0
}

/// Unblocks what was blocked here: in a child, which has nobody who listens. It calls nothing that
/// a child may not call between fork and exec.
pub(super) fn unblock_signals() -> io::Result<()> {
    // SAFETY: [plain-data] a sigset_t is integers; all zeroes is a value of it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    let blocked = BLOCKED.load(Ordering::Relaxed);
    for number in (1..u64::BITS as i32).filter(|number| blocked & 1 << number != 0) {
        // SAFETY: [plain-call] the set is valid; a bad number is an error.
        check(unsafe { libc::sigaddset(&raw mut set, number) })?;
    }
    let unblock = libc::SIG_UNBLOCK;
    // SAFETY: [plain-call] the set is valid, and the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(unblock, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The next pending signal's number, if there is one.
pub(crate) fn read_signal(fd: RawFd) -> io::Result<Option<i32>> {
    // SAFETY: [plain-data] a signalfd_siginfo is integers; all zeroes is a value of it.
    let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
    let length = mem::size_of_val(&info);
    // SAFETY: [plain-call] the place is valid for its length.
    let got = unsafe { libc::read(fd, (&raw mut info).cast(), length) };
    if got == length as isize {
        return Ok(Some(info.ssi_signo as i32));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}
