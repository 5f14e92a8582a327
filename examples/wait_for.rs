//! A deadline that ends its work in good order: what it cancels may clean up before it returns.

use std::cell::Cell;
use std::rc::Rc;

use corio::time::{Duration, Instant, wait_for};
use corio::{catch_cancel, sleep};

async fn long_operation(cleaned_up: Rc<Cell<bool>>) {
    let cancelled = match catch_cancel(sleep(Duration::from_secs(5))).await {
        Ok(()) => return println!("Finished"),
        Err(cancelled) => cancelled,
    };
    // asyncio's `except CancelledError:`, with awaits if need be.
    sleep(Duration::from_millis(1)).await;
    cleaned_up.set(true);
    println!("Cleaned up");
    // asyncio's `raise`: the deadline is told, not swallowed.
    cancelled.resume().await;
}

#[corio::main]
async fn main() {
    let start = Instant::now();
    let cleaned_up = Rc::new(Cell::new(false));
    let outcome = wait_for(Duration::from_secs(2), long_operation(cleaned_up.clone())).await;
    assert!(outcome.is_err());
    println!("Task timed out");
    assert!(cleaned_up.get(), "the wait was over only after the cleanup");

    let took = start.elapsed();
    println!("{:.2} s", took.as_secs_f64());
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
}
