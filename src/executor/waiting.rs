//! A queue of waiting tasks: first come, first served, and nobody barges in.
//!
//! Each waiter has a number. It is woken when its turn has come and leaves the queue when it takes
//! its turn or is dropped; either way its owner then wakes the next one. A waker is handed out
//! once: a waiter that was woken in vain queues a new one with its next poll, and keeps its place.

use std::collections::VecDeque;
use std::task::Waker;

struct Waiter {
    number: u64,
    waker: Option<Waker>,
}

/// See the top of this file. It runs no code of a waker: what it gives back, the caller wakes or
/// drops once nothing is borrowed.
#[derive(Default)]
pub(crate) struct WaitQueue {
    number_last: u64,
    waiters: VecDeque<Waiter>,
}

impl WaitQueue {
    /// Whether it is the turn of the waiter with this number, or of one that has none yet.
    pub(crate) fn is_turn_of(&self, number: Option<u64>) -> bool {
        match self.waiters.front() {
            None => true,
            Some(first) => Some(first.number) == number,
        }
    }

    /// Queues a waiter, or gives a queued one the waker of its last poll. Returns the old one.
    pub(crate) fn wait(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        if let Some(number) = *number
            && let Some(waiter) = self.waiters.iter_mut().find(|it| it.number == number)
        {
            return waiter.waker.replace(waker);
        }
        self.number_last += 1;
        *number = Some(self.number_last);
        self.waiters.push_back(Waiter { number: self.number_last, waker: Some(waker) });
        None
    }

    /// Takes a waiter out. Returns its waker.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waker> {
        let place = self.waiters.iter().position(|waiter| waiter.number == number)?;
        self.waiters.remove(place).and_then(|waiter| waiter.waker)
    }

    /// The waker of the first waiter, unless it was woken already.
    pub(crate) fn first(&mut self) -> Option<Waker> {
        self.waiters.front_mut()?.waker.take()
    }

    /// The wakers of all waiters; all keep their places.
    pub(crate) fn all(&mut self) -> Vec<Waker> {
        self.waiters.iter_mut().filter_map(|waiter| waiter.waker.take()).collect()
    }
}
