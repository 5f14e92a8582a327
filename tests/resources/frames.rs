//! Frames and copies: cut at every place, limited, and nothing lost where one gives up.

use std::io::ErrorKind;

use corio::io::{Framed, LengthCodec, LinesCodec, copy_bidirectional};
use corio::net::{UnixStream, reverse_lookup};
use futures_util::{SinkExt, StreamExt};

use crate::stage::{POLLS, given_up_after, turn};
use crate::support::{Checker, assert_kind, bounded, numbered};

#[corio::test]
async fn lines_may_come_in_any_pieces_and_the_last_without_its_end() {
    let text = b"one\r\n\ntwo \xc3\xa9\n\r\nlast";
    for cut in 0..text.len() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut lines = Framed::new(b, LinesCodec::new(8));
        a.write(&text[..cut]).await.unwrap();
        a.flush().await.unwrap();
        let mut got = Vec::new();
        // What is there is looked at, and what is not whole stays.
        while let Some(line) = given_up_after(POLLS, lines.next()).await {
            got.push(line.unwrap().unwrap());
        }
        a.write(&text[cut..]).await.unwrap();
        a.shutdown().await.unwrap();
        while let Some(line) = bounded(lines.next()).await {
            got.push(line.unwrap());
        }
        assert_eq!(got, ["one", "", "two é", "", "last"], "cut at {cut}");
        assert!(lines.next().await.is_none());
    }
}

#[corio::test]
async fn what_is_too_long_is_an_error_before_it_has_come() {
    for (text, is_good) in [
        (&b"12345678\n"[..], true),
        (b"12345678\r\n", true),
        (b"123456789", false),
        (b"123456789\n", false),
        (b"\xff\n", false),
    ] {
        let (a, b) = UnixStream::pair().unwrap();
        let mut lines = Framed::new(b, LinesCodec::new(8));
        a.write(text).await.unwrap();
        a.shutdown().await.unwrap();
        let line = bounded(lines.next()).await.unwrap();
        assert_eq!(line.is_ok(), is_good, "{text:?}");
        assert!(bounded(lines.next()).await.is_none(), "an error is the end");
    }
    let (a, b) = UnixStream::pair().unwrap();
    let mut messages = Framed::new(b, LengthCodec::new(100));
    a.write(&[0, 0, 0, 101]).await.unwrap();
    assert_kind(bounded(messages.next()).await.unwrap(), ErrorKind::InvalidData);

    let (a, b) = UnixStream::pair().unwrap();
    let mut messages = Framed::new(b, LengthCodec::new(100));
    a.write(&[0, 0, 0, 3, 1, 2]).await.unwrap();
    a.shutdown().await.unwrap();
    assert_kind(bounded(messages.next()).await.unwrap(), ErrorKind::UnexpectedEof);
    assert_kind(messages.send([0; 101]).await, ErrorKind::InvalidData);
    let mut lines = Framed::new(a, LinesCodec::new(100));
    assert_kind(lines.send("two\nlines").await, ErrorKind::InvalidInput);
}

#[corio::test]
async fn messages_of_all_lengths_go_through_while_each_next_is_given_up_now_and_then() {
    let (a, b) = UnixStream::pair().unwrap();
    let mut sender = Framed::new(a, LengthCodec::new(100_000));
    let mut receiver = Framed::new(b, LengthCodec::new(100_000));
    let send = async {
        for length in (0..100_000).step_by(3_331) {
            sender.send(vec![length as u8; length]).await.unwrap();
        }
        SinkExt::<Vec<u8>>::close(&mut sender).await.unwrap();
    };
    let receive = async {
        for length in (0..100_000).step_by(3_331) {
            let message = loop {
                match given_up_after(length % 3, receiver.next()).await {
                    Some(message) => break message.unwrap().unwrap(),
                    None => turn().await,
                }
                if length % 3 == 0 {
                    break receiver.next().await.unwrap().unwrap();
                }
            };
            assert!(message == vec![length as u8; length], "{length}");
        }
        assert!(receiver.next().await.is_none());
    };
    bounded(async { corio::join!(send, receive) }).await;
}

#[corio::test]
async fn a_copy_goes_both_ways_until_both_have_ended() {
    let ((client, mut a), (mut b, server)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let use_end = async |stream: UnixStream, bytes: usize| {
        let (mut reader, writer) = stream.into_split();
        let write = async {
            for position in (0..bytes as u64).step_by(10_000) {
                writer.write(&numbered(position, 10_000)).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let mut checker = Checker::default();
            while let Some(chunk) = reader.read_chunk().await.unwrap() {
                checker.take(&chunk);
            }
            checker.position
        };
        corio::join!(write, read).1
    };
    let copy = async {
        // Given up again and again: what was read was written.
        for polls in [1, 2, 3, 5, 8] {
            assert!(given_up_after(polls, copy_bidirectional(&mut a, &mut b)).await.is_none());
        }
        let rest = copy_bidirectional(&mut a, &mut b).await.unwrap();
        drop((a, b));
        rest
    };
    let all = async { corio::join!(use_end(client, 2_000_000), use_end(server, 30_000), copy) };
    let (to_client, to_server, _) = bounded(all).await;
    assert_eq!((to_client, to_server), (30_000, 2_000_000));
}

#[corio::test]
async fn an_address_has_a_name_or_says_that_it_has_none() {
    // What the machine calls itself is its own affair.
    match bounded(reverse_lookup("127.0.0.1:22".parse().unwrap())).await {
        Ok((host, service)) => assert!(!host.is_empty() && !service.is_empty()),
        Err(error) => assert!(error.to_string().contains("127.0.0.1:22"), "{error}"),
    }
}
