//! A stream on its way from one core to another: everything it is but its operations.
//!
//! ```text
//!   stream ── detach: the receive and the send in flight are asked to end ─▶ both have ended
//!     ▲                     │ dropped before                                       │
//!     └─────────────────────┘                                                      ▼
//!   stream on another core ◀────────── attach ──────────── luggage: descriptor, unread, unsent
//! ```
//!
//! Both ends of an operation tell what it did: a cancelled send how much the kernel took, a
//! cancelled receive what it brought. So what is packed then is all there is. Until that moment the
//! stream is the stream, and whoever drops the future finds it as it was. What is left behind is
//! an empty stream whose every call says that it is not connected.
//!
//! A send that has ended asks for the next one at the end of its turn. The future is woken by the
//! same completion and polled before, so it finds none in flight; where it does not, it asks again.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::inbox::End;
use super::outbox::WriteSide;
use super::stream::os_error;
use super::{Source, Stream};
use crate::driver::{Chunk, Segment, Token};
use crate::executor::Core;

/// What a stream takes along. It belongs to no core.
pub(crate) struct Luggage {
    pub(crate) fd: OwnedFd,
    pub(crate) unread: Vec<u8>,
    pub(crate) unsent: Vec<Bytes>,
    end: Option<End>,
    side: WriteSide,
    error: Option<(i32, bool)>,
    send_was_short: bool,
    linger: Option<Duration>,
    reports_unsent: bool,
}

impl Luggage {
    /// A connection on which nothing was done yet.
    pub(crate) fn empty(fd: OwnedFd) -> Luggage {
        Luggage {
            fd,
            unread: Vec::new(),
            unsent: Vec::new(),
            end: None,
            side: WriteSide::Open,
            error: None,
            send_was_short: false,
            linger: None,
            reports_unsent: true,
        }
    }
}

/// Ends what is in flight, then packs.
pub(crate) struct Detach<'a> {
    stream: &'a Rc<Stream>,
    /// The send that was asked to end.
    asked: Option<Token>,
    /// The receive stood, and stands again if this is dropped.
    was_wanted: bool,
}

impl<'a> Detach<'a> {
    pub(crate) fn new(stream: &'a Rc<Stream>) -> Detach<'a> {
        Detach { stream, asked: None, was_wanted: false }
    }
}

impl Future for Detach<'_> {
    type Output = io::Result<Luggage>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let stream = self.stream;
        stream.core.check_turning()?;
        self.was_wanted |= stream.wanted.get();
        stream.stop_receiving();
        if !self.asked.is_some_and(|token| stream.is_sending(token)) {
            self.asked = stream.interrupt_send();
        }
        if stream.is_at_work() {
            stream.watch(context);
            return Poll::Pending;
        }
        let packed = stream.pack().ok_or_else(|| os_error(libc::ENOTCONN));
        self.was_wanted &= packed.is_err();
        Poll::Ready(packed)
    }
}

impl Drop for Detach<'_> {
    fn drop(&mut self) {
        if self.was_wanted {
            self.stream.receive();
        }
    }
}

impl Stream {
    /// Whether everything has gone to another core.
    pub(crate) fn is_empty_shell(&self) -> bool {
        self.fd.raw() < 0
    }

    /// As `pack`, of a stream with nothing in flight.
    pub(crate) fn pack_at_rest(self: &Rc<Self>) -> Option<Luggage> {
        if self.is_at_work() { None } else { self.pack() }
    }

    /// Takes everything out; `None` if that was done before.
    fn pack(self: &Rc<Self>) -> Option<Luggage> {
        let fd = self.fd.release()?;
        let mut inbox = self.inbox.borrow_mut();
        let unread = inbox.take_vec(usize::MAX);
        let end = inbox.end();
        inbox.set_end(End::Error(libc::ENOTCONN));
        drop(inbox);
        let (mut segments, side, error) = {
            let mut outbox = self.outbox.borrow_mut();
            let (side, error) = (outbox.side, outbox.error_and_seen());
            // Ended, so that a late close asks for no FIN.
            outbox.side = WriteSide::Ended;
            let segments = outbox.fail(libc::ENOTCONN);
            outbox.see_error();
            (segments, side, error)
        };
        let mut unsent = Vec::with_capacity(segments.len());
        while let Some(segment) = segments.pop_front() {
            unsent.push(segment.into_bytes());
        }
        self.is_finished.set(true);
        // A leaked future may wait here; it is told.
        let waiting = self.outbox.borrow_mut().everyone();
        self.wake_all(waiting);
        let reader = self.reader.borrow_mut().take();
        self.wake_all(reader);
        Some(Luggage {
            fd,
            unread,
            unsent,
            end,
            side,
            error,
            send_was_short: self.send_was_short.get(),
            linger: Some(self.linger.get()),
            reports_unsent: self.reports_unsent.get(),
        })
    }

    /// A stream with what another core packed. It goes on sending at the end of this turn.
    pub(crate) fn unpack(core: Rc<Core>, luggage: Luggage) -> Rc<Stream> {
        let raw = core.driver.borrow_mut().adopt(luggage.fd);
        let fd = core.fd(raw);
        let stream = Stream::new(core, fd, Source::Tcp);
        if let Some(linger) = luggage.linger {
            stream.linger.set(linger);
        }
        stream.reports_unsent.set(luggage.reports_unsent);
        stream.send_was_short.set(luggage.send_was_short);
        {
            let mut inbox = stream.inbox.borrow_mut();
            if !luggage.unread.is_empty() {
                inbox.push(Chunk::from_vec(luggage.unread), false);
            }
            if let Some(end) = luggage.end {
                inbox.set_end(end);
            }
            stream.outbox.borrow_mut().restore(luggage.side, luggage.error);
        }
        for bytes in luggage.unsent {
            let copied = stream.outbox.borrow_mut().push(Segment::from(bytes));
            stream.core.drop_foreign(copied);
        }
        if stream.outbox.borrow().has_queued() {
            stream.send_soon();
        }
        stream
    }
}
