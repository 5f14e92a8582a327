//! Many senders, one receiver, a fixed number of places.
//!
//! The values lie in a ring (`ring.rs`); this file deals in its permits. `free` counts those
//! that anybody may take by one exchange. What the receiver took out becomes free again in two
//! steps: it only counts, on a word of its own, and a sender that finds no free permit turns the
//! count into permits (`settle`), under the lock. So while there are permits, sender and receiver
//! write to no common word but the cells.
//!
//! **No overtaking.** `free` is raised under the lock only, and only while nobody is in line; a
//! sender joins the line under the lock only, when nothing is free and nothing is left to settle.
//! So while somebody waits, nothing is free, and what is given back is granted to the first.
//!
//! **The end.** `CLOSED` in `free` refuses every new permit. The channel has ended when it is
//! closed and all permits are free: nothing is in the ring, and nobody may put something there.
#![allow(unsafe_code)] // Who pushes has a permit, who takes is the receiver.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::lock::Lock;
use super::patience::{self, Spell};
use super::ring::{Padded, Pushed, Ring};
use super::waiters::{Line, Verdict, Waiter, Wakes};

mod receiver;
mod sender;

pub use super::error::{SendError, TryRecvError, TrySendError};
pub use receiver::Receiver;
pub use sender::{Permit, Sender};

/// A channel with `capacity` places, for many senders and one receiver, on any threads.
///
/// ```
/// # corio::run(async {
/// let (sender, mut receiver) = corio::channel::mpsc(8);
/// let other = std::thread::spawn(move || {
///     corio::run(async move {
///         for number in 0..100 {
///             sender.send(number).await.unwrap();
///         }
///     })
/// });
/// let mut sum = 0;
/// while let Some(number) = receiver.recv().await {
///     sum += number;
/// }
/// assert_eq!(sum, 4950);
/// other.join().unwrap();
/// # });
/// ```
///
/// The memory for all places is taken here.
///
/// # Panics
///
/// If `capacity` is zero, or more than memory can hold.
#[doc(alias = "channel")]
#[track_caller]
pub fn mpsc<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel needs at least one place");
    assert!(capacity <= isize::MAX as usize / 2, "memory cannot hold {capacity} places");
    let shared = Arc::new(Shared {
        ring: Ring::new(capacity),
        free: Padded(AtomicU64::new(capacity as u64 * ONE)),
        senders: AtomicUsize::new(1),
        mean_gap: AtomicU64::new(0),
        capacity,
        waiting: Lock::new(Waiting {
            senders: Line::new(),
            closed: Line::new(),
            receiver: None,
            settled: 0,
        }),
    });
    (Sender::new(Arc::clone(&shared)), Receiver::new(shared))
}

/// Bit of `free`: no more permits are given out.
const CLOSED: u64 = 1;

/// A permit.
const ONE: u64 = 2;

struct Shared<T> {
    ring: Ring<T>,
    /// Permits that anybody may take, and `CLOSED`.
    free: Padded,
    senders: AtomicUsize,
    /// How long a sender waits for a permit, in the mean.
    mean_gap: AtomicU64,
    capacity: usize,
    waiting: Lock<Waiting>,
}

struct Waiting {
    /// Who waits for a permit.
    senders: Line,
    /// Who waits for the channel to be closed.
    closed: Line,
    receiver: Option<Waker>,
    /// How many positions, counted as taken, have become permits.
    settled: u64,
}

