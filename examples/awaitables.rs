//! What can be awaited: a future, the handle of a task, and a value that somebody sets.
//!
//! A future does nothing until it is awaited or spawned (the compiler warns of one that is not).

use std::rc::Rc;

use corio::sync::Event;
use corio::time::{Duration, Instant};

async fn fetch_data() -> &'static str {
    corio::sleep(Duration::from_secs(2)).await;
    "Data"
}

#[corio::main]
async fn main() {
    let start = Instant::now();
    let task = corio::spawn(fetch_data());

    let arrived = Rc::new(Event::new());
    let told = Rc::clone(&arrived);
    corio::spawn(async move {
        corio::sleep(Duration::from_secs(2)).await;
        told.set();
    });

    // A future, a task and an event, each of two seconds and all at once.
    let (data, outcome, ()) = corio::join!(fetch_data(), task, arrived.wait());
    assert_eq!(data, "Data");
    assert_eq!(outcome.expect("it does not panic"), "Data");
    assert!(arrived.is_set());
    let took = start.elapsed();
    println!("{data} three times in {:.2} s", took.as_secs_f64());
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
}
