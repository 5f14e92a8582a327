//! What the macros expand to. No part of the API.

use std::future::Future;

use crate::executor::Core;
use crate::{Builder, BusyPoll, Runtime};

/// What `#[corio::main(busy_poll = "adaptive")]` asks for.
pub const BUSY_POLL_ADAPTIVE: BusyPoll = BusyPoll::Adaptive(std::time::Duration::from_micros(20));

/// Runs a program's `main`; a runtime that cannot start ends it with a readable error.
pub fn main<F: Future>(configure: impl FnOnce(Builder) -> Builder, future: F) -> F::Output {
    match configure(Runtime::builder()).build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            crate::executor::print_start_error(&error);
            std::process::exit(1);
        }
    }
}

/// Runs the body of a test.
#[track_caller]
pub fn test<F: Future>(body: impl FnOnce() -> F) -> F::Output {
    crate::run(body())
}

/// Which branch of a `select!` is polled first.
#[track_caller]
pub fn select_start(branch_count: usize) -> usize {
    Core::current().random_below(branch_count)
}

/// The README's examples are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples about cancellation as well.
#[cfg(doctest)]
#[doc = include_str!("../docs/CANCELLATION.md")]
struct Cancellation;
