//! How much a turn does at once that could as well wait for its end.
//!
//! What lies in the page cache is read by a plain call, without a slot, a submission and a wake.
//! But then a task that reads on and on is always ready, and nobody else gets a turn. So a turn
//! has a budget of such bytes, about 50 µs of copying; what goes beyond it goes to the driver, and
//! is ready in the next turn.

use std::cell::Cell;

use super::Core;

/// Bytes that one turn copies.
const BYTES_A_TURN: usize = 512 << 10;

/// What a call costs besides, in bytes: 64 small reads are a turn's worth.
const CALL_BYTES: usize = 4 << 10;

/// What is left of the budget, and of which turn.
#[derive(Default)]
pub(super) struct Courtesy {
    turn: Cell<u64>,
    left: Cell<usize>,
}

impl Core {
    /// Whether so many bytes may be read at once; then they are taken off the turn's budget.
    pub(crate) fn may_read_now(&self, bytes: usize) -> bool {
        let Courtesy { turn, left } = &self.courtesy;
        if turn.replace(self.counters.turns.get()) != self.counters.turns.get() {
            left.set(BYTES_A_TURN);
        }
        let cost = bytes.saturating_add(CALL_BYTES);
        let is_allowed = cost <= left.get();
        if is_allowed {
            left.set(left.get() - cost);
        }
        is_allowed
    }
}
