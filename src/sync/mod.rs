//! What tasks of one core do among themselves: asyncio's locks and futures, and channels.
//!
//! | | |
//! |---|---|
//! | [`Mutex`], [`RwLock`], [`Semaphore`] | who may |
//! | [`Event`], [`Notify`], [`Condition`], [`Barrier`] | when to go on |
//! | [`Promise`], [`OnceCell`] | one value, for many |
//! | [`oneshot()`], [`watch()`], [`broadcast()`] | one value for one; the last value; every value |
//!
//! Everything here is for the tasks of one core, so nothing is atomic and nothing is `Send`. Share
//! it by `Rc`, or borrow it.
//!
//! Two rules hold throughout.
//!
//! * **First come, first served, and no overtaking.** What becomes free goes to the first in line
//!   at that moment, not when it runs; a newcomer, and every `try_` form, finds it taken.
//! * **A dropped wait loses nothing.** A task that was granted something and is dropped before it
//!   ran passes it on: the lock, the permit, the notification. So `timeout` and `select!` may end
//!   any wait of this module.
//!
//! A future of this module that is leaked after it was polled (`std::mem::forget`) is never
//! dropped, so it keeps its place in line and what it is granted; a leaked guard keeps what it
//! guards.

mod barrier;
pub mod broadcast;
mod condition;
pub(crate) mod error;
mod event;
mod mutex;
mod notify;
mod once;
pub mod oneshot;
mod promise;
mod rwlock;
mod semaphore;
pub(crate) mod waiters;
pub mod watch;

pub use barrier::{Barrier, BarrierTurn, BarrierWait, Broken};
pub use broadcast::broadcast;
pub use condition::{Condition, ConditionWait};
pub use error::{RecvError, SendError, TryRecvError};
pub use event::{Event, EventWait};
pub use mutex::{Lock, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard, TryLockError};
pub use notify::{Notified, Notify};
pub use once::OnceCell;
pub use oneshot::oneshot;
pub use promise::{Promise, PromiseCancelled};
pub use rwlock::{Read, RwLock, RwLockReadGuard, RwLockWriteGuard, Write};
pub use semaphore::{
    Acquire, Closed, OverRelease, OwnedPermit, Permit, Semaphore, TryAcquireError,
};
pub use watch::watch;
