//! hyper 1.x on corio: feature `hyper`.
//!
//! Streams implement `hyper::rt::Read` and `hyper::rt::Write`, so a connection takes them as they
//! are; [`Executor`] starts its tasks on this core, [`Timer`] gives it time. A connection that may
//! be upgraded has to be `Send`: give it the stream in [`OnItsCore`].
//!
//! ```
//! use std::convert::Infallible;
//! use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
//! use corio::compat::hyper::Timer;
//! use corio::net::TcpStream;
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello\n".into()))
//! }
//!
//! # corio::run(async {
//! let server = corio::net::serve("127.0.0.1:0", async |stream: TcpStream| {
//!     http1::Builder::new().timer(Timer).serve_connection(stream, service_fn(hello)).await
//! })
//! .await?;
//! let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
//! client.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await?;
//! assert_eq!(client.read_line(80).await?, b"HTTP/1.1 200 OK\r\n");
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{self, Read, ReadBufCursor, Write};
use send_wrapper::SendWrapper;

use super::OnItsCore;
use super::streams::{for_readers, for_writers, readers, writers};
use crate::task::spawn;
use crate::time::{self, sleep};

for_readers!(readers Read, ReadBufCursor<'_>:);
for_writers!(writers Write:);

impl<S: Read + Unpin> Read for OnItsCore<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for OnItsCore<S> {
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

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(context, slices)
    }
}

/// Starts hyper's tasks on the core that runs here: `hyper::rt::Executor`, of any future.
///
/// # Panics
///
/// Executing a future panics if no runtime runs on the thread.
#[derive(Clone, Copy, Default, Debug)]
pub struct Executor;

impl<F> rt::Executor<F> for Executor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(spawn(future));
    }
}

/// Gives hyper the time of the core that runs here: `hyper::rt::Timer`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Timer;

impl rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Sleep(SendWrapper::new(sleep(duration))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }
}

/// hyper asks for `Send`, since a connection may be moved to another thread. One on a stream of
/// corio cannot be.
struct Sleep(SendWrapper<time::Sleep>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.0).poll(context)
    }
}

impl rt::Sleep for Sleep {}
