//! The stream under a WebSocket, as the protocol core wants it: blocking reads and writes.
//!
//! tungstenite is a state machine over `std::io`. A read that has to wait is `WouldBlock` to it,
//! and it goes on at the next call. A write never has to wait here: what the stream does not take
//! at once is kept, and `poll_drain` gives it on. So a frame is never cut, and it is this file that
//! knows how much is unsent. An error of a write is kept for whoever sends next: reading goes on,
//! since the peer's last messages, and its reason, may be there.
//!
//! ```text
//!   recv ──▶ attend(Receiver) ──▶ core ──▶ Read  ──▶ stream     waits with the receiver's waker
//!   send ──▶ attend(Sender)   ──▶ core ──▶ Write ──▶ stream     waits with the writer's waker
//! ```
//!
//! Receiving writes as well (pongs, the answer to a close), and a stream knows one waker for each
//! direction. While one task does both, that task's is right. Two halves share a waker for writing,
//! which wakes both.

use std::any::Any;
use std::io::{self, Read, Write};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, BytesMut};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::task::AtomicWaker;

use crate::net::{TcpStream, UnixStream};

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Receiver,
    Sender,
}

/// The wakers of two halves, behind one.
#[derive(Default)]
pub(super) struct Both {
    receiver: AtomicWaker,
    sender: AtomicWaker,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.receiver.wake();
        self.sender.wake();
    }
}

/// A stream, and what it did not take yet.
pub(super) struct Wire<S> {
    stream: S,
    unsent: BytesMut,
    /// The first error of a write, until someone is told.
    broken: Option<io::Error>,
    is_broken: bool,
    /// Something was written since the last flush.
    is_unflushed: bool,
    /// A flush need not be asked for.
    sends_by_itself: bool,
    /// Bytes came since this was last asked.
    heard: bool,
    reader: Waker,
    writer: Waker,
    both: Option<Arc<Both>>,
}

impl<S: 'static> Wire<S> {
    pub(super) fn new(stream: S) -> Wire<S> {
        let any: &dyn Any = &stream;
        // corio's own streams send at the end of the turn. Waiting for it would wake the task for
        // each message once more.
        let sends_by_itself = any.is::<TcpStream>() || any.is::<UnixStream>();
        Wire {
            stream,
            unsent: BytesMut::new(),
            broken: None,
            is_broken: false,
            is_unflushed: false,
            sends_by_itself,
            heard: false,
            reader: Waker::noop().clone(),
            writer: Waker::noop().clone(),
            both: None,
        }
    }
}

impl<S> Wire<S> {
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Remembers whom to wake.
    pub(super) fn attend(&mut self, side: Side, waker: &Waker) {
        match (&self.both, side) {
            (None, _) => {
                self.reader.clone_from(waker);
                self.writer.clone_from(waker);
            }
            (Some(both), Side::Receiver) => {
                self.reader.clone_from(waker);
                both.receiver.register(waker);
            }
            (Some(both), Side::Sender) => both.sender.register(waker),
        }
    }

    /// From now on, receiver and sender may be two tasks.
    pub(super) fn split(&mut self) {
        let both = Arc::new(Both::default());
        self.writer = Waker::from(Arc::clone(&both));
        self.both = Some(both);
    }

    /// Has both halves look again.
    pub(super) fn wake_halves(&self) {
        if let Some(both) = &self.both {
            both.wake_by_ref();
        }
    }

    /// Bytes that the stream did not take yet.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether bytes came since the last call.
    pub(super) fn take_heard(&mut self) -> bool {
        mem::take(&mut self.heard)
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Gives the stream what it did not take yet.
    ///
    /// # Errors
    ///
    /// The first error of a write, once; then `BrokenPipe`.
    pub(super) fn poll_drain(&mut self) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(poll_give(&mut self.stream, &self.writer, &self.unsent)) {
                Ok(count) => self.unsent.advance(count),
                Err(error) => self.breaks(error),
            }
        }
        // An allocation of the size of a long message is not kept.
        self.unsent = BytesMut::new();
        if self.is_unflushed && !self.sends_by_itself && !self.is_broken {
            let mut context = Context::from_waker(&self.writer);
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(&mut context)) {
                self.breaks(error);
            }
        }
        self.is_unflushed = false;
        match self.is_broken {
            true => Poll::Ready(Err(self.broken.take().unwrap_or_else(ended))),
            false => Poll::Ready(Ok(())),
        }
    }

    /// Tells the peer the end of the stream, behind everything that was written.
    pub(super) fn poll_end(&mut self) -> Poll<io::Result<()>> {
        ready!(self.poll_drain())?;
        Pin::new(&mut self.stream).poll_close(&mut Context::from_waker(&self.writer))
    }

    fn breaks(&mut self, error: io::Error) {
        self.unsent = BytesMut::new();
        if !mem::replace(&mut self.is_broken, true) {
            self.broken = Some(error);
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the connection under the WebSocket has ended")
}

impl<S: AsyncRead + Unpin> Read for Wire<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut context = Context::from_waker(&self.reader);
        match Pin::new(&mut self.stream).poll_read(&mut context, bytes) {
            Poll::Ready(Ok(count)) => {
                self.heard |= count > 0;
                Ok(count)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Gives the stream some of the bytes.
fn poll_give<S: AsyncWrite + Unpin>(
    stream: &mut S,
    waker: &Waker,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(stream).poll_write(&mut Context::from_waker(waker), bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        given => Poll::Ready(given),
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_unflushed = true;
        let mut rest = bytes;
        while !rest.is_empty() && self.unsent.is_empty() && !self.is_broken {
            match poll_give(&mut self.stream, &self.writer, rest) {
                Poll::Ready(Ok(count)) => rest = &rest[count..],
                Poll::Ready(Err(error)) => self.breaks(error),
                Poll::Pending => break,
            }
        }
        if !self.is_broken {
            self.unsent.extend_from_slice(rest);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
