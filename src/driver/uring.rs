//! The ring: an [`Op`] becomes a submission in one `match`, a completion queue entry a
//! [`Completion`].
//!
//! Queues are synchronised only around `enter`: entries taken but not handed back would count as
//! ready and make the next wait return at once. What does not fit the submission queue is submitted
//! without waiting; what even then does not fit waits in `overflow`, first in, first out.
//!
//! `[ring-outlives-queues]`: the crate's queues and its submitter borrow the ring. They are kept
//! for the ring's whole life (the submitter remembers the registered descriptor), so the ring is
//! leaked to make the borrows, and freed by the last field to be dropped.
#![allow(unsafe_code)] // The kernel reads submissions and what they point to.

use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};
use io_uring::{cqueue, opcode, squeue};

use super::files::{self, FileOp};
use super::socket;
use super::trial::{self, RingSize};
use super::{
    Completion, DriverStats, Feature, FeatureState, Features, Group, Op, Payload, Pool, Pools,
    Token, Wait, now_ns,
};

/// The most that one send asks for; the kernel caps a send below 2 GiB, and the rest goes on.
const SEND_LENGTH_MAX: usize = 1 << 30;

/// Deferred work that one enter does at least, if there is so much.
const DEFERRED_WORK: usize = 20;

/// Kernel worker threads a ring may have: for work bounded in time, and for the rest.
const WORKERS_MAX: [u32; 2] = [4, 16];

/// One core's ring.
pub(crate) struct Uring {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    overflow: VecDeque<squeue::Entry>,
    features: Features,
    taskrun_flag: bool,
    /// The last enter did as much as one enter may do of deferred work. Some kernels (6.14, 6.15)
    /// do not raise the flag again for the rest.
    did_its_share: bool,
    stats: DriverStats,
    /// Whether the ring has a table for regions of memory.
    has_region_table: bool,
    /// What the regions in it have locked.
    locked_bytes: u64,
    /// Dropped after everything that borrows from it.
    _ring: LeakedRing,
    /// After the ring: its memory is registered there. `[pool-outlives-chunks]`
    pools: Rc<Pools>,
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The thread's table of registered rings holds a reference of its own: without this the
        // ring would live on until the thread ends, with all that it has locked, and the table has
        // sixteen places. An error says only that it was not registered.
        let _ = self.submitter.unregister_ring_fd();
        unlock(self.locked_bytes);
    }
}

/// What regions of memory have locked, in all rings of the process.
static LOCKED_BYTES: AtomicU64 = AtomicU64::new(0);

/// The part of the limit that is theirs: the rest is for rings, without which nothing runs.
const LOCKED_PART: u64 = 4;

