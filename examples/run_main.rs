//! The two ways to start: `corio::run` inside any `main`, and `#[corio::main]`, which does that.
//!
//! `corio::run(fut)` is asyncio's `run(main())`: a fresh loop, one future, and at its end what is
//! left is cancelled and awaited. A `Runtime` keeps its loop for several runs, as asyncio's
//! `Runner`.

use corio::time::{Duration, Instant};

async fn work() -> &'static str {
    println!("Start");
    corio::sleep(Duration::from_secs(1)).await;
    println!("End");
    "done"
}

fn main() -> std::io::Result<()> {
    let start = Instant::now();
    assert_eq!(corio::run(work()), "done");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");

    let runtime = corio::Runtime::new()?;
    let task = runtime.block_on(async { corio::spawn(async { 7 }) });
    assert_eq!(runtime.block_on(task).expect("it does not panic"), 7, "the loop is the same");
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0);
    Ok(())
}
