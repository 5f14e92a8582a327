//! The work of `bench timer`: tasks that sleep, each for another time again and again, so that
//! deadlines lie in no order. A sleep that ends too early is an error; how much too late it ends is
//! its latency.

use std::rc::Rc;

use corio::time::{Duration, Instant, sleep_until};

use crate::traffic::Tally;

/// The shortest sleep, and by how much others are longer at most.
const SLEEP_LEAST_NS: u64 = 1_000_000;
const SLEEP_MORE_NS: u64 = 99_000_000;

pub(crate) async fn run(index: usize, tally: Rc<Tally>) {
    let mut state = index as u64;
    while !tally.is_ending() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let sleep = Duration::from_nanos(SLEEP_LEAST_NS + (state >> 33) % SLEEP_MORE_NS);
        let deadline = Instant::now() + sleep;
        sleep_until(deadline).await;
        let woken_at = Instant::now();
        if woken_at < deadline {
            return tally.ended(Some(format!("timer {index} ended before its deadline")));
        }
        tally.arrived(index, 1, woken_at.duration_since(deadline).as_nanos() as u64);
    }
    tally.ended(None);
}
