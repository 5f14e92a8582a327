//! A line of waiters that threads share: who waits, and for whose turn it is.
//!
//! The rules are those of `sync/waiters.rs`, whose waiters are of one core: first come, first
//! served; who frees something *grants* it to the first in line there and then, so nobody can
//! overtake between the wake and the poll; a granted waiter that is dropped passes it on.
//!
//! A line lies under its channel's lock, and waiters are entries of a slab there, found by a key.
//! A future holds the key only, so a leaked one leaves an entry behind and nothing that dangles.
//! Entries are used again, so a line allocates when it is longer than it ever was.
//!
//! ```text
//!          1 join              2 grant / refuse            3 settle, leave
//!   nobody ──────▶ Waiting ─────────────▶ Granted, Refused ─────▶ nobody
//!                    └─────────────────────── 3 leave ───────────────▲
//! ```
//!
//! Wakers are foreign code, and nothing foreign runs under a lock. So a waker is cloned before the
//! lock is taken, and what is to be woken or dropped is put into `Wakes`, which the caller ends
//! after it has let go of the lock.

use std::task::{Context, Poll, Waker};

use super::lock::Lock;
use crate::executor::wake;

/// Wakers to be woken and dropped when no lock is held any more.
#[must_use = "who was granted something has to be woken"]
#[derive(Default)]
pub(super) struct Wakes {
    first: Option<Waker>,
    others: Vec<Waker>,
    /// Only dropped.
    old: Option<Waker>,
}

impl Wakes {
    pub(super) fn new() -> Wakes {
        Wakes::default()
    }

    pub(super) fn push(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            Some(waker) => self.others.push(waker),
            None => {}
        }
    }

    /// Keeps a waker that is not needed any more until the lock is gone.
    pub(super) fn discard(&mut self, waker: Option<Waker>) {
        debug_assert!(self.old.is_none() || waker.is_none(), "one is discarded at a time");
        if waker.is_some() {
            self.old = waker;
        }
    }

    /// Wakes everybody, in the order in which they were granted. Runs foreign code.
    #[inline]
    pub(super) fn wake(self) {
        self.first.into_iter().chain(self.others).for_each(wake);
        drop(self.old);
    }
}

/// Where a waiter is; see the drawing on top of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Waiting,
    Granted,
    Refused,
}

/// What a channel says to a waiter that asks for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// There it is: it has been taken.
    Granted,
    /// It will never come.
    Refused,
    /// It has to wait.
    Wait,
}

/// A waiter's place in a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(usize);

/// The end of a chain.
const NONE: usize = usize::MAX;

struct Entry {
    stage: Stage,
    waker: Option<Waker>,
    previous: usize,
    /// The next in line, or the next unused entry.
    next: usize,
}

/// The line; see the top of this file.
pub(super) struct Line {
    entries: Vec<Entry>,
    unused: usize,
    first: usize,
    last: usize,
    length: usize,
}

impl Line {
    pub(super) fn new() -> Line {
        Line { entries: Vec::new(), unused: NONE, first: NONE, last: NONE, length: 0 }
    }

    /// Whether nobody is in line. Who has been granted is in line no more.
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// How many are in line.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// A waiter more, the last in line.
    pub(super) fn join(&mut self, waker: Waker) -> Key {
        let entry =
            Entry { stage: Stage::Waiting, waker: Some(waker), previous: self.last, next: NONE };
        let index = match self.unused {
            NONE => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
            index => {
                self.unused = self.entries[index].next;
                self.entries[index] = entry;
                index
            }
        };
        match self.last {
            NONE => self.first = index,
            last => self.entries[last].next = index,
        }
        self.last = index;
        self.length += 1;
        Key(index)
    }

    fn unlink(&mut self, index: usize) {
        let (previous, next) = (self.entries[index].previous, self.entries[index].next);
        match previous {
            NONE => self.first = next,
            previous => self.entries[previous].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.entries[next].previous = previous,
        }
        self.length -= 1;
    }

    /// Grants the first in line what it waits for; false if nobody waits.
    pub(super) fn grant_front(&mut self, wakes: &mut Wakes) -> bool {
        self.end_front(Stage::Granted, wakes)
    }

