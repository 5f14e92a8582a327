//! What goes through a session, both ways at once, to its end.

use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;

use corio::net::TcpStream;
use corio::tls::TlsStream;
use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::support::{Checker, Random, assert_kind, bounded, numbered, poll_once, until};
use crate::tls_pair;

/// Sends the numbered stream from each end to the other at once, and checks what comes.
pub async fn both_ways(near: TlsStream<TcpStream>, far: TlsStream<TcpStream>, length: usize) {
    let ends = [near, far].map(|end| {
        let (mut reader, mut writer) = end.split();
        let writing = async move {
            for from in (0..length).step_by(50_000) {
                let bytes = numbered(from as u64, 50_000.min(length - from));
                writer.write_all(&bytes).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let reading = async move {
            let mut checker = Checker::default();
            let mut buffer = vec![0; 20_000];
            loop {
                match reader.read(&mut buffer).await.unwrap() {
                    0 => return checker.position,
                    count => checker.take(&buffer[..count]),
                }
            }
        };
        (corio::spawn(writing), corio::spawn(reading))
    });
    for (writing, reading) in ends {
        bounded(writing).await.unwrap();
        assert_eq!(bounded(reading).await.unwrap(), length as u64);
    }
}

/// Reads the numbered stream to its announced end; its length.
async fn checked(end: &mut TlsStream<TcpStream>) -> u64 {
    let mut checker = Checker::default();
    loop {
        let bytes = end.fill_buf().await.unwrap();
        if bytes.is_empty() {
            return checker.position;
        }
        checker.take(bytes);
        let count = bytes.len();
        end.consume(count);
    }
}

#[corio::test]
async fn megabytes_go_both_ways_at_once() {
    let (near, far) = tls_pair().await;
    both_ways(near, far, 3 << 20).await;
}

#[corio::test]
async fn an_end_that_the_peer_did_not_announce_is_an_error_after_the_bytes() {
    let (client, mut server) = tls_pair().await;
    let mut client = client;
    client.write(b"half of it").await.unwrap();
    drop(client);
    let mut buffer = [0; 100];
    assert_eq!(bounded(server.read(&mut buffer)).await.unwrap(), 10);
    assert_kind(bounded(server.read(&mut buffer)).await, ErrorKind::UnexpectedEof);
    assert_kind(bounded(server.read(&mut buffer)).await, ErrorKind::UnexpectedEof);
}

#[corio::test]
async fn one_side_may_end_and_the_other_goes_on() {
    let (mut client, mut server) = tls_pair().await;
    client.write(b"question").await.unwrap();
    bounded(client.shutdown()).await.unwrap();
    bounded(client.shutdown()).await.unwrap();
    assert_kind(bounded(client.write(b"more")).await, ErrorKind::BrokenPipe);
    let mut question = Vec::new();
    bounded(server.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    let answering = async {
        server.write(&numbered(0, 300_000)).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let ((), length) = bounded(async { corio::join!(answering, checked(&mut client)) }).await;
    assert_eq!(length, 300_000);
}

#[corio::test]
async fn bytes_that_are_not_of_the_session_end_it_for_both_directions() {
    let (mut client, mut server) = tls_pair().await;
    client.write(b"right").await.unwrap();
    // Past the session: as somebody on the way would do it.
    client.get_ref().write(b"\x17\x03\x03\x00\x20not what the session's keys made").await.unwrap();
    let mut buffer = [0; 100];
    assert_eq!(bounded(server.read(&mut buffer)).await.unwrap(), 5, "what came before is read");
    for _ in 0..2 {
        assert_kind(bounded(server.read(&mut buffer)).await, ErrorKind::InvalidData);
        assert_kind(bounded(server.write(b"answer")).await, ErrorKind::InvalidData);
    }
    let told = bounded(client.read(&mut buffer)).await.unwrap_err();
    assert!(told.to_string().contains("BadRecordMac"), "{told}");
}

#[corio::test]
async fn reads_that_are_dropped_lose_nothing() {
    const LENGTH: usize = 1 << 20;
    let (mut client, mut server) = tls_pair().await;
    let writing = async {
        let mut random = Random::new(5);
        let mut from = 0;
        while from < LENGTH {
            let length = random.below(5000).min(LENGTH - from);
            server.write(&numbered(from as u64, length)).await.unwrap();
            from += length;
            if random.below(4) == 0 {
                corio::sleep(random.moment()).await;
            }
        }
        server.shutdown().await.unwrap();
    };
    let reading = async {
        let (mut random, mut checker) = (Random::new(6), Checker::default());
        let mut buffer = vec![0; 3000];
        loop {
            let room = 1 + random.below(buffer.len() - 1);
            let read = client.read(&mut buffer[..room]);
            match corio::timeout(random.moment(), read).await {
                Err(_) => {}
                Ok(Ok(0)) => return checker.position,
                Ok(count) => checker.take(&buffer[..count.unwrap()]),
            }
        }
    };
    let ((), count) = bounded(async { corio::join!(writing, reading) }).await;
    assert_eq!(count, LENGTH as u64);
}

#[corio::test]
async fn a_write_that_is_dropped_was_taken_whole_and_goes_out_with_the_next_read() {
    const LENGTH: usize = 1 << 20;
    let (mut client, mut server) = tls_pair().await;
    let question = numbered(0, LENGTH);
    // More than the outbox takes at once, so it waits; its bytes are taken by then.
    assert!(poll_once(client.write(&question)).is_none());
    let serving = async {
        let mut all = vec![0; LENGTH];
        server.read_exact(&mut all).await.unwrap();
        Checker::default().take(&all);
        server.write(b"got it").await.unwrap();
    };
    let mut answer = [0; 10];
    let asking = client.read(&mut answer);
    let ((), count) = bounded(async { corio::join!(serving, asking) }).await;
    assert_eq!(&answer[..count.unwrap()], b"got it");
}

#[corio::test]
async fn a_write_that_is_dropped_before_its_turn_wrote_nothing() {
    let (mut client, mut server) = tls_pair().await;
    let first = numbered(0, 500_000);
    assert!(poll_once(client.write(&first)).is_none(), "the outbox is full");
    assert!(poll_once(client.write(b"never")).is_none());
    let ending = async { client.shutdown().await.unwrap() };
    let ((), length) = bounded(async { corio::join!(ending, checked(&mut server)) }).await;
    assert_eq!(length, 500_000);
}

#[corio::test]
async fn a_reader_that_gives_up_does_not_take_the_writers_wake_along() {
    // Both wait for room in the outbox: the writer for its bytes, the reader with what is left of
    // them. Then the reader goes, and the peer begins to read.
    const LENGTH: usize = 1 << 20;
    let (client, mut server) = tls_pair().await;
    let (mut reader, mut writer) = client.split();
    let writing = corio::spawn(async move {
        writer.write_all(&numbered(0, LENGTH)).await.unwrap();
        writer.close().await.unwrap();
    });
    corio::yield_now().await;
    let giving_up = corio::spawn(async move {
        assert!(poll_once(reader.read(&mut [0])).is_none());
        reader
    });
    let _reader = bounded(giving_up).await.unwrap();
    assert_eq!(bounded(checked(&mut server)).await, LENGTH as u64);
    bounded(writing).await.unwrap();
}

#[corio::test]
async fn slices_are_written_in_order_and_share_a_record() {
    let (mut client, mut server) = tls_pair().await;
    let long = numbered(0, 100_000);
    let slices =
        [IoSlice::new(b""), IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(&long)];
    let stream = Pin::new(&mut client);
    let count = bounded(stream.get_mut().write_vectored(&slices)).await.unwrap();
    assert_eq!(count, 8, "what is longer than a piece comes next");
    assert_eq!(bounded(server.fill_buf()).await.unwrap(), b"one two ", "they came as one");
    server.consume(8);
    let count = bounded(client.write_vectored(&slices[3..])).await.unwrap();
    assert!(count > 0 && count < long.len());
    bounded(client.write_all(&long[count..])).await.unwrap();
    bounded(client.close()).await.unwrap();
    assert_eq!(bounded(checked(&mut server)).await, long.len() as u64);
}

#[corio::test]
async fn lines_are_read_by_the_traits_of_futures() {
    let (mut client, mut server) = tls_pair().await;
    client.write(b"one\ntwo\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut line = String::new();
    bounded(server.read_line(&mut line)).await.unwrap();
    bounded(server.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "one\ntwo\n");
    assert_eq!(bounded(server.read_line(&mut line)).await.unwrap(), 0);
}

#[corio::test]
async fn what_was_written_is_sent_though_the_stream_is_dropped() {
    let (mut client, mut server) = tls_pair().await;
    let bytes = numbered(0, 200_000);
    let reading = async {
        let mut all = Vec::new();
        let ended = server.read_to_end(&mut all).await;
        (all, ended)
    };
    let writing = async {
        client.write(&bytes).await.unwrap();
        drop(client);
    };
    let ((all, ended), ()) = bounded(async { corio::join!(reading, writing) }).await;
    assert_eq!(all.len(), bytes.len());
    Checker::default().take(&all);
    assert_kind(ended, ErrorKind::UnexpectedEof);
}

#[corio::test]
async fn tokios_copy_goes_through_tls() {
    use tokio::io::AsyncWriteExt as _;
    let (client, server) = tls_pair().await;
    let echo = corio::spawn(async move {
        let (mut reader, mut writer) = tokio_split(server);
        let count = tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut writer).await.unwrap();
        count
    });
    let (mut reader, mut writer) = tokio_split(client);
    let writing = async {
        tokio::io::AsyncWriteExt::write_all(&mut writer, &numbered(0, 1 << 20)).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let reading = async {
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut all).await.unwrap();
        all
    };
    let ((), all) = bounded(async { corio::join!(writing, reading) }).await;
    assert_eq!(all.len(), 1 << 20);
    Checker::default().take(&all);
    assert_eq!(bounded(echo).await.unwrap(), 1 << 20);
}

type Halves =
    (tokio::io::ReadHalf<TlsStream<TcpStream>>, tokio::io::WriteHalf<TlsStream<TcpStream>>);

fn tokio_split(stream: TlsStream<TcpStream>) -> Halves {
    tokio::io::split(stream)
}

#[corio::test]
async fn a_stream_below_that_fails_fails_the_session() {
    let (mut client, server) = tls_pair().await;
    server.get_ref().abort();
    let ended = bounded(client.read(&mut [0])).await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset, "{ended}");
    until(|| poll_once(client.write(b"x")).is_some_and(|result| result.is_err())).await;
}
