//! Two tasks side by side: two seconds and one second together take two.

use corio::time::{Duration, Instant};

async fn task(number: u32, seconds: u64) -> String {
    println!("Task {number} started");
    corio::sleep(Duration::from_secs(seconds)).await;
    let line = format!("Task {number} finished");
    println!("{line}");
    line
}

#[corio::main]
async fn main() {
    let start = Instant::now();
    let first = corio::spawn(task(1, 2));
    let second = corio::spawn(task(2, 1));
    // Both run from here on; this only waits for their values.
    assert_eq!(first.await.expect("it does not panic"), "Task 1 finished");
    assert!(second.is_finished(), "the shorter one ended first");
    assert_eq!(second.await.expect("it does not panic"), "Task 2 finished");

    let took = start.elapsed();
    println!("{:.2} s", took.as_secs_f64());
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
}
