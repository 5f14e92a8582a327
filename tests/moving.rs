//! Streams that move from core to core: nothing is lost, doubled or moved within the stream,
//! whatever is in flight, whenever the move is given up, and whatever the peer does meanwhile.

mod support;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;

use corio::cores::Cores;
use corio::net::{DetachedTcpStream, ListenOptions, TcpStream};
use corio::{Driver, Runtime, spawn, yield_now};
use support::{
    Checker, Random, assert_kind, bounded, numbered, pair, pair_with, pair_with_std, poll_once,
    reset_by, settle, until,
};

fn cores(count: usize) -> Cores {
    Cores::available().unwrap().count(count).on_start(|_| {})
}

/// Polls a future so often, then drops it; what it gave, if it was ready before.
async fn polled<F: Future>(future: F, count: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..count {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        match polled {
            Poll::Ready(output) => return Some(output),
            Poll::Pending => yield_now().await,
        }
    }
    None
}

/// Writes the numbered stream up to a position, as the other end reads it.
async fn write_up_to(stream: &TcpStream, from: u64, to: u64, random: &mut Random) {
    let mut position = from;
    while position < to {
        let length = (1 + random.below(60_000)).min((to - position) as usize);
        let piece = numbered(position, length);
        position += length as u64;
        match random.below(2) {
            0 => bounded(stream.write(&piece)).await.unwrap(),
            _ => bounded(stream.write_owned(piece)).await.unwrap(),
        }
    }
}

/// Reads whatever has come and is whole, without waiting for more.
async fn read_some(stream: &mut TcpStream, checker: &mut Checker) {
    while let Some(chunk) = polled(stream.read_chunk(), 2).await {
        let Some(chunk) = chunk.unwrap() else { return };
        checker.take(&chunk);
    }
}

const HOPS: u64 = 20;
const HOP_BYTES: u64 = 100_000;

/// What travels: the connection, what was read of it, what was written to it.
struct Traveller {
    stream: DetachedTcpStream,
    checker: Checker,
    written: u64,
    random: Random,
}

impl Traveller {
    async fn hop(mut self) -> Traveller {
        let mut stream = self.stream.attach();
        let to = self.written + HOP_BYTES;
        write_up_to(&stream, self.written, to, &mut self.random).await;
        self.written = to;
        read_some(&mut stream, &mut self.checker).await;
        let given_up = self.random.below(3);
        let detached = match polled(stream.detach(), given_up).await {
            Some(detached) => detached,
            None => bounded(stream.detach()).await,
        };
        self.stream = detached.unwrap();
        self
    }
}

#[corio::test]
fn bytes_of_both_directions_survive_a_stream_that_hops_between_cores() {
    cores(3)
        .block_on(|core| async move {
            let (mut peer, mut stream) = pair().await;
            let total = HOPS * HOP_BYTES;
            let echo = spawn(async move {
                let (mut reader, writer) = TcpStream::split(&mut peer);
                let mut checker = Checker::default();
                let mut random = Random::new(5);
                while checker.position < total {
                    let chunk = bounded(reader.read_chunk()).await.unwrap().unwrap();
                    checker.take(&chunk);
                    if random.below(4) == 0 {
                        yield_now().await;
                    }
                    writer.write_owned(chunk).await.unwrap();
                }
                peer.close().await.unwrap();
            });
            let stream = stream.detach().await.unwrap();
            let (checker, random) = (Checker::default(), Random::new(7));
            let mut traveller = Traveller { stream, checker, written: 0, random };
            for hop in 0..HOPS as usize {
                let on = core.handle(hop % core.count());
                traveller = bounded(on.spawn(move || traveller.hop())).await.unwrap();
            }
            let mut stream = traveller.stream.attach();
            let mut checker = traveller.checker;
            while let Some(chunk) = bounded(stream.read_chunk()).await.unwrap() {
                checker.take(&chunk);
            }
            assert_eq!(checker.position, total);
            drop(stream);
            bounded(echo).await.unwrap();
        })
        .unwrap();
}

/// A connection whose kernel buffers hold little, so that a send of megabytes stays in flight.
async fn narrow_pair() -> (TcpStream, TcpStream) {
    pair_with(&ListenOptions::new().send_buffer(64 << 10).receive_buffer(64 << 10)).await
}

/// More than the kernel takes of a peer that does not read.
const MUCH: usize = 12 << 20;

/// Enough for a send to be in flight on any usual machine, where nothing depends on it.
const ENOUGH: usize = 2 << 20;

#[corio::test]
async fn a_move_given_up_at_any_poll_leaves_the_stream_as_it_was() {
    for polls in 0..5 {
        let (mut peer, mut stream) = narrow_pair().await;
        // A receive stands, a send is in flight, and something lies unread.
        assert!(poll_once(stream.read(&mut [0; 8])).is_none());
        stream.write_owned(numbered(0, ENOUGH)).await.unwrap();
        peer.write(&numbered(0, 100)).await.unwrap();
        settle().await;
        if let Some(detached) = polled(stream.detach(), polls).await {
            stream = detached.unwrap().attach();
        }
        let reading = spawn(async move {
            let mut checker = Checker::default();
            while checker.position < ENOUGH as u64 {
                checker.take(&bounded(peer.read_chunk()).await.unwrap().unwrap());
            }
            peer.write(&numbered(100, 100)).await.unwrap();
            peer.close().await.unwrap();
        });
        let mut all = Vec::new();
        bounded(stream.read_to_end(&mut all)).await.unwrap();
        assert!(all == numbered(0, 200), "after {polls} polls");
        drop(stream);
        bounded(reading).await.unwrap();
    }
}

