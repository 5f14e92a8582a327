//! Datagrams: an inbox with its standing receive, for sockets of any family.
//!
//! ```text
//!              turn end: arm()                last completion
//!   resting ───────────────────▶ standing ───────────────────▶ resting
//!                                   │ the inbox is full: cancel
//!                                   ▼
//!                                stopping: the kernel keeps what comes, then drops and counts it
//! ```
//!
//! Standing is one multishot receive into a pool of buffers that hold the largest datagram there
//! is, so none is cut; of such a buffer only the pages that were written to are memory. Where the
//! kernel has no such receive, or the pool is empty and somebody waits, one datagram at a time is
//! received into memory of its own. Whoever waits may go away: the datagram stays in the inbox.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::driver::{Address, Chunk, Fd, Message, Op, Payload, Received, Token, parse_datagram};
use crate::executor::operation::Operation;
use crate::executor::slots::{Done, Receive, Start};
use crate::executor::waiting::WaitQueue;
use crate::executor::{Core, Errand, Life, TurnEnd, count};
use crate::time::sleep;

/// Datagrams, and bytes of them, that an inbox holds before its socket stops receiving.
pub(super) const LIMIT_DEFAULT: usize = 1024;
const HIGH_WATER_BYTES: usize = 1 << 20;

/// Datagrams that lie in buffers of the pool; more are copied out of them.
const SHARE_BUFFERS: usize = 128;

/// The largest datagram, for a receive into memory of its own.
const LARGEST_BYTES: usize = 64 << 10;

/// How long a sender waits before it tries again where no event tells of room.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A socket of datagrams with its inbox.
pub(super) struct Datagrams {
    pub(super) core: Rc<Core>,
    pub(super) fd: Rc<Fd>,
    inbox: RefCell<VecDeque<Received>>,
    bytes: Cell<usize>,
    limit: usize,
    readers: RefCell<WaitQueue>,
    receiving: Cell<Option<Token>>,
    is_stopping: Cell<bool>,
    arm_asked: Cell<bool>,
    found_no_buffer: Cell<bool>,
    is_closed: Cell<bool>,
    error: Cell<Option<i32>>,
}

impl Datagrams {
    pub(super) fn new(core: &Rc<Core>, fd: Rc<Fd>, limit: usize) -> Rc<Datagrams> {
        core.driver.borrow_mut().offer_datagrams(&core.pools);
        Rc::new(Datagrams {
            core: Rc::clone(core),
            fd,
            inbox: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            readers: RefCell::default(),
            receiving: Cell::new(None),
            is_stopping: Cell::new(false),
            arm_asked: Cell::new(false),
            found_no_buffer: Cell::new(false),
            is_closed: Cell::new(false),
            error: Cell::new(None),
        })
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.inbox.borrow().len()
    }

    fn has_room(&self) -> bool {
        self.waiting_count() < self.limit && self.bytes.get() < HIGH_WATER_BYTES
    }

    /// Has a receive armed at the end of the turn, if none is and there is room.
    fn receive(self: &Rc<Self>) {
        let is_busy = self.receiving.get().is_some() || self.arm_asked.get();
        if !is_busy && !self.is_closed.get() && self.has_room() {
            self.arm_asked.set(true);
            self.core.arm_at_turn_end(Rc::<Datagrams>::clone(self));
        }
    }

    fn arm(self: Rc<Self>) {
        self.arm_asked.set(false);
        let is_due = self.receiving.get().is_none() && !self.is_closed.get() && self.has_room();
        if !is_due || self.core.life() >= Life::Draining {
            return;
        }
        let fd = self.fd.raw();
        let found_none = self.found_no_buffer.take();
        let pool = self.core.pools.datagrams();
        let has_buffers = pool.is_some_and(|pool| pool.offered_count() > 0) && !found_none;
        let (op, message) = if has_buffers {
            (Op::ReceiveDatagrams { fd }, Message::layout())
        } else if pool.is_none() || self.waiting_count() == 0 {
            count(&self.core.counters.own_receives);
            (Op::ReceiveMessage { fd }, Message::room(LARGEST_BYTES, false))
        } else {
            return;
        };
        let token = self.core.start(Start {
            op,
            payload: Payload::Message(message),
            fd: Some(Rc::clone(&self.fd)),
            receiver: Rc::<Datagrams>::clone(&self),
            role: 0,
            owner: None,
        });
        self.receiving.set(Some(token));
    }

    fn pause(&self) {
        if let Some(token) = self.receiving.get()
            && !self.is_stopping.replace(true)
        {
            self.core.cancel(token);
        }
    }

