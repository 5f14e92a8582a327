//! The traits of `futures`: as strict about room and order as the methods, and mixed with them.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use corio::net::{ListenOptions, TcpStream};
use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use futures_util::{AsyncBufRead, AsyncRead, TryStreamExt};

use crate::support::{Checker, assert_kind, bounded, numbered, pair, pair_with, poll_once, settle};

/// The outbox's mark: what `poll_write` accepts at most before anything is sent.
const MARK_BYTES: usize = 64 << 10;

fn poll_write(stream: &mut TcpStream, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
    Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

#[corio::test]
async fn poll_write_never_accepts_beyond_the_mark() {
    let (_reader, mut writer) = pair_with(&ListenOptions::new().send_buffer(256 << 10)).await;
    let mut accepted = 0;
    // All of this is one poll: nothing is sent meanwhile.
    while let Poll::Ready(count) = poll_write(&mut writer, &[1; 50_000]) {
        let count = count.unwrap();
        assert!(count > 0, "`poll_write` accepted nothing, and said so instead of waiting");
        accepted += count;
        assert!(accepted <= MARK_BYTES, "{accepted} bytes");
    }
    assert_eq!(accepted, MARK_BYTES);
    assert!(matches!(poll_write(&mut writer, b""), Poll::Ready(Ok(0))));
}

#[corio::test]
async fn copy_moves_every_byte_and_close_ends_the_stream() {
    let (mut source_far, source) = pair().await;
    let (mut target, mut target_far) = pair().await;
    let writing = corio::spawn(async move {
        for round in 0..100 {
            source_far.write_all(&numbered(round * 30_000, 30_000)).await.unwrap();
        }
        AsyncWriteExt::close(&mut source_far).await.unwrap();
        source_far
    });
    let copying = corio::spawn(async move {
        let count = copy(source, &mut target).await.unwrap();
        AsyncWriteExt::close(&mut target).await.unwrap();
        count
    });
    let mut checker = Checker::default();
    let mut buffer = vec![0; 7000];
    loop {
        let count = bounded(AsyncReadExt::read(&mut target_far, &mut buffer)).await.unwrap();
        if count == 0 {
            break;
        }
        checker.take(&buffer[..count]);
    }
    assert_eq!(checker.position, 3_000_000);
    assert_eq!(bounded(copying).await.unwrap(), 3_000_000);
    drop(bounded(writing).await);
}

#[corio::test]
async fn copy_by_halves_goes_both_ways_at_once() {
    let (mut client, server) = pair().await;
    corio::spawn(async move {
        let (reader, mut writer) = server.into_split();
        copy(reader, &mut writer).await.unwrap();
        AsyncWriteExt::close(&mut writer).await.unwrap();
    });
    let (mut reader, mut writer) = TcpStream::split(&mut client);
    let sending = async {
        for round in 0..50 {
            writer.write_all(&numbered(round * 40_000, 40_000)).await.unwrap();
        }
        AsyncWriteExt::close(&mut writer).await.unwrap();
    };
    let receiving = async {
        let mut everything = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut everything).await.unwrap();
        everything
    };
    let ((), everything) = bounded(async { corio::join!(sending, receiving) }).await;
    assert!(everything == numbered(0, 2_000_000));
}

