//! What a connection has on its way, seen in the messages that pass by.
//!
//! The library's client is a line into which requests are put: it tells nobody whether one is still
//! unanswered once the future that waited for it is gone. The protocol tells. Each message begins
//! with its kind and its length, and each request ends with one that is answered by exactly one
//! `ReadyForQuery`, which also says whether a transaction is open. So the stream that the library
//! is given counts them, and looks at nothing else.
//!
//! Source: PostgreSQL's documentation, "Frontend/Backend Protocol", sections "Message Flow" and
//! "Message Formats" (version 3).

use std::cell::{Cell, RefCell};
use std::cmp::min;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a `ReadyForQuery` is owed to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    /// A query in text, or the start of the session.
    Simple,
    /// A `Sync`, which ends a request in parts.
    Sync,
    /// A `COPY` from the client, whose own `Sync` is still to come: the server does not answer the
    /// one that came before it asked for the data.
    Copy,
    /// A `Sync` after nothing that works: the library gives prepared statements back that way, and
    /// waits for no answer.
    Nothing,
}

/// What is on its way on one connection.
pub(super) struct Traffic {
    unanswered: RefCell<VecDeque<Request>>,
    answered: Cell<u64>,
    /// Whether the parts since the last `Sync` make the server work.
    works: Cell<bool>,
    is_in_transaction: Cell<bool>,
    /// Whether a message was sent in part only.
    is_mid_message: Cell<bool>,
    /// Whether the library's last read found nothing: it has passed on all that came.
    read_waits: Cell<bool>,
    /// Whether the library's last write found no room: it may have more to send.
    write_waits: Cell<bool>,
}

impl Traffic {
    /// That of a connection whose session is about to start.
    pub(super) fn new() -> Rc<Traffic> {
        Rc::new(Traffic {
            unanswered: RefCell::new(VecDeque::from([Request::Simple])),
            answered: Cell::new(0),
            works: Cell::new(false),
            is_in_transaction: Cell::new(false),
            is_mid_message: Cell::new(false),
            read_waits: Cell::new(false),
            write_waits: Cell::new(false),
        })
    }

    /// The library is about to be polled. If it still waits for the server afterwards, it says so
    /// by a read that finds nothing.
    pub(super) fn begin_poll(&self) {
        self.read_waits.set(false);
    }

    /// Whether every request was sent, answered, and its answer passed on, but for those that cost
    /// the server nothing. True only after a poll of the library, which takes the requests out of
    /// its line.
    pub(super) fn is_quiet(&self) -> bool {
        self.read_waits.get()
            && !self.write_waits.get()
            && !self.is_mid_message.get()
            && self.unanswered.borrow().iter().all(|request| *request == Request::Nothing)
    }

    /// How many requests the server has answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// Whether a transaction was open, or had failed, when the last request was answered.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction.get()
    }

    fn sent(&self, kind: u8) {
        let mut unanswered = self.unanswered.borrow_mut();
        match kind {
            b'Q' | b'F' => unanswered.push_back(Request::Simple),
            b'S' => match (self.works.replace(false), unanswered.back_mut()) {
                (_, Some(last)) if *last == Request::Copy => *last = Request::Sync,
                (true, _) => unanswered.push_back(Request::Sync),
                (false, _) => unanswered.push_back(Request::Nothing),
            },
            // Also the end of a copy, which is answered twice if the copy was refused.
            b'P' | b'B' | b'D' | b'E' | b'c' | b'f' => self.works.set(true),
            _ => {}
        }
    }

    fn received(&self, kind: u8, status: u8) {
        let mut unanswered = self.unanswered.borrow_mut();
        match kind {
            b'Z' => {
                unanswered.pop_front();
                self.answered.set(self.answered.get() + 1);
                self.is_in_transaction.set(status != b'I');
            }
            b'G' if unanswered.front() == Some(&Request::Sync) => match unanswered.len() {
                1 => unanswered[0] = Request::Copy,
                // The copy's own `Sync` was sent before its data was asked for.
                _ => {
                    unanswered.pop_front();
                    unanswered[0] = Request::Sync;
                }
            },
            _ => {}
        }
    }
}

/// Finds the messages in one direction of a connection.
struct Messages {
    header: [u8; 5],
    header_len: usize,
    body_left: usize,
    status: u8,
}

impl Messages {
    /// Those of the server.
    fn of_server() -> Messages {
        Messages { header: [0; 5], header_len: 0, body_left: 0, status: 0 }
    }

    /// Those of the client, whose first one has no kind.
    fn of_client() -> Messages {
        Messages { header_len: 1, ..Messages::of_server() }
    }

    fn is_between(&self) -> bool {
        self.header_len == 0 && self.body_left == 0
    }

