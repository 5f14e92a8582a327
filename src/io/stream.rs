//! The stream: an inbox with its standing receive, an outbox with its one send.
//!
//! # Receiving
//!
//! ```text
//!              turn end: arm()                last completion: received()
//!   Idle ───────────────────────▶ Armed ──────────────────────────────────▶ Idle
//!    ▲                             │ pause(): the share is full, or another
//!    │                             │ group of buffers fits better
//!    │    last completion          ▼
//!    └───────────────────────── Stopping
//! ```
//!
//! "Standing" is a role, not an opcode. While a stream is calm the role is played by one multishot
//! receive. A stream that filled its share is served by one-shot receives, armed just before the
//! loop waits and only while there is room: not arming is its pause, and needs no cancel. When it
//! has been calm for a while it is given a multishot again.
//!
//! Arming goes through the core's one queue, first come, first armed, at the end of the turn. When
//! the pool has no buffer to offer, a stream whose reader waits receives into memory of its own, so
//! a waiting reader never depends on what others hold; a stream that nobody reads just rests. Where
//! the kernel offers no pool at all, every receive is of that kind.
//!
//! # Sending
//!
//! ```text
//!            write                turn end: send()            completion: sent()
//!   quiet ──────────▶ queued ───────────────────▶ in flight ───────────────────▶ quiet, or queued
//! ```
//!
//! One send is in flight at a time. What a turn wrote leaves as one send.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::close::LINGER_DEFAULT;
use super::inbox::{End, Inbox};
use super::outbox::{Outbox, WriteSide};
use super::source::{Passed, Source};
use crate::driver::{Chunk, Fd, Feature, Group, Op, Payload, Pool, Token};
use crate::executor::slots::{Done, Receive, Start};
use crate::executor::{Core, Errand, Life, TurnEnd, count};

/// Bytes that an inbox holds before its stream stops receiving, unless a read demands more.
const HIGH_WATER_BYTES: usize = 256 << 10;

/// Buffers of the core that one inbox may hold.
const SHARE_BUFFERS: usize = 16;

/// So many one-shot receives in a row that found the inbox empty make a stream calm again.
const CALM_RECEIVES: u8 = 16;

/// So many full buffers in a row earn a stream large ones; so many little used large ones lose
/// them.
const FULL_RECEIVES: u8 = 4;
const MODEST_RECEIVES: u8 = 64;

/// The least and the most memory that a receive gets when the pool has none.
const OWN_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

/// What an operation is to its stream.
const ROLE_RECEIVE: u8 = 0;
const ROLE_SEND: u8 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Receiving {
    Idle,
    Armed(Token),
    Stopping,
}

/// A connected stream socket, or an end of a pipe, with its inbox and its outbox.
pub(crate) struct Stream {
    pub(super) core: Rc<Core>,
    pub(super) fd: Rc<Fd>,
    pub(super) inbox: RefCell<Inbox>,
    pub(super) outbox: RefCell<Outbox>,
    /// What the descriptor is.
    pub(super) source: Cell<Source>,
    /// Descriptors that came along.
    pub(super) passed: RefCell<Option<Box<Passed>>>,
    receiving: Cell<Receiving>,
    /// The first read arms the receive.
    pub(super) wanted: Cell<bool>,
    is_calm: Cell<bool>,
    /// One-shot receives in a row that found the inbox empty.
    calm_count: Cell<u8>,
    group: Cell<Group>,
    /// Receives in a row that speak for the other group.
    regroup_count: Cell<u8>,
    /// The last receive found the pool empty, so the next does not ask it: others may be ahead.
    found_no_buffer: Cell<bool>,
    arm_asked: Cell<bool>,
    flush_asked: Cell<bool>,
    /// The send in flight.
    sending: Cell<Option<Token>>,
    /// A send ended before it had sent all it was given.
    pub(super) send_was_short: Cell<bool>,
    /// Bytes that the waiting reader needs; 0 when nobody waits.
    demand: Cell<usize>,
    pub(super) reader: RefCell<Option<Waker>>,
    /// Who polls the write side through the poll traits, or waits for the end of the stream.
    pub(super) watcher: RefCell<Option<Waker>>,
    /// The handle is gone or closing: what arrives is counted and thrown away.
    pub(super) discarding: Cell<bool>,
    pub(super) discarded: Cell<usize>,
    /// How long a close waits without progress, and whether it was seen to its end.
    pub(super) linger: Cell<Duration>,
    /// Whether the runtime tells of what could not be sent once the last handle is gone.
    pub(super) reports_unsent: Cell<bool>,
    pub(crate) is_finished: Cell<bool>,
}

