//! The seam: an [`Op`] goes in, a [`Completion`] comes out.
//!
//! An `Op` is plain data in the kernel's words. A driver turns it into whatever its kernel
//! interface wants ([`uring`]: one `match` that makes an SQE) and hands completions back. A driver
//! knows no task, no future and no stream, and nothing above it knows a kernel flag.
//! `executor/slots.rs` is the one place that calls [`AnyDriver::push`].
//!
//! The contract, for every driver:
//!
//! * each pushed operation completes at least once, and its last completion has `more == false`;
//! * completions of different operations come in any order, those of one in the order they
//!   happened;
//! * no completion is delivered from inside `push`;
//! * a cancel is a request: the operation still completes, with any result;
//! * nothing is lost when a queue is full: what does not fit waits in an overflow FIFO, cancels
//!   included, and a cancel whose operation has completed meanwhile is taken out, not sent.
//!
//! Everything else that touches the outside (clock, sockets, socket options, the random seed) is
//! asked of the driver too, so that a simulation can answer it.

mod address;
mod attempt;
mod bell;
mod buffers;
mod choice;
mod clock;
mod cpus;
mod datagram;
mod environment;
mod epoll;
mod features;
mod files;
pub(crate) mod handing;
mod local;
mod message;
mod payload;
mod pipe;
mod prefetch;
mod probe;
mod process;
mod refusal;
mod socket;
mod topology;
mod trial;
mod uring;
mod workers;

#[cfg(test)]
pub(crate) mod fake;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

pub(crate) use address::{Address, name_of};
pub(crate) use bell::{Bell, open_signals, read_signal};
pub use buffers::Chunk;
pub(crate) use buffers::{BufferConfig, Pool, Pools};
pub use choice::Driver;
pub(crate) use choice::{choose, once_a_process, with_driver};
pub(crate) use clock::{now_ns, ticks, ticks_per_micro, wall_seed};
pub(crate) use cpus::CpuSet;
pub(crate) use datagram::DatagramOption;
pub use environment::{Container, Environment, Limit};
use epoll::Epoll;
pub use features::{Feature, FeatureState, Features};
pub use files::{Advice, AlignedBuffer};
pub(crate) use files::{
    AllocateMode, FileOp, HERE, Helpers, LinkFlags, LockKind, Memories, Memory, OpenHow, Paths,
    RawEntry, Second, SpliceEnd, Status, StatusFlags, StatusPlace, entries, is_about_links,
    is_cancelled, is_escape, is_no_call, is_no_copy, is_without_positions, kind, memory_of,
};
pub use local::Credentials;
pub(crate) use local::LocalKind;
pub(crate) use message::{DESCRIPTORS_MAX, Message, Received, parse_datagram};
pub use payload::Segment;
pub(crate) use payload::{Batch, Payload, ReceiveBuffer};
pub(crate) use pipe::{Inherited, WIDE_BYTES};
pub(crate) use prefetch::prefetch;
pub use probe::{Capability, Found, KnownBug, Prober};
pub use refusal::{Cause, Cure, Refusal};
pub(crate) use socket::SocketOption;
pub(crate) use topology::{Cpu, allowed_cpus};
pub(crate) use trial::RingSize;
use uring::Uring;
pub use workers::CancelFlag;
pub(crate) use workers::{Job, JobPanic, Refused, Workers, WorkersConfig, current_flag};

/// The name of one operation in flight: slot index, generation and tag in 64 bits.
///
/// ```text
///  63..60  tag (1 operation, 2 cancel)   59..32  generation   31..0  slot index
/// ```
/// Tag 0 is never made, so a zeroed `user_data` is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Token(u64);

const TAG_OPERATION: u64 = 1;
const TAG_CANCEL: u64 = 2;

impl Token {
    /// How many generations a slot counts before they repeat.
    pub(crate) const GENERATION_MASK: u32 = (1 << 28) - 1;

    pub(crate) fn operation(index: u32, generation: u32) -> Token {
        let generation = u64::from(generation & Self::GENERATION_MASK);
        Token(TAG_OPERATION << 60 | generation << 32 | u64::from(index))
    }

