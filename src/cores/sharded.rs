//! One value for each core, and calls that go to its owner.
//!
//! A value never leaves its core, so it need not be `Send` and takes no lock. It is held by a task
//! in the background there, which ends when the last `Sharded` is dropped, or with its core; the
//! value is dropped where it was made in either case. What crosses cores are closures and results.
//!
//! ```text
//!   Sharded::new ── a call to each core ──▶ makes the value; a task in the background holds it
//!   invoke_on    ── a call to one core ───▶ finds it by number, gives an `Rc` to the closure
//!   drop         ── a call to each core ──▶ the task ends, and the value with its last `Rc`
//! ```
//!
//! Calls of one thread to one core keep their order, so whoever has a `Sharded` finds its values.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{CoreHandle, RemoteHandle};
use crate::executor::Core;
use crate::sync::Event;
use crate::task::JoinError;

/// A value of each core, as any thread may hold it: `Send`, `Sync` and cheap to clone, whatever
/// the values are.
///
/// ```
/// use std::cell::RefCell;
/// use std::collections::BTreeMap;
/// use corio::cores::{Cores, Sharded};
///
/// let found = Cores::available()?.count(2).block_on(|core| async move {
///     type Ages = RefCell<BTreeMap<&'static str, u32>>;
///     let ages = Sharded::new(core.handles(), |_| Ages::default()).await.unwrap();
///     for (name, age) in [("Ada", 36), ("Alan", 41), ("Grace", 85)] {
///         let insert = move |ages: std::rc::Rc<Ages>| async move {
///             ages.borrow_mut().insert(name, age);
///         };
///         ages.on(name).invoke(insert).await.unwrap();
///     }
///     let counts = ages.map_all(|ages| async move { ages.borrow().len() }).await;
///     counts.into_iter().map(Result::unwrap).sum::<usize>()
/// })?;
/// assert_eq!(found, 3);
/// # std::io::Result::Ok(())
/// ```
///
/// The values are dropped after the last clone of it is, each on its core, or with their cores.
pub struct Sharded<T> {
    shared: Arc<Shared>,
    /// It has no value itself, and lends none to another thread.
    value: PhantomData<fn() -> T>,
}

struct Shared {
    id: u64,
    cores: Box<[CoreHandle]>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (index, core) in self.cores.iter().enumerate() {
            let key = (self.id, index);
            // A core that has ended has dropped its value.
            let _ = core.call_soon(move || {
                if let Some(entry) = find(key) {
                    entry.over.set();
                }
            });
        }
    }
}

/// Which `Sharded`, and which of its cores.
type Key = (u64, usize);

/// A value's place among those of its thread. Its task holds it.
#[derive(Clone)]
struct Entry {
    value: Weak<dyn Any>,
    over: Rc<Event>,
}

thread_local! {
    static VALUES: RefCell<BTreeMap<Key, Entry>> = const { RefCell::new(BTreeMap::new()) };
}

fn find(key: Key) -> Option<Entry> {
    let find = |values: &RefCell<BTreeMap<Key, Entry>>| values.borrow().get(&key).cloned();
    VALUES.try_with(find).ok().flatten()
}

/// Holds a value on its core.
struct Owner {
    key: Key,
    _value: Rc<dyn Any>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let entry = VALUES.try_with(|values| values.borrow_mut().remove(&self.key));
        drop(entry);
    }
}

/// Makes a core's value, and the task that holds it.
fn establish<T: 'static>(key: Key, make: impl FnOnce(usize) -> T, made_at: &'static Location) {
    let value: Rc<dyn Any> = Rc::new(make(key.1));
    let over = Rc::new(Event::new());
    let entry = Entry { value: Rc::downgrade(&value), over: Rc::clone(&over) };
    VALUES.with_borrow_mut(|values| values.insert(key, entry));
    let owner = Owner { key, _value: value };
    let holding = async move {
        let _owner = owner;
        over.wait().await;
    };
    // Behind all tasks of its core, which may use it to their end.
    drop(Core::current().spawn(holding, made_at, true));
}