/// The kernel's error number as an error.
pub(super) fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Stream {
    pub(crate) fn new(core: Rc<Core>, fd: Rc<Fd>, source: Source) -> Rc<Stream> {
        Rc::new(Stream {
            core,
            fd,
            source: Cell::new(source),
            passed: RefCell::default(),
            inbox: RefCell::default(),
            outbox: RefCell::default(),
            receiving: Cell::new(Receiving::Idle),
            wanted: Cell::new(false),
            is_calm: Cell::new(true),
            calm_count: Cell::new(0),
            group: Cell::new(Group::Small),
            regroup_count: Cell::new(0),
            found_no_buffer: Cell::new(false),
            arm_asked: Cell::new(false),
            flush_asked: Cell::new(false),
            sending: Cell::new(None),
            send_was_short: Cell::new(false),
            demand: Cell::new(0),
            reader: RefCell::default(),
            watcher: RefCell::default(),
            discarding: Cell::new(false),
            discarded: Cell::new(0),
            linger: Cell::new(LINGER_DEFAULT),
            reports_unsent: Cell::new(true),
            is_finished: Cell::new(false),
        })
    }

    pub(crate) fn fd(&self) -> &Rc<Fd> {
        &self.fd
    }

    /// Whether writes are refused: after a shutdown, an abort or an error.
    pub(crate) fn is_closing(&self) -> bool {
        let outbox = self.outbox.borrow();
        outbox.side != WriteSide::Open || outbox.error().is_some()
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }
}

/// Receiving.
impl Stream {
    /// Notes that a reader waits for `count` unread bytes. Called by its poll, with a waker that
    /// was cloned before.
    pub(super) fn wait_for(self: &Rc<Self>, count: usize, waker: &Waker) {
        self.demand.set(count);
        let is_known = self.reader.borrow().as_ref().is_some_and(|it| it.will_wake(waker));
        if !is_known {
            let waker = waker.clone();
            let old = self.reader.borrow_mut().replace(waker);
            drop(old);
        }
        self.receive();
    }

    /// Nobody waits any more.
    pub(super) fn stop_waiting(&self) {
        self.demand.set(0);
    }

    /// Has the receive armed at the end of the turn, if it is not and there is room.
    pub(super) fn receive(self: &Rc<Self>) {
        self.wanted.set(true);
        if self.receiving.get() == Receiving::Idle && !self.arm_asked.get() && self.has_room() {
            self.arm_asked.set(true);
            self.core.arm_at_turn_end(Rc::<Stream>::clone(self));
        }
    }

    /// Nothing comes in: it is the writing end of a pipe.
    pub(super) fn only_writes(&self) {
        self.inbox.borrow_mut().set_end(End::Eof);
    }

    /// After bytes were taken out: a receive that stopped for want of room goes on.
    pub(super) fn made_room(self: &Rc<Self>) {
        if self.wanted.get() && self.receiving.get() == Receiving::Idle {
            self.receive();
        }
    }

    fn is_starving(&self) -> bool {
        self.discarding.get() || self.inbox.borrow().len() < self.demand.get()
    }

    fn has_room(&self) -> bool {
        let inbox = self.inbox.borrow();
        if inbox.end().is_some() {
            return false;
        }
        let within_share = inbox.len() < HIGH_WATER_BYTES && inbox.pooled_count() < SHARE_BUFFERS;
        within_share || inbox.len() < self.demand.get() || self.discarding.get()
    }

