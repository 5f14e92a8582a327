//! One connection of the load generator: what it says, when, and what it has to hear.
//!
//! A client writes a batch of messages (one, unless pipelining is asked for), reads until all of
//! it has been answered, and writes the next: at once in a closed loop, at its intended time in an
//! open one. In an open loop a message's latency counts from the time at which it was *intended*
//! to be sent. A server that pauses delays the messages behind the pause as well, and they say so;
//! counted from the actual sending, they would not (this is called coordinated omission).
//!
//! It has to be cheap, or the server idles and its figures are wrong: nothing is allocated or
//! copied for a message, replies are compared in the stream's own inbox, and the clock is read
//! once per arrival.

use std::net::SocketAddr;
use std::rc::Rc;

use corio::net::TcpStream;
use corio::time::{Duration, Instant};

use crate::http::Replies;
use crate::traffic::{Pattern, Tally};

/// Batches of this size and more are queued without a copy; smaller ones are joined in the outbox.
const QUEUED_WHOLE_FROM_BYTES: usize = 4096;

/// Batches of this size and more are timed from after the comparison of the one before.
const TIMED_APART_FROM_BYTES: usize = 4096;

/// What a connection says and what it has to hear.
pub(crate) trait Dialogue {
    /// The batch of this number.
    fn batch(&self, number: u64) -> &'static [u8];

    /// Takes all of `received`, what came back for batch `number`, and returns how many messages
    /// are answered by it; or what is wrong.
    fn hear(&mut self, received: &[u8], number: u64) -> Result<usize, String>;

    /// Forgets what was heard of a batch, before the next.
    fn begin(&mut self);

    /// What the server still owed when it ended the connection.
    fn owed(&self, number: u64) -> String;
}

/// When batches are to be sent in an open loop.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) first: Instant,
    pub(crate) interval: Duration,
}

impl Pace {
    /// The intended time of a batch.
    fn due(&self, number: u64) -> Instant {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(number));
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
        self.first.checked_add(after).unwrap_or(self.first)
    }

    /// Waits for a batch's intended time and returns it. How late this client itself was then is
    /// recorded; time for which the server kept it busy is not its own lateness.
    async fn wait(&self, number: u64, index: usize, tally: &Tally) -> Instant {
        let due = self.due(number);
        if Instant::now() < due {
            tally.set_pausing(index, true);
            corio::time::sleep_until(due).await;
            tally.set_pausing(index, false);
            tally.lagged(due.elapsed().as_nanos() as u64);
        }
        due
    }
}

/// One connection's task.
pub(crate) struct Client<D> {
    pub(crate) index: usize,
    pub(crate) messages_per_batch: usize,
    pub(crate) dialogue: D,
    pub(crate) pace: Option<Pace>,
    pub(crate) tally: Rc<Tally>,
}

impl<D: Dialogue> Client<D> {
    pub(crate) async fn run(mut self, mut stream: TcpStream) {
        let error = self.exchange(&mut stream).await.err();
        self.tally.ended(error.map(|error| format!("connection {}: {error}", self.index)));
        // Every byte came back or the failure is counted: how the connection ends adds nothing.
        let _ = stream.close().await;
    }

    /// Batch after batch, until the measurement ends.
    async fn exchange(&mut self, stream: &mut TcpStream) -> Result<(), String> {
        let mut sent_at = Instant::now();
        let mut number = 0;
        while !self.tally.is_ending() {
            if self.tally.is_paused() {
                self.tally.next_turn(self.index).await;
                sent_at = Instant::now();
                continue;
            }
            let batch = self.dialogue.batch(number);
            if let Some(pace) = self.pace {
                sent_at = pace.wait(number, self.index, &self.tally).await;
            } else if batch.len() >= TIMED_APART_FROM_BYTES {
                sent_at = Instant::now();
            }
            sent_at = self.round_trip(stream, number, sent_at).await?;
            number += 1;
        }
        Ok(())
    }

    /// Sends one batch and hears all of its answers. Returns when the last one arrived.
    pub(crate) async fn round_trip(
        &mut self,
        stream: &mut TcpStream,
        number: u64,
        sent_at: Instant,
    ) -> Result<Instant, String> {
        let batch = self.dialogue.batch(number);
        let sent = if batch.len() >= QUEUED_WHOLE_FROM_BYTES {
            stream.write_owned(batch).await
        } else {
            stream.write(batch).await
        };
        sent.map_err(|error| format!("sending failed: {error}"))?;
        self.dialogue.begin();
        let mut heard_count = 0;
        loop {
            let received = stream.fill_buf().await.map_err(|error| {
                format!("receiving failed with {heard_count} answers of the batch heard: {error}")
            })?;
            let arrived_at = Instant::now();
            if received.is_empty() {
                return Err(self.dialogue.owed(number));
            }
            let len = received.len();
            let count = self.dialogue.hear(received, number)?;
            stream.consume(len);
            if count > 0 {
                let latency_ns = arrived_at.duration_since(sent_at).as_nanos() as u64;
                self.tally.arrived(self.index, count as u64, latency_ns);
                heard_count += count;
            }
            if heard_count >= self.messages_per_batch {
                return Ok(arrived_at);
            }
        }
    }
}

