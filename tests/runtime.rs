//! Hazards of the loop itself: wakes that are lost, timers that starve, panics that end what they
//! should not, an end that hangs, and misuse.

#[path = "support/child.rs"]
mod child;

#[path = "runtime/fairness.rs"]
mod fairness;
#[path = "runtime/misuse.rs"]
mod misuse;
#[path = "runtime/panics.rs"]
mod panics;
#[path = "runtime/teardown.rs"]
mod teardown;
#[path = "runtime/wakes.rs"]
mod wakes;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corio::{Builder, Runtime};

/// Much longer than anything that is waited for takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the hook for unhandled things was told.
type Reports = Rc<RefCell<Vec<String>>>;

/// A builder whose runtime notes what nobody else hears of.
fn noting() -> (Builder, Reports) {
    let reports = Reports::default();
    let notes = Rc::clone(&reports);
    let hook = move |unhandled: &corio::Unhandled| notes.borrow_mut().push(unhandled.to_string());
    (Runtime::builder().on_unhandled(hook), reports)
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
