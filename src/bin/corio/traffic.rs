//! What a load generator sends, and what has come back.
//!
//! Everything that is sent is a window of one block of random bytes. Where batch `n` of connection
//! `c` begins in the block follows from `n` and `c` alone, so nothing is made or copied to send a
//! batch, and the same window is what the echo is compared with, byte by byte. A connection uses
//! every beginning once before it repeats one: an echo that is lost, doubled, late or in the wrong
//! order is always seen. One that was meant for another connection is seen unless the two windows
//! happen to begin at the same of 65,536 places.

use std::cell::{Cell, RefCell};

use corio::sync::Event;
use corio::time::Instant;
use hdrhistogram::Histogram;

/// The number of places where a window may begin. A power of two; small enough for the second-level
/// cache, so that sending does not measure memory.
const BEGINNINGS: usize = 1 << 16;

/// The distance between the beginnings of consecutive batches of a connection, and between those of
/// neighbouring connections. Odd, so that each walks through all beginnings.
const BATCH_STRIDE: usize = 7_919;
const CONNECTION_STRIDE: usize = 40_503;

/// A latency above this is recorded as this: one hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// The block of bytes that all traffic is taken from.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    block: &'static [u8],
    batch_len: usize,
}

impl Pattern {
    /// The block is leaked: it lives as long as the program, so that a batch can be queued in an
    /// outbox without a copy and without counting its users.
    pub(crate) fn new(batch_len: usize) -> Pattern {
        let block = random_bytes(BEGINNINGS + batch_len);
        Pattern { block: Box::leak(block), batch_len }
    }

    /// What `connection` sends as its batch of this number.
    pub(crate) fn batch(self, connection: usize, number: u64) -> &'static [u8] {
        let walked = (number as usize).wrapping_mul(BATCH_STRIDE);
        let begin = walked.wrapping_add(connection.wrapping_mul(CONNECTION_STRIDE)) % BEGINNINGS;
        &self.block[begin..begin + self.batch_len]
    }
}

/// SplitMix64 from a fixed seed: every run sends the same bytes.
fn random_bytes(len: usize) -> Box<[u8]> {
    let mut state: u64 = 0x636f_7269_6f21;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into_boxed_slice()
}

/// Where a measurement is. Messages are counted always, their latency only while measuring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    WarmUp,
    Measuring,
    Ending,
}

/// What all connections have received so far, and what went wrong.
pub(crate) struct Tally {
    phase: Cell<Phase>,
    latencies_ns: RefCell<Histogram<u64>>,
    lags_ns: RefCell<Histogram<u64>>,
    /// Between the server's turns nobody sends.
    turn: Event,
    pausing: Vec<Cell<bool>>,
    pausing_count: Cell<usize>,
    /// When a connection paused last.
    rested_at: Cell<Instant>,
    messages: Vec<Cell<u64>>,
    connections_alive: Cell<usize>,
    error_count: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

impl Tally {
    pub(crate) fn new(connections: usize) -> Tally {
        let turn = Event::new();
        turn.set();
        Tally {
            turn,
            pausing_count: Cell::new(0),
            rested_at: Cell::new(Instant::now()),
            phase: Cell::new(Phase::WarmUp),
            latencies_ns: RefCell::new(histogram()),
            lags_ns: RefCell::new(histogram()),
            pausing: vec![Cell::new(false); connections],
            messages: vec![Cell::new(0); connections],
            connections_alive: Cell::new(connections),
            error_count: Cell::new(0),
            first_error: RefCell::new(None),
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.phase.get() == Phase::Ending
    }

    /// `count` messages of `connection` came back whole, at the same moment.
    #[inline]
    pub(crate) fn arrived(&self, connection: usize, count: u64, latency_ns: u64) {
        let messages = &self.messages[connection];
        messages.set(messages.get() + count);
        if self.phase.get() == Phase::Measuring {
            self.latencies_ns.borrow_mut().saturating_record_n(latency_ns, count);
        }
    }

    /// A message left so much later than intended, through no fault of the server.
    #[inline]
    pub(crate) fn lagged(&self, lag_ns: u64) {
        if self.phase.get() == Phase::Measuring {
            self.lags_ns.borrow_mut().saturating_record(lag_ns);
        }
    }

    /// Whether a connection waits for the time to send, and so has nothing in flight.
    pub(crate) fn set_pausing(&self, connection: usize, is_pausing: bool) {
        if self.pausing[connection].replace(is_pausing) == is_pausing {
            return;
        }
        let count = self.pausing_count.get();
        self.pausing_count.set(if is_pausing { count + 1 } else { count - 1 });
    }

    /// From now on no connection sends another batch.
    pub(crate) fn pause(&self) {
        self.turn.clear();
    }

    /// Those that paused send again.
    pub(crate) fn go_on(&self) {
        self.turn.set();
    }

    pub(crate) fn is_paused(&self) -> bool {
        !self.turn.is_set()
    }

    /// A connection that has nothing in flight waits for the server's next turn.
    pub(crate) async fn next_turn(&self, connection: usize) {
        self.rested_at.set(Instant::now());
        self.set_pausing(connection, true);
        self.turn.wait().await;
        self.set_pausing(connection, false);
    }

    /// Whether every connection has nothing in flight.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.pausing_count.get() == self.connections_alive.get()
    }

    /// When the last connection had nothing in flight any more.
    pub(crate) fn rested_at(&self) -> Instant {
        self.rested_at.get()
    }

    pub(crate) fn answered_count(&self) -> u64 {
        self.messages.iter().map(Cell::get).sum()
    }

    pub(crate) fn is_pausing(&self, connection: usize) -> bool {
        self.pausing[connection].get()
    }

    pub(crate) fn lags_ns(&self) -> Histogram<u64> {
        self.lags_ns.borrow().clone()
    }

    /// A connection has ended, as it should (`None`) or with what went wrong.
    pub(crate) fn ended(&self, error: Option<String>) {
        self.connections_alive.set(self.connections_alive.get() - 1);
        if let Some(error) = error {
            self.failed(1, error);
        }
    }

    /// Counts errors; of their texts the first is kept, since later ones tend to follow from it.
    pub(crate) fn failed(&self, count: u64, error: String) {
        self.error_count.set(self.error_count.get() + count);
        self.first_error.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn connections_alive(&self) -> usize {
        self.connections_alive.get()
    }

    /// How many messages each connection has received so far.
    pub(crate) fn messages(&self) -> Vec<u64> {
        self.messages.iter().map(Cell::get).collect()
    }

    pub(crate) fn latencies_ns(&self) -> Histogram<u64> {
        self.latencies_ns.borrow().clone()
    }

    pub(crate) fn errors(&self) -> (u64, Option<String>) {
        (self.error_count.get(), self.first_error.borrow().clone())
    }
}

/// Nanoseconds up to an hour, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3) else {
        unreachable!("the bounds and three digits are a valid histogram")
    };
    histogram
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use std::collections::HashSet;

    #[test]
    fn a_connection_repeats_no_batch_before_it_has_sent_65536() {
        let pattern = Pattern::new(8);
        for connection in [0, 1, 999] {
            let sent: HashSet<_> = (0..65_536).map(|n| pattern.batch(connection, n)).collect();
            assert_eq!(sent.len(), 65_536);
        }
        let first: HashSet<_> = (0..1_000).map(|connection| pattern.batch(connection, 0)).collect();
        assert_eq!(first.len(), 1_000);
    }
}
