//! Two ends of a connection and a listener: the near end is tried, the far end provokes and checks.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::signal::Signals;
use corio::time::{Instant, Interval};

use super::kinds::Kind;
use super::support::{Random, bounded, until};
use super::turn;

/// After so many bytes the pattern begins anew.
const PATTERN_BYTES: usize = 65_500;

/// Bytes that show every loss, doubling and exchange, in lines of a hundred. They are many, so they
/// are made once and compared as a whole.
pub fn pattern(from: u64, length: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut random = Random::new(1);
        let mut bytes: Vec<u8> = (0..PATTERN_BYTES).map(|_| random.below(256) as u8).collect();
        for line in bytes.chunks_mut(100) {
            line[98..].copy_from_slice(b"\r\n");
        }
        bytes.repeat(3)
    });
    let start = (from % PATTERN_BYTES as u64) as usize;
    &PATTERN[start..start + length]
}

/// Takes the pattern in.
#[derive(Default)]
pub struct Checker {
    pub position: u64,
}

impl Checker {
    #[track_caller]
    pub fn take(&mut self, bytes: &[u8]) {
        let due = pattern(self.position, bytes.len());
        assert!(bytes == due, "bytes after {} were lost, doubled or moved", self.position);
        self.position += bytes.len() as u64;
    }
}

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
    pub signals: Option<Signals>,
    pub signal_count: usize,
}

/// What provokes and checks.
pub struct Far {
    pub stream: TcpStream,
    pub listener: TcpListener,
    pub sent: u64,
    pub heard: Checker,
    /// Connections to the near listener.
    pub clients: Vec<TcpStream>,
    /// Signals that were sent to this process.
    pub signal_count: usize,
    pub address: std::net::SocketAddr,
}

/// Both ends.
pub struct Stage {
    pub near: Near,
    pub far: Far,
}

/// A smaller buffer than usual, so that a writer is blocked sooner.
fn options() -> ListenOptions {
    ListenOptions::new().nodelay(true).send_buffer(100_000)
}

impl Stage {
    pub async fn new() -> Stage {
        let near_listener = options().bind("127.0.0.1:0").await.unwrap();
        let far_listener = options().bind("127.0.0.1:0").await.unwrap();
        let far_stream = TcpStream::connect(near_listener.local_addr().unwrap()).await.unwrap();
        far_stream.set_nodelay(true).unwrap();
        let near = Near {
            stream: Some(near_listener.accept().await.unwrap()),
            accepted: Vec::new(),
            address: far_listener.local_addr().unwrap(),
            taken: Checker::default(),
            written: 0,
            rest: Vec::new(),
            ticks: corio::interval(Duration::from_micros(100)),
            last_tick: None,
            signals: None,
            signal_count: 0,
            listener: near_listener,
        };
        let far = Far {
            stream: far_stream,
            sent: 0,
            heard: Checker::default(),
            clients: Vec::new(),
            signal_count: 0,
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
        bounded(far.hear_all(near.written)).await;
        near.write(10).await;
        bounded(far.hear_all(near.written)).await;
        while near.accepted.len() < far.clients.len() {
            near.accepted.push(bounded(near.listener.accept()).await.unwrap());
        }
        for stream in near.accepted.drain(..) {
            stream.abort();
        }
        far.clients.clear();
        while let Ok(connected) = corio::timeout(Duration::ZERO, far.listener.accept()).await {
            connected.unwrap().abort();
        }
        while near.signal_count < far.signal_count {
            bounded(near.take_signal()).await;
        }
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

    pub async fn take_signal(&mut self) {
        self.signals.as_ref().unwrap().recv().await.unwrap();
        self.signal_count += 1;
    }

    async fn take_all(&mut self, sent: u64) {
        while self.taken.position < sent {
            let chunk = self.stream().read_chunk().await.unwrap();
            self.taken.take(&chunk.expect("more was sent"));
        }
    }

    async fn write(&mut self, count: usize) {
        let bytes = pattern(self.written, count);
        self.stream().write(bytes).await.unwrap();
        self.written += count as u64;
    }

    /// Writes until a writer has to wait, and goes on having to.
    pub async fn fill_outbox(&mut self) {
        let mut refused_count = 0;
        while refused_count < 10 {
            let bytes = pattern(self.written, 40_000);
            match corio::timeout(Duration::ZERO, self.stream().write(bytes)).await {
                Ok(written) => {
                    written.unwrap();
                    self.written += 40_000;
                    refused_count = 0;
                }
                Err(_) => refused_count += 1,
            }
            turn().await;
        }
    }
}

impl Far {
    pub async fn send(&mut self, count: usize) {
        let bytes = pattern(self.sent, count);
        self.stream.write(bytes).await.unwrap();
        self.sent += count as u64;
    }

    /// Reads what comes next; false at the end.
    pub async fn hear(&mut self) -> bool {
        let chunk = self.stream.read_chunk().await.unwrap();
        chunk.is_some_and(|chunk| {
            self.heard.take(&chunk);
            true
        })
    }

    pub async fn hear_all(&mut self, written: u64) {
        while self.heard.position < written {
            assert!(self.hear().await, "more was written");
        }
        assert_eq!(self.heard.position, written, "more arrived than was written");
    }
}

/// Descriptors of this process.
pub fn descriptor_count() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
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
            descriptors: descriptor_count(),
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
