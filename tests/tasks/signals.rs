//! Signals: none is lost to a cancelled wait.

use std::process::Command;
use std::time::Duration;

use corio::signal::{Signal, Signals, ctrl_c};
use corio::{sleep, spawn, timeout, yield_now};

use crate::{PATIENCE, child};

/// With every thread's signals blocked, or the harness's other threads would die of them.
const BLOCKED: [&str; 2] = ["env", "--block-signal=USR1,USR2,INT"];

fn send(name: &str) {
    let process = std::process::id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &process]).status();
    assert!(status.expect("`kill` starts").success());
}

#[corio::test]
fn a_wait_for_a_signal_that_is_given_up_loses_none() {
    let name = "signals::a_wait_for_a_signal_that_is_given_up_loses_none";
    if child::rerun(name, &BLOCKED).is_some() {
        return;
    }
    corio::run(async {
        let signals = Signals::new([Signal::User1, Signal::User2]).unwrap();
        for round in 0..20 {
            let (name, expected) =
                if round % 2 == 0 { ("USR1", Signal::User1) } else { ("USR2", Signal::User2) };
            assert!(timeout(Duration::from_micros(round * 50), signals.recv()).await.is_err());
            send(name);
            let mut given_up = 0;
            let received = loop {
                match timeout(Duration::from_micros(given_up * 20), signals.recv()).await {
                    Ok(received) => break received.unwrap(),
                    Err(_) => given_up += 1,
                }
                assert!(given_up < 1000, "the signal is lost");
            };
            assert_eq!(received, expected);
        }
        assert!(timeout(Duration::from_millis(1), signals.recv()).await.is_err(), "one too many");
    });
}

#[corio::test]
fn one_signal_is_one_for_all_who_wait() {
    let name = "signals::one_signal_is_one_for_all_who_wait";
    if child::rerun(name, &BLOCKED).is_some() {
        return;
    }
    corio::run(async {
        let signals = std::rc::Rc::new(Signals::new([Signal::User1]).unwrap());
        let wait = || {
            let signals = std::rc::Rc::clone(&signals);
            spawn(async move { signals.recv().await.unwrap() })
        };
        let tasks = [wait(), wait(), wait()];
        yield_now().await;
        for expected in 1..=3 {
            send("USR1");
            let finished = async {
                while tasks.iter().filter(|task| task.is_finished()).count() < expected {
                    yield_now().await;
                }
            };
            timeout(PATIENCE, finished).await.expect("each signal ends one wait");
            sleep(Duration::from_millis(2)).await;
            assert_eq!(tasks.iter().filter(|task| task.is_finished()).count(), expected);
        }
        // A wait that is cancelled with its task leaves the signal to the next.
        let cancelled = wait();
        yield_now().await;
        cancelled.cancel();
        assert!(timeout(PATIENCE, cancelled).await.unwrap().unwrap_err().is_cancelled());
        send("USR1");
        assert_eq!(timeout(PATIENCE, signals.recv()).await.unwrap().unwrap(), Signal::User1);
    });
}

#[corio::test]
fn an_interrupt_ends_the_wait_for_it() {
    if child::rerun("signals::an_interrupt_ends_the_wait_for_it", &BLOCKED).is_some() {
        return;
    }
    let signals = corio::run(async {
        send("INT");
        timeout(PATIENCE, ctrl_c()).await.expect("it was pending").unwrap();
        Signals::new([Signal::User1]).unwrap()
    });
    // A listener that outlives its runtime is an error, not a wait for ever.
    corio::run(async { assert!(signals.recv().await.is_err()) });
}
