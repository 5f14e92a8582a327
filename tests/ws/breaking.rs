//! Peers that are cut off at every byte of a dialogue, by an end and by a reset: an error of its
//! kind each time, no hang, and nothing is left.

use std::io::{self, ErrorKind};

use corio::net::TcpStream;
use corio::ws::{Client, Server};

use super::hand::{BINARY, CLOSE, FIN, Hand, PING, TEXT, close_payload, frame, request};
use crate::Census;
use crate::support::{bounded, pair};

/// What a peer says after the handshake.
fn dialogue(is_masked: bool) -> Vec<u8> {
    [
        frame(FIN | TEXT, b"hello", is_masked),
        frame(FIN | PING, b"there?", is_masked),
        frame(BINARY, &[7; 130], is_masked),
        frame(FIN, b"", is_masked),
        frame(FIN | CLOSE, &close_payload(1000, b"bye"), is_masked),
    ]
    .concat()
}

/// Sends the bytes and is gone.
async fn say_and_go(stream: TcpStream, bytes: &[u8], is_reset: bool) {
    // The other end may have given up already.
    let _ = stream.write(bytes).await;
    if is_reset {
        let _ = bounded(stream.flush()).await;
        stream.abort();
    }
}

/// Receives to the end.
async fn hear_out<S>(mut socket: corio::ws::WebSocket<S>) -> io::Result<usize>
where
    S: futures_util::io::AsyncRead + futures_util::io::AsyncWrite + Unpin,
{
    let mut count = 0;
    while socket.recv().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// What an end may be told as, where it did not come behind a close.
fn assert_is_an_end(error: &io::Error, place: usize) {
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "after {place} bytes: {error}");
}

#[corio::test]
async fn a_client_that_is_cut_off_at_any_byte_ends_its_server_part() {
    let census = Census::take();
    let bytes = [request().as_bytes(), &dialogue(true)].concat();
    for (place, is_reset) in (0..=bytes.len()).flat_map(|place| [(place, false), (place, true)]) {
        let (client, far) = pair().await;
        let serving = async { hear_out(Server::new().accept(far).await?).await };
        let cutting = say_and_go(client, &bytes[..place], is_reset);
        let (outcome, ()) = bounded(async { futures_util::join!(serving, cutting) }).await;
        match outcome {
            Ok(count) => assert_eq!((place, count), (bytes.len(), 2)),
            Err(error) => assert_is_an_end(&error, place),
        }
    }
    census.comes_back().await;
}

#[corio::test]
async fn a_server_that_is_cut_off_at_any_byte_ends_its_client() {
    let census = Census::take();
    let bytes = dialogue(false);
    for (place, is_reset) in (0..=bytes.len()).flat_map(|place| [(place, false), (place, true)]) {
        let (near, far) = pair().await;
        let opening = async { hear_out(Client::new().handshake("ws://here/", near).await?).await };
        let cutting = async {
            let hand = Hand::server(far).await;
            say_and_go(hand.stream, &bytes[..place], is_reset).await;
        };
        let (outcome, ()) = bounded(async { futures_util::join!(opening, cutting) }).await;
        match outcome {
            Ok(count) => assert_eq!((place, count), (bytes.len(), 2)),
            Err(error) => assert_is_an_end(&error, place),
        }
    }
    census.comes_back().await;
}

#[corio::test]
async fn an_answer_that_is_cut_off_at_any_byte_ends_the_handshake() {
    let census = Census::take();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    for place in 0..answer.len() {
        let (near, mut far) = pair().await;
        let client = Client::new();
        let cutting = async {
            bounded(far.read(&mut [0; 100])).await.unwrap();
            say_and_go(far, &answer[..place], false).await;
        };
        let opening = client.handshake("ws://here/", near);
        let (outcome, ()) = bounded(async { futures_util::join!(opening, cutting) }).await;
        assert_is_an_end(&outcome.unwrap_err(), place);
    }
    census.comes_back().await;
}