/// Takes so many bytes off what may be locked, if there are so many.
fn may_lock(bytes: u64) -> bool {
    let limit = socket::limit(libc::RLIMIT_MEMLOCK).soft.unwrap_or(u64::MAX) / LOCKED_PART;
    let more = |locked: u64| locked.checked_add(bytes).filter(|locked| *locked <= limit);
    LOCKED_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

fn unlock(bytes: u64) {
    LOCKED_BYTES.fetch_sub(bytes, Ordering::Relaxed);
}

struct LeakedRing(NonNull<IoUring>);

impl Drop for LeakedRing {
    fn drop(&mut self) {
        // SAFETY: [ring-outlives-queues] made from a leaked box, and every borrower of it was a
        // field before this one.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Uring {
    /// Sets up a ring with all features that work here, and offers it the pools: of this size, or
    /// smaller if memory may not be locked for it. A refusal names the size that was asked for.
    pub(crate) fn new(size: RingSize, pools: &Rc<Pools>) -> io::Result<Uring> {
        let features = trial::features()?;
        let is_tight = |error: &io::Error| error.kind() == io::ErrorKind::OutOfMemory;
        let attempt = |size| trial::patiently(|| Uring::of_size(size, features, pools));
        match attempt(size) {
            Err(error) if is_tight(&error) => {
                size.smaller().into_iter().find_map(|size| attempt(size).ok()).ok_or(error)
            }
            answer => answer,
        }
    }

    fn of_size(size: RingSize, mut features: Features, pools: &Rc<Pools>) -> io::Result<Uring> {
        let ring = NonNull::from(Box::leak(Box::new(trial::build_ring(&features, size)?)));
        let leaked = LeakedRing(ring);
        // SAFETY: [ring-outlives-queues] the one reference made from the leaked box.
        let ring: &'static mut IoUring = unsafe { &mut *ring.as_ptr() };
        features.set_entries(ring.params().sq_entries(), ring.params().cq_entries());
        let (mut submitter, submissions, completions) = ring.split();
        // A thread has sixteen places for registered rings; the seventeenth runtime does without.
        if features.has(Feature::RegisteredRing) && submitter.register_ring_fd().is_err() {
            features.set(Feature::RegisteredRing, FeatureState::Absent);
        }
        // Fewer workers than the kernel's default is a courtesy; old kernels do not know it.
        let _ = submitter.register_iowq_max_workers(&mut WORKERS_MAX.clone());
        let mut uring = Uring {
            submitter,
            submissions,
            completions,
            overflow: VecDeque::new(),
            taskrun_flag: features.has(Feature::TaskrunFlag),
            did_its_share: false,
            features,
            stats: DriverStats::default(),
            has_region_table: false,
            locked_bytes: 0,
            _ring: leaked,
            pools: Rc::clone(pools),
        };
        if uring.features.has(Feature::PbufRing) {
            trial::register_pools(&uring.submitter, size, pools, &mut uring.features)?;
        }
        Ok(uring)
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    /// Has the kernel take buffers for datagrams from this pool.
    pub(super) fn offer_datagrams(&mut self, pool: &Pool) -> io::Result<()> {
        let serves =
            self.features.has(Feature::PbufRing) && self.features.has(Feature::RecvMultishot);
        if !serves {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (address, entries) = pool.make_ring()?;
        let group = group_number(Group::Datagram);
        // SAFETY: [pool-outlives-chunks] the ring's memory lives as long as the pool, which the
        // pools hold that lie beside the ring.
        unsafe { self.submitter.register_buf_ring_with_flags(address, entries, group, 0) }
    }

    /// Has the kernel look a region's pages up, once and for all; false if it will not, or if that
    /// locks more memory than is this process's to lock beside its rings.
    pub(super) fn register_region(&mut self, number: u16, memory: *mut u8, length: usize) -> bool {
        if !self.features.has(Feature::ReadFixed) && !self.features.has(Feature::WriteFixed) {
            return false;
        }
        if !self.has_region_table {
            let count = u32::from(files::REGIONS_MAX);
            self.has_region_table = self.submitter.register_buffers_sparse(count).is_ok();
        }
        if !self.has_region_table || !may_lock(length as u64) {
            return false;
        }
        let piece = libc::iovec { iov_base: memory.cast(), iov_len: length };
        // SAFETY: [pool-outlives-chunks] the region lives as long as its pool, which the pools hold
        // that lie beside the ring.
        let updated =
            unsafe { self.submitter.register_buffers_update(u32::from(number), &[piece], None) };
        match updated {
            Ok(()) => self.locked_bytes += length as u64,
            Err(_) => unlock(length as u64),
        }
        updated.is_ok()
    }

    /// The number under which the ring knows the memory of a read or a write.
    fn region_of(&self, op: FileOp, payload: &Payload) -> Option<u16> {
        let feature = match op {
            FileOp::Read { .. } => Feature::ReadFixed,
            FileOp::Write { .. } => Feature::WriteFixed,
            _ => return None,
        };
        let region = files::region(payload, &self.pools.aligned)?;
        self.features.has(feature).then_some(region)
    }

    pub(crate) fn stats(&self) -> DriverStats {
        self.stats
    }

    /// See [`super::AnyDriver::push`].
    ///
    /// # Safety
    ///
    /// As there.
    pub(super) unsafe fn push(&mut self, token: Token, op: Op, payload: *mut Payload) {
        // SAFETY: [slot-keeps-memory] the payload is not in flight yet, so ours to look at.
        let payload = unsafe { &mut *payload };
        let entry = match op {
            Op::File(op) => files::submission(op, payload, self.region_of(op, payload)),
            op => submission(op, payload),
        };
        self.put(entry.user_data(token.bits()));
    }

    pub(super) fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.bits()).build();
        self.put(entry.user_data(token.cancel_bits()));
    }

    pub(super) fn forget_cancel(&mut self, token: Token) {
        self.overflow.retain(|entry| entry.get_user_data() != token.cancel_bits());
    }

    fn put(&mut self, entry: squeue::Entry) {
        if self.overflow.is_empty() && self.try_put(&entry) {
            return;
        }
        self.stats.overflowed += 1;
        self.overflow.push_back(entry);
        self.submissions.sync();
        let count = self.submissions.len() as u32;
        // An error leaves the entries where they are; the next `enter` meets it again and tells.
        let _ = self.system_call(count, 0, EnterFlags::empty(), None);
        self.refill();
    }

    fn try_put(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: [slot-keeps-memory] what the entry points to is in its slot's payload, which
        // stays until the last completion.
        unsafe { self.submissions.push(entry) }.is_ok()
    }

    /// Moves what waits in `overflow` into the queue, as far as it fits.
    fn refill(&mut self) {
        self.submissions.sync();
        while let Some(entry) = self.overflow.pop_front() {
            if !self.try_put(&entry) {
                self.overflow.push_front(entry);
                return;
            }
        }
    }

    pub(super) fn has_unsubmitted(&mut self) -> bool {
        !self.submissions.is_empty() || !self.overflow.is_empty()
    }

    pub(super) fn has_news(&mut self) -> bool {
        self.completions.sync();
        !self.completions.is_empty() || self.kernel_wants_entry()
    }

    /// Whether the kernel holds work or completions back until it is entered.
    fn kernel_wants_entry(&self) -> bool {
        self.submissions.taskrun() || self.submissions.cq_overflow()
    }

    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.refill();
        self.submissions.sync();
        let count = self.submissions.len() as u32;
        let did_its_share = std::mem::take(&mut self.did_its_share);
        let nothing_waits = self.taskrun_flag && !did_its_share && !self.kernel_wants_entry();
        if wait == Wait::No && count == 0 && nothing_waits {
            return Ok(());
        }
        self.completions.sync();
        let wait = if self.overflow.is_empty() { wait } else { Wait::No };
        match wait {
            Wait::No => self.system_call(count, 0, EnterFlags::GETEVENTS, None),
            Wait::Forever => self.system_call(count, 1, self.waiting_flags(), None),
            Wait::Until(deadline_ns) => self.enter_until(count, deadline_ns),
        }
    }

    fn waiting_flags(&self) -> EnterFlags {
        match self.features.has(Feature::NoIowait) {
            true => EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT,
            false => EnterFlags::GETEVENTS,
        }
    }

    fn enter_until(&mut self, count: u32, deadline_ns: u64) -> io::Result<()> {
        let flags = self.waiting_flags() | EnterFlags::EXT_ARG;
        if self.features.has(Feature::AbsTimer) {
            return self.system_call(count, 1, flags | EnterFlags::ABS_TIMER, Some(deadline_ns));
        }
        match deadline_ns.saturating_sub(now_ns()) {
            // Waiting for one completion with a zero timeout sleeps; this does not.
            0 => self.system_call(count, 0, EnterFlags::GETEVENTS, None),
            rest_ns => self.system_call(count, 1, flags, Some(rest_ns)),
        }
    }

    /// Enters the ring. Interruptions, timeouts and shortages that the next turn meets again are
    /// no errors.
    fn system_call(
        &mut self,
        count: u32,
        wanted: u32,
        flags: EnterFlags,
        time_ns: Option<u64>,
    ) -> io::Result<()> {
        self.stats.enters += 1;
        let result = match time_ns {
            Some(ns) => {
                let time =
                    Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
                let args = SubmitArgs::new().timespec(&time);
                // SAFETY: [slot-keeps-memory] for what is submitted; the argument lives through
                // the call.
                unsafe { self.submitter.enter(count, wanted, flags.bits(), Some(&args)) }
            }
            None => {
                // SAFETY: [slot-keeps-memory] for what is submitted; there is no argument.
                unsafe { self.submitter.enter::<libc::sigset_t>(count, wanted, flags.bits(), None) }
            }
        };
        self.submissions.sync();
        match result {
            Ok(submitted) => {
                self.stats.submissions += submitted as u64;
                Ok(())
            }
            Err(error) => self.forgive(error),
        }
    }

    fn forgive(&mut self, error: io::Error) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME) => Ok(()),
            // The kernel is short of memory for requests or for overflown completions: what was
            // not taken stays in the queue, and reaping makes room.
            Some(libc::EAGAIN | libc::EBUSY) => {
                std::thread::yield_now();
                Ok(())
            }
            // The kernel could not keep completions for want of memory: they are lost, and the
            // operations they belong to stay in their slots.
            Some(libc::EBADR) => {
                self.stats.lost += 1;
                Ok(())
            }
            _ => Err(error),
        }
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        self.completions.sync();
        let is_deferred = self.features.has(Feature::DeferTaskrun);
        self.did_its_share = is_deferred && self.completions.len() >= DEFERRED_WORK;
        for entry in &mut self.completions {
            let token = Token::from_bits(entry.user_data());
            self.stats.completions += 1;
            if token.is_cancel() {
                continue;
            }
            completions.push(completion(&entry, token, &self.pools));
        }
        self.completions.sync();
        self.completions.is_empty() && !self.kernel_wants_entry()
    }
}

