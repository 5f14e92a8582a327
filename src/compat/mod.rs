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

use std::cmp::min;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncBufRead, AsyncWrite};

#[cfg(feature = "hyper")]
pub mod hyper;
mod on_its_core;
#[cfg(feature = "tokio-io")]
mod tokio_io;

pub use on_its_core::OnItsCore;

/// Hands what has arrived to `put`, at most `room` bytes of it. Nothing is the end of the input.
fn poll_read_into<S: AsyncBufRead>(
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
    room: usize,
    put: impl FnOnce(&[u8]),
) -> Poll<io::Result<()>> {
    if room == 0 {
        return Poll::Ready(Ok(()));
    }
    let bytes = ready!(stream.as_mut().poll_fill_buf(context))?;
    let count = min(bytes.len(), room);
    put(&bytes[..count]);
    stream.consume(count);
    Poll::Ready(Ok(()))
}

/// Writes one slice after the other, until one is not taken whole.
fn poll_write_slices<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut total = 0;
    for slice in slices.iter().filter(|slice| !slice.is_empty()) {
        match stream.as_mut().poll_write(context, slice) {
            Poll::Ready(Ok(count)) => {
                total += count;
                if count < slice.len() {
                    break;
                }
            }
            // What was taken has to be told; the error stays and is told by the next call.
            Poll::Pending | Poll::Ready(Err(_)) if total > 0 => break,
            other => return other,
        }
    }
    Poll::Ready(Ok(total))
}
