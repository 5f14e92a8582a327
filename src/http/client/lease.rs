//! A connection in the hands of one request, and how it is given back or ended.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1;

use super::body::Outgoing;
use super::pool::{Host, Life, Sender};
use crate::task::spawn;
use crate::time::timeout;

/// How long a connection may take to become ready behind an answer, and a request's body to end.
const SETTLING: Duration = Duration::from_secs(1);

/// A connection in use. Dropped before it is given back, it ends a connection of HTTP/1.1: half an
/// answer may be on its way.
pub(super) struct Lease {
    host: Rc<Host>,
    life: Rc<Life>,
    /// `None` once it was given back.
    sender: Option<Sender>,
    is_http2: bool,
    is_reused: bool,
    is_at_rest: bool,
}

impl Lease {
    pub(super) fn new(host: &Rc<Host>, sender: Sender, life: Rc<Life>, is_reused: bool) -> Lease {
        life.begin_use();
        let is_http2 = matches!(sender, Sender::Two(_));
        let host = Rc::clone(host);
        Lease { host, life, sender: Some(sender), is_http2, is_reused, is_at_rest: false }
    }

    pub(super) fn sender(&mut self) -> &mut Sender {
        self.sender.as_mut().expect("a lease that was given back is gone")
    }

    /// Whether another request had it before.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Keeps other requests from a connection of HTTP/2 that takes no more.
    pub(super) fn forget(&self) {
        self.host.forget(&self.life);
    }

    /// The answer was read to its end: the connection is for the next request, once it is ready.
    pub(super) fn give_back(mut self) {
        let Some(Sender::One(sender)) = self.sender.take() else {
            return;
        };
        if sender.is_ready() || sender.is_closed() {
            self.is_at_rest = self.host.keep(sender, &self.life);
        } else {
            // Its task has a turn to go, or the request's body is not yet sent.
            drop(spawn(self.settle(sender)));
        }
    }

    async fn settle(mut self, mut sender: http1::SendRequest<Outgoing>) {
        if let Ok(Ok(())) = timeout(SETTLING, sender.ready()).await {
            self.is_at_rest = self.host.keep(sender, &self.life);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.life.end_use();
        if !self.is_http2 && !self.is_at_rest {
            self.life.end();
        }
    }
}
