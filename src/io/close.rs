//! The end of a stream: everything written is sent, then FIN, then what still comes in is read and
//! thrown away until the peer ends too.
//!
//! ```text
//!          close, or drop of the last handle
//!   open ─────────────────────────────────────▶ sending what is unsent ──▶ FIN out: lingering
//!     │ abort: RST                                │ no progress for the        │ peer's FIN, or
//!     ▼                                           ▼ linger limit: RST          ▼ a limit
//!   closed ◀───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A close with unread input would reset the connection and destroy what was flushed; hence the
//! reading. A dropped stream does the same as a task of the runtime's own, in the background.

use std::future::poll_fn;
use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Stream;
use super::inbox::End;
use crate::executor::{Life, Unhandled};
use crate::time::timeout;

/// How long a closing stream waits without any progress, by default.
pub(super) const LINGER_DEFAULT: Duration = Duration::from_secs(5);

/// How much input a closing stream throws away before it gives up waiting for its end.
const DISCARD_BYTES_MAX: usize = 16 << 20;

/// How a close came to its end. In each case everything written was sent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Closed {
    /// The peer ended its side, too: it had everything.
    PeerFinished,
    /// The peer reset the connection after everything had been sent.
    PeerReset,
    /// The peer's end did not come within the linger limit.
    LingerLimit,
    /// The peer kept sending more than is thrown away.
    DiscardLimit,
}

impl Stream {
    /// How long a close waits for the peer without any progress.
    pub(crate) fn set_linger(&self, linger: Duration) {
        self.linger.set(linger);
    }

    /// Whether it is told what could not be sent once the last handle is gone.
    pub(crate) fn set_report_unsent(&self, on: bool) {
        self.reports_unsent.set(on);
    }

    /// Ends the stream in good order. Also what a dropped stream does in the background.
    pub(crate) async fn finish(self: &Rc<Self>) -> io::Result<Closed> {
        let linger = self.linger.get();
        self.begin_to_finish();
        let closed = match self.all_sent(linger).await {
            Ok(()) => Ok(timeout(linger, self.input_ended()).await.unwrap_or(Closed::LingerLimit)),
            // Everything was sent, but there was nobody to send FIN to any more.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(Closed::PeerReset),
            Err(error) => Err(error),
        };
        self.stop_receiving();
        closed
    }

    /// Waits until FIN is out, for as long as the peer takes anything.
    async fn all_sent(self: &Rc<Self>, linger: Duration) -> io::Result<()> {
        loop {
            let sent_before = self.outbox.borrow().sent_total();
            if let Ok(ended) = timeout(linger, self.writes_ended()).await {
                return ended;
            }
            self.settle_send().await;
            if self.outbox.borrow().sent_total() == sent_before {
                break;
            }
        }
        let unsent = self.outbox.borrow().unsent();
        self.abort();
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "the peer took nothing for {linger:?}; {unsent} bytes are unsent and the \
                 connection is reset"
            ),
        ))
    }

    /// Ends the send in flight, if there is one, and waits for it: a send of megabytes tells what
    /// the kernel took of it only at its end. The rest goes out with the next.
    async fn settle_send(&self) {
        let Some(token) = self.interrupt_send() else { return };
        poll_fn(|context| {
            if !self.is_sending(token) {
                return Poll::Ready(());
            }
            self.watch(context);
            Poll::Pending
        })
        .await;
    }

    /// Turns the stream from serving to ending: FIN is out at once if everything is sent.
    pub(crate) fn begin_to_finish(self: &Rc<Self>) {
        self.discarding.set(true);
        self.inbox.borrow_mut().clear();
        self.end_writes();
        self.receive();
    }

    async fn input_ended(&self) -> Closed {
        poll_fn(|context| {
            let end = self.inbox.borrow().end();
            match end {
                Some(End::Eof) => Poll::Ready(Closed::PeerFinished),
                Some(End::Error(_)) => Poll::Ready(Closed::PeerReset),
                None if self.discarded.get() > DISCARD_BYTES_MAX => {
                    Poll::Ready(Closed::DiscardLimit)
                }
                None => {
                    self.watch(context);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The last handle was dropped: the runtime sees the stream to its end.
    pub(crate) fn finish_in_background(self: &Rc<Self>) {
        let (unsent, error, unseen) = {
            let outbox = self.outbox.borrow();
            (outbox.unsent(), outbox.error(), outbox.unseen_error())
        };
        let ended = self.inbox.borrow().end();
        let is_late = self.core.life() >= Life::Draining;
        if let Some(error) = unseen {
            self.report_unsent(io::Error::from_raw_os_error(error));
        } else if is_late && error.is_none() && unsent > 0 {
            self.report_unsent(io::Error::other(format!(
                "its runtime ended before {unsent} bytes were sent; cure: drop or `close` the \
                 stream before that"
            )));
        }
        let is_broken = error.is_some() || matches!(ended, Some(End::Error(_)));
        if is_late || is_broken || (ended.is_some() && unsent == 0) {
            self.stop_receiving();
            return;
        }
        self.begin_to_finish();
        let (stream, guard) = (Rc::clone(self), self.core.linger_guard());
        let finish = async move {
            let _guard = guard;
            if let Err(error) = stream.finish().await {
                stream.report_unsent(error);
            }
        };
        self.core.spawn(finish, Location::caller(), true);
    }

    fn report_unsent(&self, error: io::Error) {
        if self.reports_unsent.get() {
            self.core.report(&Unhandled::WriteFailed { error });
        }
    }
}
