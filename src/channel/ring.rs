//! The ring of a channel: many senders put values in, one receiver takes them out in that order.
//!
//! Positions are numbered 0, 1, 2, ... for ever; position `p` lies in cell `p % cells`. A sender
//! that has a *permit* claims a position, writes its value and publishes it by the cell's stamp:
//!
//! ```text
//!           1 push: tail + 1       2 push: stamp := p + 1        4 take       5 give_back
//!   nobody ─────────────▶ claimed ───────────────────▶ published ─────▶ empty ──────────▶ a permit
//!                          │  ▲
//!                          │  │ 3 await_at: stamp := AWAITED, if it is not p + 1
//!                          └──┘   abandon:  stamp := ABANDONED, likewise
//! ```
//!
//! There is no fence here, and no word that two sides write in turn and look at crosswise: each
//! question is settled on one atomic word, by the order of its modifications.
//!
//! * *Is there a value, or must the sender wake me?* Both want to change the same stamp. If the
//!   receiver comes first (3), the sender's exchange (2) returns `AWAITED`, and it wakes. If the
//!   sender comes first, the receiver's exchange fails, and the value is there. So only one
//!   sender pays for a wake, that of the value waited for, and none while the receiver is awake.
//! * *Does the receiver have to look for senders that wait for a permit?* They set a bit
//!   (`WANTED`) in the word in which the receiver counts what it took, and see in the same step
//!   whether it took something meanwhile. The receiver sees the bit in the step that counts (5).
//! * *Is the receiver gone?* It says so by a bit in the tail (`GONE`), and learns in the same step
//!   how many positions were claimed before. Those it takes, or marks `ABANDONED` if they are
//!   not published; who claims later sees the bit, who publishes later the mark, and has its
//!   value back. So every value is dropped, and by whom is never in doubt.
//!
//! **Why a place is written by one, and after it was emptied: `[permit-is-a-place]`.** There are
//! `capacity` permits, at most as many as cells. Each is one of: free; held by a sender; used up
//! by a position that is claimed and not counted as taken; counted as taken and not yet free.
//! Let a sender claim `p`. Then `p + 1` permits were granted and used, so at the last of these
//! grants at least `p + 1 - capacity` positions had been counted as taken, `p - cells` among them.
//! That grant happened after the count (5 releases; whoever makes permits of it acquires, and
//! passes them on by a lock or by read-modify-writes of one word, which all release and acquire).
//! And the claim of `p` happened after that grant, also if it was another sender's: its claim
//! precedes ours in the order of `tail`, whose modifications all release and acquire. So the take
//! of `p - cells` happened before the write of `p`. The receiver reads `p` only after it has read
//! the stamp `p + 1` with `Acquire`, which the sender wrote with `Release` after the value.
//!
//! A sender that is preempted between 1 and 2 holds up the values behind it, but nobody waits for
//! it: the receiver marks its cell and sleeps, and it is this sender that wakes.
//!
//! Positions are counted in 63 bits, which do not overflow in a century.
#![allow(unsafe_code)] // Values lie in places that threads use in turn.

use std::sync::atomic::{AtomicU64, Ordering};

use super::place::Place;

/// The stamp of a cell whose value the receiver waits for.
const AWAITED: u64 = u64::MAX;

/// The stamp of a cell whose value the receiver will not take.
const ABANDONED: u64 = u64::MAX - 1;

/// Bit of `tail`: there is no receiver.
const GONE: u64 = 1;

/// Bit of `taken`: somebody waits for a permit.
const WANTED: u64 = 1;

/// A position and a bit.
const ONE: u64 = 2;

/// A word with a pair of cache lines to itself, since processors fetch them in pairs.
#[repr(align(128))]
pub(super) struct Padded(pub(super) AtomicU64);

/// What became of a value that was pushed.
#[must_use = "a receiver that waits has to be woken"]
pub(super) enum Pushed<T> {
    /// It is in the ring.
    Done,
    /// It is in the ring, and the receiver waits for it: it has to be woken.
    Awaited,
    /// There is no receiver; here it is.
    Refused(T),
}

struct Cell<T> {
    stamp: AtomicU64,
    place: Place<T>,
}

pub(super) struct Ring<T> {
    /// The next position to claim, and `GONE`: written by senders.
    tail: Padded,
    /// How many positions were taken, and `WANTED`: written by the receiver, hardly by senders.
    taken: Padded,
    cells: Box<[Cell<T>]>,
}

