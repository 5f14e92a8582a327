//! Channels between cores, and between cores and any other thread.
//!
//! | | |
//! |---|---|
//! | [`mpsc()`] | a bounded pipe: many senders, one receiver |
//! | [`oneshot()`] | one value, once |
//! | [`broadcast()`] | every receiver gets every value; a slow one loses the oldest |
//! | [`watch()`] | the last value, and word when it changes |
//! | [`Queue`] | asyncio's `Queue`: many put, many get, `join` waits until all is done |
//!
//! The channels of `sync` and `queue` are for the tasks of one core and are not `Send`; these are,
//! with the same words. They work with any executor on either side, and `blocking_` forms serve
//! threads that run none.
//!
//! * **Nothing is lost by cancelling.** A dropped `send` sent nothing, a dropped `recv` received
//!   nothing, and what they were promised goes to the next.
//! * **No system call while the receiver is awake.** Waking a task of another core posts a number
//!   in its inbox, and rings only if it sleeps. Nobody is woken who does not wait, and a burst
//!   wakes once.
//!
//! A future of this module that is leaked after it was polled (`std::mem::forget`) keeps its place
//! in line, and what it is granted.

mod blocking;
pub mod broadcast;
mod lock;
pub mod mpsc;
pub mod oneshot;
mod patience;
mod place;
mod queue;
mod ring;
mod waiters;
pub mod watch;

use crate::sync::error;

pub use broadcast::broadcast;
pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use mpsc::mpsc;
pub use oneshot::oneshot;
pub use queue::{
    Closed, Item, Queue, ShutDown, Shutdown, Slot, TaskDoneError, TryGetError, TryPutError,
};
pub use watch::watch;
