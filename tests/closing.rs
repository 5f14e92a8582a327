//! The end of a stream: FIN at once, everything sent before it, no descriptor kept, and none
//! touched that is somebody else's by now.

mod support;

use std::cell::RefCell;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::Duration;

use corio::io::Closed;
use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::time::Instant;
use corio::{Runtime, stats};
use support::{
    Checker, assert_kind, bounded, is_open, numbered, pair, pair_with, pair_with_std, poll_once,
    reset_by, settle, socket_name, until, until_stats,
};

/// The bell of the core: the one operation that stands for the life of the runtime.
const STANDING_COUNT: usize = 1;

/// Less than the linger limit, which a FIN that is not sent at once would wait for.
const FIN_LIMIT: Duration = Duration::from_secs(2);

/// Has the receive armed, and nobody wait.
fn arm(stream: &mut TcpStream) {
    assert!(poll_once(stream.read_chunk()).is_none());
}

async fn read_to_end(stream: &mut TcpStream) -> u64 {
    let mut checker = Checker::default();
    while let Some(chunk) = bounded(stream.read_chunk()).await.unwrap() {
        checker.take(&chunk);
    }
    checker.position
}

#[corio::test]
async fn a_close_with_a_read_standing_sends_fin_at_once() {
    for is_dropped in [false, true] {
        let (mut peer, mut stream) = pair().await;
        arm(&mut stream);
        settle().await;
        let start = Instant::now();
        let closing = match is_dropped {
            true => {
                drop(stream);
                None
            }
            false => Some(corio::spawn(stream.close())),
        };
        assert_eq!(bounded(peer.read(&mut [0])).await.unwrap(), 0);
        assert!(start.elapsed() < FIN_LIMIT, "FIN took {:?}", start.elapsed());
        drop(peer);
        if let Some(closing) = closing {
            assert_eq!(bounded(closing).await.unwrap().unwrap(), Closed::PeerFinished);
        }
    }
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
}

#[corio::test]
async fn a_socket_that_gets_an_old_number_is_not_touched_by_old_operations() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut reused_count = 0;
    for round in 0..40 {
        let (mut old_peer, mut old) = pair_with_std().await;
        arm(&mut old);
        settle().await;
        let number = old.as_fd().as_raw_fd();
        match round % 3 {
            0 => old.abort(),
            1 => old.set_linger(Duration::from_millis(1)),
            _ => {
                // Nothing but the standing receive is left when the peer has ended, too.
                drop(old_peer.shutdown(std::net::Shutdown::Write));
            }
        }
        let name = socket_name(&old);
        drop(old);
        // What comes now is for the old socket, or for nobody.
        drop(old_peer.write_all(&[0xee; 100]));
        until(|| !is_open(&name)).await;
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = bounded(listener.accept()).await.unwrap();
        reused_count += usize::from(stream.as_fd().as_raw_fd() == number);
        drop(old_peer.write_all(&[0xee; 100]));
        arm(&mut stream);
        drop(old_peer);
        settle().await;
        peer.write_all(&numbered(0, 1000)).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut stream).await, 1000);
    }
    assert!(reused_count > 0, "no number was given again, so nothing was tried");
}

/// Reads slowly, and sends what nobody reads meanwhile.
async fn noisy_reader(mut stream: TcpStream) -> u64 {
    let (mut reader, writer) = stream.split();
    let mut checker = Checker::default();
    while let Some(chunk) = bounded(reader.read_chunk()).await.unwrap() {
        checker.take(&chunk);
        if checker.position % 3 == 0 {
            // Once FIN has come both ways, nobody takes this any more.
            let _ = poll_once(writer.write(&[1; 500]));
        }
        corio::sleep(Duration::from_micros(200)).await;
    }
    checker.position
}

#[corio::test]
async fn four_megabytes_arrive_whole_although_input_was_left_unread() {
    const LENGTH: usize = 4 << 20;
    for is_dropped in [false, true] {
        let (client, server) = pair().await;
        client.write(&[1; 200_000]).await.unwrap();
        let reading = corio::spawn(noisy_reader(client));
        server.write(&numbered(0, LENGTH)).await.unwrap();
        bounded(server.flush()).await.unwrap();
        match is_dropped {
            true => drop(server),
            false => drop(bounded(server.close()).await.unwrap()),
        }
        assert_eq!(bounded(reading).await.unwrap(), LENGTH as u64);
    }
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
    assert_eq!(stats().buffers_in_use, 0);
}

#[corio::test]
async fn a_close_tells_that_the_peer_has_ended_too() {
    let (mut peer, stream) = pair().await;
    stream.write(&numbered(0, 100_000)).await.unwrap();
    let closing = corio::spawn(stream.close());
    assert_eq!(read_to_end(&mut peer).await, 100_000);
    assert!(!closing.is_finished(), "the peer has not ended");
    peer.shutdown().await.unwrap();
    assert_eq!(bounded(closing).await.unwrap().unwrap(), Closed::PeerFinished);
}

