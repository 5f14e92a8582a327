//! The clock of the real drivers: CLOCK_MONOTONIC in nanoseconds, and a cheap tick counter.
//!
//! The loop asks after every poll whether the poll was long. A clock call costs more than an empty
//! poll, so that question is put to the processor's own counter where there is one.
#![allow(unsafe_code)] // clock_gettime and the time stamp counter.

use std::sync::OnceLock;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: [plain-call] `time` is a valid place for the one result.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A counter that only grows, of unknown rate: see [`ticks_per_micro`].
#[cfg(target_arch = "x86_64")]
pub(crate) fn ticks() -> u64 {
    // SAFETY: [plain-call] RDTSC reads a register and exists on every x86_64.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// A counter that only grows, of unknown rate: see [`ticks_per_micro`].
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks() -> u64 {
    now_ns()
}

/// How many [`ticks`] make a microsecond, measured once over 0.2 ms at the process's
/// start; at least 1. It steers how long a turn may be, nothing that must be exact.
pub(crate) fn ticks_per_micro() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start_ns, start_ticks) = (now_ns(), ticks());
        while now_ns() - start_ns < 200_000 {
            std::hint::spin_loop();
        }
        let (elapsed_ns, elapsed) = (now_ns() - start_ns, ticks().wrapping_sub(start_ticks));
        (elapsed.saturating_mul(1000) / elapsed_ns.max(1)).max(1)
    })
}

/// A seed that differs from run to run.
pub(crate) fn wall_seed() -> u64 {
    let mut seed = [0u8; 8];
    // SAFETY: [plain-call] the buffer is valid for its length; a short answer leaves zeroes.
    let got = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
    match got {
        8 => u64::from_ne_bytes(seed),
        _ => now_ns(),
    }
}
