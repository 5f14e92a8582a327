//! tokio's I/O traits on every stream: feature `tokio-io`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::AsyncWrite as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::{poll_read_into, poll_write_slices};
use crate::io::{PipeReader, PipeWriter};
use crate::net::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, UnixStream, WriteHalf, unix};

macro_rules! reader {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                poll_read_into(self, context, buffer.remaining(), |bytes| buffer.put_slice(bytes))
            }
        }

        impl AsyncBufRead for $type {
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
        impl AsyncWrite for $type {
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
