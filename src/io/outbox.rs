//! What was written and is not sent yet. A plain data structure: it knows no kernel.
//!
//! Small writes are copied into one growing segment; owned ones are kept as they are. What is in
//! flight is not here but in the send's slot (`[in-flight-is-frozen]`): new writes go to a fresh
//! tail, and what a send did not take comes back to the head.

use std::task::Waker;

use super::queue::Queue;
use crate::driver::{Batch, Payload, Segment};
use crate::executor::waiting::WaitQueue;

/// A writer waits while more than this many bytes are queued or in flight.
pub(super) const HIGH_WATER_BYTES: usize = 64 << 10;

/// The room that a small write gets at least, for others to join it.
const JOIN_BYTES: usize = 1 << 10;

/// Segments that leave in one send.
const BATCH_SEGMENTS_MAX: usize = 64;

/// Whether more may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum WriteSide {
    #[default]
    Open,
    /// FIN goes out when everything is sent.
    Ending,
    /// FIN is out.
    Ended,
}

/// A task that waits until everything up to a byte is sent.
struct Flusher {
    number: u64,
    target: u64,
    waker: Waker,
}

/// Unsent bytes, and who waits for them to leave.
#[derive(Default)]
pub(super) struct Outbox {
    segments: Queue<Segment>,
    /// Bytes in `segments`.
    queued: usize,
    /// Bytes in the slot of the send in flight.
    pub(super) in_flight: usize,
    /// Bytes ever accepted, and of these ever sent.
    accepted: u64,
    sent: u64,
    pub(super) side: WriteSide,
    /// The first error, for ever.
    error: Option<i32>,
    error_was_seen: bool,
    numbers: u64,
    pub(super) writers: WaitQueue,
    flushers: Vec<Flusher>,
}

impl Outbox {
    /// Bytes that are not sent.
    pub(super) fn unsent(&self) -> usize {
        self.queued + self.in_flight
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.segments.is_empty()
    }

    pub(super) fn is_above_mark(&self) -> bool {
        self.unsent() > HIGH_WATER_BYTES
    }

    /// The sticky error.
    pub(super) fn error(&self) -> Option<i32> {
        self.error
    }

    /// The sticky error, which the caller is being told now.
    pub(super) fn see_error(&mut self) -> Option<i32> {
        self.error_was_seen |= self.error.is_some();
        self.error
    }

    /// The sticky error if nobody was told.
    pub(super) fn unseen_error(&self) -> Option<i32> {
        self.error.filter(|_| !self.error_was_seen)
    }

    /// Copies a small write in.
    pub(super) fn copy_in(&mut self, bytes: &[u8]) {
        self.queued += bytes.len();
        self.accepted += bytes.len() as u64;
        if self.segments.back_mut().is_some_and(|tail| tail.append(bytes)) {
            return;
        }
        let mut segment = Segment::with_capacity(bytes.len().max(JOIN_BYTES));
        segment.append(bytes);
        self.segments.push_back(segment);
    }

    /// Keeps an owned write. Little ones that cannot leave at once are copied instead, so that a
    /// peer that does not read pins a few of the core's buffers, not one for each byte. Returns the
    /// segment if it was copied, for the caller to drop. Empty ones are dropped by the caller.
    pub(super) fn push(&mut self, segment: Segment) -> Option<Segment> {
        if self.unsent() > 0 && segment.is_little() {
            self.copy_in(segment.as_slice());
            return Some(segment);
        }
        self.queued += segment.len();
        self.accepted += segment.len() as u64;
        self.segments.push_back(segment);
        None
    }

    /// Moves what leaves next into a payload. The caller puts it into a slot.
    pub(super) fn next_send(&mut self) -> Payload {
        debug_assert_eq!(self.in_flight, 0);
        let leaves_alone = self.segments.front().is_some_and(Segment::leaves_alone);
        if self.segments.len() == 1 && !leaves_alone {
            let segment = self.segments.pop_front().expect("the length was looked at");
            self.in_flight = segment.len();
            self.queued -= self.in_flight;
            return Payload::Segment(segment);
        }
        let joined = self.segments.iter().take_while(|segment| !segment.leaves_alone());
        let count = joined.take(BATCH_SEGMENTS_MAX).count().max(1);
        let segments: Vec<_> = (0..count).filter_map(|_| self.segments.pop_front()).collect();
        self.in_flight = segments.iter().map(Segment::len).sum();
        self.queued -= self.in_flight;
        Payload::Batch(Batch::new(segments))
    }

