//! The values that go along with a task: what `crate::context` is made of.
//!
//! A context is a few values under the numbers of their variables. Where a context can be there is
//! a [`Place`], one pointer, which is null until a value is set: in each task's header, in the core
//! for the future of `block_on`, and in each thread for what runs outside of a runtime. What is
//! polled finds its context in the core's place: `Core::run_task` swaps the two pointers before and
//! after a poll, and that is all that a task without values pays.
//!
//! ```text
//!   Place ─▶ Values { number, entries ─▶ [(variable, value), ...] }
//!                                 ▲
//!   Place ─▶ Values { number', ───┘      a copy: entries are shared until one is written
//! ```
//!
//! Nothing here runs foreign code: values are counted pointers, and one that is replaced is given
//! back to whoever replaced it, to drop it once the place is whole again.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::CURRENT;

/// A value of a variable, which stays on its thread or may cross to another.
#[derive(Clone)]
pub(crate) enum Value {
    Local(Rc<dyn Any>),
    Shared(Arc<dyn Any + Send + Sync>),
}

impl Value {
    /// What it holds, as the variable's type.
    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        match self {
            Value::Local(value) => value.downcast_ref(),
            Value::Shared(value) => value.downcast_ref(),
        }
    }
}

/// A context that has, or had, a value.
struct Values {
    /// Tells contexts of one thread apart: a copy has a number of its own.
    number: u64,
    entries: Rc<Vec<(u64, Value)>>,
}

impl Values {
    fn new(entries: Rc<Vec<(u64, Value)>>) -> Box<Values> {
        thread_local! {
            static NUMBER_LAST: Cell<u64> = const { Cell::new(0) };
        }
        let number = NUMBER_LAST.get() + 1;
        NUMBER_LAST.set(number);
        Box::new(Values { number, entries })
    }
}

/// Where a context is; empty until a value is set.
#[derive(Default)]
pub(crate) struct Place(Cell<Option<Box<Values>>>);

thread_local! {
    /// The context of what runs on this thread outside of a runtime.
    static AMBIENT: Place = const { Place::empty() };
}

impl Place {
    const fn empty() -> Place {
        Place(Cell::new(None))
    }

    /// Exchanges two contexts.
    pub(crate) fn swap(&self, other: &Place) {
        self.0.swap(&other.0);
    }

    /// The context, taken out; to be dropped where foreign code may run.
    pub(crate) fn take(&self) -> Place {
        Place(Cell::new(self.0.take()))
    }

    fn look<R>(&self, look: impl FnOnce(Option<&Values>) -> R) -> R {
        let values = self.0.take();
        let seen = look(values.as_deref());
        self.0.set(values);
        seen
    }

    /// A context with the same values, which goes its own way from here on.
    pub(crate) fn copy(&self) -> Place {
        let copy = self.look(|values| values.map(|it| Values::new(Rc::clone(&it.entries))));
        Place(Cell::new(copy))
    }

    /// Tells this context from others of its thread; `None` before its first value.
    pub(crate) fn number(&self) -> Option<u64> {
        self.look(|values| values.map(|values| values.number))
    }

    /// How many variables have a value here.
    pub(crate) fn len(&self) -> usize {
        self.look(|values| values.map_or(0, |values| values.entries.len()))
    }

    pub(crate) fn get(&self, variable: u64) -> Option<Value> {
        self.look(|values| {
            let entry = values?.entries.iter().find(|(number, _)| *number == variable);
            entry.map(|(_, value)| value.clone())
        })
    }

    /// Gives a variable another value, or none. Returns the one before.
    pub(crate) fn exchange(&self, variable: u64, value: Option<Value>) -> Option<Value> {
        let mut values = self.0.take().unwrap_or_else(|| Values::new(Rc::default()));
        let entries = Rc::make_mut(&mut values.entries);
        let index = entries.iter().position(|(number, _)| *number == variable);
        let before = match (index, value) {
            (Some(index), Some(value)) => Some(std::mem::replace(&mut entries[index].1, value)),
            (Some(index), None) => Some(entries.swap_remove(index).1),
            (None, Some(value)) => {
                entries.push((variable, value));
                None
            }
            (None, None) => None,
        };
        self.0.set(Some(values));
        before
    }

    /// The values that may go to another thread.
    fn carried(&self) -> Carried {
        self.look(|values| {
            let entries = values.iter().flat_map(|values| values.entries.iter());
            let shared = entries.filter_map(|(variable, value)| match value {
                Value::Shared(value) => Some((*variable, Arc::clone(value))),
                Value::Local(_) => None,
            });
            Carried(shared.collect())
        })
    }
}

/// Looks at the context of what runs on this thread now. The closure must run no foreign code.
pub(crate) fn with_current<R>(look: impl FnOnce(&Place) -> R) -> R {
    let mut look = Some(look);
    let mut once = |place: &Place| look.take().map(|look| look(place));
    let in_core = CURRENT.try_with(|current| match &*current.borrow() {
        Some(core) => once(&core.context),
        None => None,
    });
    let seen = match in_core {
        Ok(Some(seen)) => Some(seen),
        _ => AMBIENT.try_with(&mut once).ok().flatten(),
    };
    // At the very end of a thread there is no context any more.
    seen.or_else(|| once(&Place::empty())).expect("one of the three places was looked at")
}

/// A context's values on their way to another thread.
pub(crate) struct Carried(Vec<(u64, Arc<dyn Any + Send + Sync>)>);

impl Carried {
    /// The values of what runs on this thread now.
    pub(crate) fn new() -> Carried {
        with_current(Place::carried)
    }

    /// Runs a closure with these values, on a thread without a runtime.
    pub(crate) fn run<R>(self, run: impl FnOnce() -> R) -> R {
        let entries = self.0.into_iter().map(|(variable, value)| (variable, Value::Shared(value)));
        let entries: Vec<_> = entries.collect();
        let values = (!entries.is_empty()).then(|| Values::new(Rc::new(entries)));
        let place = Place(Cell::new(values));
        let _inside = Inside::enter(&place);
        run()
    }
}

/// While it lives, a place's context is the current one, and the other way round afterwards.
pub(crate) struct Inside<'a>(&'a Place);

impl Inside<'_> {
    pub(crate) fn enter(place: &Place) -> Inside<'_> {
        with_current(|current| current.swap(place));
        Inside(place)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        with_current(|current| current.swap(self.0));
    }
}