#[corio::test]
async fn a_close_tells_that_the_peer_reset_after_everything_was_sent() {
    for reset_first in [false, true] {
        let (peer, stream) = pair_with_std().await;
        let closed = if reset_first {
            reset_by(peer, &stream).await;
            settle().await;
            bounded(stream.close()).await
        } else {
            stream.write(b"never read").await.unwrap();
            let closing = corio::spawn(stream.close());
            settle().await;
            peer.peek(&mut [0]).unwrap();
            drop(peer);
            bounded(closing).await.unwrap()
        };
        assert_eq!(closed.unwrap(), Closed::PeerReset, "reset first: {reset_first}");
    }
}

#[corio::test]
async fn a_close_stops_waiting_at_the_linger_limit_and_frees_the_socket() {
    for is_dropped in [false, true] {
        let (mut peer, mut stream) = pair_with_std().await;
        arm(&mut stream);
        stream.set_linger(Duration::from_millis(20));
        stream.write(b"last words").await.unwrap();
        let socket = socket_name(&stream);
        match is_dropped {
            true => drop(stream),
            false => {
                assert_eq!(bounded(stream.close()).await.unwrap(), Closed::LingerLimit);
            }
        }
        until(|| !is_open(&socket)).await;
        until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
        let mut words = String::new();
        peer.read_to_string(&mut words).unwrap();
        assert_eq!(words, "last words");
    }
}

#[corio::test]
async fn a_close_gives_up_on_a_peer_that_sends_without_end() {
    let (peer, mut stream) = pair().await;
    arm(&mut stream);
    let socket = socket_name(&stream);
    let flooding = corio::spawn(async move {
        loop {
            if let Err(error) = peer.write(&[1; 60_000]).await {
                return error.kind();
            }
        }
    });
    assert_eq!(bounded(stream.close()).await.unwrap(), Closed::DiscardLimit);
    until(|| !is_open(&socket)).await;
    let kind = bounded(flooding).await.unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
}

