//! The ring itself: flags of its set-up, ways of waiting, and what is registered with it.
#![allow(unsafe_code)] // Registrations, some of which the crate does not have.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::{CancelBuilder, Fd, Napi, SubmitArgs, Timespec};
use io_uring::{Builder, EnterFlags, IoUring, cqueue, opcode, register, squeue};

use super::{Capability, answers_error, result_of};
use crate::driver::Feature;
use crate::driver::socket::check;
use crate::driver::trial::{ask, end, trial_pools, trial_ring, try_wait};

pub(super) const SETUP: &[Capability] = &[
    Capability::new(
        "clamp",
        "5.6",
        try_clamp,
        "a ring larger than the kernel's limit is made as large as it goes",
        "any size may be asked for",
        "not optional: part of the smallest ring that corio takes",
    )
    .always(),
    Capability::new(
        "attach_wq",
        "5.6",
        try_attach_wq,
        "several rings share one set of kernel workers",
        "fewer threads with many cores and files",
        "each ring has its own few workers",
    ),
    Capability::new(
        "r_disabled",
        "5.10",
        try_r_disabled,
        "a ring is made at rest, and started later by the thread that uses it",
        "rings of many cores are made known before one of them runs; restrictions",
        "rings run from the first moment",
    ),
    Capability::used(
        Feature::SubmitAll,
        "5.18",
        "a refused submission does not stop those behind it",
        "one system call submits everything",
        "what is left is submitted with the next call",
    ),
    Capability::used(
        Feature::CoopTaskrun,
        "5.19",
        "no interrupt for a completion: it is worked off at the next system call",
        "stands in for defer_taskrun where that is switched off",
        "each completion interrupts the loop, some 10 % more CPU",
    ),
    Capability::used(
        Feature::TaskrunFlag,
        "5.19",
        "the kernel raises a flag when deferred work waits",
        "polling in user space sees news without a system call",
        "a loop that polls enters the kernel each time",
    ),
    Capability::used(
        Feature::SingleIssuer,
        "6.0",
        "only one thread submits, and the kernel knows",
        "no locking, and the base of defer_taskrun",
        "corio runs on epoll, unless it was switched off for a trial",
    ),
    Capability::used(
        Feature::DeferTaskrun,
        "6.1",
        "completions are worked off only in the loop's own system call",
        "batches instead of interrupts: the largest single gain, 11 to 17 % CPU",
        "corio runs on epoll; if it was switched off, coop_taskrun stands in",
    ),
    Capability::used(
        Feature::NoSqarray,
        "6.6",
        "no index array between submissions and the kernel",
        "a little less memory to touch with each submission",
        "the index array is kept",
    ),
];

pub(super) const WAITING: &[Capability] = &[
    Capability::new(
        "ext_arg",
        "5.11",
        try_ext_arg,
        "a wait has a deadline of its own",
        "all timers of a core cost no submission",
        "not optional: corio's timers are this wait",
    )
    .always(),
    Capability::used(
        Feature::RegisteredRing,
        "5.18",
        "the ring is entered by index, without a descriptor look-up",
        "some 40 ns less for each system call",
        "the ring's descriptor is used",
    ),
    Capability::used(
        Feature::AbsTimer,
        "6.12",
        "a wait's deadline is absolute",
        "the clock is not read before a wait",
        "the time that is left is worked out before each wait",
    ),
    Capability::new(
        "min_timeout",
        "6.12",
        try_min_timeout,
        "a wait collects completions for a while before it returns",
        "larger batches under load; it did not pay where it was measured",
        "a wait returns with the first completion",
    ),
    Capability::used(
        Feature::NoIowait,
        "6.15",
        "a loop that waits does not count as waiting for a disk",
        "load and iowait figures of the machine stay true; CPUs may clock down",
        "an idle loop is shown as iowait by top and others",
    ),
];