    pub(crate) fn from_bits(bits: u64) -> Token {
        Token(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The `user_data` of the request that cancels this operation.
    pub(crate) fn cancel_bits(self) -> u64 {
        self.0 & !(0xf << 60) | TAG_CANCEL << 60
    }

    pub(crate) fn is_operation(self) -> bool {
        self.0 >> 60 == TAG_OPERATION
    }

    pub(crate) fn is_cancel(self) -> bool {
        self.0 >> 60 == TAG_CANCEL
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Self::GENERATION_MASK
    }
}

/// Which pool of provided buffers a receive draws from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Group {
    Small,
    Large,
    /// For datagrams of any size, with what is written before them.
    Datagram,
}

/// An operation as plain data. Memory it needs is in the [`Payload`] that is pushed with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Completes at once with 0: for tests of what lies between.
    #[cfg(test)]
    Nop,
    /// Payload none; the result is a descriptor, closed on exec.
    Accept { fd: RawFd, multishot: bool },
    /// Payload [`Payload::Address`].
    Connect { fd: RawFd },
    /// Payload none; the completion brings a [`Chunk`].
    Receive { fd: RawFd, group: Group, multishot: bool },
    /// Payload [`Payload::Buffer`].
    ReceiveInto { fd: RawFd },
    /// Payload [`Payload::Segment`] or [`Payload::Batch`]; completes when all is sent or on error.
    Send { fd: RawFd },
    /// Payload [`Payload::Message`]: one message with its address and its descriptors.
    ReceiveMessage { fd: RawFd },
    /// Payload [`Payload::Message`], which says the layout; each completion brings a [`Chunk`] for
    /// [`parse_datagram`].
    ReceiveDatagrams { fd: RawFd },
    /// As read(2), for what is no socket; payload none; the completion brings a [`Chunk`].
    PipeRead { fd: RawFd, group: Group },
    /// The same with [`Payload::Buffer`].
    PipeReadInto { fd: RawFd },
    /// As write(2) or writev(2); payload as of a send, and may write less of it.
    PipeWrite { fd: RawFd },
    /// Payload none; completes when the descriptor is readable.
    Poll { fd: RawFd, multishot: bool },
    /// See there.
    File(FileOp),
    /// Payload none; completes when the descriptor is writable.
    PollOut { fd: RawFd },
}

/// What came back of an operation.
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// The kernel's result: not negative, or `-errno`.
    pub(crate) result: i32,
    /// Whether the operation goes on and will complete again.
    pub(crate) more: bool,
    /// The bytes that a receive from a pool brought.
    pub(crate) chunk: Option<Chunk>,
}

/// How long [`AnyDriver::enter`] may wait for the first completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Do not wait, and skip the system call if there is nothing to do.
    No,
    /// Until something completes or the clock reaches this many nanoseconds.
    Until(u64),
    /// Until something completes.
    Forever,
}

/// Counters that a driver keeps, for `Stats`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DriverStats {
    pub(crate) enters: u64,
    pub(crate) submissions: u64,
    pub(crate) completions: u64,
    pub(crate) overflowed: u64,
    pub(crate) lost: u64,
}

/// The driver of one core, chosen at start. One branch a call, no `dyn`, no generics above it.
pub(crate) enum AnyDriver {
    Uring(Box<Uring>, Helpers),
    Epoll(Box<Epoll>, Helpers),
    #[cfg(test)]
    Fake(Box<fake::Fake>),
    /// After teardown: what still closes a descriptor does so by system call.
    Closed,
}

/// The driver as its core and the descriptors share it.
pub(crate) type SharedDriver = Rc<RefCell<AnyDriver>>;

impl AnyDriver {
    /// Hands an operation to the kernel's side.
    ///
    /// # Safety
    ///
    /// `payload` must be what `op` asks for, and must stay where it is, unread and unchanged,
    /// until the operation's last completion was reaped: `[slot-keeps-memory]`.
    #[allow(unsafe_code)] // The seam's one unsafe function: the kernel will use the payload.
    pub(crate) unsafe fn push(&mut self, token: Token, op: Op, payload: *mut Payload) {
        if let Op::File(op) = op
            && let Some(helpers) = self.helpers_for(op)
        {
            // SAFETY: [slot-keeps-memory] the payload is not in flight yet, so ours to look at.
            return helpers.push(token, op, unsafe { &mut *payload });
        }
        match self {
            // SAFETY: [slot-keeps-memory], promised by our caller.
            AnyDriver::Uring(uring, _) => unsafe { uring.push(token, op, payload) },
            AnyDriver::Epoll(epoll, _) => epoll.push(token, op, payload),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.push(token, op, payload),
            AnyDriver::Closed => unreachable!("slots refuse operations of a closed core"),
        }
    }

