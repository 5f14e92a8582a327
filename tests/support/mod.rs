//! What the tests of streams have in common: connected pairs, a stream of numbered bytes that shows
//! every loss, doubling and exchange, and waiting that ends.
#![allow(dead_code)] // Each test binary uses its part of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::Location;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::{Builder, Stats};

/// No wait of a test takes longer; what does has lost its wake-up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A generator that gives the same numbers for the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as usize * bound) >> 32
    }

    /// Up to a millisecond; zero in one of four cases, which polls a future once.
    pub fn moment(&mut self) -> Duration {
        match self.below(4) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.below(1000) as u64),
        }
    }
}

/// `length` bytes of the numbered stream from a position on: every eight bytes are their number.
pub fn numbered(from: u64, length: usize) -> Vec<u8> {
    let skip = (from % 8) as usize;
    let first = from / 8;
    let count = (skip + length).div_ceil(8) as u64;
    let mut bytes = Vec::with_capacity(count as usize * 8);
    for word in first..first + count {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.drain(..skip);
    bytes.truncate(length);
    bytes
}

/// Takes the numbered stream in, and tells the first byte that is not the one that was due.
#[derive(Default)]
pub struct Checker {
    pub position: u64,
}

impl Checker {
    #[track_caller]
    pub fn take(&mut self, bytes: &[u8]) {
        let due = numbered(self.position, bytes.len());
        if let Some(wrong) = bytes.iter().zip(&due).position(|(found, due)| found != due) {
            let at = self.position + wrong as u64;
            panic!("byte {at} is {}, not {}: lost, doubled or moved", bytes[wrong], due[wrong]);
        }
        self.position += bytes.len() as u64;
    }
}

/// A connection on the loopback: who connected, and who accepted.
pub async fn pair() -> (TcpStream, TcpStream) {
    pair_with(&ListenOptions::new()).await
}

/// As [`pair`], of a listener with these options.
pub async fn pair_with(options: &ListenOptions) -> (TcpStream, TcpStream) {
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap())
}

/// A connection whose other end is an ordinary blocking socket, and not corio's.
pub async fn pair_with_std() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (peer, listener.accept().await.unwrap())
}

/// Closes an ordinary socket such that the other end is reset: it leaves input unread.
pub async fn reset_by(peer: std::net::TcpStream, stream: &TcpStream) {
    stream.write(b"never read").await.unwrap();
    stream.flush().await.unwrap();
    // The bytes have to be there, or a plain FIN goes out.
    peer.peek(&mut [0]).unwrap();
    drop(peer);
}

/// Waits for a future that has to end; one that does not has lost a wake-up, or bytes.
#[track_caller]
pub fn bounded<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match corio::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("what {caller} waits for does not end"),
        }
    }
}

/// Lets the loop turn until the condition holds.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let start = corio::time::Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "what {caller} waits for never holds");
            corio::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// As [`until`], of what the runtime counts.
#[track_caller]
pub fn until_stats(mut condition: impl FnMut(&Stats) -> bool) -> impl Future<Output = ()> {
    until(move || condition(&corio::stats()))
}

/// Lets the loop turn for a while, so that what is on its way arrives.
pub async fn settle() {
    corio::sleep(Duration::from_millis(5)).await;
}

/// Polls a future once, with a waker that does nothing.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Runs a future on a runtime with settings of its own.
#[track_caller]
pub fn run_with<F: Future>(builder: Builder, future: F) -> F::Output {
    builder.build().unwrap().block_on(bounded(future))
}

/// The name that the kernel gives a stream's socket: it is of this socket only, while the number of
/// a descriptor is given again.
pub fn socket_name(stream: &TcpStream) -> PathBuf {
    let number = stream.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
}

/// Whether a descriptor of this process still refers to the socket.
pub fn is_open(socket: &PathBuf) -> bool {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    descriptors.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|name| name == *socket))
}

/// Whether an error is of this kind; otherwise it is shown.
#[track_caller]
pub fn assert_kind<T>(result: io::Result<T>, kind: io::ErrorKind) {
    match result {
        Ok(_) => panic!("expected {kind:?}, found no error"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// A listener whose backlog is full: a connect to it does not come to an end.
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _full: Vec<std::net::TcpStream>,
}

impl Blackhole {
    pub async fn new() -> Blackhole {
        let listener = ListenOptions::new().backlog(1).bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let full =
            (0..2).map(|_| std::net::TcpStream::connect(address).expect("the backlog takes two"));
        Blackhole { address, _full: full.collect(), _listener: listener }
    }
}