pub(super) const REGISTRATION: &[Capability] = &[
    Capability::used(
        Feature::PbufRing,
        "5.19",
        "receive buffers are taken from a shared pool when bytes arrive",
        "an idle connection holds no buffer",
        "each receive brings a buffer of its own, also while it waits",
    ),
    Capability::new(
        "pbuf_ring_inc",
        "6.12",
        try_pbuf_ring_inc,
        "several receives share one buffer of the pool, piece by piece",
        "less memory for many small messages",
        "a receive takes a whole buffer; small rests are copied out",
    ),
    Capability::new(
        "files_sparse",
        "5.19",
        try_files_sparse,
        "a table of descriptors that only the ring knows",
        "no look-up of the descriptor with each operation",
        "ordinary descriptors",
    ),
    Capability::new(
        "buffers_sparse",
        "5.19",
        try_buffers_sparse,
        "a table of memory that stays mapped in the kernel",
        "file and zero-copy operations without mapping pages each time",
        "ordinary memory",
    ),
    Capability::new(
        "clone_buffers",
        "6.12",
        try_clone_buffers,
        "one table of registered memory for the rings of many cores",
        "memory is locked once, not for each core",
        "each ring registers its own",
    ),
    Capability::new(
        "iowq_max_workers",
        "5.15",
        try_iowq_max_workers,
        "a limit on the kernel's worker threads of a ring",
        "slow files do not start hundreds of threads",
        "the kernel's own limit holds, which is very high",
    )
    .always(),
    Capability::new(
        "sync_cancel",
        "6.0",
        try_sync_cancel,
        "a cancel that waits until it is done",
        "a simpler end of a descriptor",
        "cancels are operations, waited for by the loop",
    ),
    Capability::new(
        "restrictions",
        "5.10",
        try_restrictions,
        "a ring that refuses all but a list of operations",
        "a captured process can do less with the ring it has",
        "the ring takes every operation that the kernel has",
    ),
    Capability::new(
        "napi",
        "6.9",
        try_napi,
        "a wait polls the network card's queue",
        "shorter round trips on a real card, for CPU",
        "the card interrupts; corio polls its ring only",
    ),
    Capability::new(
        "resize_rings",
        "6.13",
        try_resize_rings,
        "the queues of a running ring grow",
        "small rings at first, larger ones where they overflow",
        "the size is fixed at the start",
    ),
];

fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_single_issuer().setup_defer_taskrun();
    builder
}

fn try_clamp(_: &mut IoUring) -> io::Result<bool> {
    // Sixteen times the kernel's limit, of the queue that takes less memory.
    let large: io::Result<IoUring> =
        IoUring::builder().dontfork().setup_clamp().setup_cqsize(1 << 20).build(8);
    match large {
        // It was cut down, to more than may be locked here.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(true),
        answer => answer.map(|ring| ring.params().cq_entries() < 1 << 20),
    }
}

fn try_attach_wq(ring: &mut IoUring) -> io::Result<bool> {
    let mut attached: IoUring = builder().setup_attach_wq(ring.as_raw_fd()).build(8)?;
    result_of(&mut attached, opcode::Nop::new().build()).map(|result| result == 0)
}

fn try_r_disabled(_: &mut IoUring) -> io::Result<bool> {
    let mut ring: IoUring = builder().setup_r_disabled().build(8)?;
    let early = ring.submit_and_wait(0);
    ring.submitter().register_enable_rings()?;
    let answer = result_of(&mut ring, opcode::Nop::new().build())?;
    Ok(early.is_err() && answer == 0)
}

fn try_ext_arg(ring: &mut IoUring) -> io::Result<bool> {
    try_wait(ring, EnterFlags::empty(), 1000)
}

fn try_min_timeout(ring: &mut IoUring) -> io::Result<bool> {
    if !ring.params().is_feature_min_timeout() {
        return Ok(false);
    }
    let time = Timespec::new().nsec(1_000_000);
    let args = SubmitArgs::new().timespec(&time).min_wait_usec(10);
    answers_error(ring.submitter().submit_with_args(1, &args), libc::ETIME)
}

/// The kernel's flag for a buffer ring whose buffers are used up piece by piece.
const IOU_PBUF_RING_INC: u16 = 2;

fn try_pbuf_ring_inc(ring: &mut IoUring) -> io::Result<bool> {
    let pools = trial_pools()?;
    let (address, entries) = pools.small.make_ring()?;
    // SAFETY: [pool-outlives-chunks] unregistered before the pool is dropped.
    unsafe {
        let flags = IOU_PBUF_RING_INC;
        ring.submitter().register_buf_ring_with_flags(address, entries, 9, flags)
    }?;
    ring.submitter().unregister_buf_ring(9)?;
    Ok(true)
}

/// Runs a trial on a ring with a table of four descriptors, the first of which is given.
pub(super) fn with_files(
    ring: &mut IoUring,
    first: RawFd,
    trial: impl FnOnce(&mut IoUring) -> io::Result<bool>,
) -> io::Result<bool> {
    ring.submitter().register_files_sparse(4)?;
    let answer = ring.submitter().register_files_update(0, &[first]).and_then(|_| trial(ring));
    ring.submitter().unregister_files()?;
    answer
}

fn try_files_sparse(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    with_files(ring, near.as_raw_fd(), |_| Ok(true))
}

