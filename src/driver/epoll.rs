//! The epoll driver: the same operations where io_uring is refused.
//!
//! An operation is tried; if it would block it waits for an event of its descriptor, then is tried
//! again. Events are edges: a direction is *ready* until a call on it would have blocked.
//!
//! ```text
//!             push                    tried: would block              edge
//!   ────────▶ queued, try ──────────────────────────────▶ queued, asleep ──────▶ queued, try
//!               │ tried: done                                │ cancel
//!               ▼                                            ▼
//!             completed (a multishot stays queued, and completes again)
//! ```
//!
//! There is one record for each descriptor, made by its first operation, removed by its close. It
//! holds a queue for each direction; only the front is tried, so operations of one direction
//! complete in order. A multishot gets one round in a turn, then makes way.
//!
//! Differences that a test can see:
//!
//! * features of the ring are absent, standing operations emulated, files the helpers' work;
//! * what one turn delivers of one stream is one buffer, so a fast sender fills its inbox slower.
#![allow(unsafe_code)] // System calls with payloads.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::attempt::{
    accept, connect, pipe_read, pipe_write, poll, receive_into, receive_message, would_block,
};
use super::message::receive_laid_out;
use super::socket::{check, send_now};
use super::{Completion, DriverStats, Group, Op, Payload, Pools, Token, Wait, now_ns};

/// Events taken in one call.
const EVENTS_MAX: usize = 256;

/// Datagrams that one socket takes in a turn: each is small, unlike a stream's buffer.
const DATAGRAMS_MAX: usize = 32;

/// The two directions of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    In,
    Out,
}

/// An operation that waits or is to be tried.
struct Pending {
    token: Token,
    op: Op,
    payload: *mut Payload,
    /// Bytes of a send that are through.
    sent: usize,
    /// A connect that was begun: its outcome comes with the next edge.
    begun: bool,
}

/// The operations of one direction.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Pending>,
    /// No call has blocked since the last edge.
    ready: bool,
    /// The lane is in the list of lanes to try.
    listed: bool,
}

/// What is known of a descriptor.
struct Record {
    lanes: [Lane; 2],
    is_registered: bool,
    /// The peer ended or reset: a short read is not the last that can be read.
    hung_up: bool,
}

impl Record {
    fn new() -> Record {
        let lanes =
            [Lane { ready: true, ..Lane::default() }, Lane { ready: true, ..Lane::default() }];
        Record { lanes, is_registered: false, hung_up: false }
    }
}

/// One core's epoll.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    /// Where `epoll_pwait2` is missing, wakes for deadlines that are no whole milliseconds.
    timer: Option<OwnedFd>,
    records: Vec<Option<Box<Record>>>,
    /// Where the operation of a slot is, by slot index.
    places: Vec<Option<(RawFd, Direction)>>,
    to_try: VecDeque<(RawFd, Direction)>,
    done: VecDeque<Completion>,
    events: Vec<libc::epoll_event>,
    pools: Rc<Pools>,
    stats: DriverStats,
}

/// What became of a try.
enum Tried {
    /// It would block.
    Blocked,
    Done(Completion),
}

impl Epoll {
    pub(crate) fn new(pools: &Rc<Pools>) -> io::Result<Epoll> {
        // SAFETY: [plain-call] no memory is passed.
        let raw = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
        let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
        pools.small.serve_from_list();
        pools.large.serve_from_list();
        let mut driver = Epoll {
            epoll,
            timer: None,
            records: Vec::new(),
            places: Vec::new(),
            to_try: VecDeque::new(),
            done: VecDeque::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
            pools: Rc::clone(pools),
            stats: DriverStats::default(),
        };
        if driver.pwait2(0) < 0 {
            driver.timer = Some(driver.make_timer()?);
        }
        Ok(driver)
    }

    pub(crate) fn stats(&self) -> DriverStats {
        self.stats
    }