#[corio::test]
async fn a_move_that_is_leaked_holds_nothing_up() {
    let (mut peer, mut stream) = narrow_pair().await;
    assert!(poll_once(stream.read(&mut [0; 8])).is_none());
    stream.write_owned(numbered(0, ENOUGH)).await.unwrap();
    settle().await;
    {
        let mut detach = Box::pin(stream.detach());
        let pending = poll_fn(|context| Poll::Ready(detach.as_mut().poll(context).is_pending()));
        assert!(pending.await);
        std::mem::forget(detach);
    }
    let reading = spawn(async move {
        let mut checker = Checker::default();
        while checker.position < ENOUGH as u64 {
            checker.take(&bounded(peer.read_chunk()).await.unwrap().unwrap());
        }
        peer.write(b"all").await.unwrap();
    });
    let mut answer = [0; 3];
    bounded(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"all");
    bounded(reading).await.unwrap();
}

#[corio::test]
async fn what_was_neither_read_nor_sent_goes_along_and_can_be_seen() {
    let (mut peer, mut stream) = narrow_pair().await;
    peer.write(b"unread").await.unwrap();
    assert_eq!(bounded(stream.fill_buf()).await.unwrap(), b"unread");
    stream.write_owned(numbered(0, MUCH)).await.unwrap();
    settle().await;
    let detached = bounded(stream.detach()).await.unwrap();
    assert_eq!(detached.unread(), b"unread");
    assert!((1..=MUCH).contains(&detached.unsent_bytes()), "{}", detached.unsent_bytes());
    assert_eq!(detached.peer_addr().unwrap(), peer.local_addr().unwrap());
    let mut stream = detached.attach();
    let reading = spawn(async move {
        let mut checker = Checker::default();
        while let Some(chunk) = bounded(peer.read_chunk()).await.unwrap() {
            checker.take(&chunk);
        }
        checker.position
    });
    let mut six = [0; 6];
    stream.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"unread");
    bounded(stream.close()).await.unwrap();
    assert_eq!(bounded(reading).await.unwrap(), MUCH as u64);
}

#[corio::test]
async fn an_end_and_a_shutdown_that_were_on_their_way_are_kept() {
    let (mut peer, mut stream) = pair().await;
    peer.write(b"last words").await.unwrap();
    peer.shutdown().await.unwrap();
    bounded(stream.fill_buf()).await.unwrap();
    settle().await;
    stream.write(b"answer").await.unwrap();
    // Asked for, and not out: the bytes before it leave at the end of the turn.
    assert!(poll_once(stream.shutdown()).is_none());
    let mut stream = bounded(stream.detach()).await.unwrap().attach();
    assert_kind(stream.write(b"more").await, ErrorKind::BrokenPipe);
    let mut all = Vec::new();
    bounded(stream.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"last words");
    all.clear();
    bounded(peer.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"answer");
}

#[corio::test]
async fn a_reset_before_within_or_after_the_move_is_told_once_by_each_side() {
    for moment in 0..3 {
        let (peer, mut stream) = pair_with_std().await;
        let mut peer = Some(peer);
        assert!(poll_once(stream.read(&mut [0; 8])).is_none());
        if moment == 0 {
            reset_by(peer.take().unwrap(), &stream).await;
            settle().await;
        }
        let mut detached = bounded(stream.detach()).await.unwrap();
        if moment == 1 {
            stream = detached.attach();
            stream.write(b"x").await.unwrap();
            stream.flush().await.unwrap();
            detached = bounded(stream.detach()).await.unwrap();
            let peer = peer.take().unwrap();
            peer.peek(&mut [0]).unwrap();
            drop(peer);
        }
        let mut stream = detached.attach();
        if let Some(peer) = peer {
            reset_by(peer, &stream).await;
        }
        assert_kind(bounded(stream.read(&mut [0; 8])).await, ErrorKind::ConnectionReset);
        let mut failed = false;
        while !failed {
            failed = bounded(async { stream.write(b"x").await.and(stream.flush().await) })
                .await
                .is_err();
        }
    }
}

#[corio::test]
async fn what_stays_behind_says_that_it_is_not_connected() {
    let (mut peer, mut stream) = pair().await;
    let detached = stream.detach().await.unwrap();
    let gone = ErrorKind::NotConnected;
    assert_kind(stream.detach().await, gone);
    assert_kind(stream.read(&mut [0]).await, gone);
    assert_kind(stream.write(b"x").await, gone);
    assert_kind(stream.flush().await, gone);
    assert_kind(stream.shutdown().await, gone);
    assert!(stream.is_closing());
    assert!(stream.peer_addr().is_err());
    stream.abort();
    assert_kind(stream.close().await, gone);
    let stream = detached.attach();
    stream.write(b"alive").await.unwrap();
    let mut five = [0; 5];
    bounded(peer.read_exact(&mut five)).await.unwrap();
    drop(stream);
    assert_eq!(bounded(peer.read(&mut five)).await.unwrap(), 0);
}