    fn arm(self: Rc<Self>) {
        self.arm_asked.set(false);
        let is_due = self.wanted.get() && self.receiving.get() == Receiving::Idle;
        if !is_due || !self.has_room() || self.core.life() >= Life::Draining {
            return;
        }
        let (fd, group, source) = (self.fd.raw(), self.choose_group(), self.source.get());
        let found_none = self.found_no_buffer.take();
        let has_buffers = self.core.pools.pool(group).offered_count() > 0 && !found_none;
        let (op, payload) = if has_buffers && !source.must_own_memory() {
            let multishot = self.is_calm.get() && self.core.features().has(Feature::RecvMultishot);
            (source.receive(fd, group, multishot), Payload::None)
        } else if self.is_starving()
            || source.must_own_memory()
            || !self.core.features().has(Feature::PbufRing)
        {
            count(&self.core.counters.own_receives);
            source.receive_into(fd, self.own_bytes())
        } else {
            return;
        };
        let token = self.start(op, payload, ROLE_RECEIVE);
        self.receiving.set(Receiving::Armed(token));
    }

    fn own_bytes(&self) -> usize {
        let missing = self.demand.get().saturating_sub(self.inbox.borrow().len());
        missing.clamp(*OWN_BYTES.start(), *OWN_BYTES.end())
    }

    fn choose_group(&self) -> Group {
        if self.group.get() == Group::Large {
            let large: &Pool = &self.core.pools.large;
            large.start();
            if large.offered_count() > 0 {
                return Group::Large;
            }
        }
        Group::Small
    }

    fn start(self: &Rc<Self>, op: Op, payload: Payload, role: u8) -> Token {
        self.core.start(Start {
            op,
            payload,
            // The stream keeps its descriptor, and the slot keeps the stream.
            fd: None,
            receiver: Rc::<Stream>::clone(self),
            role,
            owner: None,
        })
    }

    /// Ends a standing receive; what it brings until then is kept.
    pub(super) fn pause(&self) {
        if let Receiving::Armed(token) = self.receiving.get() {
            self.receiving.set(Receiving::Stopping);
            self.core.cancel(token);
        }
    }

    /// Whether a receive or a send is in flight.
    pub(super) fn is_at_work(&self) -> bool {
        self.receiving.get() != Receiving::Idle || self.sending.get().is_some()
    }

    /// Ends receiving for good: what is cancelled here is not armed again.
    pub(super) fn stop_receiving(&self) {
        self.wanted.set(false);
        self.pause();
    }

    fn received(self: Rc<Self>, mut done: Done) {
        if !done.more {
            self.receiving.set(Receiving::Idle);
        }
        match done.result {
            0 => {
                let end = self.end_of_input();
                self.inbox.borrow_mut().set_end(end);
            }
            length if length > 0 => {
                let chunk = match std::mem::take(&mut done.payload) {
                    Payload::Message(message) => Some(self.keep_passed(message, length as usize)),
                    own => received_chunk(done.chunk.take(), own, length as usize),
                };
                if let Some(chunk) = chunk {
                    self.take_in(chunk, done.more);
                }
            }
            error => self.receive_failed(-error),
        }
        if !done.more {
            self.made_room();
        }
        self.wake_reader();
    }

    /// What it means that nothing more comes: FIN, unless a send met the connection's failure
    /// first. The kernel tells that once; a receive that comes second finds a bare end, and a
    /// truncated input must not look like a whole one. A send after FIN fails with the two errors
    /// that are let through here.
    fn end_of_input(&self) -> End {
        let error = self.outbox.borrow().error();
        match error {
            Some(libc::EPIPE | libc::ENOTCONN) | None if self.is_cut_off() => {
                End::Error(libc::ECONNRESET)
            }
            Some(libc::EPIPE | libc::ENOTCONN) | None => End::Eof,
            Some(error) => End::Error(error),
        }
    }

    /// Whether the connection went away under a send. One that was partly done then tells what it
    /// did, and the error is lost.
    fn is_cut_off(&self) -> bool {
        let (fd, driver) = (self.fd.raw(), &self.core.driver);
        let was_sending = self.sending.get().is_some() || self.send_was_short.get();
        let is_tcp = self.source.get() == Source::Tcp;
        is_tcp && was_sending && driver.borrow_mut().peer_address(fd).is_err()
    }