impl<T> Shared<T> {
    fn is_closed(&self) -> bool {
        self.free.0.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes a permit that is free.
    #[inline]
    fn take_free(&self) -> Verdict {
        let mut free = self.free.0.load(Ordering::Relaxed);
        loop {
            if free & CLOSED != 0 {
                return Verdict::Refused;
            }
            if free < ONE {
                return Verdict::Wait;
            }
            let less = free - ONE;
            let word = &self.free.0;
            match word.compare_exchange_weak(free, less, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Verdict::Granted,
                Err(now) => free = now,
            }
        }
    }

    /// Makes permits of what the receiver took: for who waits first, then for anybody.
    fn settle(&self, waiting: &mut Waiting, wakes: &mut Wakes) {
        let taken = self.ring.taken();
        let count = taken - waiting.settled;
        waiting.settled = taken;
        self.give(count, waiting, wakes);
    }

    fn give(&self, mut count: u64, waiting: &mut Waiting, wakes: &mut Wakes) {
        while count > 0 && waiting.senders.grant_front(wakes) {
            count -= 1;
        }
        if count > 0 {
            self.free.0.fetch_add(count * ONE, Ordering::AcqRel);
        }
        if waiting.senders.is_empty() {
            self.ring.unwant();
        }
    }

    /// Takes a permit if one is free, or can be made so; otherwise nothing is left to settle.
    fn decide(&self, waiting: &mut Waiting, wakes: &mut Wakes) -> Verdict {
        self.settle(waiting, wakes);
        self.take_free()
    }

    /// For who is in line and goes to sleep there: has the receiver tell of what it takes from now
    /// on, and nothing is left that it took before. Each further round is a permit that somebody
    /// got.
    fn settle_and_want(&self, waiting: &mut Waiting, wakes: &mut Wakes) {
        loop {
            self.settle(waiting, wakes);
            if waiting.senders.is_empty() || self.ring.want() == waiting.settled {
                return;
            }
        }
    }

    #[inline]
    fn try_permit(&self) -> Verdict {
        match self.take_free() {
            Verdict::Wait => self.try_permit_locked(),
            verdict => verdict,
        }
    }

    #[cold]
    fn try_permit_locked(&self) -> Verdict {
        let mut wakes = Wakes::new();
        let verdict = self.decide(&mut self.waiting.lock(), &mut wakes);
        wakes.wake();
        verdict
    }

    /// A permit comes back unused.
    fn give_back(&self) {
        let mut wakes = Wakes::new();
        self.give_back_locked(&mut self.waiting.lock(), &mut wakes);
        wakes.wake();
    }

    fn give_back_locked(&self, waiting: &mut Waiting, wakes: &mut Wakes) {
        self.settle(waiting, wakes);
        self.give(1, waiting, wakes);
        if self.is_closed() {
            // It may have been the last that the receiver waits for.
            wakes.push(waiting.receiver.take());
        }
    }

    /// The receiver has counted something as taken, and somebody waits for it.
    #[cold]
    fn serve_senders(&self) {
        let mut wakes = Wakes::new();
        self.settle(&mut self.waiting.lock(), &mut wakes);
        wakes.wake();
    }

    /// Sends by a permit, which the caller has and this uses up.
    #[inline]
    fn push(&self, value: T) -> Result<(), T> {
        // SAFETY: [permit-is-a-place] every caller has taken a permit and gives it back in no other
        // way. They are counted in `free`, from `capacity` on, in `settled` and by the line.
        match unsafe { self.ring.push(value) } {
            Pushed::Done => Ok(()),
            Pushed::Awaited => {
                self.wake_receiver();
                Ok(())
            }
            Pushed::Refused(value) => {
                self.give_back();
                Err(value)
            }
        }
    }

    #[cold]
    fn wake_receiver(&self) {
        let mut wakes = Wakes::new();
        wakes.push(self.waiting.lock().receiver.take());
        wakes.wake();
    }

    /// No more permits are given out; everybody who waits for something hears of it.
    fn close(&self) {
        let mut wakes = Wakes::new();
        {
            let mut waiting = self.waiting.lock();
            // What was taken before belongs to who waited for it.
            self.settle(&mut waiting, &mut wakes);
            self.free.0.fetch_or(CLOSED, Ordering::AcqRel);
            waiting.senders.refuse_all(&mut wakes);
            waiting.closed.grant_all(&mut wakes);
            self.ring.unwant();
            wakes.push(waiting.receiver.take());
        }
        wakes.wake();
    }

    /// Whether nothing is in the ring and nothing will come.
    fn has_ended(&self, waiting: &mut Waiting, wakes: &mut Wakes) -> bool {
        if !self.is_closed() {
            return false;
        }
        self.settle(waiting, wakes);
        self.free.0.load(Ordering::Acquire) / ONE == self.capacity as u64
    }
}

/// Waits for a permit. It stands in line from its first poll on, but while it looks by itself it
/// leaves the receiver alone.
struct Reserve<'a, T> {
    shared: &'a Shared<T>,
    waiter: Waiter,
    spell: Option<Spell>,
}