/// The dialogue with an echo server: what is said is heard, byte by byte.
pub(crate) struct Echo {
    pub(crate) index: usize,
    pub(crate) size: usize,
    pub(crate) pattern: Pattern,
    done: usize,
}

impl Echo {
    pub(crate) fn new(index: usize, size: usize, pattern: Pattern) -> Echo {
        Echo { index, size, pattern, done: 0 }
    }

    /// Says what is wrong with a piece that is not what was sent.
    #[cold]
    fn wrong(&self, received: &[u8], expected: &[u8], number: u64) -> String {
        let wrong = received.iter().zip(expected).position(|(received, sent)| received != sent);
        let Some(wrong) = wrong else {
            let more = received.len() - expected.len();
            return format!("the server sent {more} bytes more than it should");
        };
        let byte = self.done + wrong;
        let batch_len = expected.len() + self.done;
        let message = number as usize * batch_len / self.size + byte / self.size;
        format!(
            "byte {} of message {message} came back as {:#04x}, but {:#04x} was sent",
            byte % self.size,
            received[wrong],
            expected[wrong]
        )
    }
}

impl Dialogue for Echo {
    fn batch(&self, number: u64) -> &'static [u8] {
        self.pattern.batch(self.index, number)
    }

    fn begin(&mut self) {
        self.done = 0;
    }

    fn hear(&mut self, received: &[u8], number: u64) -> Result<usize, String> {
        let expected = &self.batch(number)[self.done..];
        let len = received.len();
        if len > expected.len() || *received != expected[..len] {
            return Err(self.wrong(received, expected, number));
        }
        let before = self.done / self.size;
        self.done += len;
        Ok(self.done / self.size - before)
    }

    fn owed(&self, number: u64) -> String {
        let missing = self.batch(number).len() - self.done;
        format!("the server closed it while {missing} bytes were still to be echoed")
    }
}

/// The dialogue with an HTTP server: requests for one path.
pub(crate) struct Http {
    batch: &'static [u8],
    requests: usize,
    heard: usize,
    replies: Replies,
    /// A reply that is not whole yet.
    part: Vec<u8>,
}

impl Http {
    pub(crate) fn new(path: &str, batch: &'static [u8], requests: usize) -> Http {
        Http { batch, requests, heard: 0, replies: Replies::new(path), part: Vec::new() }
    }

    fn count(&mut self, input: &[u8]) -> Result<(usize, usize), String> {
        let (mut taken, mut count) = (0, 0);
        while taken < input.len() {
            let Some(len) = self.replies.check(&input[taken..])? else {
                break;
            };
            taken += len;
            count += 1;
        }
        Ok((taken, count))
    }
}

impl Dialogue for Http {
    fn batch(&self, _number: u64) -> &'static [u8] {
        self.batch
    }

    fn begin(&mut self) {
        self.heard = 0;
    }

    fn hear(&mut self, received: &[u8], _number: u64) -> Result<usize, String> {
        let count = if self.part.is_empty() {
            let (taken, count) = self.count(received)?;
            self.part.extend_from_slice(&received[taken..]);
            count
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(received);
            let (taken, count) = self.count(&part)?;
            part.drain(..taken);
            self.part = part;
            count
        };
        self.heard += count;
        let is_too_much = self.heard == self.requests && !self.part.is_empty();
        if self.heard > self.requests || is_too_much {
            return Err(format!(
                "the server sent more than {} replies to {} requests",
                self.requests, self.requests
            ));
        }
        Ok(count)
    }

    fn owed(&self, _number: u64) -> String {
        let missing = self.requests - self.heard;
        format!(
            "the server closed it while {missing} replies were still to come; a server that does \
             not keep connections cannot be measured here"
        )
    }
}

/// A client of `bench accept`: a connection for each message. It ends with a reset, since a client
/// that closes in order leaves its port unusable for a minute.
pub(crate) struct Visitor {
    pub(crate) client: Client<Echo>,
    pub(crate) address: SocketAddr,
}

impl Visitor {
    pub(crate) async fn run(mut self) {
        let error = self.visit_again_and_again().await.err();
        let index = self.client.index;
        self.client.tally.ended(error.map(|error| format!("client {index}: {error}")));
    }

    async fn visit_again_and_again(&mut self) -> Result<(), String> {
        let mut number = 0;
        while !self.client.tally.is_ending() {
            let begun_at = match self.client.pace {
                Some(pace) => pace.wait(number, self.client.index, &self.client.tally).await,
                None => Instant::now(),
            };
            let connected = TcpStream::connect(self.address).await;
            let mut stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
            self.client.round_trip(&mut stream, number, begun_at).await?;
            stream.abort();
            number += 1;
        }
        Ok(())
    }
}