    /// See [`super::AnyDriver::push`].
    pub(super) fn push(&mut self, token: Token, op: Op, payload: *mut Payload) {
        self.stats.submissions += 1;
        let Some((fd, direction)) = place(op) else {
            return self.finish(token, 0);
        };
        let index = token.index() as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        self.places[index] = Some((fd, direction));
        let pending = Pending { token, op, payload, sent: 0, begun: false };
        self.lane(fd, direction).queue.push_back(pending);
        self.list(fd, direction);
    }

    fn record(&mut self, fd: RawFd) -> &mut Record {
        let index = fd as usize;
        if self.records.len() <= index {
            self.records.resize_with(index + 1, || None);
        }
        self.records[index].get_or_insert_with(|| Box::new(Record::new()))
    }

    fn lane(&mut self, fd: RawFd, direction: Direction) -> &mut Lane {
        &mut self.record(fd).lanes[direction as usize]
    }

    /// Has a lane tried at the next `enter`, if there is something to try.
    fn list(&mut self, fd: RawFd, direction: Direction) {
        let lane = self.lane(fd, direction);
        if lane.ready && !lane.listed && !lane.queue.is_empty() {
            lane.listed = true;
            self.to_try.push_back((fd, direction));
        }
    }

    fn finish(&mut self, token: Token, result: i32) {
        self.done.push_back(Completion { token, result, more: false, chunk: None });
    }

    pub(super) fn cancel(&mut self, token: Token) {
        let place = self.places.get(token.index() as usize).copied().flatten();
        let Some((fd, direction)) = place else { return };
        let lane = self.lane(fd, direction);
        let Some(at) = lane.queue.iter().position(|pending| pending.token == token) else { return };
        let pending = lane.queue.remove(at).expect("the place was just found");
        self.places[token.index() as usize] = None;
        // As the ring has it: a send that is partly through says how far.
        let result = if pending.sent > 0 { pending.sent as i32 } else { -libc::ECANCELED };
        self.finish(token, result);
        self.list(fd, direction);
    }

