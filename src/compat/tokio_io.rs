//! tokio's I/O traits on every stream: feature `tokio-io`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::streams::{for_readers, for_writers, readers, writers};

macro_rules! buffered_readers {
    ($($type:ty,)*) => { $(
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
    )* };
}

for_readers!(readers AsyncRead, &mut ReadBuf<'_>:);
for_readers!(buffered_readers);
for_writers!(writers AsyncWrite:);
