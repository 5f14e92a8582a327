//! How much a poll does at once that could as well wait.
//!
//! What lies in the page cache is read by a plain call, without a slot, a submission and a wake.
//! But then a task that reads on and on is always ready, its poll does not end, and nobody else
//! gets a turn. So a poll has a budget of such bytes, some 20 to 50 µs of copying. What goes beyond
//! it waits for the next poll, which the turn's own limits bound.

use std::cell::Cell;

use super::Core;

/// Bytes that one poll copies.
const BYTES_A_POLL: usize = 320 << 10;

/// What a call costs besides, in bytes: 40 small reads are a poll's worth.
const CALL_BYTES: usize = 4 << 10;

/// What is left of the budget, and of which poll: its number, and that of its turn, since the root
/// is not counted.
#[derive(Default)]
pub(super) struct Courtesy {
    poll: Cell<(u64, u64)>,
    left: Cell<usize>,
}

/// Whether something may be done at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// It is taken off the poll's budget.
    Granted,
    /// The next poll may.
    NextPoll,
    /// It is too much for any poll.
    Never,
}

impl Core {
    /// Whether so many bytes may be read at once.
    pub(crate) fn ask_leave(&self, bytes: usize) -> Leave {
        let Courtesy { poll, left } = &self.courtesy;
        let now = (self.counters.turns.get(), self.counters.polls.get());
        if poll.replace(now) != now {
            left.set(BYTES_A_POLL);
        }
        let cost = bytes.saturating_add(CALL_BYTES);
        if cost > BYTES_A_POLL {
            return Leave::Never;
        }
        match left.get().checked_sub(cost) {
            Some(rest) => {
                left.set(rest);
                Leave::Granted
            }
            None => Leave::NextPoll,
        }
    }
}
