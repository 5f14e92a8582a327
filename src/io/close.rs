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
pub(crate) const LINGER_DEFAULT: Duration = Duration::from_secs(5);

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
    /// Ends the stream in good order. Also what a dropped stream does in the background.
    pub(crate) async fn finish(self: &Rc<Self>, linger: Duration) -> io::Result<Closed> {
        self.begin_to_finish();
        loop {
            let sent_before = self.outbox.borrow().sent_total();
            match timeout(linger, self.writes_ended()).await {
                Ok(ended) => break ended?,
                Err(_) if self.outbox.borrow().sent_total() > sent_before => {}
                Err(_) => {
                    let unsent = self.outbox.borrow().unsent();
                    self.abort();
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!(
                            "the peer took nothing for {linger:?}; {unsent} bytes are unsent and \
                             the connection is reset"
                        ),
                    ));
                }
            }
        }
        let closed = timeout(linger, self.input_ended()).await;
        self.pause();
        Ok(closed.unwrap_or(Closed::LingerLimit))
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
    pub(crate) fn finish_in_background(self: &Rc<Self>, linger: Duration) {
        let (ended, unsent, error) = {
            let outbox = self.outbox.borrow();
            let ended = self.inbox.borrow().end();
            (ended, outbox.unsent(), outbox.unseen_error())
        };
        if let Some(error) = error {
            let error = io::Error::from_raw_os_error(error);
            self.core.report(&Unhandled::WriteFailed { error });
        }
        let is_over = ended.is_some() && unsent == 0;
        if is_over || matches!(ended, Some(End::Error(_))) || self.core.life() >= Life::Draining {
            self.pause();
            return;
        }
        self.begin_to_finish();
        let (stream, guard) = (Rc::clone(self), self.core.linger_guard());
        let finish = async move {
            let _guard = guard;
            if let Err(error) = stream.finish(linger).await {
                stream.core.report(&Unhandled::WriteFailed { error });
            }
        };
        self.core.spawn(finish, Location::caller(), true);
    }
}
