//! A producer and a consumer with a queue between them, and `join`, which waits for the work.

use std::cell::RefCell;
use std::rc::Rc;

use corio::queue::Queue;
use corio::sleep;
use corio::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(200);

type Journal = Rc<RefCell<Vec<String>>>;

fn note(journal: &Journal, line: String) {
    println!("{line}");
    journal.borrow_mut().push(line);
}

async fn produce(queue: Rc<Queue<u32>>, journal: Journal) {
    for number in 0..5 {
        note(&journal, format!("Producing {number}"));
        queue.put(number).await.expect("nobody shuts it down");
        sleep(STEP).await;
    }
}

async fn consume(queue: Rc<Queue<u32>>, journal: Journal) {
    while let Ok(number) = queue.get().await {
        note(&journal, format!("Consumed {number}"));
        queue.task_done().expect("one for each item");
    }
}

#[corio::main]
async fn main() {
    let start = Instant::now();
    let (queue, journal) = (Rc::new(Queue::new(0)), Journal::default());
    let producer = corio::spawn(produce(queue.clone(), journal.clone()));
    let consumer = corio::spawn(consume(queue.clone(), journal.clone()));

    producer.await.expect("it does not panic");
    queue.join().await; // Every item was not only taken, but done with.
    consumer.cancel();
    assert!(consumer.await.unwrap_err().is_cancelled(), "it waited for one more");

    let due = (0..5).flat_map(|it| [format!("Producing {it}"), format!("Consumed {it}")]);
    assert!(journal.borrow().iter().cloned().eq(due), "one after the other");
    let took = start.elapsed();
    assert!(took >= 5 * STEP && took < 10 * STEP, "{took:?}");
}
