//! Every kind of wait, dropped or forgotten after each possible poll: nothing that arrived is lost,
//! what was in use comes back, and the stream or listener goes on as if nobody had waited.
//!
//! An attempt is polled so many times, one turn of the loop apart, and then ended. What makes it
//! ready (the stimulus) comes never, or before one of its polls, so each stage of an operation is
//! met: not begun, armed, in flight, completed, delivered and not yet taken. `dropping/kinds.rs`
//! lists the kinds.

#[path = "support/child.rs"]
mod child;
#[path = "dropping/kinds.rs"]
mod kinds;
#[path = "dropping/signals.rs"]
mod signals;
#[path = "dropping/stage.rs"]
mod stage;
mod support;
#[path = "dropping/teardown.rs"]
mod teardown;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind};
use stage::{Census, Far, Near, Stage};
use support::bounded;

/// An attempt that does not become ready after its stimulus within so many turns never does.
const POLLS_MAX: usize = 200;

/// Without a stimulus nothing new happens after so many polls.
const IDLE_POLLS: usize = 3;

/// A future that borrows one end of the stage.
pub type Attempt<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// How an attempt that is not ready ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Ending {
    /// It is dropped.
    Drop,
    /// It is forgotten: its drop never runs.
    Forget,
}

/// Runs a test once more in a process of its own, since descriptors are counted for a whole
/// process: true in the parent, which has nothing left to do.
pub fn ran_in_a_child(module: &str, test: &str, prefix: &[&str]) -> bool {
    let path = match module.split_once("::") {
        Some((_, inner)) => format!("{inner}::{test}"),
        None => test.to_owned(),
    };
    child::rerun(&path, prefix).is_some()
}

async fn poll_once(attempt: &mut Attempt<'_>) -> bool {
    poll_fn(|context| Poll::Ready(attempt.as_mut().poll(context).is_ready())).await
}

/// Lets the loop turn: a yield alone comes back within the turn.
pub async fn turn() {
    let before = corio::stats().turns;
    while corio::stats().turns == before {
        corio::yield_now().await;
    }
}

/// Polls an attempt up to `polls` times, then ends it. True if it became ready before.
async fn attempt(
    kind: &Kind,
    near: &mut Near,
    far: &mut Far,
    stimulus: Option<usize>,
    polls: usize,
    ending: Ending,
) -> bool {
    let mut attempt = (kind.attempt)(near);
    for poll in 0..polls {
        if stimulus == Some(poll) {
            (kind.stimulus)(far).await;
        }
        if poll_once(&mut attempt).await {
            return true;
        }
        turn().await;
    }
    match ending {
        Ending::Drop => drop(attempt),
        Ending::Forget => std::mem::forget(attempt),
    }
    false
}

/// Tries one kind in all ways; returns how many attempts were ended before they were ready.
async fn try_kind(kind: &Kind, ending: Ending) -> usize {
    let mut ended_count = 0;
    for stimulus in [None, Some(0), Some(1), Some(2)] {
        let mut stage = Stage::new().await;
        for polls in 0.. {
            assert!(polls < POLLS_MAX, "{}: never ready, stimulus {stimulus:?}", kind.name);
            let (near, far) = (&mut stage.near, &mut stage.far);
            (kind.prepare)(near).await;
            let is_ready = attempt(kind, near, far, stimulus, polls, ending).await;
            ended_count += usize::from(!is_ready);
            let is_held = ending == Ending::Forget && !is_ready && kind.holds_turn;
            if kind.ends_stream || is_held {
                stage.finish(kind, is_held).await;
                stage = Stage::new().await;
            } else {
                stage.check().await;
            }
            if is_ready || (stimulus.is_none() && polls == IDLE_POLLS) {
                break;
            }
        }
        stage.finish(kind, false).await;
    }
    ended_count
}

fn try_in_a_runtime(kind: &'static Kind, ending: Ending) {
    let runtime = corio::Runtime::new().unwrap();
    let (before, ended_count) = runtime.block_on(bounded(async {
        let before = Census::take();
        (before, try_kind(kind, ending).await)
    }));
    let kept_count = if ending == Ending::Forget { ended_count } else { 0 };
    runtime.block_on(before.comes_back(kind, kept_count));
    let start = Instant::now();
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0, "{}", kind.name);
    assert!(start.elapsed() < Duration::from_secs(5), "{}: {:?}", kind.name, start.elapsed());
}

#[corio::test]
fn every_wait_can_be_dropped_after_each_poll() {
    if ran_in_a_child(module_path!(), "every_wait_can_be_dropped_after_each_poll", &[]) {
        return;
    }
    for kind in KINDS {
        try_in_a_runtime(kind, Ending::Drop);
    }
}

#[corio::test]
fn every_wait_can_be_forgotten_after_each_poll() {
    if ran_in_a_child(module_path!(), "every_wait_can_be_forgotten_after_each_poll", &[]) {
        return;
    }
    for kind in KINDS {
        try_in_a_runtime(kind, Ending::Forget);
    }
}
