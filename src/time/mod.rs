//! Time: sleeping, deadlines around any future, and periodic ticks, in nanoseconds.
//!
//! Timers are exact to the kernel's own error: they are not rounded to milliseconds.

mod instant;
mod interval;
mod sleep;
mod timeout;
mod wait_for;

pub use std::time::Duration;

pub use instant::Instant;
pub(crate) use instant::deadline_after;
pub use interval::{Interval, MissedTickBehavior, Tick, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};
pub use wait_for::{TimeoutBlock, TimeoutScope, WaitFor, timeout_scope, wait_for, wait_until};