    /// A descriptor goes elsewhere, and stays open there: its entry would outlive it here.
    pub(super) fn release(&mut self, fd: RawFd) {
        let (epoll, no_event) = (self.epoll.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: [plain-call] no memory is passed.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, no_event) };
        self.forget(fd);
    }

    /// A descriptor is being closed, after the last completion of its operations.
    pub(super) fn forget(&mut self, fd: RawFd) {
        if let Some(record) = self.records.get_mut(fd as usize) {
            *record = None;
        }
    }

    pub(super) fn has_unsubmitted(&self) -> bool {
        !self.to_try.is_empty()
    }

    pub(super) fn has_news(&mut self) -> bool {
        if self.done.is_empty() && self.to_try.is_empty() {
            let _ = self.wait(0);
        }
        !self.done.is_empty() || !self.to_try.is_empty()
    }

    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.try_listed();
        let is_idle = self.done.is_empty() && self.to_try.is_empty();
        match wait {
            _ if !is_idle => self.wait(0)?,
            Wait::No => self.wait(0)?,
            Wait::Forever => self.wait_until(None)?,
            Wait::Until(deadline_ns) => self.wait_until(Some(deadline_ns))?,
        }
        self.try_listed();
        Ok(())
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        self.stats.completions += self.done.len() as u64;
        completions.extend(self.done.drain(..));
        self.to_try.is_empty()
    }

    /// One round over the lanes that were listed when it began.
    fn try_listed(&mut self) {
        for _ in 0..self.to_try.len() {
            let Some((fd, direction)) = self.to_try.pop_front() else { return };
            self.lane(fd, direction).listed = false;
            self.try_lane(fd, direction);
        }
    }

    fn try_lane(&mut self, fd: RawFd, direction: Direction) {
        let mut datagrams = 0;
        while self.lane(fd, direction).ready {
            let Some(mut pending) = self.lane(fd, direction).queue.pop_front() else { return };
            match self.try_one(&mut pending) {
                Tried::Blocked => {
                    let lane = self.lane(fd, direction);
                    lane.ready = false;
                    lane.queue.push_front(pending);
                    if let Err(error) = self.register(fd) {
                        self.fail_lane(fd, direction, &error);
                    }
                }
                Tried::Done(completion) if completion.more => {
                    self.done.push_back(completion);
                    let is_datagram = matches!(pending.op, Op::ReceiveDatagrams { .. });
                    let waits_for_edges = matches!(pending.op, Op::Poll { .. });
                    self.lane(fd, direction).queue.push_front(pending);
                    if waits_for_edges && self.register(fd).is_ok() {
                        self.lane(fd, direction).ready = false;
                    }
                    datagrams += usize::from(is_datagram);
                    if is_datagram && datagrams < DATAGRAMS_MAX {
                        continue;
                    }
                    // Its next round is the next turn's.
                    return self.list(fd, direction);
                }
                Tried::Done(completion) => {
                    self.places[pending.token.index() as usize] = None;
                    self.done.push_back(completion);
                }
            }
        }
    }

    fn fail_lane(&mut self, fd: RawFd, direction: Direction, error: &io::Error) {
        let result = -error.raw_os_error().unwrap_or(libc::EIO);
        let queue = std::mem::take(&mut self.lane(fd, direction).queue);
        for pending in queue {
            self.places[pending.token.index() as usize] = None;
            self.finish(pending.token, result);
        }
    }

    fn register(&mut self, fd: RawFd) -> io::Result<()> {
        if self.record(fd).is_registered {
            return Ok(());
        }
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        let epoll = self.epoll.as_raw_fd();
        let mut control = |operation| {
            // SAFETY: [plain-call] the event is valid.
            check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) })
        };
        match control(libc::EPOLL_CTL_ADD) {
            // A duplicate of a closed descriptor kept its entry, and now has its number. Changing
            // the entry tells anew what the socket is ready for.
            Err(it) if it.kind() == io::ErrorKind::AlreadyExists => control(libc::EPOLL_CTL_MOD)?,
            added => added?,
        };
        self.record(fd).is_registered = true;
        Ok(())
    }

    fn try_one(&mut self, pending: &mut Pending) -> Tried {
        let token = pending.token;
        let result = match pending.op {
            Op::Accept { fd, multishot } => return simple(token, accept(fd), multishot),
            Op::Poll { fd, multishot } => {
                return simple(token, poll(fd, libc::POLLIN), multishot);
            }
            Op::Receive { fd, group, multishot } => {
                return self.receive(token, fd, group, multishot, receive_into);
            }
            Op::ReceiveDatagrams { fd } => {
                return self.receive(token, fd, Group::Datagram, true, receive_laid_out);
            }
            Op::PipeRead { fd, group } => {
                return self.receive(token, fd, group, false, pipe_read);
            }
            Op::Send { fd } => return self.send(pending, fd),
            Op::PollOut { fd } => poll(fd, libc::POLLOUT),
            #[cfg(test)]
            Op::Nop => 0,
            op => {
                // SAFETY: [slot-keeps-memory] the operation has not completed.
                let payload = unsafe { &mut *pending.payload };
                let is_first = !std::mem::replace(&mut pending.begun, true);
                try_with_payload(op, payload, is_first)
            }
        };
        simple(token, result, false)
    }

    fn receive(
        &mut self,
        token: Token,
        fd: RawFd,
        group: Group,
        multishot: bool,
        receive: fn(RawFd, *mut u8, usize) -> i32,
    ) -> Tried {
        let Some(mut chunk) = self.pools.pool(group).take_listed() else {
            // As the ring has it, also for a multishot.
            return simple(token, -libc::ENOBUFS, false);
        };
        let (place, room) = chunk.room();
        match receive(fd, place, room) {
            length if length > 0 => {
                chunk.truncate(length as usize);
                let all_there_was = (length as usize) < room && !self.record(fd).hung_up;
                if all_there_was && group != Group::Datagram {
                    // The next byte makes an edge of its own; asking for it would only block.
                    self.lane(fd, Direction::In).ready = false;
                    if self.register(fd).is_err() {
                        self.lane(fd, Direction::In).ready = true;
                    }
                }
                Tried::Done(Completion {
                    token,
                    result: length,
                    more: multishot,
                    chunk: Some(chunk),
                })
            }
            result => simple(token, result, false),
        }
    }

    fn send(&mut self, pending: &mut Pending, fd: RawFd) -> Tried {
        // SAFETY: [slot-keeps-memory] the operation has not completed.
        let payload = unsafe { &*pending.payload };
        let total = payload.sending_bytes();
        match send_now(fd, payload, pending.sent) {
            sent if sent >= 0 => {
                pending.sent += sent as usize;
                match pending.sent >= total {
                    true => simple(pending.token, pending.sent as i32, false),
                    false => Tried::Blocked,
                }
            }
            error if would_block(-error) => Tried::Blocked,
            // What went through before the error is told first; the next send meets it again.
            _ if pending.sent > 0 => simple(pending.token, pending.sent as i32, false),
            error => simple(pending.token, error, false),
        }
    }

    /// Waits for events until the deadline; forever without one.
    fn wait_until(&mut self, deadline_ns: Option<u64>) -> io::Result<()> {
        let Some(deadline_ns) = deadline_ns else { return self.wait(-1) };
        let rest_ns = deadline_ns.saturating_sub(now_ns());
        if rest_ns == 0 {
            return self.wait(0);
        }
        if self.timer.is_some() {
            self.set_timer(deadline_ns)?;
            return self.wait(-1);
        }
        self.stats.enters += 1;
        let count = self.pwait2(rest_ns);
        self.take_events(count)
    }

    fn wait(&mut self, timeout_ms: i32) -> io::Result<()> {
        self.stats.enters += 1;
        let events = self.events.as_mut_ptr();
        // SAFETY: [plain-call] the events are valid for their count.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events, EVENTS_MAX as i32, timeout_ms)
        };
        self.take_events(count)
    }

    fn take_events(&mut self, count: i32) -> io::Result<()> {
        let count = match check(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let ended = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        for at in 0..count {
            let event = self.events[at];
            let fd = event.u64 as RawFd;
            if self.records.get(fd as usize).is_none_or(Option::is_none) {
                continue;
            }
            let bits = event.events;
            self.record(fd).hung_up |= bits & ended != 0;
            if bits & (libc::EPOLLIN as u32 | ended) != 0 {
                self.lane(fd, Direction::In).ready = true;
                self.list(fd, Direction::In);
            }
            if bits & (libc::EPOLLOUT as u32 | ended) != 0 {
                self.lane(fd, Direction::Out).ready = true;
                self.list(fd, Direction::Out);
            }
        }
        Ok(())
    }

    /// `epoll_pwait2`: a wait of so many nanoseconds; -1 also where the call does not exist.
    fn pwait2(&mut self, wait_ns: u64) -> i32 {
        let time = timespec(wait_ns);
        // SAFETY: [plain-call] events are valid for their count, the time for the call.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as i32,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        count as i32
    }

    fn make_timer(&mut self) -> io::Result<OwnedFd> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: [plain-call] no memory is passed.
        let raw = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
        let timer = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: u64::MAX };
        let epoll = self.epoll.as_raw_fd();
        // SAFETY: [plain-call] the event is valid.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, raw, &raw mut event) })?;
        Ok(timer)
    }

    fn set_timer(&self, deadline_ns: u64) -> io::Result<()> {
        let Some(timer) = &self.timer else { return Ok(()) };
        let (it_interval, it_value) = (timespec(0), timespec(deadline_ns));
        let setting = libc::itimerspec { it_interval, it_value };
        let (timer, flags) = (timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: [plain-call] the setting is valid, and the old one is not asked for.
        let set = unsafe {
            libc::timerfd_settime(timer, flags, &raw const setting, std::ptr::null_mut())
        };
        check(set).map(drop)
    }
}

