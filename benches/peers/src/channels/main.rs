//! Channels between two cores: corio's beside tokio's, flume, crossbeam and the floor, in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin channels
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin channels -- 100000 stream
//! ```
//!
//! Two threads, each pinned to a CPU. `stream` is the time for one `u64` through one channel of
//! 4,096 places; `ping awake` a round trip with both sides polling; `ping parked` one with both
//! asleep whenever they wait; `spawn` the time from a task's start on the other core to the
//! knowledge of its outcome here. Each is done in rounds, all contenders in turn in each; least
//! and median of a contender's rounds are printed, and the ratio of the medians to the floor's,
//! which is the quickest of the rows that begin with `floor`.
//!
//! Every value is added up or compared, and a wrong one is a panic.

mod contenders;
mod floors;

use std::fmt::Write as _;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// A side of a contest: it says when it is ready, and then does its part.
pub(crate) type Ready<'a> = &'a dyn Fn();

/// One contender: does a number of steps, and says how many nanoseconds each took.
pub(crate) type Run = fn(u64) -> f64;

pub(crate) struct Contest {
    pub(crate) name: &'static str,
    /// How much of the size that was asked for is right for one round.
    pub(crate) share: u64,
    pub(crate) rows: &'static [(&'static str, Run)],
}

/// Rounds of each contender.
const ROUNDS: usize = 15;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(2_000_000);
    let wanted = arguments.next().unwrap_or_default();
    for contest in contenders::CONTESTS.iter().filter(|contest| contest.name.contains(&wanted)) {
        print!("{}", compete(contest, (count / contest.share).max(1)));
    }
}

fn compete(contest: &Contest, count: u64) -> String {
    let mut rounds = vec![Vec::new(); contest.rows.len()];
    for _ in 0..ROUNDS {
        for ((_, run), figures) in contest.rows.iter().zip(&mut rounds) {
            figures.push(run(count));
        }
    }
    for figures in &mut rounds {
        figures.sort_by(f64::total_cmp);
    }
    let middle = |figures: &[f64]| figures[figures.len() / 2];
    let rows = || contest.rows.iter().zip(&rounds);
    let floors = rows().filter(|((name, _), _)| name.starts_with("floor"));
    let floor = floors.map(|(_, figures)| middle(figures)).fold(f64::INFINITY, f64::min);
    let mut table = format!("{:<44} least ns  median ns   to floor\n", contest.name);
    for ((name, _), figures) in rows() {
        let (least, middle) = (figures[0], middle(figures));
        writeln!(table, "  {name:<42} {least:>8.1} {middle:>10.1} {:>10.2}", middle / floor)
            .expect("a String takes everything");
    }
    table
}

/// Runs two sides on a CPU each, from when both are ready to the end of the second, in nanoseconds.
pub(crate) fn pair<A, B>(first: A, second: B) -> f64
where
    A: FnOnce(Ready<'_>) + Send,
    B: FnOnce(Ready<'_>) -> Instant + Send,
{
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let barrier = &barrier;
        let (one, other) = (cpus.first().copied(), cpus.last().copied());
        scope.spawn(move || {
            one.map(core_affinity::set_for_current);
            first(&|| {
                barrier.wait();
            });
        });
        let timed = scope.spawn(move || {
            other.map(core_affinity::set_for_current);
            let start = std::cell::Cell::new(None);
            let end = second(&|| {
                barrier.wait();
                start.set(Some(Instant::now()));
            });
            end - start.get().expect("both sides are ready")
        });
        timed.join().expect("no panic").as_nanos() as f64
    })
}
