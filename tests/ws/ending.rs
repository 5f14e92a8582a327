//! How a WebSocket ends: by a close of either side, by none, by one that is not answered.

use std::io::ErrorKind;
use std::time::Duration;

use corio::net::UnixStream;
use corio::ws::{Client, CloseCode, Message, Options, Server, WebSocket};
use futures_util::{SinkExt, StreamExt};

use super::hand::{CLOSE, FIN, Hand, TEXT, close_payload};
use crate::support::{assert_kind, bounded, pair};

/// A client and a server of ours, connected.
pub async fn both(options: Options) -> (WebSocket<UnixStream>, WebSocket<UnixStream>) {
    let (near, far) = UnixStream::pair().unwrap();
    let client = Client::new().options(options);
    let server = Server::new().options(options);
    let (client, server) =
        futures_util::join!(client.handshake("ws://here/", near), server.accept(far));
    (client.unwrap(), server.unwrap())
}

/// A client by hand, and a server of ours.
pub async fn by_hand(options: Options) -> (Hand, WebSocket<corio::net::TcpStream>) {
    let (near, far) = pair().await;
    let server = Server::new().options(options);
    let (hand, server) = futures_util::join!(Hand::client(near), server.accept(far));
    (hand, server.unwrap())
}

#[corio::test]
async fn a_close_tells_code_and_reason_and_what_was_sent_before_arrives() {
    let (mut client, mut server) = both(Options::new()).await;
    let closing = async {
        client.send("the last word").await.unwrap();
        client.close(CloseCode::from(4000), "bye").await.unwrap();
        client
    };
    let hearing = async {
        assert_eq!(server.recv().await.unwrap(), Some(Message::from("the last word")));
        assert_eq!(server.recv().await.unwrap(), None);
        assert_eq!(server.recv().await.unwrap(), None);
        server
    };
    let (mut client, mut server) = bounded(async { futures_util::join!(closing, hearing) }).await;
    let said = server.close_frame().unwrap();
    assert_eq!((said.code, said.reason.as_str()), (CloseCode::from(4000), "bye"));
    assert_kind(server.send("too late").await, ErrorKind::BrokenPipe);
    assert_kind(client.send("too late").await, ErrorKind::BrokenPipe);
    client.close(CloseCode::Normal, "again").await.unwrap();
    server.close(CloseCode::Normal, "again").await.unwrap();
}

#[corio::test]
async fn two_closes_that_cross_end_both_sides() {
    let (mut client, mut server) = both(Options::new()).await;
    let closing = client.close(CloseCode::Normal, "mine");
    let (client, server) =
        bounded(async { futures_util::join!(closing, server.close(CloseCode::Away, "my own")) })
            .await;
    client.unwrap();
    server.unwrap();
}

#[corio::test]
async fn a_peer_that_does_not_answer_a_close_is_not_waited_for_for_ever() {
    let options = Options::new().close_timeout(Duration::from_millis(20));
    let (hand, mut server) = by_hand(options).await;
    assert_kind(bounded(server.close(CloseCode::Normal, "")).await, ErrorKind::TimedOut);
    assert_eq!(bounded(server.recv()).await.unwrap(), None);
    drop(hand);
}

#[corio::test]
async fn a_server_that_does_not_end_the_connection_is_left_by_the_client() {
    let (near, far) = pair().await;
    let options = Options::new().close_timeout(Duration::from_millis(20));
    let client = Client::new().options(options);
    let (client, hand) =
        futures_util::join!(client.handshake("ws://here/", near), Hand::server(far));
    let (mut client, mut hand) = (client.unwrap(), hand);
    let hearing = async {
        // It answers the close, and keeps the connection.
        hand.hear().await;
        hand
    };
    let (closed, hand) =
        bounded(async { futures_util::join!(client.close(CloseCode::Normal, "bye"), hearing) })
            .await;
    closed.unwrap();
    assert_eq!(hand.heard, ["close 1000"]);
}

#[corio::test]
async fn what_comes_behind_the_close_of_both_is_no_news() {
    let (near, far) = pair().await;
    let client = Client::new();
    let opening = client.handshake("ws://here/", near);
    let (client, mut hand) = futures_util::join!(opening, Hand::server(far));
    let mut client = client.unwrap();
    hand.send(FIN | CLOSE, &close_payload(1000, b""), usize::MAX).await;
    hand.send(FIN | TEXT, b"too late", usize::MAX).await;
    assert_eq!(bounded(client.recv()).await.unwrap(), None);
    assert_eq!(client.close_frame().unwrap().code, CloseCode::Normal);
}