    fn take_in(&self, mut received: Received) {
        if self.is_closed.get() {
            return;
        }
        let is_crowded = self.waiting_count() >= SHARE_BUFFERS || received.chunk.is_scarce();
        if received.chunk.is_pooled() && is_crowded {
            received.chunk = Chunk::from_vec(received.chunk.to_vec());
        }
        self.bytes.set(self.bytes.get() + received.chunk.len());
        self.inbox.borrow_mut().push_back(received);
    }

    fn receive_failed(&self, error: i32) {
        match error {
            libc::ENOBUFS => {
                self.found_no_buffer.set(true);
                count(&self.core.counters.no_buffers);
            }
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            error => self.error.set(Some(error)),
        }
    }

    fn wake_first(&self) {
        if self.waiting_count() > 0 || self.error.get().is_some() {
            let first = self.readers.borrow_mut().first();
            if let Some(waker) = first {
                self.core.wake(waker);
            }
        }
    }

    /// Its handle is gone.
    pub(super) fn end(&self) {
        self.is_closed.set(true);
        self.pause();
        let unread = self.inbox.take();
        drop(unread);
    }

    /// Waits for a datagram and shows it to `take`. It stays the first if `take` gives it back.
    pub(super) fn next<T, F>(self: &Rc<Self>, take: F) -> Next<'_, F>
    where
        F: FnMut(Received) -> (T, Option<Received>),
    {
        Next { datagrams: self, number: None, take }
    }

    /// Sends a datagram, and waits while there is no room for it.
    pub(super) async fn send(
        &self,
        bytes: &[u8],
        address: Option<&Address>,
        segment_bytes: Option<u16>,
        has_events: bool,
    ) -> io::Result<()> {
        let (mut pause, pause_max) = PATIENCE;
        loop {
            self.core.check_turning()?;
            let raw = self.fd.raw();
            let sent =
                self.core.driver.borrow_mut().send_datagram(raw, bytes, address, segment_bytes);
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                sent => return sent,
            }
            if has_events {
                let op = Op::PollOut { fd: raw };
                Operation::start(&self.core, op, Payload::None, &self.fd).await;
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(pause_max);
            }
        }
    }
}

impl Receive for Datagrams {
    fn complete(self: Rc<Self>, _core: &Rc<Core>, done: Done) {
        if !done.more {
            self.receiving.set(None);
            self.is_stopping.set(false);
        }
        let received = match (done.result, done.chunk, done.payload) {
            (error, _, _) if error < 0 => {
                self.receive_failed(-error);
                None
            }
            (_, Some(chunk), _) => parse_datagram(chunk),
            (length, None, Payload::Message(message)) if !message.is_layout() => {
                Some(message.into_received(length as usize))
            }
            _ => None,
        };
        if let Some(received) = received {
            self.take_in(received);
        }
        if done.more && !self.has_room() {
            self.pause();
        }
        if !done.more {
            self.receive();
        }
        self.wake_first();
    }
}

impl TurnEnd for Datagrams {
    fn turn_end(self: Rc<Self>, _core: &Rc<Core>, _errand: Errand) {
        self.arm();
    }
}

/// Waits for a datagram: see [`Datagrams::next`].
pub(super) struct Next<'a, F> {
    datagrams: &'a Rc<Datagrams>,
    number: Option<u64>,
    take: F,
}

impl<F> Next<'_, F> {
    /// Gives up the place in the queue; the turn passes on.
    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            let own = self.datagrams.readers.borrow_mut().leave(number);
            self.datagrams.wake_first();
            drop(own);
        }
    }

    fn try_take<T>(&mut self) -> Option<io::Result<T>>
    where
        F: FnMut(Received) -> (T, Option<Received>),
    {
        let datagrams = self.datagrams;
        if !datagrams.readers.borrow().is_turn_of(self.number) {
            return None;
        }
        let taken = if datagrams.waiting_count() > 0 {
            let first = datagrams.inbox.borrow_mut().pop_front()?;
            let length = first.chunk.len();
            let (taken, given_back) = (self.take)(first);
            match given_back {
                Some(first) => datagrams.inbox.borrow_mut().push_front(first),
                None => datagrams.bytes.set(datagrams.bytes.get() - length),
            }
            Ok(taken)
        } else {
            Err(io::Error::from_raw_os_error(datagrams.error.take()?))
        };
        self.leave();
        datagrams.receive();
        Some(taken)
    }
}

impl<T, F> Future for Next<'_, F>
where
    F: FnMut(Received) -> (T, Option<Received>) + Unpin,
{
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let datagrams = self.datagrams;
        datagrams.core.check_turning()?;
        let waker = context.waker().clone();
        if let Some(taken) = self.try_take() {
            return Poll::Ready(taken);
        }
        let old = datagrams.readers.borrow_mut().wait(&mut self.number, waker);
        datagrams.receive();
        drop(old);
        Poll::Pending
    }
}

impl<F> Drop for Next<'_, F> {
    fn drop(&mut self) {
        self.leave();
    }
}
