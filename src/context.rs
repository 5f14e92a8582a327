//! Values that go along with a task instead of being passed through every call: the number of the
//! request, the user, the language. asyncio's `contextvars`.
//!
//! A [`ContextVar`] is declared once, as a `static`. What it is set to is seen by the task that set
//! it, and by the tasks that this one spawns afterwards: each task starts with a **copy** of its
//! spawner's values and goes its own way from there, so a change in a child is not seen by its
//! parent, nor one in the parent by children it has. Futures that a task polls itself, as `join!`
//! does, share the task's context.
//!
//! ```
//! use corio::context::ContextVar;
//!
//! static REQUEST: ContextVar<u64> = ContextVar::new("request");
//!
//! async fn log(text: &str) -> String {
//!     format!("request {}: {text}", REQUEST.get())
//! }
//!
//! corio::run(async {
//!     let first = corio::spawn(REQUEST.scope(1, async { log("begins").await }));
//!     let second = corio::spawn(REQUEST.scope(2, async {
//!         // A child of the second task.
//!         corio::spawn(log("ends")).await.unwrap()
//!     }));
//!     assert_eq!(first.await.unwrap(), "request 1: begins");
//!     assert_eq!(second.await.unwrap(), "request 2: ends");
//!     assert_eq!(REQUEST.try_get(), None);
//! });
//! ```
//!
//! **Two kinds.** [`ContextVar::new`] takes values that are `Send + Sync`; they go along into
//! [`spawn_blocking`](crate::spawn_blocking) as well. [`ContextVar::local`] takes any, such as an
//! `Rc`; they stay on their core, and a blocking job finds the variable unset: values that are
//! local to a task and its children.
//!
//! Outside of a runtime each thread has a context. A runtime starts with a copy of the one in which
//! it was built, and keeps it over all its `block_on`s.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use pin_project_lite::pin_project;

use crate::executor::context::{Inside, Place, Value, with_current};

/// A variable whose value belongs to a task. See the [module](self).
///
/// Its methods take `&'static self`: declare it as a `static`. (As a `const` it would be a new
/// variable at each use; that does not compile.)
pub struct ContextVar<T: 'static> {
    name: &'static str,
    /// Given at the first use; 0 before.
    number: AtomicU64,
    default: Option<fn() -> T>,
    wrap: fn(T) -> Value,
}

fn shared<T: Send + Sync + 'static>(value: T) -> Value {
    Value::Shared(Arc::new(value))
}

fn local<T: 'static>(value: T) -> Value {
    Value::Local(Rc::new(value))
}

impl<T: Clone + Send + Sync + 'static> ContextVar<T> {
    /// A variable without a value. The name is for messages.
    pub const fn new(name: &'static str) -> ContextVar<T> {
        ContextVar { name, number: AtomicU64::new(0), default: None, wrap: shared }
    }

    /// A variable whose value is `default()` where none was set.
    pub const fn with_default(name: &'static str, default: fn() -> T) -> ContextVar<T> {
        ContextVar { name, number: AtomicU64::new(0), default: Some(default), wrap: shared }
    }
}

impl<T: Clone + 'static> ContextVar<T> {
    /// A variable without a value, whose values stay on their core: blocking jobs do not see them.
    ///
    /// ```
    /// use std::rc::Rc;
    /// use corio::context::ContextVar;
    ///
    /// static SESSION: ContextVar<Rc<str>> = ContextVar::local("session");
    /// # corio::run(async {
    /// SESSION.set(Rc::from("of a task"));
    /// assert_eq!(corio::spawn(async { SESSION.get() }).await.unwrap(), Rc::from("of a task"));
    /// assert!(corio::spawn_blocking(|| SESSION.try_get().is_none()).await.unwrap());
    /// # });
    /// ```
    #[doc(alias = "task_local")]
    pub const fn local(name: &'static str) -> ContextVar<T> {
        ContextVar { name, number: AtomicU64::new(0), default: None, wrap: local }
    }

    /// As [`local`](Self::local), with `default()` for a value where none was set.
    pub const fn local_with_default(name: &'static str, default: fn() -> T) -> ContextVar<T> {
        ContextVar { name, number: AtomicU64::new(0), default: Some(default), wrap: local }
    }

    /// The variable's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn number(&'static self) -> u64 {
        static NUMBER_LAST: AtomicU64 = AtomicU64::new(0);
        let known = self.number.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        // A number says only which variable it is; nothing else is read because of it.
        let new = NUMBER_LAST.fetch_add(1, Ordering::Relaxed) + 1;
        match self.number.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new,
            Err(known) => known,
        }
    }

    fn of(&'static self, value: Option<Value>) -> Option<T> {
        // Cloned, and the default made, while nothing is borrowed: both are foreign code.
        match value {
            Some(value) => value.get::<T>().cloned(),
            None => self.default.map(|default| default()),
        }
    }

    /// The value here: a clone of what was set, or the default.
    ///
    /// # Panics
    ///
    /// If no value was set and there is no default: asyncio's `LookupError`. See
    /// [`try_get`](Self::try_get).
    #[track_caller]
    pub fn get(&'static self) -> T {
        match self.try_get() {
            Some(value) => value,
            None => panic!(
                "the context variable `{}` has no value here and no default; cure: `set` it in \
                 this task or in the one that spawned it, or ask with `try_get`",
                self.name
            ),
        }
    }

    /// The value here, if one was set or there is a default.
    pub fn try_get(&'static self) -> Option<T> {
        let number = self.number();
        self.of(with_current(|place| place.get(number)))
    }

    /// Sets the value for this task, and for those it spawns from now on. The token takes it back:
    /// see [`reset`](Self::reset). Where the value is for one future, [`scope`](Self::scope) does
    /// both.
    ///
    /// ```
    /// # use corio::context::ContextVar;
    /// static USER: ContextVar<String> = ContextVar::with_default("user", || "nobody".into());
    /// # corio::run(async {
    /// let token = USER.set("ada".into());
    /// assert_eq!(USER.get(), "ada");
    /// USER.reset(token);
    /// assert_eq!(USER.get(), "nobody");
    /// # });
    /// ```
    pub fn set(&'static self, value: T) -> Token<T> {
        let variable = self.number();
        let value = (self.wrap)(value);
        let (before, context) = with_current(|place| {
            let before = place.exchange(variable, Some(value));
            (before, place.number())
        });
        Token { variable, context, before, of: PhantomData }
    }

    /// Restores what the variable was before the [`set`](Self::set) that gave the token. A token
    /// can be used once, since it is moved here.
    ///
    /// # Panics
    ///
    /// If the token is of another variable, or of another task's context: asyncio's `ValueError`.
    /// Nothing is changed then.
    #[track_caller]
    pub fn reset(&'static self, token: Token<T>) {
        let variable = self.number();
        assert!(
            token.variable == variable,
            "the token was given by another variable than `{}`",
            self.name
        );
        let context = with_current(Place::number);
        assert!(
            token.context == context,
            "the token of `{}` was given in another context; cure: reset it where it was set",
            self.name
        );
        let replaced = with_current(|place| place.exchange(variable, token.before));
        // Only now: its drop is foreign code.
        drop(replaced);
    }

    /// Runs a future with this value: each of its polls, and its drop, sees it, and so do the tasks
    /// that it spawns. What the future sets the variable to is forgotten with it.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> InContext<F> {
        let held = Held::Value(self.number(), Some((self.wrap)(value)));
        InContext { held, future: Some(future) }
    }
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextVar({})", self.name)
    }
}