impl<'a, T> Reserve<'a, T> {
    fn new(shared: &'a Shared<T>) -> Reserve<'a, T> {
        Reserve { shared, waiter: Waiter::new(), spell: None }
    }

    fn poll_in_line(&mut self, context: &Context<'_>) -> Poll<bool> {
        let looks_on;
        match &self.spell {
            None => {
                if let Poll::Ready(is_granted) = self.poll_waiter(context) {
                    return Poll::Ready(is_granted);
                }
                let mean_gap = self.shared.mean_gap.load(Ordering::Relaxed);
                let keeps_distance = patience::has_room(self.shared.capacity);
                let mut spell = Spell::begin(mean_gap, keeps_distance);
                looks_on = spell.goes_on();
                self.spell = Some(spell);
                if looks_on {
                    return poll_again(context);
                }
                self.look(looks_on);
            }
            Some(spell) if spell.rests() => return poll_again(context),
            Some(spell) if spell.is_over() => looks_on = false,
            Some(_) => {
                looks_on = self.spell.as_mut().is_some_and(Spell::goes_on);
                self.look(looks_on);
            }
        }
        match self.poll_waiter(context) {
            Poll::Pending if looks_on => poll_again(context),
            Poll::Pending => Poll::Pending,
            Poll::Ready(is_granted) => {
                if let Some(spell) = self.spell.take() {
                    let mean_gap = &self.shared.mean_gap;
                    mean_gap.store(spell.end(mean_gap.load(Ordering::Relaxed)), Ordering::Relaxed);
                }
                Poll::Ready(is_granted)
            }
        }
    }

    fn poll_waiter(&mut self, context: &Context<'_>) -> Poll<bool> {
        let shared = self.shared;
        let decide = |waiting: &mut Waiting, wakes: &mut Wakes| shared.decide(waiting, wakes);
        self.waiter.poll(context, &shared.waiting, |waiting| &mut waiting.senders, decide)
    }

    /// Makes permits of what the receiver took. If that was the last look, it tells from now on.
    fn look(&self, looks_on: bool) {
        let mut wakes = Wakes::new();
        {
            let mut waiting = self.shared.waiting.lock();
            match looks_on {
                true => self.shared.settle(&mut waiting, &mut wakes),
                false => self.shared.settle_and_want(&mut waiting, &mut wakes),
            }
        }
        wakes.wake();
    }
}

impl<T> Future for Reserve<'_, T> {
    type Output = bool;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let this = &mut *self;
        let shared = this.shared;
        if this.waiter.is_idle() {
            match shared.take_free() {
                Verdict::Wait => {}
                verdict => return Poll::Ready(verdict == Verdict::Granted),
            }
        }
        this.poll_in_line(context)
    }
}

impl<T> Drop for Reserve<'_, T> {
    fn drop(&mut self) {
        if self.waiter.is_idle() {
            return;
        }
        let mut wakes = Wakes::new();
        {
            let mut waiting = self.shared.waiting.lock();
            if self.waiter.leave(&mut waiting.senders, &mut wakes) {
                self.shared.give_back_locked(&mut waiting, &mut wakes);
            }
            if waiting.senders.is_empty() {
                self.shared.ring.unwant();
            }
        }
        wakes.wake();
    }
}

/// Has the task polled again, after those that are ready.
fn poll_again<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Waits for the channel to be closed.
struct WaitClosed<'a, T> {
    shared: &'a Shared<T>,
    waiter: Waiter,
}

impl<T> Future for WaitClosed<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = this.shared;
        let decide = |_: &mut Waiting, _: &mut Wakes| match shared.is_closed() {
            true => Verdict::Granted,
            false => Verdict::Wait,
        };
        this.waiter.poll(context, &shared.waiting, |waiting| &mut waiting.closed, decide).map(drop)
    }
}

impl<T> Drop for WaitClosed<'_, T> {
    fn drop(&mut self) {
        if self.waiter.is_idle() {
            return;
        }
        let mut wakes = Wakes::new();
        self.waiter.leave(&mut self.shared.waiting.lock().closed, &mut wakes);
        wakes.wake();
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("mpsc")
            .field("capacity", &self.capacity)
            .field("len", &self.ring.len())
            .field("waiting", &self.waiting.lock().senders.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}