    fn receive_failed(&self, error: i32) {
        match error {
            libc::ENOBUFS => {
                self.found_no_buffer.set(true);
                count(&self.core.counters.no_buffers);
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            error => self.inbox.borrow_mut().set_end(End::Error(error)),
        }
    }

    fn take_in(&self, chunk: Chunk, goes_on: bool) {
        if self.discarding.get() {
            self.discarded.set(self.discarded.get() + chunk.len());
            return;
        }
        let regroup = chunk.is_pooled() && self.judge_group(chunk.len());
        let (was_empty, copied) = {
            let mut inbox = self.inbox.borrow_mut();
            let was_empty = inbox.len() == 0;
            let is_over_share =
                inbox.len() >= HIGH_WATER_BYTES || inbox.pooled_count() >= SHARE_BUFFERS;
            let gather = is_over_share && inbox.len() < self.demand.get();
            (was_empty, inbox.push(chunk, gather))
        };
        drop(copied);
        if !goes_on {
            self.judge_calm(was_empty);
        } else if !self.has_room() {
            self.is_calm.set(false);
            self.calm_count.set(0);
            self.pause();
        } else if regroup {
            self.pause();
        }
    }

    fn judge_calm(&self, was_empty: bool) {
        let calm_count = if was_empty { self.calm_count.get() + 1 } else { 0 };
        self.calm_count.set(calm_count);
        if calm_count >= CALM_RECEIVES {
            self.is_calm.set(true);
            self.calm_count.set(0);
        }
    }

    /// Whether buffers of the other size would serve better, by the last receives.
    fn judge_group(&self, length: usize) -> bool {
        let small_bytes = self.core.pools.small.size_bytes();
        let (speaks_against, enough, other) = match self.group.get() {
            Group::Small => (length == small_bytes, FULL_RECEIVES, Group::Large),
            _ => (length <= small_bytes, MODEST_RECEIVES, Group::Small),
        };
        let regroup_count = if speaks_against { self.regroup_count.get() + 1 } else { 0 };
        self.regroup_count.set(regroup_count);
        if regroup_count < enough {
            return false;
        }
        self.regroup_count.set(0);
        self.group.set(other);
        true
    }

    fn wake_reader(&self) {
        let is_served = {
            let inbox = self.inbox.borrow();
            inbox.len() >= self.demand.get() || inbox.end().is_some()
        };
        if is_served && self.demand.get() > 0 {
            let reader = self.reader.borrow_mut().take();
            self.wake_all(reader);
        }
        if self.discarding.get() || !self.wanted.get() {
            self.wake_watcher();
        }
    }
}

/// The bytes of a completed receive: in a buffer of the pool, or in the operation's own memory.
fn received_chunk(pooled: Option<Chunk>, payload: Payload, length: usize) -> Option<Chunk> {
    match (pooled, payload) {
        (Some(chunk), _) => Some(chunk),
        (None, Payload::Buffer(buffer)) => Some(buffer.into_chunk(length)),
        (None, _) => None,
    }
}

/// Sending.
impl Stream {
    /// Has what is queued sent at the end of the turn.
    pub(super) fn send_soon(self: &Rc<Self>) {
        if !self.flush_asked.get() && self.sending.get().is_none() {
            self.flush_asked.set(true);
            self.core.flush_at_turn_end(Rc::<Stream>::clone(self));
        }
    }

    /// Sends what is queued. One that is `alone` in its turn, and on epoll each one, is tried by a
    /// plain call first, which costs less than a submission with its completion, and does not cut
    /// the wait short.
    fn send(self: Rc<Self>, alone: bool) {
        self.flush_asked.set(false);
        let has_queued = self.outbox.borrow().has_queued();
        if self.sending.get().is_some() || !has_queued || self.core.life() >= Life::Draining {
            return;
        }
        let payload = self.outbox.borrow_mut().next_send();
        if alone && self.source.get().sends_now() {
            let result = self.core.driver.borrow_mut().send_now(self.fd.raw(), &payload);
            if result != -libc::EAGAIN && result != -libc::EINTR {
                return self.sent(result, payload);
            }
        }
        let token = self.start(self.source.get().send(self.fd.raw()), payload, ROLE_SEND);
        self.sending.set(Some(token));
    }