/// What [`ContextVar::set`] replaced, for [`ContextVar::reset`]. Dropping it keeps the new value.
pub struct Token<T> {
    variable: u64,
    context: Option<u64>,
    before: Option<Value>,
    of: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Token<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The values of all variables, apart from any task: asyncio's `Context`.
///
/// ```
/// use corio::context::{Context, ContextVar};
///
/// static DEPTH: ContextVar<u32> = ContextVar::with_default("depth", || 0);
///
/// let mut context = Context::copy();
/// context.run(|| DEPTH.set(7));
/// assert_eq!((context.get(&DEPTH), DEPTH.get()), (Some(7), 0));
/// ```
#[derive(Default)]
pub struct Context(Place);

impl Context {
    /// A context without any value.
    pub fn new() -> Context {
        Context::default()
    }

    /// A copy of the current context.
    #[doc(alias = "copy_context")]
    #[doc(alias = "get_context")]
    pub fn copy() -> Context {
        Context(with_current(Place::copy))
    }

    /// Runs a closure in this context. What it sets stays here, and is not seen outside.
    pub fn run<R>(&mut self, run: impl FnOnce() -> R) -> R {
        let _inside = Inside::enter(&self.0);
        run()
    }

    /// Runs a future in this context: asyncio's `create_task(..., context=context)` is
    /// `spawn(context.scope(future))`.
    pub fn scope<F: Future>(self, future: F) -> InContext<F> {
        InContext { held: Held::Context(self.0), future: Some(future) }
    }

    /// A variable's value in this context, or its default.
    pub fn get<T: Clone>(&self, variable: &'static ContextVar<T>) -> Option<T> {
        variable.of(self.0.get(variable.number()))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0
    }

    /// How many variables were set in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no variable was set in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Clone for Context {
    fn clone(&self) -> Context {
        Context(self.0.copy())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} values)", self.len())
    }
}

/// What a future has of its own while it is not polled.
enum Held {
    /// One variable's value.
    Value(u64, Option<Value>),
    Context(Place),
}

impl Held {
    fn swap(&mut self) {
        with_current(|current| match self {
            Held::Value(variable, value) => *value = current.exchange(*variable, value.take()),
            Held::Context(place) => current.swap(place),
        });
    }
}

/// Puts in what a future holds, and takes it out again, also if the future panics.
struct Swapped<'a>(&'a mut Held);

impl<'a> Swapped<'a> {
    fn new(held: &'a mut Held) -> Swapped<'a> {
        held.swap();
        Swapped(held)
    }
}

impl Drop for Swapped<'_> {
    fn drop(&mut self) {
        self.0.swap();
    }
}

pin_project! {
    /// A future that is polled with a value, or in a context, of its own: from
    /// [`ContextVar::scope`] and [`Context::scope`].
    ///
    /// # Cancellation
    ///
    /// As its future, which is dropped in that context, too.
    pub struct InContext<F> {
        held: Held,
        // Gone once it was dropped in its context.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for InContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _swapped = Swapped::new(this.held);
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _swapped = Swapped::new(this.held);
        let future = this.future.as_pin_mut();
        future.expect("the future is there until it is dropped").poll(context)
    }
}