fn timespec(ns: u64) -> libc::timespec {
    libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

/// The descriptor and the direction that an operation waits for; `None` if it waits for nothing.
fn place(op: Op) -> Option<(RawFd, Direction)> {
    match op {
        Op::File(_) => None,
        #[cfg(test)]
        Op::Nop => None,
        Op::Accept { fd, .. }
        | Op::Receive { fd, .. }
        | Op::ReceiveInto { fd }
        | Op::ReceiveMessage { fd }
        | Op::ReceiveDatagrams { fd }
        | Op::PipeRead { fd, .. }
        | Op::PipeReadInto { fd }
        | Op::Poll { fd, .. } => Some((fd, Direction::In)),
        Op::Connect { fd } | Op::Send { fd } | Op::PipeWrite { fd } | Op::PollOut { fd } => {
            Some((fd, Direction::Out))
        }
    }
}

fn try_with_payload(op: Op, payload: &mut Payload, is_first: bool) -> i32 {
    match (op, payload) {
        (Op::Connect { fd }, payload) => connect(fd, payload, !is_first),
        (Op::ReceiveInto { fd }, Payload::Buffer(buffer)) => {
            receive_into(fd, buffer.as_mut_ptr(), buffer.capacity())
        }
        (Op::PipeReadInto { fd }, Payload::Buffer(buffer)) => {
            pipe_read(fd, buffer.as_mut_ptr(), buffer.capacity())
        }
        (Op::ReceiveMessage { fd }, payload) => receive_message(fd, payload),
        (Op::PipeWrite { fd }, payload) => pipe_write(fd, payload),
        (op, _) => unreachable!("{op:?} was pushed without the payload it needs"),
    }
}

/// The completion of a result, unless that is to wait. A multishot ends with an error or with 0.
fn simple(token: Token, result: i32, multishot: bool) -> Tried {
    if result < 0 && would_block(-result) {
        return Tried::Blocked;
    }
    let more = multishot && result >= 0;
    Tried::Done(Completion { token, result, more, chunk: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::BufferConfig;

    #[test]
    fn without_pwait2_a_timer_ends_the_wait_and_a_past_deadline_does_not_wait() {
        let pools = Rc::new(Pools::new(&BufferConfig::default()).unwrap());
        let mut driver = Epoll::new(&pools).unwrap();
        driver.timer = Some(driver.make_timer().unwrap());
        for wait_ns in [300_000, 0, 1_700_000] {
            let deadline_ns = now_ns() + wait_ns;
            let mut enters = 0;
            while now_ns() < deadline_ns || enters == 0 {
                driver.enter(Wait::Until(deadline_ns)).unwrap();
                enters += 1;
            }
            // A wait may be cut short once by the last timer, and never spins.
            assert!(enters <= 2, "{enters} enters for {wait_ns} ns");
        }
    }

    #[test]
    fn a_duplicate_that_gets_the_number_of_its_closed_original_is_heard() {
        let pools = Rc::new(Pools::new(&BufferConfig::default()).unwrap());
        let mut driver = Epoll::new(&pools).unwrap();
        let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = socket.as_raw_fd();
        let mut completions = Vec::new();
        for index in 0..2 {
            let op = Op::Receive { fd, group: Group::Small, multishot: false };
            driver.push(Token::operation(index, 1), op, std::ptr::null_mut());
            driver.enter(Wait::No).unwrap();
            driver.reap(&mut completions);
            assert!(completions.is_empty(), "there is nothing to receive yet");
            std::io::Write::write_all(&mut peer, b"heard").unwrap();
            driver.enter(Wait::Until(now_ns() + 5_000_000_000)).unwrap();
            driver.reap(&mut completions);
            assert_eq!(completions.pop().map(|it| it.result), Some(5), "round {index}");
            // As if it was closed and a duplicate has its number: the same socket, a new record.
            driver.forget(fd);
        }
    }
}
