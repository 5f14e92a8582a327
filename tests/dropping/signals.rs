//! Waits for signals, in a process in which every thread has them blocked.

use std::process::Command;

use corio::signal::{Signal, Signals};

use super::kinds::{Kind, PLAIN};
use super::stage::Far;
use super::{Attempt, Ending, ran_in_a_child, try_in_a_runtime};

fn kill(far: &mut Far) -> Attempt<'_> {
    Box::pin(async {
        let process = std::process::id().to_string();
        assert!(Command::new("kill").args(["-USR1", &process]).status().unwrap().success());
        far.signal_count += 1;
    })
}

static SIGNAL: Kind = Kind {
    name: "signal",
    prepare: |near| {
        Box::pin(async {
            near.signals.get_or_insert_with(|| Signals::new([Signal::User1]).unwrap());
        })
    },
    attempt: |near| Box::pin(near.take_signal()),
    stimulus: kill,
    ..PLAIN
};

#[corio::test]
fn a_wait_for_a_signal_can_be_dropped_or_forgotten_after_each_poll() {
    let test = "a_wait_for_a_signal_can_be_dropped_or_forgotten_after_each_poll";
    if ran_in_a_child(module_path!(), test, &["env", "--block-signal=USR1"]) {
        return;
    }
    try_in_a_runtime(&SIGNAL, Ending::Drop);
    try_in_a_runtime(&SIGNAL, Ending::Forget);
}
