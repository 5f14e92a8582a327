//! Looking again before asking to be woken.
//!
//! To be woken costs the other side: it takes the lock, the waker, posts a ticket, and each of
//! these lies in a cache line that it first has to get from us. To look again costs this side a
//! poll. So a future that finds nothing first *yields*: it wakes itself and is polled again with
//! all other tasks of its core, and only when that has gone on for too long it asks to be woken.
//!
//! How long is too long, the core says: as long as its loop polls in user space before it sleeps
//! (`BusyPoll`), so where that is off, and on threads without a core, nobody yields. Where it is
//! adaptive, a mean of how long it took until something was there decides, as it does in the loop.
//!
//! **A look has a price for the other side, too**: it takes away the cache line that the other is
//! about to write. A receiver that is quicker than its sender would meet it at every value. So the
//! sides of a stream keep their distance: they look once in a while, and find many values at
//! once. Those of a dialogue, where one value comes at a time, look as often as they can. Which
//! it is shows in trials: once in so many dry spells a receiver keeps its distance, and goes on
//! with that while it finds many values after it.

use crate::driver::{ticks, ticks_per_micro};
use crate::executor::{Allowance, Core};

/// How far apart the looks of a stream's side are, in nanoseconds.
const DISTANCE_NS: u64 = 1_000;

/// Dry spells from one trial to the next.
const SPELLS_A_TRIAL: u32 = 32;

/// So many values make a distance worth while: two cache lines of small ones.
const BURST_MIN: usize = 8;

/// With fewer places nobody keeps a distance: the other side would soon wait.
const PLACES_MIN: usize = 64;

/// The clock is read once in so many looks that keep no distance.
const LOOKS_A_CLOCK: u32 = 8;

/// One wait, from the moment at which there was nothing.
#[derive(Debug)]
pub(super) struct Spell {
    since: u64,
    looks: u32,
    adaptive: bool,
    /// For how long it may look, in ticks.
    longest: u64,
    distance: u64,
    rests_until: u64,
    /// It has looked for long enough, and is to be woken.
    is_over: bool,
}

impl Spell {
    /// Begins a wait where it took `mean_gap` ticks on average so far.
    #[cold]
    pub(super) fn begin(mean_gap: u64, keeps_distance: bool) -> Spell {
        let none = Allowance { ticks: 0, adaptive: false };
        let Allowance { ticks: longest, adaptive } = Core::allowance().unwrap_or(none);
        let is_over = longest == 0 || adaptive && mean_gap > longest;
        let distance = if keeps_distance { DISTANCE_NS * ticks_per_micro() / 1_000 } else { 0 };
        let since = ticks();
        let rests_until = since.wrapping_add(distance);
        Spell { since, looks: 0, adaptive, longest, distance, rests_until, is_over }
    }

    /// Whether it is too early for a look.
    pub(super) fn rests(&self) -> bool {
        let is_early =
            || ticks().wrapping_sub(self.since) < self.rests_until.wrapping_sub(self.since);
        self.distance > 0 && !self.is_over && is_early()
    }

    /// Whether it looks no more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// After a look that found nothing: whether there will be another. The caller then has itself
    /// polled again; otherwise it asks to be woken.
    pub(super) fn goes_on(&mut self) -> bool {
        self.looks = self.looks.wrapping_add(1);
        let reads_clock = self.distance > 0 || self.looks.is_multiple_of(LOOKS_A_CLOCK);
        if !self.is_over && reads_clock {
            let now = ticks();
            self.is_over = now.wrapping_sub(self.since) > self.longest;
            self.rests_until = now.wrapping_add(self.distance);
        }
        !self.is_over
    }

    /// Ends the wait: something was there. Returns the new mean. Long gaps count as four times the
    /// longest look, so that a stream that comes back after a pause is soon looked for again.
    pub(super) fn end(&self, mean_gap: u64) -> u64 {
        if !self.adaptive {
            return mean_gap;
        }
        let gap = ticks().wrapping_sub(self.since).min(self.longest.saturating_mul(4));
        (mean_gap / 8).saturating_mul(7).saturating_add(gap / 8)
    }
}

/// Whether there is room for a distance between the sides.
pub(super) fn has_room(places: usize) -> bool {
    places >= PLACES_MIN
}

/// The waits of one side, one after the other.
#[derive(Debug)]
pub(super) struct Patience {
    spell: Option<Spell>,
    mean_gap: u64,
    has_room: bool,
    keeps_distance: bool,
    /// Dry spells until the next trial.
    until_trial: u32,
    /// What was found since the last dry spell began.
    burst: usize,
}

impl Patience {
    pub(super) fn new(places: usize) -> Patience {
        Patience {
            spell: None,
            mean_gap: 0,
            has_room: has_room(places),
            keeps_distance: false,
            until_trial: SPELLS_A_TRIAL,
            burst: 0,
        }
    }

    /// Whether it is too early for a look.
    #[inline]
    pub(super) fn rests(&self) -> bool {
        self.spell.as_ref().is_some_and(Spell::rests)
    }

    /// After a look that found nothing: see [`Spell::goes_on`].
    pub(super) fn goes_on(&mut self) -> bool {
        if self.spell.is_none() {
            self.choose_distance();
        }
        let (mean_gap, keeps_distance) = (self.mean_gap, self.keeps_distance);
        self.spell.get_or_insert_with(|| Spell::begin(mean_gap, keeps_distance)).goes_on()
    }

    fn choose_distance(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if self.keeps_distance {
            self.keeps_distance = burst >= BURST_MIN;
            self.until_trial = SPELLS_A_TRIAL;
        } else if self.has_room {
            self.until_trial -= 1;
            self.keeps_distance = self.until_trial == 0;
        }
    }

    /// So many were found.
    #[inline]
    pub(super) fn found(&mut self, count: usize) {
        self.burst = self.burst.saturating_add(count);
        if let Some(spell) = self.spell.take() {
            self.mean_gap = spell.end(self.mean_gap);
        }
    }
}
