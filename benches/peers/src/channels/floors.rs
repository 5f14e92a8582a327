//! The least that two threads can do: a ring for one sender and one receiver, and the kernel's ways
//! to sleep. Nothing here can be cancelled, closed, shared, or waited for beside something else.

use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Instant;

use io_uring::{IoUring, opcode, types::Fd};

use crate::pair;

const CAPACITY: usize = 4096;

#[repr(align(128))]
struct Padded<T>(T);

/// A bounded ring of one sender and one receiver, each of which keeps what it knows of the other.
struct Ring {
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    places: Box<[AtomicU64]>,
}

impl Ring {
    fn new() -> Ring {
        let places = (0..CAPACITY).map(|_| AtomicU64::new(0)).collect();
        let index = || Padded(AtomicUsize::new(0));
        Ring { tail: index(), head: index(), places }
    }
}

struct End<'a> {
    ring: &'a Ring,
    own: usize,
    other: usize,
}

impl<'a> End<'a> {
    fn new(ring: &'a Ring) -> End<'a> {
        End { ring, own: 0, other: 0 }
    }

    fn push(&mut self, value: u64) -> bool {
        if self.own - self.other == CAPACITY {
            self.other = self.ring.head.0.load(Ordering::Acquire);
            if self.own - self.other == CAPACITY {
                return false;
            }
        }
        self.ring.places[self.own % CAPACITY].store(value, Ordering::Relaxed);
        self.own += 1;
        self.ring.tail.0.store(self.own, Ordering::Release);
        true
    }

    fn pop(&mut self) -> Option<u64> {
        if self.own == self.other {
            self.other = self.ring.tail.0.load(Ordering::Acquire);
            if self.own == self.other {
                return None;
            }
        }
        let value = self.ring.places[self.own % CAPACITY].load(Ordering::Relaxed);
        self.own += 1;
        self.ring.head.0.store(self.own, Ordering::Release);
        Some(value)
    }
}

pub(crate) fn stream(count: u64) -> f64 {
    let ring = Ring::new();
    let sending = |ready: crate::Ready<'_>| {
        let mut end = End::new(&ring);
        ready();
        for number in 0..count {
            while !end.push(number) {
                std::hint::spin_loop();
            }
        }
    };
    pair(sending, |ready| {
        let (mut end, mut sum) = (End::new(&ring), 0);
        ready();
        for _ in 0..count {
            sum += loop {
                match end.pop() {
                    Some(number) => break number,
                    None => std::hint::spin_loop(),
                }
            };
        }
        assert_eq!(sum, count * (count - 1) / 2);
        Instant::now()
    }) / count as f64
}

/// How a side sleeps until the other has said something.
trait Sleep: Sync {
    type Own;
    fn begin(&self) -> Self::Own;
    /// Waits for a value.
    fn wait(&self, own: &mut Self::Own, pop: impl FnMut() -> Option<u64>) -> u64;
    /// Wakes this side, from the other.
    fn wake(&self, from: &mut Self::Own);
    /// Sees to it that every wake so far is on its way.
    fn end(_own: &mut Self::Own) {}
}

fn ping_pong<S: Sleep>(count: u64, sides: [S; 2]) -> f64 {
    let rings = [Ring::new(), Ring::new()];
    let echo = |ready: crate::Ready<'_>| {
        let (mut pings, mut pongs) = (End::new(&rings[0]), End::new(&rings[1]));
        let mut own = sides[0].begin();
        ready();
        for _ in 0..count {
            let number = sides[0].wait(&mut own, || pings.pop());
            assert!(pongs.push(number));
            sides[1].wake(&mut own);
        }
        S::end(&mut own);
    };
    pair(echo, |ready| {
        let (mut pings, mut pongs) = (End::new(&rings[0]), End::new(&rings[1]));
        let mut own = sides[1].begin();
        ready();
        for number in 0..count {
            assert!(pings.push(number));
            sides[0].wake(&mut own);
            assert_eq!(sides[1].wait(&mut own, || pongs.pop()), number);
        }
        Instant::now()
    }) / count as f64
}

struct Spinning;

impl Sleep for Spinning {
    type Own = ();
    fn begin(&self) {}
    fn wait(&self, _: &mut (), mut pop: impl FnMut() -> Option<u64>) -> u64 {
        loop {
            match pop() {
                Some(number) => return number,
                None => std::hint::spin_loop(),
            }
        }
    }
    fn wake(&self, _: &mut ()) {}
}

pub(crate) fn spinning(count: u64) -> f64 {
    ping_pong(count, [Spinning, Spinning])
}

/// `asleep` as a core's: said, then looked at the ring once more.
#[derive(Default)]
struct Word(AtomicBool);

impl Word {
    /// Pops, and sleeps by `sleep` while there is nothing.
    fn wait(&self, mut pop: impl FnMut() -> Option<u64>, mut sleep: impl FnMut()) -> u64 {
        loop {
            if let Some(number) = pop() {
                return number;
            }
            self.0.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(number) = pop() {
                self.0.store(false, Ordering::Relaxed);
                return number;
            }
            sleep();
        }
    }

    fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// The futex, as std wraps it.
#[derive(Default)]
struct Futex {
    word: Word,
    thread: OnceLock<Thread>,
}

impl Sleep for Futex {
    type Own = ();
    fn begin(&self) {
        let _ = self.thread.set(thread::current());
    }
    fn wait(&self, _: &mut (), pop: impl FnMut() -> Option<u64>) -> u64 {
        self.word.wait(pop, thread::park)
    }
    fn wake(&self, _: &mut ()) {
        if self.word.must_ring() {
            self.thread.get().expect("both sides are ready").unpark();
        }
    }
}

pub(crate) fn futex(count: u64) -> f64 {
    ping_pong(count, [Futex::default(), Futex::default()])
}

/// An eventfd that is read.
struct Eventfd {
    word: Word,
    fd: i32,
}

impl Eventfd {
    fn new() -> Eventfd {
        // SAFETY: [plain-call] no memory is passed.
        Eventfd { word: Word::default(), fd: unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) } }
    }
}

impl Drop for Eventfd {
    fn drop(&mut self) {
        // SAFETY: [plain-call] it is ours.
        unsafe { libc::close(self.fd) };
    }
}

impl Sleep for Eventfd {
    type Own = ();
    fn begin(&self) {}
    fn wait(&self, _: &mut (), pop: impl FnMut() -> Option<u64>) -> u64 {
        self.word.wait(pop, || {
            let mut count = 0u64;
            // SAFETY: [plain-call] eight bytes of room.
            unsafe { libc::read(self.fd, (&raw mut count).cast(), 8) };
        })
    }
    fn wake(&self, _: &mut ()) {
        if self.word.must_ring() {
            // SAFETY: [plain-call] eight bytes.
            unsafe { libc::write(self.fd, (&raw const ONE).cast(), 8) };
        }
    }
}

static ONE: u64 = 1;

pub(crate) fn eventfd(count: u64) -> f64 {
    ping_pong(count, [Eventfd::new(), Eventfd::new()])
}

fn ring() -> IoUring {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_r_disabled()
        .build(8)
        .expect("a ring")
}

/// A ring with a standing poll of an eventfd, which the other side writes: what an event loop does.
struct EventfdOnRing {
    eventfd: Eventfd,
}

impl Sleep for EventfdOnRing {
    type Own = IoUring;
    fn begin(&self) -> IoUring {
        let mut ring = ring();
        ring.submitter().register_enable_rings().expect("enabled");
        arm(&mut ring, self.eventfd.fd);
        ring
    }
    fn wait(&self, ring: &mut IoUring, pop: impl FnMut() -> Option<u64>) -> u64 {
        self.eventfd.word.wait(pop, || {
            ring.submit_and_wait(1).expect("a wait");
            if ring.completion().any(|entry| !io_uring::cqueue::more(entry.flags())) {
                arm(ring, self.eventfd.fd);
            }
        })
    }
    fn wake(&self, _: &mut IoUring) {
        self.eventfd.wake(&mut ());
    }
}

fn arm(ring: &mut IoUring, fd: i32) {
    let poll = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true).build();
    // SAFETY: [plain-call] no memory is passed.
    unsafe { ring.submission().push(&poll) }.expect("room");
}

pub(crate) fn eventfd_on_ring(count: u64) -> f64 {
    let side = || EventfdOnRing { eventfd: Eventfd::new() };
    ping_pong(count, [side(), side()])
}

/// Two rings that send each other messages, submitted with the next wait.
#[derive(Default)]
struct Message {
    word: Word,
    fd: OnceLock<i32>,
}

impl Sleep for Message {
    type Own = IoUring;
    fn begin(&self) -> IoUring {
        let ring = ring();
        ring.submitter().register_enable_rings().expect("enabled");
        self.fd.set(ring.as_raw_fd()).expect("one side each");
        ring
    }
    fn wait(&self, ring: &mut IoUring, pop: impl FnMut() -> Option<u64>) -> u64 {
        self.word.wait(pop, || {
            ring.submit_and_wait(1).expect("a wait");
            ring.completion().for_each(|entry| assert!(entry.result() >= 0, "{entry:?}"));
        })
    }
    fn wake(&self, from: &mut IoUring) {
        if self.word.must_ring() {
            let fd = Fd(*self.fd.get().expect("both sides are ready"));
            let message = opcode::MsgRingData::new(fd, 0, 7, None)
                .build()
                .flags(io_uring::squeue::Flags::SKIP_SUCCESS);
            // SAFETY: [plain-call] no memory is passed.
            unsafe { from.submission().push(&message) }.expect("room");
        }
    }
    fn end(own: &mut IoUring) {
        own.submit().expect("submitted");
    }
}

pub(crate) fn message(count: u64) -> f64 {
    ping_pong(count, [Message::default(), Message::default()])
}
