//! Bridges to the traits and bounds of other libraries. Each is a feature of its own.
//!
//! | feature | what it gives |
//! |---|---|
//! | `tokio-io` | tokio's `AsyncRead`, `AsyncBufRead` and `AsyncWrite` on every stream |
//! | `hyper` | the same of hyper's `rt`, with an `Executor` and a `Timer` |
//!
//! The traits of `futures` need none: streams implement them as they are. A stream has an inbox and
//! an outbox, so a borrowed buffer is filled from what has arrived, and a borrowed slice is copied
//! to what will be sent: one copy each, and no `unsafe` in the bridge.
//!
//! **A flush is ready once everything is queued**, here as with tokio's own sockets, where it is
//! ready once everything is in the kernel: the outbox is sent at the end of the turn without being
//! asked, and libraries flush after every message. Back-pressure is in `poll_write`, which waits
//! while too much is unsent. An error of a send is told by the next call.
//!
//! **Cancellation.** What a library buffers itself is as weak as that library: dropping the future
//! of tokio's `read_exact`, say, loses what it has read so far, where the stream's own does not.
//!
//! **`Send`.** Streams, tasks and timers of corio stay on their core. Where a library asks for
//! `Send`, [`OnItsCore`] gives it, and holds to it: elsewhere it panics.

#[cfg(feature = "hyper")]
pub mod hyper;
mod on_its_core;
mod streams;
#[cfg(feature = "tokio-io")]
mod tokio_io;

pub use on_its_core::OnItsCore;