#[corio::test]
async fn options_of_the_socket_are_kept() {
    let (_peer, mut stream) = pair().await;
    stream.set_nodelay(false).unwrap();
    let moved = stream.detach().await.unwrap().attach();
    assert!(!moved.nodelay().unwrap());
}

#[corio::test]
async fn dropped_on_a_core_it_sends_what_is_unsent_and_elsewhere_it_resets() {
    for on_a_core in [true, false] {
        let (mut peer, mut stream) = narrow_pair().await;
        stream.write_owned(numbered(0, MUCH)).await.unwrap();
        settle().await;
        let detached = bounded(stream.detach()).await.unwrap();
        match on_a_core {
            true => drop(detached),
            false => std::thread::spawn(move || drop(detached)).join().unwrap(),
        }
        let mut checker = Checker::default();
        let end = loop {
            match bounded(peer.read_chunk()).await {
                Ok(Some(chunk)) => checker.take(&chunk),
                Ok(None) => break None,
                Err(error) => break Some(error.kind()),
            }
        };
        match on_a_core {
            true => assert_eq!((end, checker.position), (None, MUCH as u64)),
            false => assert_eq!(end, Some(ErrorKind::ConnectionReset)),
        }
    }
}

#[corio::test]
async fn dropped_elsewhere_with_nothing_to_send_it_just_ends() {
    let (mut peer, mut stream) = pair().await;
    stream.write(b"sent").await.unwrap();
    stream.flush().await.unwrap();
    let detached = stream.detach().await.unwrap();
    std::thread::spawn(move || drop(detached)).join().unwrap();
    let mut all = Vec::new();
    bounded(peer.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"sent");
}

#[corio::test]
fn a_task_that_never_starts_closes_the_connection_that_it_was_given() {
    let ended = Runtime::new().unwrap();
    let handle = ended.block_on(async { corio::cores::CoreHandle::current() });
    ended.close();
    corio::run(async {
        let (mut peer, mut stream) = pair().await;
        stream.write(b"hello").await.unwrap();
        let detached = bounded(stream.detach()).await.unwrap();
        let never = handle.spawn(move || async move { drop(detached.attach()) });
        assert!(bounded(never).await.unwrap_err().is_cancelled());
        let mut all = Vec::new();
        bounded(peer.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all, b"hello");
    });
}

/// Hazard: one driver leaves sockets non-blocking, and on the other such a socket never waits.
#[corio::test]
fn a_stream_moves_between_runtimes_of_different_drivers() {
    let first = Runtime::builder().driver(Driver::Epoll).build().unwrap();
    let second = Runtime::new().unwrap();
    let (peer, mut detached) = first.block_on(async {
        let (peer, mut stream) = pair_with_std().await;
        assert!(poll_once(stream.read(&mut [0; 8])).is_none());
        settle().await;
        (peer, stream.detach().await.unwrap())
    });
    for (runtime, letter) in [&second, &first, &second, &first].into_iter().zip(b"abcd") {
        let (peer, letter) = (&peer, *letter);
        detached = runtime.block_on(async {
            let mut stream = detached.attach();
            let mut one = [0];
            {
                let mut read = pin!(stream.read(&mut one));
                assert!(
                    poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await.is_pending()
                );
                settle().await;
                let turns = corio::stats().turns;
                settle().await;
                assert!(corio::stats().turns - turns < 100, "the loop spins");
                std::io::Write::write_all(&mut &*peer, &[letter]).unwrap();
                assert_eq!(bounded(read).await.unwrap(), 1);
            }
            assert_eq!(one, [letter]);
            stream.detach().await.unwrap()
        });
    }
    drop(detached);
}

#[corio::test]
fn a_stream_of_the_standard_library_is_attached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    corio::run(async move {
        let mut stream = DetachedTcpStream::from(accepted).attach();
        let reader = spawn(async move {
            let line = stream.read_line(100).await.unwrap();
            stream.write(&line).await.unwrap();
            stream.close().await.unwrap();
        });
        let mut peer = DetachedTcpStream::from(peer).attach();
        settle().await;
        peer.write(b"hello\n").await.unwrap();
        assert_eq!(bounded(peer.read_line(100)).await.unwrap(), b"hello\n");
        drop(peer);
        bounded(reader).await.unwrap();
    });
}

#[corio::test]
async fn an_unseen_error_goes_along_and_is_told_by_the_moved_stream() {
    let (peer, mut stream) = pair_with_std().await;
    reset_by(peer, &stream).await;
    // A write that meets the reset; nobody asks how it went.
    let write = async {
        stream.write(b"x").await.unwrap();
        until(|| stream.is_closing()).await;
    };
    bounded(write).await;
    let moved = bounded(stream.detach()).await.unwrap().attach();
    assert!(moved.flush().await.is_err());
}
