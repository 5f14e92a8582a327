//! hyper's I/O traits on a TLS stream, as on the stream below: what `compat` says of them holds
//! here.
//!
//! A flush waits until everything is with the stream below, and then for what a flush is there.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io as futures;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::TlsStream;
use super::session::Side;

impl<S> Read for TlsStream<S>
where
    S: futures::AsyncRead + futures::AsyncWrite + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let session = &mut self.get_mut().session;
        if buffer.remaining() > 0 {
            ready!(session.poll_readable(context))?;
            let bytes = session.readable()?;
            let count = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..count]);
            session.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Write for TlsStream<S>
where
    S: futures::AsyncRead + futures::AsyncWrite + Write + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures::AsyncWrite::poll_write(self, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = &mut self.get_mut().session;
        ready!(session.poll_push(context, Side::Writer))?;
        session.poll_below(context, Side::Writer, |below, _, context| {
            Write::poll_flush(below, context)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures::AsyncWrite::poll_close(self, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        futures::AsyncWrite::poll_write_vectored(self, context, slices)
    }
}