    /// Goes over bytes, and tells of each message that is complete: its kind, and the last byte of
    /// its body.
    fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, u8)) {
        while !bytes.is_empty() {
            if self.header_len < self.header.len() && self.body_left == 0 {
                let count = min(self.header.len() - self.header_len, bytes.len());
                let (header, rest) = bytes.split_at(count);
                self.header[self.header_len..][..count].copy_from_slice(header);
                self.header_len += count;
                bytes = rest;
                if self.header_len < self.header.len() {
                    return;
                }
                let [_, length @ ..] = self.header;
                // The length counts itself. A wrong one is the library's to refuse.
                self.body_left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.status = 0;
            } else {
                let count = min(self.body_left, bytes.len());
                let (body, rest) = bytes.split_at(count);
                self.status = body.last().copied().unwrap_or(0);
                self.body_left -= count;
                bytes = rest;
            }
            if self.body_left == 0 {
                self.header_len = 0;
                each(self.header[0], self.status);
            }
        }
    }
}

/// A stream to a server whose messages are counted.
pub(super) struct Counted<S> {
    stream: S,
    traffic: Rc<Traffic>,
    sent: Messages,
    received: Messages,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, traffic: Rc<Traffic>) -> Counted<S> {
        let (sent, received) = (Messages::of_client(), Messages::of_server());
        Counted { stream, traffic, sent, received }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.traffic.read_waits.set(outcome.is_pending());
        let new = &buffer.filled()[before..];
        this.received.take(new, |kind, status| this.traffic.received(kind, status));
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.traffic.write_waits.set(outcome.is_pending());
        if let Poll::Ready(Ok(count)) = outcome {
            this.sent.take(&bytes[..count], |kind, _| this.traffic.sent(kind));
            this.traffic.is_mid_message.set(!this.sent.is_between());
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn messages_are_found_wherever_the_stream_is_cut() {
        let bytes = [message(b'T', b"abc"), message(b'S', b""), message(b'Z', b"E")].concat();
        for cut in 0..=bytes.len() {
            let (mut messages, mut found) = (Messages::of_server(), Vec::new());
            messages.take(&bytes[..cut], |kind, status| found.push((kind, status)));
            messages.take(&bytes[cut..], |kind, status| found.push((kind, status)));
            assert_eq!(found, [(b'T', b'c'), (b'S', 0), (b'Z', b'E')], "cut at {cut}");
            assert!(messages.is_between());
        }
    }

    #[test]
    fn the_start_of_a_session_has_no_kind() {
        let mut messages = Messages::of_client();
        let mut found = Vec::new();
        messages.take(&message(0, b"start")[1..], |kind, _| found.push(kind));
        messages.take(&message(b'Q', b"select 1\0"), |kind, _| found.push(kind));
        assert_eq!(found, [0, b'Q']);
    }

    #[test]
    fn each_request_owes_one_answer() {
        let traffic = Traffic::new();
        traffic.received(b'Z', b'I');
        traffic.read_waits.set(true);
        assert!(traffic.is_quiet());
        for kind in *b"QPDSBES" {
            traffic.sent(kind);
        }
        for status in *b"TTE" {
            assert!(!traffic.is_quiet());
            traffic.received(b'Z', status);
        }
        assert!(traffic.is_quiet() && traffic.is_in_transaction());
    }

    #[test]
    fn a_statement_that_is_given_back_is_no_work() {
        let traffic = Traffic::new();
        traffic.received(b'Z', b'I');
        traffic.read_waits.set(true);
        for kind in *b"CSBESCS" {
            traffic.sent(kind);
        }
        assert!(!traffic.is_quiet(), "one of the three works");
        traffic.received(b'Z', b'I');
        traffic.received(b'Z', b'I');
        assert!(traffic.is_quiet());
        traffic.received(b'Z', b'I');
        assert!(traffic.is_quiet() && traffic.unanswered.borrow().is_empty());
    }

    #[test]
    fn a_copy_owes_one_answer_for_two_syncs() {
        for sync_first in [false, true] {
            let traffic = Traffic::new();
            traffic.received(b'Z', b'I');
            traffic.read_waits.set(true);
            for kind in *b"BES" {
                traffic.sent(kind);
            }
            let steps = if sync_first { "sg" } else { "gs" };
            for step in steps.chars() {
                match step {
                    's' => traffic.sent(b'S'),
                    _ => traffic.received(b'G', 0),
                }
                assert!(!traffic.unanswered.borrow().is_empty(), "the copy has no answer yet");
            }
            traffic.received(b'Z', b'I');
            assert!(traffic.is_quiet() && traffic.unanswered.borrow().is_empty());
        }
    }
}
