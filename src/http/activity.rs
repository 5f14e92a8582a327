//! What a connection is doing, and until when it may do nothing.
//!
//! ```text
//!                   bytes                        a service is called
//!       Idle ───────────────────▶ Head ─────────────────────────────▶ Busy
//!        ▲                         │ head timeout: dropped             │
//!        │ idle timeout: asked to end                                  │
//!        └─────────────────────────────────────────────────────────────┘
//!                  the service has answered: bytes go out
//! ```
//!
//! Cells are set as bytes come and go, and one timer looks at them when it fires: nothing is armed
//! for a request whose head comes in one piece. On HTTP/2 bytes come between requests as well
//! (pings, windows), so once the first request has come, such a connection is idle or busy and no
//! head is waited for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{self, ReadBufCursor};

use super::transport::Wire;
use crate::sync::Event;
use crate::time::Instant;

/// What one connection is doing.
pub(super) struct Activity {
    services: Cell<usize>,
    /// When bytes last went either way, or a service ended.
    last: Cell<Instant>,
    /// When the first bytes of a head came, while it is not whole.
    head_since: Cell<Option<Instant>>,
    has_no_heads: Cell<bool>,
    /// The stream was dropped.
    gone: Event,
    parting: Cell<Parting>,
}

/// How long a client that floods may take to read why it is sent away.
const SOON: Duration = Duration::from_millis(100);

/// How a connection ends.
#[derive(Clone, Copy)]
pub(super) enum Parting {
    /// What was written is sent, and the client's end is waited for.
    InOrder,
    /// The same, with little patience: the client goes on sending what nobody wants.
    Soon,
    /// By a reset: the client does not take what is sent.
    AtOnce,
}

/// What becomes of a connection at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It may go on; look again then.
    Until(Instant),
    /// Nothing has happened for too long.
    Idle,
    /// A head does not come to its end.
    Late,
}

impl Activity {
    pub(super) fn new() -> Rc<Activity> {
        Rc::new(Activity {
            services: Cell::new(0),
            last: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            has_no_heads: Cell::new(false),
            gone: Event::new(),
            parting: Cell::new(Parting::InOrder),
        })
    }

    /// How the connection is to end when it is dropped.
    pub(super) fn part(&self, parting: Parting) {
        self.parting.set(parting);
    }

    /// Waits until the stream is dropped: after an upgrade somebody else has it.
    pub(super) async fn stream_gone(&self) {
        self.gone.wait().await;
    }

    fn note(&self) {
        self.last.set(Instant::now());
    }

    fn note_read(&self) {
        self.note();
        let waits_for_head = self.services.get() == 0 && !self.has_no_heads.get();
        if waits_for_head && self.head_since.get().is_none() {
            self.head_since.set(Some(self.last.get()));
        }
    }

    /// When the head began that is not whole yet.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// A head is whole, and its service runs until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>, is_multiplexed: bool) -> Running {
        self.services.set(self.services.get() + 1);
        self.head_since.set(None);
        self.has_no_heads.set(is_multiplexed);
        Running(Rc::clone(self))
    }

    pub(super) fn verdict(&self, now: Instant, head: Duration, idle: Duration) -> Verdict {
        if self.services.get() > 0 {
            return Verdict::Until(now + idle.min(head));
        }
        match self.head_since.get() {
            Some(since) if since + head <= now => Verdict::Late,
            Some(since) => Verdict::Until(since + head),
            None if self.last.get() + idle <= now => Verdict::Idle,
            None => Verdict::Until(self.last.get() + idle),
        }
    }
}

/// A service that runs.
pub(super) struct Running(Rc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.services.set(self.0.services.get() - 1);
        self.0.note();
    }
}

/// A stream whose bytes are noted.
pub(super) struct Watched {
    wire: Wire,
    activity: Rc<Activity>,
}

impl Watched {
    pub(super) fn new(wire: Wire, activity: &Rc<Activity>) -> Watched {
        Watched { wire, activity: Rc::clone(activity) }
    }

    fn noting<T>(&self, result: io::Result<T>) -> Poll<io::Result<T>> {
        self.activity.note();
        Poll::Ready(result)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let parting = self.activity.parting.get();
        let mut transport = self.wire.transport();
        match parting {
            Parting::InOrder => {}
            Parting::Soon => transport.stream().set_linger(SOON),
            Parting::AtOnce => transport.stream().abort(),
        }
        self.activity.gone.set();
    }
}

impl rt::Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.wire.transport().poll_read(context, buffer))?;
        self.activity.note_read();
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.wire.transport().poll_write(context, bytes));
        self.noting(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.transport().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.transport().poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.wire.transport().poll_write_vectored(context, slices));
        self.noting(written)
    }
}
