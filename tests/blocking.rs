//! Blocking jobs: values that are lost or dropped twice, wakes that are lost, panics that end a
//! thread, an end that hangs, and a core that stands still.

mod support;

#[path = "blocking/closing.rs"]
mod closing;
#[path = "blocking/handles.rs"]
mod handles;
#[path = "blocking/stress.rs"]
mod stress;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use corio::{Builder, Runtime};

/// What the hook for unhandled things was told.
type Reports = Rc<RefCell<Vec<String>>>;

/// A builder whose runtime notes what nobody else hears of.
fn noting() -> (Builder, Reports) {
    let reports = Reports::default();
    let notes = Rc::clone(&reports);
    let hook = move |unhandled: &corio::Unhandled| notes.borrow_mut().push(unhandled.to_string());
    (Runtime::builder().on_unhandled(hook), reports)
}

/// Holds jobs back until it is opened or dropped.
struct Gate(Option<Sender<()>>, Arc<Mutex<Receiver<()>>>);

impl Gate {
    fn new() -> Gate {
        let (sender, receiver) = channel();
        Gate(Some(sender), Arc::new(Mutex::new(receiver)))
    }

    /// What a job calls to wait for the opening.
    fn wait(&self) -> impl FnOnce() + Send + 'static {
        let receiver = Arc::clone(&self.1);
        move || {
            let _ = receiver.lock().unwrap().recv();
        }
    }

    fn open(&mut self) {
        self.0 = None;
    }
}

/// A value that counts its drops.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new() -> (Counted, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        (Counted(Arc::clone(&count)), count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A value whose drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a bomb");
        }
    }
}