impl<T> Ring<T> {
    /// A ring for `capacity` permits.
    pub(super) fn new(capacity: usize) -> Ring<T> {
        // A power of two, so that a position's cell is found by a mask.
        let cells = capacity.next_power_of_two();
        let cell = |_| Cell { stamp: AtomicU64::new(0), place: Place::new() };
        Ring {
            tail: Padded(AtomicU64::new(0)),
            taken: Padded(AtomicU64::new(0)),
            cells: (0..cells).map(cell).collect(),
        }
    }

    #[inline]
    fn cell(&self, position: u64) -> &Cell<T> {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    /// Puts a value at the end.
    ///
    /// # Safety
    ///
    /// `[permit-is-a-place]`: the caller has a permit, which this call uses up unless it refuses.
    #[inline]
    pub(super) unsafe fn push(&self, value: T) -> Pushed<T> {
        let tail = self.tail.0.fetch_add(ONE, Ordering::AcqRel);
        if tail & GONE != 0 {
            return Pushed::Refused(value);
        }
        let position = tail / ONE;
        let cell = self.cell(position);
        // SAFETY: [permit-is-a-place] the position is ours alone, and the value that lay here a
        // lap before was taken before our permit was granted; see above.
        unsafe { cell.place.put(value) };
        match cell.stamp.swap(position + 1, Ordering::AcqRel) {
            AWAITED => Pushed::Awaited,
            // SAFETY: [permit-is-a-place] the receiver left the position to us, and we put a value
            // there.
            ABANDONED => Pushed::Refused(unsafe { cell.place.take() }),
            _ => Pushed::Done,
        }
    }

    /// Takes the value at a position, if it is published.
    ///
    /// # Safety
    ///
    /// `[one-receiver]`: only the receiver calls this, for each position until it has the value,
    /// and then for the next.
    #[inline]
    pub(super) unsafe fn take(&self, position: u64) -> Option<T> {
        let cell = self.cell(position);
        if cell.stamp.load(Ordering::Acquire) != position + 1 {
            return None;
        }
        // SAFETY: [one-receiver] the value was published, and is taken once: no later call names
        // this position, and no sender writes here before it was counted as taken.
        Some(unsafe { cell.place.take() })
    }

    /// Whether the value at a position is there to be taken. What the senders write next is not
    /// looked at.
    pub(super) fn is_published(&self, position: u64) -> bool {
        self.cell(position).stamp.load(Ordering::Acquire) == position + 1
    }

    /// Asks to be woken when the value at this position is published. False: it is already.
    pub(super) fn await_at(&self, position: u64) -> bool {
        self.mark(position, AWAITED)
    }

    /// Marks a cell that is not published. False: it is.
    fn mark(&self, position: u64, mark: u64) -> bool {
        let stamp = &self.cell(position).stamp;
        let known = stamp.load(Ordering::Acquire);
        if known == position + 1 {
            return false;
        }
        // Only the sender of this position writes here beside us, and what it writes is final.
        stamp.compare_exchange(known, mark, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Counts positions as taken, so that permits can be made of them. True: somebody waits for
    /// one.
    #[inline]
    #[must_use = "who waits for a permit has to get it"]
    pub(super) fn give_back(&self, count: u64) -> bool {
        self.taken.0.fetch_add(count * ONE, Ordering::AcqRel) & WANTED != 0
    }

    /// How many positions were counted as taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.0.load(Ordering::Acquire) / ONE
    }

    /// From now on the receiver hears that somebody waits. Returns how many were taken before.
    pub(super) fn want(&self) -> u64 {
        self.taken.0.fetch_or(WANTED, Ordering::AcqRel) / ONE
    }

    /// Nobody waits any more.
    pub(super) fn unwant(&self) {
        if self.taken.0.load(Ordering::Relaxed) & WANTED != 0 {
            self.taken.0.fetch_and(!WANTED, Ordering::AcqRel);
        }
    }

    /// How many values are in the ring, those included that are being written.
    pub(super) fn len(&self) -> usize {
        let taken = self.taken();
        let tail = self.tail.0.load(Ordering::Acquire);
        if tail & GONE != 0 { 0 } else { (tail / ONE).saturating_sub(taken) as usize }
    }

    /// The receiver goes. Returns the first position that nobody claimed before; values of later
    /// claims are refused. Each position before is to be `abandon`ed.
    pub(super) fn leave(&self) -> u64 {
        self.tail.0.fetch_or(GONE, Ordering::AcqRel) / ONE
    }

    /// Takes the value at a position, or leaves it to the sender that is about to publish it.
    ///
    /// # Safety
    ///
    /// `[one-receiver]`, as for `take`.
    pub(super) unsafe fn abandon(&self, position: u64) -> Option<T> {
        if self.mark(position, ABANDONED) {
            return None;
        }
        // SAFETY: [one-receiver] as the caller says.
        unsafe { self.take(position) }
    }
}
