//! Channels between cores, and between cores and any other thread.
//!
//! | | |
//! |---|---|
//! | [`mpsc()`] | a bounded pipe: many senders, one receiver |
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

mod blocking;
mod error;
mod lock;
pub mod mpsc;
mod place;
mod ring;
mod waiters;

pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use mpsc::mpsc;