    /// The threads that do what would block, and the kernel does not do on its own.
    pub(crate) fn employ(&mut self, workers: Workers, core: Waker) {
        if let Some(helpers) = self.helpers() {
            helpers.employ(workers, core);
        }
    }

    fn helpers(&mut self) -> Option<&mut Helpers> {
        match self {
            AnyDriver::Uring(_, helpers) | AnyDriver::Epoll(_, helpers) => Some(helpers),
            _ => None,
        }
    }

    /// The helpers, if this operation is theirs.
    fn helpers_for(&mut self, op: FileOp) -> Option<&mut Helpers> {
        match self {
            AnyDriver::Uring(uring, helpers) => {
                let is_rings = op.feature().is_some_and(|feature| uring.features().has(feature));
                (!is_rings).then_some(helpers)
            }
            AnyDriver::Epoll(_, helpers) => Some(helpers),
            _ => None,
        }
    }

    /// Asks for the end of an operation. It still completes.
    pub(crate) fn cancel(&mut self, token: Token) {
        if self.helpers().is_some_and(|helpers| helpers.cancel(token)) {
            return;
        }
        match self {
            AnyDriver::Uring(uring, _) => uring.cancel(token),
            AnyDriver::Epoll(epoll, _) => epoll.cancel(token),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.cancel(token),
            AnyDriver::Closed => {}
        }
    }

    /// Takes an unsent cancel of a completed operation out of the overflow queue.
    pub(crate) fn forget_cancel(&mut self, token: Token) {
        match self {
            AnyDriver::Uring(uring, _) => uring.forget_cancel(token),
            // A cancel takes effect at once there.
            AnyDriver::Epoll(..) => {}
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.forget_cancel(token),
            AnyDriver::Closed => {}
        }
    }

    /// Submits what was pushed and waits, in one system call.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let has_news = self.helpers().is_some_and(|helpers| helpers.has_news());
        let wait = if has_news { Wait::No } else { wait };
        match self {
            AnyDriver::Uring(uring, _) => uring.enter(wait),
            AnyDriver::Epoll(epoll, _) => epoll.enter(wait),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.enter(wait),
            AnyDriver::Closed => Ok(()),
        }
    }

    /// Copies the completions out; true if none is left that this thread could see.
    pub(crate) fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        if let Some(helpers) = self.helpers() {
            helpers.reap(completions);
        }
        match self {
            AnyDriver::Uring(uring, _) => uring.reap(completions),
            AnyDriver::Epoll(epoll, _) => epoll.reap(completions),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.reap(completions),
            AnyDriver::Closed => true,
        }
    }

    /// Whether an `enter` without waiting would bring something: a look at shared memory.
    pub(crate) fn has_news(&mut self) -> bool {
        if self.helpers().is_some_and(|helpers| helpers.has_news()) {
            return true;
        }
        match self {
            AnyDriver::Uring(uring, _) => uring.has_news(),
            AnyDriver::Epoll(epoll, _) => epoll.has_news(),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.has_news(),
            AnyDriver::Closed => false,
        }
    }

    /// Whether operations were pushed that the kernel has not taken yet.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        match self {
            AnyDriver::Uring(uring, _) => uring.has_unsubmitted(),
            AnyDriver::Epoll(epoll, _) => epoll.has_unsubmitted(),
            #[cfg(test)]
            AnyDriver::Fake(fake) => fake.has_unsubmitted(),
            AnyDriver::Closed => false,
        }
    }

    pub(crate) fn stats(&self) -> DriverStats {
        match self {
            AnyDriver::Uring(uring, _) => uring.stats(),
            AnyDriver::Epoll(epoll, _) => epoll.stats(),
            #[cfg(test)]
            AnyDriver::Fake(_) => DriverStats::default(),
            AnyDriver::Closed => DriverStats::default(),
        }
    }

    /// Sends what does not block, at once: bytes sent, or `-errno`. For a send that is alone.
    pub(crate) fn send_now(&mut self, fd: RawFd, payload: &Payload) -> i32 {
        match self {
            // Under test nothing is sent past the fake.
            #[cfg(test)]
            AnyDriver::Fake(_) => -libc::EAGAIN,
            _ => socket::send_now(fd, payload, 0),
        }
    }

    /// Reads what lies in the page cache, at once: the count, or `-EAGAIN` for what has to be
    /// waited for.
    pub(crate) fn read_now(
        &mut self,
        fd: RawFd,
        position: u64,
        memory: &mut Memory,
        length: usize,
    ) -> i32 {
        match self {
            // Under test nothing is read past the fake.
            #[cfg(test)]
            AnyDriver::Fake(_) => -libc::EAGAIN,
            _ => files::read_now(fd, position, memory, length),
        }
    }

    /// Aligned memory: of the core's pool, or of the heap if that has no place for it.
    pub(crate) fn aligned_buffer(
        &mut self,
        pools: &Pools,
        capacity: usize,
        alignment: usize,
    ) -> AlignedBuffer {
        let register = |number, memory, length| match self {
            AnyDriver::Uring(uring, _) => uring.register_region(number, memory, length),
            _ => false,
        };
        let taken = pools.aligned.take(capacity, alignment, register);
        taken.unwrap_or_else(|| AlignedBuffer::new(capacity, alignment))
    }

    /// Has buffers for datagrams offered; where that fails, datagrams come without.
    pub(crate) fn offer_datagrams(&mut self, pools: &Pools) {
        match self {
            AnyDriver::Uring(uring, _) => pools.offer_datagrams(|pool| uring.offer_datagrams(pool)),
            AnyDriver::Epoll(..) => pools.offer_datagrams(|pool| {
                pool.serve_from_list();
                Ok(())
            }),
            #[cfg(test)]
            AnyDriver::Fake(_) => {}
            AnyDriver::Closed => {}
        }
    }

    /// The descriptor number now stands for another file.
    fn forget(&mut self, fd: RawFd) {
        if let AnyDriver::Epoll(epoll, _) = self {
            epoll.forget(fd);
        }
    }

    /// Closes a descriptor, as the last act of the last holder of an [`Fd`].
    fn close(&mut self, fd: RawFd) {
        // Closing a socket never blocks, and costs less as a plain call than a submission with its
        // completion.
        self.forget(fd);
        socket::close(fd);
    }
}

