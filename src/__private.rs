//! What the macros expand to. No part of the API.

use std::future::Future;

use crate::cores::Cores;
use crate::driver::with_driver;
use crate::executor::Core;
use crate::{Builder, BusyPoll, Driver, Runtime};

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

/// Runs a program's `main` once, on the first of many cores.
pub fn main_on<F>(
    count: Option<usize>,
    configure: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    main: impl FnOnce() -> F + 'static,
) -> F::Output
where
    F: Future + 'static,
    F::Output: 'static,
{
    let cores = Cores::available().map(|cores| cores.runtime(configure));
    let cores = cores.map(|cores| count.into_iter().fold(cores, Cores::count));
    match cores.and_then(|cores| cores.block_on(|_| main())) {
        Ok(output) => output,
        Err(error) => {
            crate::executor::print_start_error(&error);
            std::process::exit(1);
        }
    }
}

/// Runs the body of an `async` test on a runtime with this driver.
#[track_caller]
pub fn test<F: Future>(driver: Driver, body: impl FnOnce() -> F) -> F::Output {
    with_driver(driver, || crate::run(body()))
}

/// Runs the body of a test that builds its runtimes itself.
#[track_caller]
pub fn test_on<T>(driver: Driver, body: impl FnOnce() -> T) -> T {
    with_driver(driver, body)
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
