//! Peers that fall silent, that do not read, and that ask without end, on a stream that does what
//! the test says: what is bounded is counted, and not measured.

use std::io::ErrorKind;
use std::time::Duration;

use corio::ws::{CloseCode, Message, Options};

use super::ending::by_hand;
use super::hand::{FIN, PING, PONG, TEXT, frame};
use super::scripted::scripted;
use crate::support::{assert_kind, bounded, poll_once};

#[corio::test]
async fn a_peer_that_pings_and_does_not_read_is_not_read_either() {
    let (script, mut socket) = scripted(Options::new()).await;
    script.0.borrow_mut().refrain = frame(FIN | PING, &[7; 125], true);
    assert!(poll_once(socket.recv()).is_none());
    let bytes_read = script.0.borrow().bytes_read;
    // 64 pings, and the buffer that holds the next ones.
    assert!(bytes_read < 64 * 131 + 20_000, "{bytes_read} bytes of pings were read");
    // And nothing more, however often it is tried.
    assert!(poll_once(socket.recv()).is_none());
    assert_eq!(script.0.borrow().bytes_read, bytes_read);
    // Once it reads, it is answered and read again.
    script.0.borrow_mut().refrain.clear();
    script.gives_room(usize::MAX);
    assert!(poll_once(socket.recv()).is_none());
    let script = script.0.borrow();
    let pongs =
        script.output.chunks(127).filter(|pong| **pong == frame(FIN | PONG, &[7; 125], false));
    assert!(pongs.count() >= 64, "{} bytes of answers", script.output.len());
}

#[corio::test]
async fn a_peer_that_does_not_read_has_the_sender_wait() {
    let (script, mut socket) = scripted(Options::new().write_limit(1000)).await;
    let message = |number: u8| Message::from(vec![number; 600]);
    // Each of these is dropped while it waits: the first two are under the limit when they begin.
    for number in 0..10 {
        assert!(poll_once(socket.send(message(number))).is_none());
    }
    script.gives_room(usize::MAX);
    bounded(socket.send(message(10))).await.unwrap();
    let due: Vec<u8> =
        [0, 1, 10].iter().flat_map(|number| frame(FIN | 2, &[*number; 600], false)).collect();
    assert!(script.0.borrow().output == due, "frames were lost, doubled or cut");
}

#[corio::test]
async fn a_sender_that_waits_for_room_is_woken_though_the_receiver_wrote_last() {
    let (script, socket) = scripted(Options::new().write_limit(1)).await;
    let (mut sender, mut receiver) = socket.into_split();
    let sending = corio::spawn(async move {
        sender.send(vec![1; 600]).await.unwrap();
        sender.send(vec![2; 600]).await.unwrap();
    });
    corio::yield_now().await;
    // The receiver answers a ping, which waits as well, and goes away.
    script.0.borrow_mut().input.extend(frame(FIN | PING, b"x", true));
    assert!(poll_once(receiver.recv()).is_none());
    script.gives_room(usize::MAX);
    bounded(sending).await.unwrap();
    let due = [
        frame(FIN | 2, &[1; 600], false),
        frame(FIN | PONG, b"x", false),
        frame(FIN | 2, &[2; 600], false),
    ];
    assert!(script.0.borrow().output == due.concat(), "frames were lost, doubled or cut");
}

#[corio::test]
async fn a_message_goes_out_whole_through_a_stream_that_takes_a_byte_at_a_time() {
    let (script, mut socket) = scripted(Options::new()).await;
    let sending = corio::spawn(async move { socket.send("hello, world").await });
    while script.0.borrow().output.len() < 14 {
        corio::yield_now().await;
        script.gives_room(1);
    }
    bounded(sending).await.unwrap().unwrap();
    assert_eq!(script.0.borrow().output, frame(FIN | TEXT, b"hello, world", false));
}

#[corio::test]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let moment = Duration::from_millis(5);
    let options = Options::new().ping_interval(Some(moment)).ping_timeout(moment);
    let (mut hand, mut server) = by_hand(options).await;
    assert_kind(bounded(server.recv()).await, ErrorKind::TimedOut);
    assert_eq!(bounded(server.recv()).await.unwrap(), None);
    let (head, _) = hand.read_frame().await.unwrap();
    assert_eq!(head, FIN | PING);
    hand.hear().await;
    assert_eq!(hand.heard, ["close 1011"]);
}

#[corio::test]
async fn a_peer_that_answers_pings_is_not_given_up() {
    let options = Options::new().ping_interval(Some(Duration::from_millis(5)));
    let (mut hand, mut server) = by_hand(options).await;
    let receiving = corio::spawn(async move {
        let message = server.recv().await.unwrap();
        (message, server.latency())
    });
    for _ in 0..5 {
        let (head, payload) = hand.read_frame().await.unwrap();
        assert_eq!(head, FIN | PING);
        hand.send(FIN | PONG, &payload, usize::MAX).await;
    }
    hand.send(FIN | TEXT, b"here", usize::MAX).await;
    let (message, latency) = bounded(receiving).await.unwrap();
    assert_eq!(message, Some(Message::from("here")));
    assert!(latency.is_some());
}

#[corio::test]
async fn a_close_behind_what_a_peer_does_not_read_is_given_up() {
    let options = Options::new().close_timeout(Duration::from_millis(20));
    let (_script, mut socket) = scripted(options).await;
    assert!(poll_once(socket.send(vec![1; 100_000])).is_none());
    assert_kind(bounded(socket.close(CloseCode::Normal, "")).await, ErrorKind::TimedOut);
}
