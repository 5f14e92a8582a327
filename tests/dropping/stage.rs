//! Two ends of a connection and a listener: the near end is tried, the far end provokes and checks.

use std::cell::Cell;
use std::time::Duration;

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::time::{Instant, Interval};

use super::kinds::Kind;
use super::support::{Checker, bounded, numbered, until};

/// What the attempts borrow, and what they noted of their success.
pub struct Near {
    pub stream: Option<TcpStream>,
    pub listener: TcpListener,
    pub accepted: Vec<TcpStream>,
    /// Where the far listener is.
    pub address: std::net::SocketAddr,
    pub taken: Checker,
    pub written: u64,
    pub rest: Vec<u8>,
    pub ticks: Interval,
    pub last_tick: Option<Instant>,
}

/// What provokes and checks.
pub struct Far {
    pub stream: TcpStream,
    pub listener: TcpListener,
    pub sent: u64,
    pub heard: Checker,
    /// Connections to the near listener.
    pub clients: Vec<TcpStream>,
    pub address: std::net::SocketAddr,
}

/// Both ends.
pub struct Stage {
    pub near: Near,
    pub far: Far,
}

/// Smaller buffers than usual, so that a writer is blocked sooner; much smaller ones than a segment
/// of the loopback would stall TCP itself.
fn options() -> ListenOptions {
    ListenOptions::new().send_buffer(100_000).receive_buffer(100_000)
}

impl Stage {
    pub async fn new(_kind: &Kind) -> Stage {
        let near_listener = options().bind("127.0.0.1:0").await.unwrap();
        let far_listener = options().bind("127.0.0.1:0").await.unwrap();
        let far_stream = TcpStream::connect(near_listener.local_addr().unwrap()).await.unwrap();
        let near = Near {
            stream: Some(near_listener.accept().await.unwrap()),
            accepted: Vec::new(),
            address: far_listener.local_addr().unwrap(),
            taken: Checker::default(),
            written: 0,
            rest: Vec::new(),
            ticks: corio::interval(Duration::from_micros(100)),
            last_tick: None,
            listener: near_listener,
        };
        let far = Far {
            stream: far_stream,
            sent: 0,
            heard: Checker::default(),
            clients: Vec::new(),
            address: near.listener.local_addr().unwrap(),
            listener: far_listener,
        };
        Stage { near, far }
    }

    /// All goes on: bytes arrive in order in both directions, and no client is lost.
    pub async fn check(&mut self) {
        let Stage { near, far } = self;
        far.send(10).await;
        bounded(near.take_all(far.sent)).await;
        near.write(10).await;
        bounded(far.hear_all(near.written)).await;
        while near.accepted.len() < far.clients.len() {
            near.accepted.push(bounded(near.listener.accept()).await.unwrap());
        }
        for stream in near.accepted.drain(..) {
            stream.abort();
        }
        far.clients.clear();
    }

    /// The end of a stage: what was written arrives whole, and everything is let go of.
    pub async fn finish(self, kind: &Kind, is_held: bool) {
        let Stage { mut near, mut far } = self;
        if !kind.ends_stream && !is_held {
            drop((near, far));
            return;
        }
        let stream = near.stream.take();
        drop(stream);
        if !kind.keeps_stream {
            bounded(far.hear_all(near.written)).await;
            assert_eq!(bounded(far.stream.read(&mut [0; 8])).await.unwrap(), 0);
        }
    }
}

impl Near {
    pub fn stream(&mut self) -> &mut TcpStream {
        self.stream.as_mut().unwrap()
    }

    async fn take_all(&mut self, sent: u64) {
        while self.taken.position < sent {
            let chunk = self.stream().read_chunk().await.unwrap();
            self.taken.take(&chunk.expect("more was sent"));
        }
    }

    async fn write(&mut self, count: usize) {
        let bytes = numbered(self.written, count);
        self.stream().write(&bytes).await.unwrap();
        self.written += count as u64;
    }

    /// Writes until a writer has to wait, and goes on having to.
    pub async fn fill_outbox(&mut self) {
        let mut refused_count = 0;
        while refused_count < 10 {
            let bytes = numbered(self.written, 40_000);
            match corio::timeout(Duration::ZERO, self.stream().write(&bytes)).await {
                Ok(written) => {
                    written.unwrap();
                    self.written += 40_000;
                    refused_count = 0;
                }
                Err(_) => refused_count += 1,
            }
            corio::yield_now().await;
        }
    }
}

impl Far {
    pub async fn send(&mut self, count: usize) {
        let bytes = numbered(self.sent, count);
        self.stream.write(&bytes).await.unwrap();
        self.sent += count as u64;
    }

    pub async fn hear(&mut self) {
        let chunk = self.stream.read_chunk().await.unwrap();
        self.heard.take(&chunk.expect("more was written"));
    }

    pub async fn hear_all(&mut self, written: u64) {
        while self.heard.position < written {
            self.hear().await;
        }
        assert_eq!(self.heard.position, written, "more arrived than was written");
    }
}

/// What is in use.
#[derive(Clone, Copy, Debug)]
pub struct Census {
    descriptors: usize,
    operations: usize,
    buffers: usize,
    tasks: usize,
}

impl Census {
    pub fn take() -> Census {
        let stats = corio::stats();
        Census {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            operations: stats.operations_in_flight,
            buffers: stats.buffers_in_use,
            tasks: stats.tasks,
        }
    }

    /// Waits until no more is in use than at the start and what forgotten attempts may keep.
    pub async fn comes_back(self, kind: &Kind, forgotten_count: usize) {
        let kept_count = if kind.keeps_stream { forgotten_count } else { 0 };
        let last = Cell::new(self);
        let is_back = || {
            let now = Census::take();
            last.set(now);
            now.descriptors <= self.descriptors + kept_count
                && now.operations <= self.operations + kept_count
                && now.buffers <= self.buffers
                && now.tasks <= self.tasks
        };
        if corio::timeout(Duration::from_secs(5), until(is_back)).await.is_err() {
            let now = last.get();
            panic!("{}: {self:?} became {now:?}, {kept_count} may be kept", kind.name);
        }
    }
}
