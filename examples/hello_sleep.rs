//! A task waits without blocking its thread: two lines, one second apart.
//!
//! `#[corio::main]` starts one loop on this thread and runs `main` on it, as asyncio's `run` does.
//!
//! ```text
//! cargo run --example hello_sleep
//! ```

use corio::time::{Duration, Instant};

#[corio::main]
async fn main() {
    let start = Instant::now();
    println!("hello");
    corio::sleep(Duration::from_secs(1)).await;
    println!("one second later");

    let slept = start.elapsed();
    assert!(slept >= Duration::from_secs(1), "woken too early, after {slept:?}");
    assert!(slept < Duration::from_secs(3), "woken too late, after {slept:?}");
}
