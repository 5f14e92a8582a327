//! Rings among themselves, threads, and the end of operations.
#![allow(unsafe_code)] // A submission of two entries.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};

use super::ring::{send_without_ring, take_user_data, with_files};
use super::{Capability, answers_error, result_lending, result_of};
use crate::driver::trial::{ask, trial_ring};

pub(super) const TABLE: &[Capability] = &[
    Capability::new(
        "msg_ring",
        "5.18",
        try_msg_ring,
        "a ring puts a completion into another core's ring",
        "a core wakes another one without a descriptor of its own for it",
        "an eventfd wakes the other core",
    )
    .listed_as(opcode::MsgRingData::CODE),
    Capability::new(
        "msg_ring_fd",
        "6.0",
        try_msg_ring_fd,
        "a ring hands a descriptor to another core's ring",
        "an accepted connection moves without a table of the process",
        "connections move by their ordinary descriptors",
    )
    .listed_as(opcode::MsgRingSendFd::CODE),
    Capability::new(
        "send_msg_ring",
        "6.13",
        try_send_msg_ring,
        "a thread without a ring puts a completion into one",
        "foreign threads wake a core in one call",
        "an eventfd wakes the core",
    ),
    Capability::new(
        "futex_wait",
        "6.7",
        try_futex_wait,
        "waiting for a word in memory is an operation",
        "locks shared with other processes, waited for by the loop",
        "corio's own locks need none; foreign ones block a helper thread",
    )
    .listed_as(opcode::FutexWait::CODE),
    Capability::new(
        "futex_wake",
        "6.7",
        try_futex_wake,
        "waking who waits for a word in memory is an operation",
        "wakes leave with the batch",
        "a system call of its own",
    )
    .listed_as(opcode::FutexWake::CODE),
    Capability::new(
        "cqe_skip",
        "5.17",
        try_cqe_skip,
        "an operation that succeeds sends no completion",
        "less to reap where success is no news, such as closes",
        "each operation completes",
    ),
    Capability::new(
        "async_cancel",
        "5.5",
        try_async_cancel,
        "ending an operation by its number",
        "a dropped future's operation ends",
        "not optional: corio cancels what nobody waits for",
    )
    .listed_as(opcode::AsyncCancel::CODE)
    .always(),
    Capability::new(
        "cancel_fd",
        "5.19",
        try_cancel_fd,
        "ending all operations of a descriptor at once",
        "one request to end a stream",
        "each operation is cancelled by its number",
    ),
];

/// The completion that a message brings has this number.
const MESSAGE: u64 = 0x51;

fn try_msg_ring(ring: &mut IoUring) -> io::Result<bool> {
    let mut target = trial_ring()?;
    let message = opcode::MsgRingData::new(Fd(target.as_raw_fd()), 0, MESSAGE, None).build();
    result_of(ring, message)?;
    Ok(take_user_data(&mut target)?.contains(&MESSAGE))
}

fn try_msg_ring_fd(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    let mut target = trial_ring()?;
    target.submitter().register_files_sparse(2)?;
    with_files(ring, near.as_raw_fd(), |ring| {
        let slot = DestinationSlot::try_from_slot_target(0)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let message =
            opcode::MsgRingSendFd::new(Fd(target.as_raw_fd()), Fixed(0), slot, MESSAGE).build();
        result_of(ring, message)?;
        Ok(take_user_data(&mut target)?.contains(&MESSAGE))
    })
}

fn try_send_msg_ring(_: &mut IoUring) -> io::Result<bool> {
    let mut target = trial_ring()?;
    let message = opcode::MsgRingData::new(Fd(target.as_raw_fd()), 0, MESSAGE, None);
    send_without_ring(&mut message.build())?;
    Ok(take_user_data(&mut target)?.contains(&MESSAGE))
}

/// FUTEX2_SIZE_U32 | FUTEX2_PRIVATE
const FUTEX_FLAGS: u32 = 2 | 128;
const ALL_BITS: u64 = u32::MAX as u64;

fn try_futex_wait(ring: &mut IoUring) -> io::Result<bool> {
    let word = vec![1u32];
    // The word is another one already, so there is nothing to wait for.
    let wait = opcode::FutexWait::new(word.as_ptr(), 0, ALL_BITS, FUTEX_FLAGS).build();
    answers_error(result_lending(ring, wait, word), libc::EAGAIN)
}

fn try_futex_wake(ring: &mut IoUring) -> io::Result<bool> {
    let word = vec![1u32];
    let wake = opcode::FutexWake::new(word.as_ptr(), 1, ALL_BITS, FUTEX_FLAGS).build();
    result_lending(ring, wake, word).map(|(woken, _)| woken == 0)
}

fn try_cqe_skip(ring: &mut IoUring) -> io::Result<bool> {
    if !ring.params().is_feature_skip_cqe_on_success() {
        return Ok(false);
    }
    let quiet = opcode::Nop::new().build().flags(squeue::Flags::SKIP_SUCCESS).user_data(1);
    // SAFETY: [slot-keeps-memory] neither entry points to anything.
    let pushed = unsafe {
        ring.submission().push_multiple(&[quiet, opcode::Nop::new().build().user_data(2)])
    };
    pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    ring.submit_and_wait(1)?;
    Ok(take_user_data(ring)? == [2])
}

/// Submits a poll that nothing ends, then a cancel of it: both have to answer as they should.
fn try_cancel(
    ring: &mut IoUring,
    cancel: impl FnOnce(Fd) -> squeue::Entry,
    found: i32,
) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    let fd = Fd(near.as_raw_fd());
    let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).build().user_data(1);
    // SAFETY: [slot-keeps-memory] the entry points to nothing.
    let pushed = unsafe { ring.submission().push(&poll) };
    pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    let answers = ask(ring, &cancel(fd), 2)?;
    Ok(answers.contains(&(-libc::ECANCELED, false)) && answers.contains(&(found, false)))
}

fn try_async_cancel(ring: &mut IoUring) -> io::Result<bool> {
    try_cancel(ring, |_| opcode::AsyncCancel::new(1).build(), 0)
}

fn try_cancel_fd(ring: &mut IoUring) -> io::Result<bool> {
    let all = |fd| opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build();
    try_cancel(ring, all, 1)
}