#[corio::test]
async fn an_end_without_a_close_is_an_error() {
    let (hand, mut server) = by_hand(Options::new()).await;
    drop(hand);
    assert_kind(bounded(server.recv()).await, ErrorKind::UnexpectedEof);
    assert_eq!(bounded(server.recv()).await.unwrap(), None);
}

#[corio::test]
async fn messages_that_come_behind_our_close_are_still_received() {
    let (mut hand, server) = by_hand(Options::new()).await;
    let (mut sender, mut receiver) = server.into_split();
    sender.close(CloseCode::Normal, "").await.unwrap();
    hand.send(FIN | TEXT, b"on its way", usize::MAX).await;
    hand.hear().await;
    assert_eq!(bounded(receiver.recv()).await.unwrap(), Some(Message::from("on its way")));
    assert_eq!(bounded(receiver.recv()).await.unwrap(), None);
    assert_kind(sender.send("too late").await, ErrorKind::BrokenPipe);
}

#[corio::test]
async fn codes_and_reasons_that_cannot_be_sent_are_refused() {
    let (mut client, _server) = both(Options::new()).await;
    for code in [0, 999, 1005, 1006, 1015, 2000, 5000] {
        assert_kind(client.close(code.into(), "").await, ErrorKind::InvalidInput);
    }
    let long = "*".repeat(124);
    assert_kind(client.close(CloseCode::Normal, &long).await, ErrorKind::InvalidInput);
    // None of them was a close.
    client.send("still here").await.unwrap();
}

#[corio::test]
async fn a_breach_is_an_error_of_its_kind_and_then_the_end() {
    let limits = Options::new().message_limit(1000).frame_limit(1000);
    let bad: [(u8, &[u8], ErrorKind); 3] = [
        (FIN | 0x40 | TEXT, b"x", ErrorKind::InvalidData),
        (FIN | TEXT, b"\xff", ErrorKind::InvalidData),
        (FIN | TEXT, &[b'x'; 1001], ErrorKind::FileTooLarge),
    ];
    for (head, payload, kind) in bad {
        let (mut hand, mut server) = by_hand(limits).await;
        hand.send(head, payload, usize::MAX).await;
        assert_kind(bounded(server.recv()).await, kind);
        assert_eq!(bounded(server.recv()).await.unwrap(), None);
        assert_kind(server.send("too late").await, ErrorKind::BrokenPipe);
    }
}

#[corio::test]
async fn an_end_that_is_told_wakes_the_half_that_sends() {
    let options = Options::new().write_limit(1000);
    let (mut hand, server) = by_hand(options).await;
    let (mut sender, mut receiver) = server.into_split();
    let sending = corio::spawn(async move {
        loop {
            if let Err(error) = sender.send(vec![7; 100_000]).await {
                return error.kind();
            }
        }
    });
    hand.send(FIN | CLOSE, &close_payload(1001, b"going"), usize::MAX).await;
    assert_eq!(bounded(receiver.recv()).await.unwrap(), None);
    assert_eq!(receiver.close_frame().unwrap().code, CloseCode::Away);
    drop((hand, receiver));
    let kind = bounded(sending).await.unwrap();
    assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
}

#[corio::test]
async fn a_stream_and_a_sink_of_futures_are_the_same_thing() {
    let (mut client, server) = both(Options::new()).await;
    let (mut sink, mut stream) = server.into_split();
    let echoing = corio::spawn(async move {
        while let Some(message) = stream.next().await {
            sink.send(message.unwrap()).await.unwrap();
        }
        SinkExt::<Message>::close(&mut sink).await
    });
    client.feed(Message::from("one")).await.unwrap();
    client.feed(Message::from(vec![2])).await.unwrap();
    SinkExt::<Message>::flush(&mut client).await.unwrap();
    assert_eq!(bounded(client.next()).await.unwrap().unwrap(), Message::from("one"));
    assert_eq!(bounded(client.next()).await.unwrap().unwrap(), Message::from(vec![2]));
    bounded(SinkExt::<Message>::close(&mut client)).await.unwrap();
    assert!(bounded(client.next()).await.is_none());
    bounded(echoing).await.unwrap().unwrap();
}
