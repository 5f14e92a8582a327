//! Where errors go: an `Err`, a panic in a task, a failure in a group, and one that nobody awaits.

use std::cell::RefCell;
use std::rc::Rc;

use corio::task::task_group;
use corio::{Runtime, Unhandled};

async fn risky_task() -> Result<(), String> {
    Err("Oops!".to_owned())
}

async fn show() {
    // An error is a value, also through a task.
    if let Err(error) = corio::spawn(risky_task()).await.expect("it does not panic") {
        println!("Caught exception: {error}");
        assert_eq!(error, "Oops!");
    }

    // A panic ends its task, not the loop; whoever awaits the task gets it.
    let error = corio::spawn(async { [1, 2][std::env::args().count() + 5] }).await.unwrap_err();
    assert!(error.is_panic());
    println!("Caught panic: {error}");

    // A group ends its other tasks, waits for them, and returns all errors.
    let group = task_group(async |group| {
        group.spawn(risky_task());
        group.spawn(std::future::pending::<()>());
    });
    let error = group.await.unwrap_err();
    println!("Caught group: {error}");
    assert_eq!(error.into_single().expect("one failed").to_string(), "Oops!");

    // Nobody awaits this one: the hook hears of it when it ends, not when garbage is collected.
    drop(corio::spawn(async { assert!(std::env::args().count() == 0, "unseen") }));
    corio::yield_now().await;
}

fn main() -> std::io::Result<()> {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&heard);
    let hook = move |unhandled: &Unhandled| notes.borrow_mut().push(unhandled.to_string());
    Runtime::builder().on_unhandled(hook).build()?.block_on(show());
    println!("Unhandled: {:?}", heard.borrow());
    assert!(heard.borrow()[0].contains("unseen"));
    Ok(())
}
