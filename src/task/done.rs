//! Callbacks at the end of a task: asyncio's `add_done_callback`.
//!
//! A task has one observer of its end. The first callback puts the list of all in its place, which
//! passes the word on to the one before. Each is called later, as a task of the runtime's own. So
//! nothing of a user runs inside of the end of another task, callbacks run in the order in which
//! they were added, and a task without one pays nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::{Rc, Weak};

use super::{JoinHandle, TaskRef};
use crate::executor::Core;
use crate::executor::context::{Inside, Place, with_current};
use crate::executor::task::{Header, Observe, Phase};

/// A task that has ended, as its callbacks see it.
#[derive(Clone, Debug)]
pub struct Ended {
    task: TaskRef,
    was_cancelled: bool,
}

impl Ended {
    /// The task.
    pub fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Whether it was cancelled, and not ended by a value or a panic.
    #[doc(alias = "cancelled")]
    pub fn was_cancelled(&self) -> bool {
        self.was_cancelled
    }
}

type Call = Box<dyn FnOnce(Ended)>;

struct Callback {
    /// Until it is called or removed.
    call: Cell<Option<Call>>,
    context: Place,
    added_at: &'static Location<'static>,
    task: TaskRef,
}

impl Callback {
    /// Calls in a later turn, in the context in which the callback was added.
    fn call_later(self: Rc<Self>, core: &Rc<Core>, was_cancelled: bool) {
        let added_at = self.added_at;
        let call = async move {
            let Some(call) = self.call.take() else { return };
            let ended = Ended { task: self.task.clone(), was_cancelled };
            let _inside = Inside::enter(&self.context);
            call(ended);
        };
        core.spawn(call, added_at, true);
    }
}

/// The callbacks of a task.
struct Callbacks {
    before: Cell<Option<Rc<dyn Observe>>>,
    list: RefCell<Vec<Rc<Callback>>>,
}

impl Callbacks {
    fn add(&self, callback: Rc<Callback>) {
        self.list.borrow_mut().push(callback);
    }

    fn forget(&self, callback: &Rc<Callback>) {
        self.list.borrow_mut().retain(|known| !Rc::ptr_eq(known, callback));
    }

    /// Those of a task that has not ended, if it has any.
    fn of(header: &Header) -> Option<Rc<Callbacks>> {
        header.observer()?.downcast().ok()
    }
}

impl Observe for Callbacks {
    fn ended(self: Rc<Self>, core: &Rc<Core>, was_cancelled: bool) {
        if let Some(before) = self.before.take() {
            before.ended(core, was_cancelled);
        }
        for callback in self.list.take() {
            callback.call_later(core, was_cancelled);
        }
    }

    fn shown(self: Rc<Self>) -> Option<Rc<dyn Any>> {
        Some(self)
    }
}

/// Names a callback, for [`JoinHandle::remove_on_done`].
#[derive(Clone)]
pub struct CallbackId(Weak<Callback>);

impl fmt::Debug for CallbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackId")
    }
}

impl TaskRef {
    /// As [`JoinHandle::on_done`].
    #[track_caller]
    pub fn on_done(&self, call: impl FnOnce(Ended) + 'static) -> CallbackId {
        let callback = Rc::new(Callback {
            call: Cell::new(Some(Box::new(call))),
            context: with_current(Place::copy),
            added_at: Location::caller(),
            task: self.clone(),
        });
        let id = CallbackId(Rc::downgrade(&callback));
        let header = self.task.header();
        if header.phase.get() == Phase::Finished {
            if let Some(core) = self.core.upgrade() {
                callback.call_later(&core, header.was_cancelled.get());
            }
        } else if let Some(known) = Callbacks::of(header) {
            known.add(callback);
        } else {
            header.observe_too(|before| {
                let list = RefCell::new(vec![callback]);
                Rc::new(Callbacks { before: Cell::new(before), list })
            });
        }
        id
    }

    /// As [`JoinHandle::remove_on_done`].
    pub fn remove_on_done(&self, id: &CallbackId) -> bool {
        let callback = id.0.upgrade().filter(|callback| callback.task == *self);
        let Some(callback) = callback else { return false };
        if let Some(known) = Callbacks::of(self.task.header()) {
            known.forget(&callback);
        }
        callback.call.take().is_some()
    }
}

impl<T> JoinHandle<T> {
    /// Has a closure called after the task's end, in a later turn of the loop, with the context
    /// values of now; callbacks are called in the order in which they were added. If the task has
    /// ended already, the closure is called in a later turn all the same. If the runtime ends
    /// before, it is dropped uncalled.
    ///
    /// Awaiting the handle is nearly always plainer. A panic of the closure goes to
    /// [`Builder::on_unhandled`](crate::Builder::on_unhandled).
    ///
    /// ```
    /// # corio::run(async {
    /// let (sender, receiver) = corio::sync::oneshot();
    /// let task = corio::spawn(async { 1 + 1 });
    /// task.on_done(move |ended| drop(sender.send(ended.was_cancelled())));
    /// assert_eq!(receiver.await, Ok(false));
    /// # });
    /// ```
    #[doc(alias = "add_done_callback")]
    #[track_caller]
    pub fn on_done(&self, call: impl FnOnce(Ended) + 'static) -> CallbackId {
        self.task().on_done(call)
    }

    /// Takes a callback back; false if it was called already, removed, or is another task's.
    #[doc(alias = "remove_done_callback")]
    pub fn remove_on_done(&self, id: &CallbackId) -> bool {
        self.task().remove_on_done(id)
    }
}
