//! Structure among tasks: who is asked to end, who answers for it, and what nobody loses.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use corio::{timeout, yield_now};

mod support;

#[path = "structure/asyncio.rs"]
mod asyncio;
#[path = "structure/attacks.rs"]
mod attacks;
#[path = "structure/borders.rs"]
mod borders;
#[path = "structure/gathering.rs"]
mod gathering;
#[path = "structure/groups.rs"]
mod groups;
#[path = "structure/lending.rs"]
mod lending;
#[path = "structure/model.rs"]
mod model;
#[path = "structure/moving.rs"]
mod moving;
#[path = "structure/nesting.rs"]
mod nesting;
#[path = "structure/orders.rs"]
mod orders;
#[path = "structure/waiting.rs"]
mod waiting;

/// No wait of a test takes longer; what does has lost its wake-up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs code when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What happened, in its order.
#[derive(Clone, Default)]
struct Journal(Rc<RefCell<Vec<String>>>);

impl Journal {
    fn note(&self, event: impl Into<String>) {
        self.0.borrow_mut().push(event.into());
    }

    #[track_caller]
    fn assert(&self, events: &[&str]) {
        assert_eq!(*self.0.borrow(), events);
    }
}

/// A flag that is raised when this future is dropped.
fn dropping(flag: &Rc<Cell<bool>>) -> impl Drop + use<> {
    let flag = Rc::clone(flag);
    OnDrop(move || flag.set(true))
}

async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Awaits what must come.
#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        match timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("nothing came of what was awaited at {at}"),
        }
    }
}
