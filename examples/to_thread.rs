//! A call that blocks stops the loop; on a worker thread it stops nothing.

use std::cell::Cell;
use std::rc::Rc;

use corio::time::{Duration, Instant};

/// Stands for a library that knows no other way: it holds its thread for 200 ms.
fn blocking_call() -> &'static str {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(Duration::from_millis(200));
    "done"
}

#[corio::main]
async fn main() {
    let ticks = Rc::new(Cell::new(0));
    let counter = Rc::clone(&ticks);
    let ticking = corio::spawn(async move {
        loop {
            corio::sleep(Duration::from_millis(10)).await;
            counter.set(counter.get() + 1);
        }
    });

    let start = Instant::now();
    assert_eq!(blocking_call(), "done");
    println!("bad: {} ticks in {:?}", ticks.get(), start.elapsed());
    assert_eq!(ticks.get(), 0, "nothing else could run");

    let start = Instant::now();
    assert_eq!(corio::to_thread(blocking_call).await.expect("it does not panic"), "done");
    println!("good: {} ticks in {:?}", ticks.get(), start.elapsed());
    assert!(ticks.get() >= 5, "the loop went on");
    ticking.cancel();
}
