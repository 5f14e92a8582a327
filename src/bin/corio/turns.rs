//! Servers that take turns within one round.
//!
//! A machine's speed changes: another virtual machine uses the other half of the core, or the clock
//! is lowered. Servers that are measured one after the other for half a second each meet different
//! machines. So all servers of a round run at the same time, with all their connections open, and
//! the load goes from one to the next every few hundredths of a second:
//!
//! ```text
//!   one    ▕▇▇▇▇▇▇▇▏                  ▕▇▇▇▇▇▇▇▏
//!   two             ▕▇▇▇▇▇▇▇▏                  ▕▇▇▇▇▇▇▇▏          the others sleep
//!   three                    ▕▇▇▇▇▇▇▇▏                  ▕▇▇▇▇▇▇▇▏
//! ```
//!
//! A turn begins and ends with nothing in flight and a server that sleeps, so its CPU clock is up
//! to date, and everything in between is measured: a message is never sent in one turn and answered
//! in another.

use std::rc::Rc;

use corio::JoinHandle;
use corio::time::{Duration, Instant};

use crate::load::{self, Moment, Outcome, Plan, SILENCE_LIMIT};
use crate::traffic::{Phase, Tally};

/// How long a turn is; between these as a multiple of the time that all messages in flight take:
/// the first and the last of these times are spent with fewer in flight.
const TURN_MIN: Duration = Duration::from_millis(25);
const TURN_MAX: Duration = Duration::from_millis(250);
const FLIGHTS: f64 = 8.0;

/// What a batch takes, and a byte of it, roughly.
const BATCH_S: f64 = 10e-6;
const BYTE_S: f64 = 0.25e-9;

/// A round has at least so many turns of each server, or as many as fit into this time.
const TURNS_MIN: f64 = 8.0;
const ROUND_MIN: Duration = Duration::from_secs(1);

/// How often is looked at whether all is answered, and how long a server needs until it sleeps.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);
const UNTIL_ASLEEP: Duration = Duration::from_millis(1);

/// One server, and what it did in its turns so far.
struct Side {
    plan: Plan,
    tally: Rc<Tally>,
    tasks: Vec<JoinHandle<()>>,
    outcome: Option<Outcome>,
}

/// Measures all of them, each for as long as its plan says.
pub(crate) async fn measure(plans: &[Plan]) -> Result<Vec<Outcome>, String> {
    let mut sides = Vec::with_capacity(plans.len());
    for plan in plans {
        let tally = Rc::new(Tally::new(plan.connections));
        tally.pause();
        let started = load::start(plan, &tally).await;
        let (tasks, _) = started.map_err(|error| format!("`{}`: {error}", plan.server))?;
        sides.push(Side { plan: plan.clone(), tally, tasks, outcome: None });
    }
    // If a server stands still, the end of its connections says so.
    let _ = take_turns(&mut sides).await;
    let mut outcomes = Vec::with_capacity(sides.len());
    for side in sides {
        outcomes.push(side.end().await);
    }
    Ok(outcomes)
}

/// `None` if a server did not answer all that it was sent.
async fn take_turns(sides: &mut [Side]) -> Option<()> {
    for side in sides.iter_mut() {
        side.turn(side.plan.warmup, Phase::WarmUp).await?;
    }
    let turn = sides.first().map_or(TURN_MIN, |side| turn_of(&side.plan));
    let duration = sides.first().map_or(turn, |side| side.plan.duration);
    let turns_in = |time: Duration| time.as_secs_f64() / turn.as_secs_f64();
    let count = turns_in(duration).max(turns_in(ROUND_MIN).min(TURNS_MIN)).ceil() as u32;
    for _ in 0..count {
        for side in sides.iter_mut() {
            side.turn(turn, Phase::Measuring).await?;
        }
    }
    Some(())
}

fn turn_of(plan: &Plan) -> Duration {
    let batch_bytes = (plan.work.size() * plan.work.pipeline()) as f64;
    let flight_s = plan.connections as f64 * (BATCH_S + batch_bytes * BYTE_S);
    Duration::from_secs_f64(FLIGHTS * flight_s).clamp(TURN_MIN, TURN_MAX)
}

impl Side {
    /// Loads the server for that long, and then waits until it has answered everything.
    async fn turn(&mut self, duration: Duration, phase: Phase) -> Option<()> {
        let begin = Moment::now(&self.plan, &self.tally);
        self.tally.enter(phase);
        self.tally.go_on();
        load::pass(duration, &self.tally, &self.plan.progress).await;
        self.tally.pause();
        let answered_at = self.answered().await?;
        corio::sleep(UNTIL_ASLEEP).await;
        let end = Moment::at(answered_at, &self.plan, &self.tally);
        if phase == Phase::Measuring {
            let part = load::outcome(&begin, &end, &self.tally);
            self.outcome = Some(match self.outcome.take() {
                Some(earlier) => earlier.and(part),
                None => part,
            });
        }
        Some(())
    }

    /// When the last message was answered; `None` if nothing moves any more before that.
    async fn answered(&self) -> Option<Instant> {
        let mut last = (Instant::now(), self.tally.answered_count());
        while !self.tally.is_at_rest() {
            corio::sleep(LOOK_INTERVAL).await;
            let count = self.tally.answered_count();
            if count != last.1 {
                last = (Instant::now(), count);
            } else if last.0.elapsed() >= SILENCE_LIMIT {
                return None;
            }
        }
        Some(self.tally.rested_at())
    }

    /// Ends the connections. What is said about them afterwards is in the outcome.
    async fn end(self) -> Outcome {
        self.tally.enter(Phase::Ending);
        self.tally.go_on();
        load::await_all(self.tasks, &self.plan, &self.tally).await;
        let now = Moment::now(&self.plan, &self.tally);
        let nothing = || load::outcome(&now, &now, &self.tally);
        self.outcome.unwrap_or_else(nothing).told_by(&self.tally)
    }
}