/// A descriptor that slots and resources share by `Rc`; the last holder closes it.
///
/// Slots hold it for each operation in flight, so the kernel never sees a number that was closed
/// and given to somebody else.
pub(crate) struct Fd {
    /// -1 once it was released.
    raw: Cell<RawFd>,
    driver: SharedDriver,
}

impl Fd {
    /// Takes ownership of `raw`, which nobody else may close.
    pub(crate) fn new(raw: RawFd, driver: &SharedDriver) -> Rc<Fd> {
        Rc::new(Fd { raw: Cell::new(raw), driver: Rc::clone(driver) })
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.raw.get()
    }

    /// Takes the descriptor out, to go elsewhere; `None` if it was taken before. No operation may
    /// be in flight or be started: nobody has the number any more.
    #[allow(unsafe_code)] // Owns the descriptor.
    pub(crate) fn release(&self) -> Option<OwnedFd> {
        let raw = self.raw.replace(-1);
        if raw < 0 {
            return None;
        }
        self.driver.borrow_mut().release(raw);
        // SAFETY: [fd-is-ours] it was this holder's, and is no longer.
        Some(unsafe { OwnedFd::from_raw_fd(raw) })
    }

    /// Takes the descriptor out, if this is its last holder.
    pub(crate) fn release_last(this: Rc<Fd>) -> Result<OwnedFd, Rc<Fd>> {
        match Rc::strong_count(&this) {
            1 => this.release().ok_or(this),
            _ => Err(this),
        }
    }
}

impl AsFd for Fd {
    #[allow(unsafe_code)] // Lends the descriptor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let raw = self.raw.get();
        assert!(raw >= 0, "the stream was detached: its descriptor has gone elsewhere");
        // SAFETY: [fd-is-ours] this holder keeps the descriptor open for as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(raw) }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        let raw = self.raw.get();
        if raw < 0 {
            return;
        }
        match self.driver.try_borrow_mut() {
            Ok(mut driver) => driver.close(raw),
            Err(_) => socket::close(raw),
        }
    }
}
