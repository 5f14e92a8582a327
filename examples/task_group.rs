//! A group: its tasks never outlive the block, and the first failure ends the others.

use std::cell::Cell;
use std::rc::Rc;

use corio::task::{TaskGroup, task_group};
use corio::time::Duration;
use corio::{catch_cancel, sleep};

async fn crawl(group: TaskGroup, depth: u32, pages: Rc<Cell<u32>>) {
    pages.set(pages.get() + 1);
    sleep(Duration::from_millis(5)).await;
    // Tasks of a group may start more of them.
    for _ in 0..if depth < 3 { 2 } else { 0 } {
        group.spawn(Box::pin(crawl(group.clone(), depth + 1, pages.clone())));
    }
}

#[corio::main]
async fn main() {
    let pages = Rc::new(Cell::new(0));
    let counter = Rc::clone(&pages);
    let all = task_group(async |group: TaskGroup| {
        group.spawn(crawl(group.clone(), 0, counter));
    });
    all.await.expect("no page fails");
    println!("{} pages", pages.get());
    assert_eq!(pages.get(), 15, "the block ended after the last of them");

    let saved = Rc::new(Cell::new(false));
    let note = Rc::clone(&saved);
    let failed = task_group(async |group| {
        group.spawn(async move {
            // Asked to end by the failure below; it may save what it has.
            assert!(catch_cancel(sleep(Duration::from_secs(60))).await.is_err());
            note.set(true);
        });
        group.spawn(async {
            sleep(Duration::from_millis(5)).await;
            Err::<(), _>("the disk is full")
        });
        sleep(Duration::from_secs(60)).await; // The body is ended, too.
    });
    let error = failed.await.unwrap_err();
    println!("{error}");
    assert_eq!(error.to_string(), "1 task of a group failed: the disk is full");
    assert!(saved.get());
}
