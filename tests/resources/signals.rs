//! Signals: everyone who listens hears each, on whichever core, and none is lost between kinds.

use std::time::Duration;

use corio::process::Command;
use corio::signal::{Signal, Signals, ctrl_c};
use futures_util::StreamExt;

use crate::stage::{Census, given_up_after, ran_in_a_child};
use crate::support::{assert_kind, bounded, settle};

/// With every thread's signals blocked, or the harness's other threads would die of them.
const BLOCKED: [&str; 2] = ["env", "--block-signal=USR1,USR2,INT,HUP"];

async fn send(name: &str) {
    let process = std::process::id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &process]).status().await;
    assert!(status.unwrap().success());
}

#[corio::test]
fn everyone_who_listens_hears_it_on_every_core() {
    if ran_in_a_child(module_path!(), "everyone_who_listens_hears_it_on_every_core", &BLOCKED) {
        return;
    }
    let (ready, is_ready) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        corio::run(bounded(async move {
            let signals = Signals::new([Signal::User1]).unwrap();
            ready.send(()).unwrap();
            signals.recv().await.unwrap()
        }))
    });
    is_ready.recv().unwrap();
    corio::run(bounded(async {
        let first = Signals::new([Signal::User1]).unwrap();
        let second = Signals::new([Signal::User1, Signal::User2]).unwrap();
        send("USR1").await;
        assert_eq!(first.recv().await.unwrap(), Signal::User1);
        assert_eq!(second.recv().await.unwrap(), Signal::User1);
        settle().await;
        assert!(given_up_after(2, first.recv()).await.is_none(), "one signal is heard once");
        send("USR2").await;
        assert_eq!(second.recv().await.unwrap(), Signal::User2);
        assert!(given_up_after(2, first.recv()).await.is_none());
    }));
    assert_eq!(other.join().unwrap(), Signal::User1);
}

#[corio::test]
fn kinds_that_come_together_are_all_heard() {
    if ran_in_a_child(module_path!(), "kinds_that_come_together_are_all_heard", &BLOCKED) {
        return;
    }
    corio::run(bounded(async {
        let kinds = [Signal::User1, Signal::User2, Signal::Hangup, Signal::Interrupt];
        let mut signals = Signals::new(kinds).unwrap();
        for _ in 0..10 {
            for name in ["USR2", "HUP", "USR1", "INT", "USR1"] {
                send(name).await;
            }
            let mut heard = Vec::new();
            for _ in 0..4 {
                heard.push(signals.next().await.unwrap().unwrap());
            }
            for kind in kinds {
                assert!(heard.contains(&kind), "{kind:?} is missing: {heard:?}");
            }
            assert!(given_up_after(3, signals.recv()).await.is_none(), "two of a kind are one");
        }
    }));
}

#[corio::test]
fn what_a_listener_did_not_take_is_left_to_the_next() {
    if ran_in_a_child(module_path!(), "what_a_listener_did_not_take_is_left_to_the_next", &BLOCKED)
    {
        return;
    }
    corio::run(bounded(async {
        // The pool of blocking jobs and the like stays; so do signals that were blocked.
        send("USR2").await;
        assert!(given_up_after(3, Signals::new([Signal::User2]).unwrap().recv()).await.is_some());
        let before = Census::take();
        let first = Signals::new([Signal::User1]).unwrap();
        send("USR1").await;
        settle().await;
        drop(first);
        let second = Signals::new([Signal::User1]).unwrap();
        assert_eq!(second.recv().await.unwrap(), Signal::User1);
        // Where two heard it, it was heard, and nothing is left.
        let third = Signals::new([Signal::User1]).unwrap();
        send("USR1").await;
        assert_eq!(second.recv().await.unwrap(), Signal::User1);
        drop(third);
        let fourth = Signals::new([Signal::User1]).unwrap();
        settle().await;
        assert!(given_up_after(3, fourth.recv()).await.is_none());
        drop((second, fourth));
        // An interrupt that nobody awaits yet waits for the next who does.
        assert!(given_up_after(2, ctrl_c()).await.is_none());
        send("INT").await;
        ctrl_c().await.unwrap();
        before.comes_back().await;
    }));
}

#[corio::test]
async fn what_nobody_can_hear_cannot_be_listened_to() {
    for signal in [Signal::Kill, Signal::Stop] {
        assert_kind(Signals::new([signal]), std::io::ErrorKind::InvalidInput);
    }
    assert_eq!(Signal::Terminate.number(), 15);
    let none = Signals::new([]).unwrap();
    assert!(corio::timeout(Duration::from_micros(100), none.recv()).await.is_err());
}