    /// Grants everybody in line.
    pub(super) fn grant_all(&mut self, wakes: &mut Wakes) {
        while self.grant_front(wakes) {}
    }

    /// Tells everybody in line that they wait in vain.
    pub(super) fn refuse_all(&mut self, wakes: &mut Wakes) {
        while self.end_front(Stage::Refused, wakes) {}
    }

    fn end_front(&mut self, stage: Stage, wakes: &mut Wakes) -> bool {
        let index = self.first;
        if index == NONE {
            return false;
        }
        self.unlink(index);
        let entry = &mut self.entries[index];
        entry.stage = stage;
        wakes.push(entry.waker.take());
        true
    }

    /// Takes a waiter out, for good. Returns where it was.
    pub(super) fn leave(&mut self, key: Key, wakes: &mut Wakes) -> Stage {
        let Key(index) = key;
        let stage = self.entries[index].stage;
        if stage == Stage::Waiting {
            self.unlink(index);
        }
        let entry = &mut self.entries[index];
        wakes.discard(entry.waker.take());
        entry.next = self.unused;
        self.unused = index;
        stage
    }

    /// Whether a waiter that waits on would be woken by this waker.
    fn knows(&self, key: Key, waker: &Waker) -> bool {
        self.entries[key.0].waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }
}

/// A future's part of the protocol: not in line, or in it under a key.
pub(super) struct Waiter {
    key: Option<Key>,
}

impl Waiter {
    pub(super) fn new() -> Waiter {
        Waiter { key: None }
    }

    /// Asks the channel if this is the first poll, and otherwise what became of the wait. While it
    /// is pending, the next grant or refusal wakes the context.
    ///
    /// `decide` takes what it grants; both closures run under the lock, `line` finds the line.
    pub(super) fn poll<S>(
        &mut self,
        context: &Context<'_>,
        lock: &Lock<S>,
        line: impl Fn(&mut S) -> &mut Line,
        mut decide: impl FnMut(&mut S, &mut Wakes) -> Verdict,
    ) -> Poll<bool> {
        if let Some(key) = self.key {
            return self.poll_in_line(key, context, lock, line);
        }
        let waker = context.waker().clone();
        let mut wakes = Wakes::new();
        let mut state = lock.lock();
        let verdict = decide(&mut state, &mut wakes);
        let unused = match verdict {
            Verdict::Wait => {
                self.key = Some(line(&mut state).join(waker));
                None
            }
            Verdict::Granted | Verdict::Refused => Some(waker),
        };
        drop(state);
        wakes.discard(unused);
        wakes.wake();
        match verdict {
            Verdict::Wait => Poll::Pending,
            verdict => Poll::Ready(verdict == Verdict::Granted),
        }
    }

    fn poll_in_line<S>(
        &mut self,
        key: Key,
        context: &Context<'_>,
        lock: &Lock<S>,
        line: impl Fn(&mut S) -> &mut Line,
    ) -> Poll<bool> {
        let mut spare: Option<Waker> = None;
        let mut wakes = Wakes::new();
        let stage = loop {
            let mut state = lock.lock();
            let line = line(&mut state);
            if line.entries[key.0].stage != Stage::Waiting {
                self.key = None;
                break line.leave(key, &mut wakes);
            }
            if line.knows(key, context.waker()) {
                break Stage::Waiting;
            }
            if let Some(waker) = spare.take() {
                wakes.discard(line.entries[key.0].waker.replace(waker));
                break Stage::Waiting;
            }
            drop(state);
            // A clone runs foreign code, which may have ended the wait: look again.
            spare = Some(context.waker().clone());
        };
        wakes.wake();
        match stage {
            Stage::Waiting => Poll::Pending,
            stage => Poll::Ready(stage == Stage::Granted),
        }
    }

    /// Takes the waiter out of its line, if it is in it, and says whether it had been granted what
    /// it waited for. For the drop of its future, which passes that on.
    pub(super) fn leave(&mut self, line: &mut Line, wakes: &mut Wakes) -> bool {
        self.key.take().is_some_and(|key| line.leave(key, wakes) == Stage::Granted)
    }

    /// Whether there is nothing to leave.
    pub(super) fn is_idle(&self) -> bool {
        self.key.is_none()
    }
}