#[corio::test]
async fn a_close_to_a_peer_that_takes_nothing_times_out_and_says_what_is_unsent() {
    const LENGTH: usize = 32 << 20;
    let (mut peer, mut stream) = pair_with_std().await;
    stream.set_linger(Duration::from_millis(50));
    let socket = socket_name(&stream);
    stream.write_owned(numbered(0, LENGTH)).await.unwrap();
    let error = bounded(stream.close()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let text = error.to_string();
    let unsent = text.split("; ").nth(1).and_then(|rest| rest.split(' ').next());
    let unsent: usize = unsent.and_then(|count| count.parse().ok()).expect(&text);
    assert!(unsent > LENGTH / 2 && unsent < LENGTH, "{text}");
    until(|| !is_open(&socket)).await;
    let end = peer.read_to_end(&mut Vec::new());
    assert_kind(end, ErrorKind::ConnectionReset);
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
}

#[corio::test]
async fn a_slow_peer_that_goes_on_reading_is_not_cut_off_at_the_linger_limit() {
    const LENGTH: usize = 12 << 20;
    // With little room in the kernel, what the peer takes is soon seen here.
    let options = ListenOptions::new().send_buffer(256 << 10);
    let (mut peer, mut stream) = pair_with(&options).await;
    stream.set_linger(Duration::from_millis(300));
    // One send for all of it: that it goes on cannot be seen from its end.
    stream.write_owned(numbered(0, LENGTH)).await.unwrap();
    let start = Instant::now();
    let closing = corio::spawn(stream.close());
    let mut checker = Checker::default();
    let mut piece = vec![0; 1 << 20];
    while checker.position < LENGTH as u64 {
        bounded(peer.read_exact(&mut piece)).await.unwrap();
        checker.take(&piece);
        corio::sleep(Duration::from_millis(60)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(600), "too fast to tell");
    assert_eq!(bounded(peer.read(&mut piece)).await.unwrap(), 0);
    drop(peer);
    // The limit may have passed since the kernel took the last of it, which harms nothing.
    let closed = bounded(closing).await.unwrap().unwrap();
    assert!(matches!(closed, Closed::PeerFinished | Closed::LingerLimit), "{closed:?}");
}

#[corio::test]
async fn a_close_that_is_dropped_after_any_poll_goes_on_in_the_background() {
    for polls_count in 0..6 {
        let (mut peer, stream) = pair().await;
        let socket = socket_name(&stream);
        stream.write(&numbered(0, 3 << 20)).await.unwrap();
        let mut closing = Box::pin(stream.close());
        for _ in 0..polls_count {
            assert!(poll_once(closing.as_mut()).is_none(), "nobody has read anything");
            settle().await;
        }
        drop(closing);
        assert_eq!(read_to_end(&mut peer).await, 3 << 20, "after {polls_count} polls");
        drop(peer);
        until(|| !is_open(&socket)).await;
    }
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
}

#[corio::test]
async fn a_stream_with_both_ends_over_closes_its_socket_at_once() {
    let (mut peer, mut stream) = pair().await;
    peer.shutdown().await.unwrap();
    assert!(bounded(stream.read_chunk()).await.unwrap().is_none());
    let socket = socket_name(&stream);
    drop(stream);
    settle().await;
    assert!(!is_open(&socket));
    assert_eq!(bounded(peer.read(&mut [0])).await.unwrap(), 0);
}

#[corio::test]
async fn an_abort_resets_and_everybody_hears_of_it() {
    let (mut peer, mut stream) = pair_with_std().await;
    let socket = socket_name(&stream);
    stream.write_owned(vec![1; 32 << 20]).await.unwrap();
    settle().await;
    let (mut reader, writer) = stream.split();
    let mut buffer = [0; 4];
    let (read, write, flush, ()) = bounded(async {
        corio::join!(reader.read(&mut buffer), writer.write(b"x"), writer.flush(), async {
            corio::yield_now().await;
            writer.abort();
        })
    })
    .await;
    assert_kind(read, ErrorKind::ConnectionAborted);
    assert_kind(write, ErrorKind::ConnectionAborted);
    assert_kind(flush, ErrorKind::ConnectionAborted);
    assert_kind(reader.read_chunk().await, ErrorKind::ConnectionAborted);
    assert_kind(writer.shutdown().await, ErrorKind::ConnectionAborted);
    drop(stream);
    until(|| !is_open(&socket)).await;
    until_stats(|stats| stats.operations_in_flight == STANDING_COUNT).await;
    let end = peer.read_to_end(&mut Vec::new());
    assert_kind(end, ErrorKind::ConnectionReset);
}

#[corio::test]
async fn what_had_arrived_before_an_abort_can_still_be_read() {
    let (mut peer, mut stream) = pair_with_std().await;
    arm(&mut stream);
    peer.write_all(b"arrived").unwrap();
    settle().await;
    stream.abort();
    stream.abort();
    settle().await;
    assert_eq!(&stream.read_chunk().await.unwrap().unwrap()[..], b"arrived");
    assert_kind(stream.read_chunk().await, ErrorKind::ConnectionAborted);
    assert_kind(peer.read(&mut [0]), ErrorKind::ConnectionReset);
    assert_kind(bounded(stream.close()).await, ErrorKind::ConnectionAborted);
}

/// Runs with a hook; what it was told, and how long the end of the runtime took.
fn end_of_runtime<F: Future>(future: F) -> (F::Output, Vec<String>, Duration) {
    let told = Rc::<RefCell<Vec<String>>>::default();
    let hook = {
        let told = Rc::clone(&told);
        move |unhandled: &corio::Unhandled| told.borrow_mut().push(unhandled.to_string())
    };
    let runtime = Runtime::builder().on_unhandled(hook).build().unwrap();
    let output = runtime.block_on(bounded(future));
    let start = Instant::now();
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0);
    (output, told.take(), start.elapsed())
}

#[corio::test]
fn what_was_written_in_the_last_turn_arrives_after_the_runtime_has_ended() {
    let (mut peer, told, _) = end_of_runtime(async {
        let (peer, mut stream) = pair_with_std().await;
        arm(&mut stream);
        stream.write(&numbered(0, 60_000)).await.unwrap();
        peer
    });
    let mut everything = Vec::new();
    peer.read_to_end(&mut everything).unwrap();
    assert!(everything == numbered(0, 60_000));
    assert!(told.is_empty(), "{told:?}");
}

#[corio::test]
fn a_runtime_does_not_wait_for_streams_that_have_ended() {
    let ((), told, took) = end_of_runtime(async {
        let mut held = Vec::new();
        for _ in 0..10 {
            let (mut near, far) = pair().await;
            arm(&mut near);
            far.write(b"unread").await.unwrap();
            held.push((near, far));
        }
    });
    assert!(took < Duration::from_millis(200), "it took {took:?}");
    assert!(told.is_empty(), "{told:?}");
}

#[corio::test]
fn a_runtime_ends_in_time_although_peers_never_end() {
    let (peers, _, took) = end_of_runtime(async {
        let mut peers = Vec::new();
        for _ in 0..10 {
            let (peer, mut stream) = pair_with_std().await;
            arm(&mut stream);
            stream.write_owned(vec![0; 32 << 20]).await.unwrap();
            peers.push(peer);
        }
        peers
    });
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    drop(peers);
}