fn try_buffers_sparse(ring: &mut IoUring) -> io::Result<bool> {
    ring.submitter().register_buffers_sparse(4)?;
    ring.submitter().unregister_buffers()?;
    Ok(true)
}

fn try_clone_buffers(_: &mut IoUring) -> io::Result<bool> {
    let (source, target) = (trial_ring()?, trial_ring()?);
    source.submitter().register_buffers_sparse(1)?;
    target.submitter().register_buffers_clone(source.as_raw_fd())?;
    Ok(true)
}

fn try_iowq_max_workers(ring: &mut IoUring) -> io::Result<bool> {
    // Zeroes ask without changing.
    let mut limits = [0, 0];
    ring.submitter().register_iowq_max_workers(&mut limits)?;
    Ok(limits.iter().all(|limit| *limit > 0))
}

fn try_sync_cancel(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    let poll = opcode::PollAdd::new(Fd(near.as_raw_fd()), libc::POLLIN as u32).build();
    // Nothing comes, so this waits its full time; a no-op behind it ends the wait.
    // SAFETY: [slot-keeps-memory] neither entry points to anything.
    let pushed = unsafe {
        let nop = opcode::Nop::new().build();
        ring.submission().push_multiple(&[poll.user_data(3), nop.user_data(4)])
    };
    pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    ring.submit_and_wait(1)?;
    ring.completion().for_each(drop);
    let limit = Timespec::new().nsec(50_000_000);
    let cancelled = ring.submitter().register_sync_cancel(Some(limit), CancelBuilder::user_data(3));
    let answers = match &cancelled {
        Ok(()) => ask(ring, &opcode::Nop::new().build(), 2)?,
        Err(_) => {
            end(ring, 3)?;
            Vec::new()
        }
    };
    cancelled?;
    Ok(answers.contains(&(-libc::ECANCELED, false)))
}

fn try_restrictions(_: &mut IoUring) -> io::Result<bool> {
    let mut ring: IoUring = builder().setup_r_disabled().build(8)?;
    let mut allowed = [register::Restriction::sqe_op(opcode::Nop::CODE)];
    ring.submitter().register_restrictions(&mut allowed)?;
    ring.submitter().register_enable_rings()?;
    let (near, _far) = io::pipe()?;
    let poll = opcode::PollAdd::new(Fd(near.as_raw_fd()), libc::POLLIN as u32).build();
    let allowed = result_of(&mut ring, opcode::Nop::new().build())?;
    let refused = answers_error(result_of(&mut ring, poll), libc::EACCES)?;
    Ok(allowed == 0 && refused)
}

fn try_napi(ring: &mut IoUring) -> io::Result<bool> {
    let mut napi = Napi::new().set_busy_poll_timeout(1);
    ring.submitter().register_napi(&mut napi)?;
    ring.submitter().unregister_napi(&mut Napi::new())?;
    Ok(true)
}

/// A registration that the crate does not have.
fn register_raw<T>(fd: RawFd, number: libc::c_uint, argument: &mut T) -> io::Result<i32> {
    let (call, argument) = (libc::SYS_io_uring_register, std::ptr::from_mut(argument));
    // SAFETY: [plain-call] the argument is a whole structure of the kind that the number asks for.
    check(unsafe { libc::syscall(call, fd, number, argument, 1) } as i32)
}

const IORING_REGISTER_SEND_MSG_RING: libc::c_uint = 31;
const IORING_REGISTER_RESIZE_RINGS: libc::c_uint = 33;
const IORING_SETUP_CQSIZE: u32 = 1 << 3;

fn try_resize_rings(_: &mut IoUring) -> io::Result<bool> {
    // A ring of its own: its mapping is of the old queues afterwards.
    let ring = trial_ring()?;
    // The kernel's io_uring_params: both sizes, flags, and what it answers.
    let mut parameters = [0u32; 30];
    parameters[..3].copy_from_slice(&[16, 64, IORING_SETUP_CQSIZE]);
    register_raw(ring.as_raw_fd(), IORING_REGISTER_RESIZE_RINGS, &mut parameters)?;
    Ok(parameters[1] >= 64)
}

/// Sends a message to a ring from a thread without one.
pub(super) fn send_without_ring(entry: &mut squeue::Entry) -> io::Result<i32> {
    register_raw(-1, IORING_REGISTER_SEND_MSG_RING, entry)
}

/// The flags of all completions that are there.
pub(super) fn take_user_data(ring: &mut IoUring) -> io::Result<Vec<u64>> {
    ring.submitter().submit_and_wait(0)?;
    Ok(ring.completion().map(|entry: cqueue::Entry| entry.user_data()).collect())
}