impl<T: 'static> Sharded<T> {
    /// Makes a value on each of these cores, by a closure that is told which of them it is on.
    ///
    /// # Errors
    ///
    /// If the closure panics on one of them, or one has ended. The other values are dropped.
    ///
    /// # Panics
    ///
    /// If there are no cores.
    ///
    /// # Cancellation
    ///
    /// **Strict**: values that were made are dropped on their cores.
    #[track_caller]
    pub fn new<M>(
        cores: &[CoreHandle],
        make: M,
    ) -> impl Future<Output = Result<Sharded<T>, JoinError>> + use<T, M>
    where
        M: Fn(usize) -> T + Clone + Send + 'static,
    {
        static LAST: AtomicU64 = AtomicU64::new(0);
        assert!(!cores.is_empty(), "values need at least one core to be on");
        let made_at = Location::caller();
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared { id, cores: cores.into() });
        let sharded = Sharded { shared, value: PhantomData };
        let all = sharded.shared.cores.iter().enumerate().map(|(index, core)| {
            let make = make.clone();
            core.spawn(move || {
                establish((id, index), make, made_at);
                std::future::ready(())
            })
        });
        let all: Vec<_> = all.collect();
        async move {
            for made in all {
                made.await?;
            }
            Ok(sharded)
        }
    }

    /// The value of the core that runs on this thread, if it has one.
    pub fn local(&self) -> Option<Rc<T>> {
        let current = CoreHandle::try_current()?;
        let index = self.shared.cores.iter().position(|core| *core == current)?;
        value_of((self.shared.id, index))
    }

    /// Has a core run a task with its value. Closure and result cross; the future does not, and
    /// need not be `Send`. Dropping the handle detaches the task; awaited, it gives an error if
    /// the task panics, or its core ends or has ended.
    ///
    /// # Panics
    ///
    /// If there is no core `index`.
    #[track_caller]
    pub fn invoke_on<M, F>(&self, index: usize, make: M) -> RemoteHandle<F::Output>
    where
        M: FnOnce(Rc<T>) -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let count = self.count();
        assert!(index < count, "there are values on {count} cores, and no core {index}");
        let key = (self.shared.id, index);
        // It keeps the value from being dropped before the closure has come there.
        let kept = self.clone();
        self.shared.cores[index].spawn(move || {
            let value = value_of(key).expect("a core has its value until it ends");
            drop(kept);
            make(value)
        })
    }

    /// Runs a task on each core, with its value, all at the same time, and returns what became of
    /// each, in the order of the cores.
    ///
    /// # Cancellation
    ///
    /// **Weak**: tasks that were started go on, and their results are dropped.
    #[doc(alias = "gather")]
    pub async fn map_all<M, F>(&self, make: M) -> Vec<Result<F::Output, JoinError>>
    where
        M: Fn(Rc<T>) -> F + Clone + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let start = |index| self.invoke_on(index, make.clone());
        let tasks: Vec<_> = (0..self.count()).map(start).collect();
        let mut outcomes = Vec::with_capacity(tasks.len());
        for task in tasks {
            outcomes.push(task.await);
        }
        outcomes
    }
}

fn value_of<T: 'static>(key: Key) -> Option<Rc<T>> {
    find(key)?.value.upgrade()?.downcast().ok()
}

impl<T> Sharded<T> {
    /// How many cores have a value.
    pub fn count(&self) -> usize {
        self.shared.cores.len()
    }

    /// The owner of a key: always the same core for equal keys, and keys are spread evenly.
    pub fn on<K: Hash + ?Sized>(&self, key: &K) -> Shard<'_, T> {
        // Without a seed: equal in all clones, and in every run of the program.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = (u128::from(hasher.finish()) * self.count() as u128) >> 64;
        Shard { sharded: self, index: index as usize }
    }
}

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Sharded<T> {
        Sharded { shared: Arc::clone(&self.shared), value: PhantomData }
    }
}

impl<T> fmt::Debug for Sharded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sharded({} cores)", self.count())
    }
}

/// One core's value: who owns a key, as [`Sharded::on`] says.
pub struct Shard<'a, T> {
    sharded: &'a Sharded<T>,
    index: usize,
}

impl<T> Shard<'_, T> {
    /// The place of the core among those of the [`Sharded`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// The core.
    pub fn core(&self) -> CoreHandle {
        self.sharded.shared.cores[self.index]
    }
}

impl<T: 'static> Shard<'_, T> {
    /// Runs a task there: see [`Sharded::invoke_on`].
    #[track_caller]
    pub fn invoke<M, F>(&self, make: M) -> RemoteHandle<F::Output>
    where
        M: FnOnce(Rc<T>) -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.sharded.invoke_on(self.index, make)
    }
}

impl<T> fmt::Debug for Shard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({} of {})", self.index, self.sharded.count())
    }
}