#[corio::test]
async fn lines_of_a_buffered_reader_are_whole() {
    let (writer, reader) = pair().await;
    corio::spawn(async move {
        for number in 0..1000 {
            writer.write(format!("line {number}\n").as_bytes()).await.unwrap();
            if number % 100 == 0 {
                settle().await;
            }
        }
    });
    let lines: Vec<String> = bounded(AsyncBufReadExt::lines(reader).try_collect()).await.unwrap();
    assert_eq!(lines.len(), 1000);
    assert!(lines.iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
}

#[corio::test]
async fn poll_write_mixed_with_write_keeps_order_and_never_hangs() {
    let (mut reader, mut writer) = pair_with(&ListenOptions::new().send_buffer(256 << 10)).await;
    const ROUNDS: u64 = 40;
    let writing = corio::spawn(async move {
        for round in 0..ROUNDS {
            let from = round * 130_000;
            TcpStream::write(&writer, &numbered(from, 70_000)).await.unwrap();
            // One that is given up while it waits leaves no trace, and does not hold up the next.
            assert!(poll_once(TcpStream::write(&writer, b"never written")).is_none());
            writer.write_all(&numbered(from + 70_000, 55_000)).await.unwrap();
            writer.write_all(&numbered(from + 125_000, 5000)).await.unwrap();
            if round % 4 == 0 {
                AsyncWriteExt::flush(&mut writer).await.unwrap();
                writer.flush().await.unwrap();
            }
        }
        AsyncWriteExt::close(&mut writer).await.unwrap();
        writer
    });
    let mut checker = Checker::default();
    while let Some(chunk) = bounded(reader.read_chunk()).await.unwrap() {
        checker.take(&chunk);
    }
    assert_eq!(checker.position, ROUNDS * 130_000);
    drop(bounded(writing).await);
}

#[corio::test]
async fn a_poll_write_behind_a_waiting_write_goes_on_when_that_is_given_up() {
    let (mut reader, writer) = pair_with(&ListenOptions::new().send_buffer(256 << 10)).await;
    let (_unused, mut half) = writer.into_split();
    let mut filled = 0;
    let mut waiting = loop {
        let mut write = Box::pin(half.write(&[0; 70_000]));
        match poll_once(write.as_mut()) {
            Some(_) => filled += 70_000,
            None => {
                settle().await;
                if poll_once(write.as_mut()).is_none() {
                    break Some(write);
                }
                filled += 70_000;
            }
        }
    };
    // The write keeps its place in the queue while the outbox empties.
    bounded(reader.read_exact(&mut vec![0; filled])).await.unwrap();
    settle().await;
    drop(waiting.take());
    drop(waiting);
    bounded(half.write_all(b"behind")).await.unwrap();
    let mut behind = [0; 6];
    bounded(reader.read_exact(&mut behind)).await.unwrap();
    assert_eq!(&behind, b"behind");
}

#[corio::test]
async fn a_poll_flush_waits_until_everything_is_sent() {
    let (mut reader, mut writer) = pair_with(&ListenOptions::new().send_buffer(256 << 10)).await;
    writer.write_owned(numbered(0, 1 << 20)).await.unwrap();
    settle().await;
    let mut flushing = Box::pin(poll_fn(|context| Pin::new(&mut writer).poll_flush(context)));
    assert!(poll_once(flushing.as_mut()).is_none());
    let mut everything = vec![0; 1 << 20];
    let reading = reader.read_exact(&mut everything);
    let (read, flushed) = bounded(async { corio::join!(reading, flushing) }).await;
    read.unwrap();
    flushed.unwrap();
    assert!(everything == numbered(0, 1 << 20));
    AsyncWriteExt::close(&mut writer).await.unwrap();
    assert_kind(writer.write_all(b"x").await, ErrorKind::BrokenPipe);
    let end = poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut [0])).await;
    assert_eq!(end.unwrap(), 0);
}

#[corio::test]
async fn consuming_part_of_a_polled_buffer_leaves_the_rest() {
    let (writer, mut reader) = pair().await;
    writer.write(b"abcdef").await.unwrap();
    let shown = poll_fn(|context| match Pin::new(&mut reader).poll_fill_buf(context) {
        Poll::Ready(shown) => Poll::Ready(shown.unwrap().to_vec()),
        Poll::Pending => Poll::Pending,
    });
    assert_eq!(bounded(shown).await, b"abcdef");
    reader.consume_unpin(2);
    AsyncBufRead::consume(Pin::new(&mut reader), 1);
    let mut rest = [0; 3];
    AsyncReadExt::read_exact(&mut reader, &mut rest).await.unwrap();
    assert_eq!(&rest, b"def");
}
