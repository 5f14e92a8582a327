//! Signals: none is lost to a cancelled wait.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use corio::signal::{Interrupted, Signal, Signals, ctrl_c};
use corio::{catch_cancel, sleep, spawn, timeout, yield_now};

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

/// As a program whose `main` is ended by signals.
fn run_until_interrupted<T>(main: impl Future<Output = T>) -> io::Result<T> {
    corio::run(async {
        let signals = Signals::new([Signal::Interrupt, Signal::Terminate]).unwrap();
        timeout(PATIENCE, signals.interrupt(main)).await.expect("it ends")
    })
}

fn signal_of<T>(outcome: io::Result<T>) -> Option<Signal> {
    let error = outcome.err().filter(|error| error.kind() == io::ErrorKind::Interrupted)?;
    Some(error.get_ref()?.downcast_ref::<Interrupted>()?.signal())
}

#[corio::test]
fn an_interrupt_asks_main_to_end_and_then_its_tasks() {
    let name = "signals::an_interrupt_asks_main_to_end_and_then_its_tasks";
    if child::rerun(name, &BLOCKED).is_some() {
        return;
    }
    let order = Rc::new(RefCell::new(Vec::new()));
    let (of_main, of_task) = (Rc::clone(&order), Rc::clone(&order));
    let outcome = run_until_interrupted(async move {
        drop(spawn(async move {
            let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
            yield_now().await;
            of_task.borrow_mut().push(format!("task: {}", cancelled.reason().unwrap()));
        }));
        yield_now().await;
        send("INT");
        let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
        sleep(Duration::from_millis(1)).await;
        of_main.borrow_mut().push(format!("main: {}", cancelled.reason().unwrap()));
        cancelled.resume().await;
    });
    assert_eq!(signal_of(outcome), Some(Signal::Interrupt));
    assert_eq!(*order.borrow(), ["main: the process got SIGINT", "task: its runtime ends"]);
}

#[corio::test]
fn a_main_without_borders_is_dropped_by_the_first_signal() {
    let name = "signals::a_main_without_borders_is_dropped_by_the_first_signal";
    if child::rerun(name, &["env", "--block-signal=INT,TERM"]).is_some() {
        return;
    }
    let dropped = Rc::new(Cell::new(false));
    let guard = crate::OnDrop({
        let dropped = Rc::clone(&dropped);
        move || dropped.set(true)
    });
    let outcome = run_until_interrupted(async {
        let _guard = guard;
        send("TERM");
        pending::<()>().await;
    });
    assert_eq!(outcome.as_ref().unwrap_err().to_string(), "ended by SIGTERM");
    assert_eq!(signal_of(outcome), Some(Signal::Terminate));
    assert!(dropped.get());
}

#[corio::test]
fn a_main_that_answers_an_interrupt_gives_its_value() {
    let name = "signals::a_main_that_answers_an_interrupt_gives_its_value";
    if child::rerun(name, &BLOCKED).is_some() {
        return;
    }
    assert_eq!(run_until_interrupted(async { 1 }).unwrap(), 1);
    let outcome = run_until_interrupted(async {
        send("INT");
        let is_cancelled = catch_cancel(pending::<()>()).await.is_err();
        sleep(Duration::from_millis(1)).await;
        is_cancelled
    });
    assert!(outcome.unwrap());
}

#[corio::test]
fn a_second_interrupt_ends_what_does_not_end_by_the_first() {
    let name = "signals::a_second_interrupt_ends_what_does_not_end_by_the_first";
    if child::rerun(name, &BLOCKED).is_some() {
        return;
    }
    let outcome = run_until_interrupted(async {
        send("INT");
        catch_cancel(pending::<()>()).await.unwrap_err();
        send("INT");
        pending::<()>().await;
    });
    assert_eq!(signal_of(outcome), Some(Signal::Interrupt));
}
