//! An operation that is given up after so many polls, and what is in use before and after.

use std::cell::Cell;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::support::until;

/// So many polls, one turn apart, are enough for each operation here to have met every stage.
pub const POLLS: usize = 6;

/// Lets the loop turn: a yield alone comes back within the turn.
pub async fn turn() {
    let before = corio::stats().turns;
    while corio::stats().turns == before {
        corio::yield_now().await;
    }
}

/// Polls a future so many times, a turn apart, then drops it: its value if it became ready.
pub async fn given_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(value) = polled {
            return Some(value);
        }
        turn().await;
    }
    None
}

/// What is in use.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Census {
    descriptors: usize,
    operations: usize,
    buffers: usize,
    tasks: usize,
}

impl Census {
    pub fn take() -> Census {
        let stats = corio::stats();
        Census {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            operations: stats.operations_in_flight,
            buffers: stats.buffers_in_use,
            tasks: stats.tasks,
        }
    }

    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// Waits until no more is in use than was then.
    pub async fn comes_back(self) {
        let last = Cell::new(self);
        let is_back = || {
            let now = Census::take();
            last.set(now);
            now.descriptors <= self.descriptors
                && now.operations <= self.operations
                && now.buffers <= self.buffers
                && now.tasks <= self.tasks
        };
        if corio::timeout(Duration::from_secs(8), until(is_back)).await.is_err() {
            panic!("{self:?} became {:?}", last.get());
        }
    }
}

/// Runs a test in a process of its own: true in the parent, which has nothing left to do.
pub fn ran_in_a_child(module: &str, test: &str, prefix: &[&str]) -> bool {
    let (_, inner) = module.split_once("::").expect("the module lies in a test binary");
    crate::child::rerun(&format!("{inner}::{test}"), prefix).is_some()
}

/// A folder of a test's own, removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("corio-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
