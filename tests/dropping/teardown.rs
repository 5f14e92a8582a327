//! The end of a runtime while every kind of wait is in flight: it is prompt, lets go of everything,
//! and what was kept past it can be dropped in any order.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use corio::{CloseReport, Runtime};

use super::kinds::{KINDS, Kind};
use super::stage::{Stage, descriptor_count};
use super::{poll_once, ran_in_a_child, turn};

/// Polls a wait once, and never again, whoever wakes it.
async fn wait_idly(kind: &Kind) {
    let mut stage = Stage::new().await;
    (kind.prepare)(&mut stage.near).await;
    let mut attempt = (kind.attempt)(&mut stage.near);
    poll_once(&mut attempt).await;
    std::future::pending().await
}

/// Waits, then holds everything for ever.
async fn wait(kind: &Kind) {
    let mut stage = Stage::new().await;
    (kind.prepare)(&mut stage.near).await;
    (kind.attempt)(&mut stage.near).await;
    std::future::pending().await
}

async fn some_turns() {
    for _ in 0..60 {
        turn().await;
    }
    corio::sleep(Duration::from_millis(2)).await;
}

#[track_caller]
fn close(runtime: Runtime) -> CloseReport {
    let start = Instant::now();
    let report = runtime.close();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}: {report:?}", start.elapsed());
    assert_eq!(report.leaked_operations, 0);
    report
}

/// The first runtime of a process makes what stays: bells.
fn descriptors_at_rest() -> usize {
    drop(Runtime::new().unwrap());
    descriptor_count()
}

#[corio::test]
fn a_runtime_ends_at_once_with_every_wait_in_flight() {
    let test = "a_runtime_ends_at_once_with_every_wait_in_flight";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    let before = descriptors_at_rest();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for kind in KINDS {
            corio::spawn(wait_idly(kind));
            corio::spawn(wait(kind));
        }
        some_turns().await;
    });
    let report = close(runtime);
    assert!(report.cancelled_tasks >= KINDS.len(), "{report:?}");
    assert_eq!(descriptor_count(), before);
}

#[corio::test]
fn waits_that_were_kept_past_their_runtime_can_be_dropped_in_any_order() {
    let test = "waits_that_were_kept_past_their_runtime_can_be_dropped_in_any_order";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    let before = descriptors_at_rest();
    for is_reversed in [false, true] {
        let runtime = Runtime::new().unwrap();
        let mut kept: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        runtime.block_on(async {
            for kind in KINDS {
                let mut attempt: Pin<Box<dyn Future<Output = ()>>> = Box::pin(wait(kind));
                for _ in 0..60 {
                    assert!(!poll_once(&mut attempt).await);
                    turn().await;
                }
                kept.push(attempt);
            }
        });
        close(runtime);
        if is_reversed {
            kept.reverse();
        }
        kept.clear();
        assert_eq!(descriptor_count(), before);
    }
}

#[corio::test]
fn waits_that_were_forgotten_do_not_hold_up_their_runtimes_end() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for kind in KINDS {
            let mut attempt: super::Attempt<'_> = Box::pin(wait(kind));
            for _ in 0..60 {
                assert!(!poll_once(&mut attempt).await);
                turn().await;
            }
            std::mem::forget(attempt);
        }
    });
    close(runtime);
}
