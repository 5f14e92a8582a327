//! What tasks of one core do among themselves: asyncio's locks and futures, and channels.
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
mod condition;
mod event;
mod mutex;
mod notify;
mod once;
mod promise;
mod rwlock;
mod semaphore;
pub(crate) mod waiters;

pub use barrier::{Barrier, BarrierTurn, BarrierWait, Broken};
pub use condition::{Condition, ConditionWait};
pub use event::{Event, EventWait};
pub use mutex::{Lock, MappedMutexGuard, Mutex, MutexGuard, OwnedMutexGuard, TryLockError};
pub use notify::{Notified, Notify};
pub use once::OnceCell;
pub use promise::{Promise, PromiseCancelled};
pub use rwlock::{Read, RwLock, RwLockReadGuard, RwLockWriteGuard, Write};
pub use semaphore::{
    Acquire, Closed, OverRelease, OwnedPermit, Permit, Semaphore, TryAcquireError,
};
