//! What a thread needs that a core starts: the CPUs of the whole process, and for a worker no
//! signals.
//!
//! A thread inherits both from the one that starts it, which is a core's: pinned to one CPU, where
//! a worker would take its time away and another core could not be pinned to its own, and perhaps
//! with a signalfd, which misses a signal that a worker takes.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;

use super::socket::check;

/// The CPUs that a thread may run on. See sched_setaffinity(2).
#[derive(Clone, Copy)]
pub(crate) struct CpuSet(libc::cpu_set_t);

impl CpuSet {
    /// Those of this thread.
    pub(crate) fn of_this_thread() -> io::Result<CpuSet> {
        // SAFETY: [plain-data] a cpu_set_t is integers; all zeroes is a value of it.
        let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
        let length = mem::size_of_val(&set);
        // SAFETY: [plain-call] the set is valid for its length.
        check(unsafe { libc::sched_getaffinity(0, length, &raw mut set) })?;
        Ok(CpuSet(set))
    }

    /// The CPU, if it is a single one.
    pub(crate) fn only(&self) -> Option<usize> {
        // SAFETY: [plain-call] counts the bits of the set.
        let mut ids =
            (0..libc::CPU_SETSIZE as usize).filter(|id| unsafe { libc::CPU_ISSET(*id, &self.0) });
        let first = ids.next()?;
        ids.next().is_none().then_some(first)
    }

    /// Has this thread run on them. Where the kernel refuses, it runs where it ran.
    pub(crate) fn use_here(&self) {
        let length = mem::size_of_val(&self.0);
        // SAFETY: [plain-call] the set is valid for its length.
        unsafe { libc::sched_setaffinity(0, length, &raw const self.0) };
    }
}

/// Signals that a thread's own fault raises; blocked ones would end the process without a word.
const FAULTS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Leaves all signals that are sent to the process to its other threads.
pub(super) fn block_signals() {
    // SAFETY: [plain-data] a sigset_t is integers; all zeroes is a value of it.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: [plain-call] the set is valid.
    unsafe { libc::sigfillset(&raw mut set) };
    for number in FAULTS {
        // SAFETY: [plain-call] the set is valid, and the number is a signal's.
        unsafe { libc::sigdelset(&raw mut set, number) };
    }
    let block = libc::SIG_BLOCK;
    // SAFETY: [plain-call] the set is valid, and the old mask is not asked for.
    unsafe { libc::pthread_sigmask(block, &raw const set, std::ptr::null_mut()) };
}