    /// Takes back a payload of which `taken` bytes were sent; the rest goes back to the head,
    /// unless nothing more is sent. What has no use any more is left, for the caller to drop: an
    /// owned segment may run foreign code.
    pub(super) fn take_back(&mut self, payload: &mut Payload, taken: usize) {
        let total = std::mem::take(&mut self.in_flight);
        self.sent += taken as u64;
        if taken == total || self.error.is_some() {
            return;
        }
        *payload = match std::mem::take(payload) {
            Payload::Segment(segment) => self.put_back(vec![segment], taken),
            Payload::Batch(batch) => self.put_back(batch.into_segments(), taken),
            _ => unreachable!("a send has segments for its payload"),
        };
    }

    fn put_back(&mut self, mut segments: Vec<Segment>, mut taken: usize) -> Payload {
        let whole = segments
            .iter()
            .take_while(|segment| {
                let is_whole = segment.len() <= taken;
                if is_whole {
                    taken -= segment.len();
                }
                is_whole
            })
            .count();
        let mut rest = segments.split_off(whole);
        if let Some(first) = rest.first_mut() {
            first.advance(taken);
        }
        for segment in rest.into_iter().rev() {
            self.queued += segment.len();
            self.segments.push_front(segment);
        }
        Payload::Batch(Batch::new(segments))
    }

    /// Ends the outbox with an error: nothing more is sent. Returns what will not be, for the
    /// caller to drop.
    pub(super) fn fail(&mut self, error: i32) -> Queue<Segment> {
        self.error.get_or_insert(error);
        self.queued = 0;
        std::mem::take(&mut self.segments)
    }

    /// The sticky error, and whether somebody was told of it.
    pub(super) fn error_and_seen(&self) -> Option<(i32, bool)> {
        self.error.map(|error| (error, self.error_was_seen))
    }

    /// As an outbox was left that came from another core.
    pub(super) fn restore(&mut self, side: WriteSide, error: Option<(i32, bool)>) {
        self.side = side;
        if let Some((error, was_seen)) = error {
            self.error = Some(error);
            self.error_was_seen = was_seen;
        }
    }

    /// A number for a waiting flusher.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The waker of the writer whose turn it is, if there is room for it and it was not woken yet.
    pub(super) fn first_writer(&mut self) -> Option<Waker> {
        match self.is_above_mark() {
            true => None,
            false => self.writers.first(),
        }
    }

    /// All that wait, after an error.
    pub(super) fn everyone(&mut self) -> Vec<Waker> {
        let flushers = self.flushers.drain(..).map(|flusher| flusher.waker);
        flushers.chain(self.writers.all()).collect()
    }

    /// Bytes ever sent.
    pub(super) fn sent_total(&self) -> u64 {
        self.sent
    }

    /// The byte up to which a flush of now waits.
    pub(super) fn flush_target(&self) -> u64 {
        self.accepted
    }

    pub(super) fn is_sent_up_to(&self, target: u64) -> bool {
        self.sent >= target
    }

    /// Queues a flusher, or gives a queued one the waker of its last poll. Returns the old one.
    pub(super) fn wait_for_sent(
        &mut self,
        number: u64,
        target: u64,
        waker: Waker,
    ) -> Option<Waker> {
        if let Some(flusher) = self.flushers.iter_mut().find(|it| it.number == number) {
            return Some(std::mem::replace(&mut flusher.waker, waker));
        }
        self.flushers.push(Flusher { number, target, waker });
        None
    }

    /// Takes a flusher out, if it waits.
    pub(super) fn stop_flusher(&mut self, number: u64) -> Option<Waker> {
        let place = self.flushers.iter().position(|flusher| flusher.number == number)?;
        Some(self.flushers.swap_remove(place).waker)
    }

    /// Takes the flushers out whose bytes are sent.
    pub(super) fn flushed(&mut self) -> Vec<Waker> {
        let sent = self.sent;
        if !self.flushers.iter().any(|flusher| flusher.target <= sent) {
            return Vec::new();
        }
        let (done, waiting) =
            std::mem::take(&mut self.flushers).into_iter().partition(|it| it.target <= sent);
        self.flushers = waiting;
        let done: Vec<Flusher> = done;
        done.into_iter().map(|flusher| flusher.waker).collect()
    }
}
