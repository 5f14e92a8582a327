//! Every future of a WebSocket, dropped after each of its polls: no message is lost, doubled or
//! cut, and nothing stays behind.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use corio::net::{TcpListener, TcpStream};
use corio::ws::{self, Client, CloseCode, Message, Options, Server};

use super::ending::both;
use super::hand::{FIN, MORE, PING, PONG, TEXT, frame};
use super::scripted::scripted;
use crate::Census;
use crate::support::{bounded, pair, poll_once};

/// Polls a future so often, and drops it; returns what it became, if that was in time.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    bounded(poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // It is dropped without waiting for what would wake it.
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }))
    .await
}

#[corio::test]
async fn a_recv_that_is_dropped_loses_no_message_and_no_part_of_one() {
    let (script, mut server) = scripted(Options::new()).await;
    script.gives_room(usize::MAX);
    for number in 0..30 {
        let text = format!("message {number}");
        let (first, rest) = text.as_bytes().split_at(4);
        let parts = [
            frame(MORE | TEXT, first, true),
            frame(FIN | PING, b"between", true),
            frame(FIN, rest, true),
        ];
        let bytes = parts.concat();
        // A future for each byte, and each but the last is dropped.
        for (place, byte) in bytes.iter().enumerate() {
            script.0.borrow_mut().input.push_back(*byte);
            let message = poll_once(server.recv());
            let due = Message::from(text.clone());
            let is_last = place + 1 == bytes.len();
            assert_eq!(message.map(Result::unwrap), is_last.then_some(Some(due)));
        }
    }
    let pongs = frame(FIN | PONG, b"between", false).repeat(30);
    assert!(script.0.borrow().output == pongs, "pings were answered otherwise than once");
}

#[corio::test]
async fn a_send_that_is_dropped_has_sent_the_whole_message_or_none() {
    let (mut client, mut server) = both(Options::new().write_limit(1000)).await;
    // More than the stream takes, so that sends wait.
    let length = 300_000;
    let mut sent = Vec::new();
    for number in 0..20u8 {
        let sending = client.send(vec![number; length]);
        if dropped_after(1 + usize::from(number) % 3, sending).await.is_some() {
            sent.push(number);
        }
        // Now and then the peer reads.
        if number % 4 == 0 {
            let _ = dropped_after(2, server.recv()).await;
        }
    }
    let ending = async { client.close(CloseCode::Normal, "").await.unwrap() };
    let mut heard = Vec::new();
    let hearing = async {
        while let Some(message) = server.recv().await.unwrap() {
            let bytes = message.as_bytes();
            assert_eq!(bytes.len(), length);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "parts of two messages");
            heard.push(bytes[0]);
        }
    };
    bounded(async { futures_util::join!(ending, hearing) }).await;
    assert!(heard.is_sorted_by(|one, next| one < next), "doubled or exchanged: {heard:?}");
    assert!(sent.iter().all(|number| heard.contains(number) || *number == 0), "lost: {heard:?}");
}

#[corio::test]
async fn a_handshake_that_is_dropped_at_any_poll_leaves_nothing() {
    let census = Census::take();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let accepting = corio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let _ = ws::accept(stream).await;
        }
    });
    let mut polls = 0;
    while dropped_after(polls, ws::connect(&url)).await.is_none() {
        polls += 1;
        assert!(polls < 1000, "it never comes to its end");
    }
    assert!(polls > 1, "it never waited");
    accepting.abort();
    let _ = bounded(accepting).await;
    let mut polls = 0;
    loop {
        let (client, far) = pair().await;
        let opening =
            corio::spawn(async move { Client::new().handshake("ws://here/", client).await });
        let accepted = dropped_after(polls, Server::new().accept(far)).await;
        let _ = bounded(opening).await;
        if accepted.is_some() {
            break;
        }
        polls += 1;
        assert!(polls < 1000, "it never comes to its end");
    }
    census.comes_back().await;
}

#[corio::test]
async fn a_close_that_is_dropped_at_any_poll_is_gone_on_with() {
    for polls in 0..20 {
        let (mut client, mut server) = both(Options::new()).await;
        let hearing = corio::spawn(async move {
            assert_eq!(server.recv().await.unwrap(), None);
            server.close_frame().cloned()
        });
        let closed = dropped_after(polls, client.close(CloseCode::Away, "first")).await;
        bounded(client.close(CloseCode::Normal, "second")).await.unwrap();
        let said = bounded(hearing).await.unwrap().unwrap();
        let due = if polls == 0 { "second" } else { "first" };
        assert_eq!(said.reason, due, "after {polls} polls");
        if closed.is_some() {
            assert!(polls > 1, "it never waited");
            return;
        }
    }
    panic!("a close takes more than 20 polls");
}

#[corio::test]
async fn a_ping_that_is_dropped_goes_out_once_or_not_at_all() {
    let (mut client, mut server) = both(Options::new()).await;
    for polls in 0..3 {
        let _ = dropped_after(polls, client.ping()).await;
    }
    client.send("behind the pings").await.unwrap();
    assert_eq!(bounded(server.recv()).await.unwrap(), Some(Message::from("behind the pings")));
    server.send("behind the pongs").await.unwrap();
    assert_eq!(bounded(client.recv()).await.unwrap(), Some(Message::from("behind the pongs")));
    assert!(client.latency().is_some());
}

#[corio::test]
async fn a_websocket_that_is_dropped_ends_the_stream_behind_what_was_sent() {
    let census = Census::take();
    let (near, far): (TcpStream, TcpStream) = pair().await;
    let (client, server) = (Client::new(), Server::new());
    let opening = client.handshake("ws://here/", near);
    let (client, server) = futures_util::join!(opening, server.accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.send(vec![7; 10_000]).await.unwrap();
    drop(client);
    assert_eq!(bounded(server.recv()).await.unwrap().map(|message| message.len()), Some(10_000));
    assert!(bounded(server.recv()).await.is_err());
    drop(server);
    census.comes_back().await;
}
