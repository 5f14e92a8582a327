//! What is the same in every bridge: which streams there are, and how a trait of reading or
//! writing is met by an inbox or an outbox.
//!
//! The traits of tokio and hyper have the same methods, and differ in the type of the buffer to
//! read into. So there is one macro for each direction, and the list of types is here alone.

use std::cmp::min;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncBufRead, AsyncWrite};

/// Calls a macro with each type that is read from, behind the arguments given.
macro_rules! for_readers {
    ($macro:ident $($arguments:tt)*) => {
        $macro!(
            $($arguments)*
            $crate::net::TcpStream,
            $crate::net::ReadHalf<'_>,
            $crate::net::OwnedReadHalf,
            $crate::net::UnixStream,
            $crate::net::unix::ReadHalf<'_>,
            $crate::net::unix::OwnedReadHalf,
            $crate::io::PipeReader,
        );
    };
}

/// Calls a macro with each type that is written to, behind the arguments given.
macro_rules! for_writers {
    ($macro:ident $($arguments:tt)*) => {
        $macro!(
            $($arguments)*
            $crate::net::TcpStream,
            $crate::net::WriteHalf<'_>,
            $crate::net::OwnedWriteHalf,
            $crate::net::UnixStream,
            $crate::net::unix::WriteHalf<'_>,
            $crate::net::unix::OwnedWriteHalf,
            $crate::io::PipeWriter,
        );
    };
}

/// Implements a trait of reading: `readers!(Trait, its buffer: types)`.
macro_rules! readers {
    ($trait:ident, $buffer:ty: $($type:ty,)*) => { $(
        impl $trait for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: $buffer,
            ) -> Poll<io::Result<()>> {
                let buffer = &mut { buffer };
                let room = buffer.remaining();
                let put = |bytes: &[u8]| buffer.put_slice(bytes);
                $crate::compat::streams::poll_read_into(self, context, room, put)
            }
        }
    )* };
}

/// Implements a trait of writing: `writers!(Trait: types)`.
macro_rules! writers {
    ($trait:ident: $($type:ty,)*) => { $(
        impl $trait for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_util::io::AsyncWrite::poll_write(self, context, bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                futures_util::io::AsyncWrite::poll_close(self, context)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                $crate::compat::streams::poll_write_slices(self, context, slices)
            }
        }
    )* };
}

pub(super) use {for_readers, for_writers, readers, writers};

/// Hands what has arrived to `put`, at most `room` bytes of it. Nothing is the end of the input.
pub(super) fn poll_read_into<S: AsyncBufRead>(
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
pub(super) fn poll_write_slices<S: AsyncWrite>(
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