    /// Asks for the end of the send in flight, and gives its token. What it did not send is queued
    /// again and goes out with the next.
    pub(super) fn interrupt_send(&self) -> Option<Token> {
        let token = self.sending.get()?;
        self.core.cancel(token);
        Some(token)
    }

    pub(super) fn is_sending(&self, token: Token) -> bool {
        self.sending.get() == Some(token)
    }

    fn sent(self: &Rc<Self>, result: i32, mut payload: Payload) {
        self.sending.set(None);
        let taken = result.max(0) as usize;
        self.send_was_short.set(taken < self.outbox.borrow().in_flight);
        self.outbox.borrow_mut().take_back(&mut payload, taken);
        self.drop_sent(payload);
        match -result {
            libc::EINTR | libc::EAGAIN | libc::ECANCELED => {}
            error if error > 0 => return self.fail_writes(error),
            _ => {}
        }
        if self.outbox.borrow().has_queued() {
            self.send_soon();
        } else {
            self.end_if_asked();
        }
        let (writer, flushers) = {
            let mut outbox = self.outbox.borrow_mut();
            (outbox.first_writer(), outbox.flushed())
        };
        self.wake_all(writer.into_iter().chain(flushers));
        self.wake_watcher();
    }

    /// Drops what was sent, piece by piece: owned bytes may run foreign code, and two panics of one
    /// drop would end the process.
    fn drop_sent(&self, payload: Payload) {
        match payload {
            Payload::Batch(batch) => {
                for segment in batch.into_segments() {
                    self.core.drop_foreign(segment);
                }
            }
            payload => self.core.drop_foreign(payload),
        }
    }

    /// Ends the write side with an error that every later write returns.
    pub(super) fn fail_writes(&self, error: i32) {
        let (mut unsent, waiting) = {
            let mut outbox = self.outbox.borrow_mut();
            (outbox.fail(error), outbox.everyone())
        };
        while let Some(segment) = unsent.pop_front() {
            self.core.drop_foreign(segment);
        }
        self.wake_all(waiting);
        self.wake_watcher();
    }

    /// Sends FIN as soon as everything before it is sent.
    pub(super) fn end_writes(self: &Rc<Self>) {
        let unsent = {
            let mut outbox = self.outbox.borrow_mut();
            if outbox.side == WriteSide::Open {
                outbox.side = WriteSide::Ending;
            }
            outbox.unsent()
        };
        if unsent == 0 {
            self.end_if_asked();
        }
    }

    fn end_if_asked(&self) {
        if self.outbox.borrow().side != WriteSide::Ending {
            return;
        }
        self.outbox.borrow_mut().side = WriteSide::Ended;
        let ended = self.source.get().end_writes(&self.core, self.fd.raw());
        if let Err(error) = ended {
            self.fail_writes(error.raw_os_error().unwrap_or(libc::EIO));
        }
    }

    pub(super) fn wake_all(&self, wakers: impl IntoIterator<Item = Waker>) {
        for waker in wakers {
            self.core.wake(waker);
        }
    }

    pub(super) fn wake_watcher(&self) {
        let watcher = self.watcher.borrow_mut().take();
        self.wake_all(watcher);
    }

    /// Resets the connection: what is unsent is gone, and the peer sees an error.
    pub(crate) fn abort(&self) {
        self.source.get().reset(&self.core, self.fd.raw());
        self.inbox.borrow_mut().set_end(End::Error(libc::ECONNABORTED));
        self.fail_writes(libc::ECONNABORTED);
        self.outbox.borrow_mut().see_error();
        self.interrupt_send();
        self.stop_receiving();
        self.wake_reader();
    }
}

impl Receive for Stream {
    fn complete(self: Rc<Self>, _core: &Rc<Core>, done: Done) {
        match done.role {
            ROLE_RECEIVE => self.received(done),
            _ => self.sent(done.result, done.payload),
        }
    }
}

impl TurnEnd for Stream {
    fn turn_end(self: Rc<Self>, _core: &Rc<Core>, errand: Errand) {
        match errand {
            Errand::Flush { alone } => self.send(alone),
            Errand::Arm => self.arm(),
        }
    }
}
