//! A tokio runtime beside the loops: feature `tokio`.
//!
//! Most libraries of tokio's world need no tokio runtime: they take streams, and corio's fit
//! (`compat`, `postgres`, `redis`). Some start tokio's own tasks and sockets all the same. For
//! those, [`spawn`] runs a future on a small tokio runtime with threads of its own, which starts at
//! first use, and the [`Handle`] is awaited on any core.
//!
//! ```
//! # corio::run(async {
//! let answer = corio::tokio::spawn(async {
//!     // tokio's timer, on tokio's thread.
//!     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
//!     6 * 7
//! });
//! assert_eq!(answer.await.unwrap(), 42);
//! # });
//! ```
//!
//! The future has to be `Send`, since it leaves this thread: corio's streams, timers and tasks stay
//! outside, and what goes in and out goes through its arguments, its value, or the channels of
//! [`channel`](crate::channel), whose ends may be on both sides.
//!
//! **What it costs**: a spawn and its answer cross two threads, some microseconds. So spawn a whole
//! piece of work, not each of its steps.
//!
//! The repository's `examples/sidecar_sqlx.rs` and `examples/sidecar_tonic.rs` show it with sqlx
//! and tonic.

mod handle;
mod sidecar;

pub use ::tokio::task::JoinError;
pub use handle::Handle;
pub use sidecar::{AlreadyRuns, Builder, shutdown, spawn, spawn_blocking};
