//! How long a WebSocket waits for its peer: one timer, for whichever wait is on.
//!
//! ```text
//!            nothing came for an interval: ping             nothing came still: silence
//!     Word ───────────────────────────────────▶ Pong ─────────────────────────────────▶ given up
//!       ▲                                        │
//!       └────────────────────────────────────────┘ something came
//!     any ──── a close was sent or has come ──▶ Close ──── the rest did not come ─────▶ given up
//! ```
//!
//! The timer is set once for an interval, not for a message: when it fires, it asks whether bytes
//! came meanwhile. So a peer that went away is found between one and two intervals later. It runs
//! while somebody receives, which is when an answer can be heard.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Options;
use crate::time::{Duration, Sleep, sleep};

/// What the peer is waited for to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Word,
    Pong,
    Close,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// To ask whether the peer is there.
    Ping,
    /// To give up: it is not.
    Silence,
    /// To give up: it does not close.
    Close,
}

pub(super) struct Patience {
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
    close_timeout: Duration,
    wait: Wait,
    sleep: Option<Sleep>,
}

impl Patience {
    pub(super) fn new(options: &Options) -> Patience {
        Patience {
            ping_interval: options.ping_interval,
            ping_timeout: options.ping_timeout,
            close_timeout: options.close_timeout,
            wait: Wait::Word,
            sleep: None,
        }
    }

    /// From now on it is the end that is waited for.
    pub(super) fn wait_for_close(&mut self) {
        self.turn_to(Wait::Close);
    }

    fn turn_to(&mut self, wait: Wait) {
        self.wait = wait;
        self.sleep = None;
    }

    /// Ready when something is due; `heard` is asked whether bytes came since it was last asked.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut heard: impl FnMut() -> bool,
    ) -> Poll<Due> {
        loop {
            if self.wait == Wait::Pong && heard() {
                self.turn_to(Wait::Word);
            }
            let duration = match self.wait {
                Wait::Word => self.ping_interval,
                Wait::Pong => Some(self.ping_timeout),
                Wait::Close => Some(self.close_timeout),
            };
            let Some(duration) = duration else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| sleep(duration));
            ready!(Pin::new(sleep).poll(context));
            match (self.wait, heard()) {
                (Wait::Close, _) => return Poll::Ready(Due::Close),
                (Wait::Pong, _) => return Poll::Ready(Due::Silence),
                (Wait::Word, true) => self.turn_to(Wait::Word),
                (Wait::Word, false) => {
                    self.turn_to(Wait::Pong);
                    return Poll::Ready(Due::Ping);
                }
            }
        }
    }
}