fn completion(entry: &cqueue::Entry, token: Token, pools: &Pools) -> Completion {
    let length = entry.result().max(0) as usize;
    Completion {
        token,
        result: entry.result(),
        more: cqueue::more(entry.flags()),
        chunk: cqueue::buffer_select(entry.flags()).map(|id| pools.take(id, length)),
    }
}

/// The group numbers under which the pools are registered.
pub(super) fn group_number(group: Group) -> u16 {
    match group {
        Group::Small => 0,
        Group::Large => 1,
        Group::Datagram => 2,
    }
}

/// The one place that knows how an operation is asked of the ring.
fn submission(op: Op, payload: &mut Payload) -> squeue::Entry {
    match (op, payload) {
        #[cfg(test)]
        (Op::Nop, _) => opcode::Nop::new().build(),
        (Op::Accept { fd, multishot: true }, _) => {
            opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build()
        }
        (Op::Accept { fd, multishot: false }, _) => {
            opcode::Accept::new(Fd(fd), std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        }
        (Op::Connect { fd }, Payload::Address(address)) => {
            opcode::Connect::new(Fd(fd), address.as_ptr(), address.length()).build()
        }
        (Op::Receive { fd, group, multishot: true }, _) => {
            opcode::RecvMulti::new(Fd(fd), group_number(group)).build()
        }
        (Op::Receive { fd, group, multishot: false }, _) => {
            opcode::Recv::new(Fd(fd), std::ptr::null_mut(), 0)
                .buf_group(group_number(group))
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        }
        (Op::ReceiveInto { fd }, Payload::Buffer(buffer)) => {
            opcode::Recv::new(Fd(fd), buffer.as_mut_ptr(), buffer.capacity() as u32).build()
        }
        (Op::Send { fd }, Payload::Segment(segment)) => {
            let bytes = segment.as_slice();
            let length = bytes.len().min(SEND_LENGTH_MAX) as u32;
            opcode::Send::new(Fd(fd), bytes.as_ptr(), length).flags(libc::MSG_WAITALL).build()
        }
        (Op::Send { fd }, Payload::Batch(batch)) => {
            opcode::SendMsg::new(Fd(fd), batch.header()).flags(libc::MSG_WAITALL as u32).build()
        }
        (Op::ReceiveMessage { fd }, Payload::Message(message)) => {
            let flags = libc::MSG_CMSG_CLOEXEC as u32;
            opcode::RecvMsg::new(Fd(fd), message.header()).flags(flags).build()
        }
        (Op::ReceiveDatagrams { fd }, Payload::Message(message)) => {
            let (group, flags) = (group_number(Group::Datagram), libc::MSG_CMSG_CLOEXEC as u32);
            opcode::RecvMsgMulti::new(Fd(fd), message.header(), group).flags(flags).build()
        }
        (op, payload) => pipe_submission(op, payload),
    }
}

/// The same for what is no socket.
fn pipe_submission(op: Op, payload: &mut Payload) -> squeue::Entry {
    // As read(2) and write(2): where the file's position is, if it has one.
    let here = u64::MAX;
    match (op, payload) {
        (Op::PipeRead { fd, group }, _) => opcode::Read::new(Fd(fd), std::ptr::null_mut(), 1 << 20)
            .offset(here)
            .buf_group(group_number(group))
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        (Op::PipeReadInto { fd }, Payload::Buffer(buffer)) => {
            let length = buffer.capacity() as u32;
            opcode::Read::new(Fd(fd), buffer.as_mut_ptr(), length).offset(here).build()
        }
        (Op::PipeWrite { fd }, Payload::Segment(segment)) => {
            let bytes = segment.as_slice();
            let length = bytes.len().min(SEND_LENGTH_MAX) as u32;
            opcode::Write::new(Fd(fd), bytes.as_ptr(), length).offset(here).build()
        }
        (Op::PipeWrite { fd }, Payload::Batch(batch)) => {
            let pieces = batch.pieces();
            opcode::Writev::new(Fd(fd), pieces.as_ptr(), pieces.len() as u32).offset(here).build()
        }
        (Op::PollOut { fd }, _) => opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32).build(),
        (Op::Poll { fd, multishot }, _) => {
            opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(multishot).build()
        }
        (op, _) => unreachable!("{op:?} was pushed without the payload it needs"),
    }
}
