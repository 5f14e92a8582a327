//! Was the machine steady while a round was measured?
//!
//! A virtual machine's CPUs are moved and taken away, and other programs run beside the benchmark.
//! Three things tell: the time that both sides waited for a CPU though they were ready to run, the
//! time that the host took, and how long the two CPUs need to hand a cache line to and fro, before
//! and after the round. A round that was disturbed is measured again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use corio::time::{Duration, Instant};

use crate::arguments::Cpu;
use crate::load::Outcome;

/// The part of a round that may be lost.
const LOST_MAX: f64 = 0.05;

/// How much slower than the best the hand-over may be.
const HAND_OVER_FACTOR: f64 = 3.0;

/// A server that uses less of its CPU than this was not the bottleneck.
pub(crate) const SATURATED: f64 = 0.9;

/// Hand-overs to and fro in one probe, and how long it may take.
const ROUND_TRIPS: u32 = 1_000;
const PROBE_LIMIT: Duration = Duration::from_millis(50);

/// How long a cache line takes from one CPU to the other and back, in nanoseconds: the median.
/// `None` where both are the same, or while something else runs on one of them.
pub(crate) fn hand_over_ns(one: Option<Cpu>, other: Option<Cpu>) -> Option<u64> {
    let (Cpu(one), Cpu(other)) = (one?, other?);
    if one == other {
        return None;
    }
    let ball = Arc::new(AtomicU32::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let (their_ball, their_end) = (Arc::clone(&ball), Arc::clone(&is_over));
    let returning = std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: other });
        while !their_end.load(Ordering::Relaxed) {
            let seen = their_ball.load(Ordering::Acquire);
            if seen % 2 == 1 {
                their_ball.store(seen.wrapping_add(1), Ordering::Release);
            }
            std::hint::spin_loop();
        }
    });
    let throwing = std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: one });
        let durations = throw(&ball);
        is_over.store(true, Ordering::Relaxed);
        durations
    });
    let mut durations = throwing.join().ok()?;
    returning.join().ok()?;
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

fn throw(ball: &AtomicU32) -> Vec<u64> {
    let deadline = Instant::now() + PROBE_LIMIT;
    let mut durations = Vec::with_capacity(ROUND_TRIPS as usize);
    for number in 0..ROUND_TRIPS {
        let thrown_at = Instant::now();
        ball.store(2 * number + 1, Ordering::Release);
        while ball.load(Ordering::Acquire) % 2 == 1 {
            if Instant::now() >= deadline {
                return durations;
            }
            std::hint::spin_loop();
        }
        durations.push(thrown_at.elapsed().as_nanos() as u64);
    }
    durations
}

/// What was seen around one round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Watch {
    pub(crate) hand_over_ns: (Option<u64>, Option<u64>),
    pub(crate) hand_over_best_ns: Option<u64>,
    pub(crate) stolen_ns: u64,
    /// Server and generator share a CPU, so each waits for the other.
    pub(crate) is_shared: bool,
}

impl Watch {
    /// What disturbed the round, if anything did.
    pub(crate) fn disturbance(&self, outcome: &Outcome) -> Option<String> {
        let interval_ns = outcome.interval.as_nanos().max(1) as f64;
        let part = |ns: u64| ns as f64 / interval_ns;
        let waited =
            |times: Option<crate::machine::Times>| part(times.map_or(0, |it| it.waited_ns));
        let sides = [("server", outcome.server), ("load generator", outcome.generator)];
        for (name, times) in sides {
            if !self.is_shared && waited(times) > LOST_MAX {
                let percent = waited(times) * 100.0;
                return Some(format!("the {name} waited {percent:.0} % of the time for its CPU"));
            }
        }
        if part(self.stolen_ns) > LOST_MAX {
            let percent = part(self.stolen_ns) * 100.0;
            return Some(format!("the host took {percent:.0} % of the time"));
        }
        let (before, after) = self.hand_over_ns;
        let (worst, best) = (before.max(after)?, self.hand_over_best_ns?);
        let is_slow = worst as f64 > HAND_OVER_FACTOR * best as f64;
        is_slow.then(|| format!("a cache line took {worst} ns between the CPUs, at best {best} ns"))
    }
}

/// Of the rounds of one server in a closed loop, with the parts of its CPU that it used: those in
/// which it was not saturated, though it was in another. It lost something there that is not its
/// own. If it never is saturated, that is its nature or the load generator's, and measuring again
/// would not help.
pub(crate) fn unsaturated(shares: &[Option<f64>]) -> Vec<usize> {
    let is_saturated = |share: &Option<f64>| share.is_some_and(|share| share >= SATURATED);
    if !shares.iter().any(is_saturated) {
        return Vec::new();
    }
    (0..shares.len()).filter(|&at| shares[at].is_some_and(|share| share < SATURATED)).collect()
}

#[cfg(test)]
mod tests {
    use super::unsaturated;

    #[test]
    fn a_round_without_saturation_is_repeated_only_where_another_had_it() {
        assert_eq!(unsaturated(&[Some(0.99), Some(0.7), None, Some(0.9)]), [1]);
        assert_eq!(unsaturated(&[Some(0.7), Some(0.8)]), [] as [usize; 0]);
        assert_eq!(unsaturated(&[None, None]), [] as [usize; 0]);
    }
}
