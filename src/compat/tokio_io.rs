//! tokio's I/O traits on every stream: feature `tokio-io`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::AsyncWrite as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{OnItsCore, poll_read_into, poll_write_slices};
use crate::io::{PipeReader, PipeWriter};
use crate::net::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, UnixStream, WriteHalf, unix};
#[cfg(feature = "tls")]
use crate::tls::TlsStream;

macro_rules! reader {
    ($type:ty $(, $below:ident: $($bounds:tt)+)?) => {
        impl$(<$below: $($bounds)+>)? AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read_into(self, context, buffer.remaining(), |bytes| buffer.put_slice(bytes))
            }
        }

        impl$(<$below: $($bounds)+>)? AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                futures_util::io::AsyncBufRead::poll_fill_buf(self, context)
            }

            fn consume(self: Pin<&mut Self>, count: usize) {
                futures_util::io::AsyncBufRead::consume(self, count);
            }
        }
    };
}

macro_rules! writer {
    ($type:ty) => {
        // What is queued is sent without being asked.
        writer!($type, |_, _| Poll::Ready(Ok(())));
    };
    ($type:ty, $flush:expr $(, $below:ident: $($bounds:tt)+)?) => {
        impl$(<$below: $($bounds)+>)? AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_util::io::AsyncWrite::poll_write(self, context, bytes)
            }

            fn poll_flush(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                $flush(self, context)
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                self.poll_close(context)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_slices(self, context, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }
        }
    };
}

reader!(TcpStream);
reader!(ReadHalf<'_>);
reader!(OwnedReadHalf);
writer!(TcpStream);
writer!(WriteHalf<'_>);
writer!(OwnedWriteHalf);
reader!(UnixStream);
reader!(unix::ReadHalf<'_>);
reader!(unix::OwnedReadHalf);
writer!(UnixStream);
writer!(unix::WriteHalf<'_>);
writer!(unix::OwnedWriteHalf);
reader!(PipeReader);
writer!(PipeWriter);

impl<S: AsyncRead + Unpin> AsyncRead for OnItsCore<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OnItsCore<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(feature = "tls")]
reader!(TlsStream<S>, S: futures_util::io::AsyncRead + futures_util::io::AsyncWrite + Unpin);
#[cfg(feature = "tls")]
writer!(
    TlsStream<S>,
    |stream: Pin<&mut TlsStream<S>>, context| {
        stream.get_mut().poll_queue(context, AsyncWrite::poll_flush)
    },
    S: futures_util::io::AsyncRead + futures_util::io::AsyncWrite + AsyncWrite + Unpin
);
