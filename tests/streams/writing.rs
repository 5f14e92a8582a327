//! Writes: whose turn it is, what a flush waits for, and how the first error stays.

use std::cell::RefCell;
use std::future::Future;
use std::io::ErrorKind;
use std::rc::Rc;

use bytes::Bytes;
use corio::net::{ListenOptions, TcpStream};
use corio::{Runtime, Unhandled};

use crate::support::{
    Checker, Random, assert_kind, bounded, numbered, pair, pair_with, pair_with_std, poll_once,
    reset_by, run_with, settle,
};

/// A reader and a writer with little room between them.
async fn narrow_pair() -> (TcpStream, TcpStream) {
    pair_with(&ListenOptions::new().send_buffer(256 << 10)).await
}

/// Writes zeroes until the kernel and the outbox are full; how many.
async fn fill(writer: &TcpStream) -> usize {
    let mut written = 0;
    let mut was_full = false;
    loop {
        if poll_once(writer.write(&[0; 10_000])).is_some() {
            written += 10_000;
            was_full = false;
        } else if std::mem::replace(&mut was_full, true) {
            return written;
        } else {
            settle().await;
        }
    }
}

async fn skip(reader: &mut TcpStream, count: usize) {
    bounded(reader.read_exact(&mut vec![0; count])).await.unwrap();
}

#[corio::test]
async fn writes_of_many_tasks_never_mix_their_bytes() {
    let (mut reader, writer) = narrow_pair().await;
    let writer = Rc::new(writer);
    for tag in 0..16u8 {
        let writer = Rc::clone(&writer);
        corio::spawn(async move {
            let mut random = Random::new(tag.into());
            for _ in 0..8 {
                let length = 5 + random.below(30_000);
                let mut record = vec![tag; length];
                record[1..5].copy_from_slice(&(length as u32).to_le_bytes());
                match random.below(2) {
                    0 => writer.write(&record).await.unwrap(),
                    _ => writer.write_owned(record).await.unwrap(),
                }
            }
        });
    }
    drop(writer);
    let mut records_count = 0;
    let mut head = [0; 5];
    while bounded(reader.read_exact(&mut head)).await.is_ok() {
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 5];
        bounded(reader.read_exact(&mut body)).await.unwrap();
        assert!(body.iter().all(|byte| *byte == head[0]), "two writes are mixed");
        records_count += 1;
    }
    assert_eq!(records_count, 16 * 8);
}

#[corio::test]
async fn waiting_writes_come_first_come_first_served_and_a_dropped_one_passes_its_turn_on() {
    let (mut reader, writer) = narrow_pair().await;
    let filled = fill(&writer).await;
    let writer = Rc::new(writer);
    let mut waiting = Vec::new();
    for tag in 0..10u8 {
        let writer = Rc::clone(&writer);
        waiting.push(corio::spawn(async move { writer.write(&[tag; 70_000]).await }));
        corio::yield_now().await;
    }
    // The first in the queue, one in the middle, and the last.
    let given_up = [0, 4, 9];
    for tag in given_up {
        waiting[tag].cancel();
    }
    settle().await;
    assert!(poll_once(writer.write(b"no barging in")).is_none());
    skip(&mut reader, filled).await;
    for tag in (0..10).filter(|tag| !given_up.contains(tag)) {
        let mut record = vec![0; 70_000];
        bounded(reader.read_exact(&mut record)).await.unwrap();
        assert!(record.iter().all(|byte| *byte == tag as u8), "{tag} was due, not {}", record[0]);
    }
    drop(waiting);
    drop(writer);
    assert_eq!(bounded(reader.read(&mut [0])).await.unwrap(), 0, "a dropped write was written");
}

#[corio::test]
async fn a_write_that_was_woken_and_is_dropped_before_its_poll_passes_its_turn_on() {
    let (mut reader, writer) = narrow_pair().await;
    let filled = fill(&writer).await;
    let first = Box::pin(writer.write(b"first"));
    let mut first = Some(first);
    assert!(poll_once(first.as_mut().unwrap().as_mut()).is_none());
    let mut second = Box::pin(writer.write(b"second"));
    assert!(poll_once(second.as_mut()).is_none());
    // The first is woken (by a waker that does nothing) when there is room.
    skip(&mut reader, filled).await;
    settle().await;
    assert!(poll_once(second.as_mut()).is_none(), "it is the turn of the first");
    drop(first.take());
    bounded(second).await.unwrap();
    let mut six = [0; 6];
    bounded(reader.read_exact(&mut six)).await.unwrap();
    assert_eq!(&six, b"second");
}

#[corio::test]
async fn a_shutdown_lets_writes_through_that_waited_before_it() {
    let (mut reader, writer) = narrow_pair().await;
    let filled = fill(&writer).await;
    let reading = corio::spawn(async move {
        skip(&mut reader, filled).await;
        bounded(reader.read_line(10)).await.unwrap()
    });
    let before = writer.write(b"before");
    let ending = writer.shutdown();
    let after = writer.write(b"after");
    let (before, ending, after) = bounded(async { corio::join!(before, ending, after) }).await;
    before.unwrap();
    ending.unwrap();
    assert_kind(after, ErrorKind::BrokenPipe);
    assert_eq!(reading.await.unwrap(), b"before");
    writer.shutdown().await.unwrap();
    assert_kind(writer.write(b"x").await, ErrorKind::BrokenPipe);
    assert_kind(writer.write_owned(b"x").await, ErrorKind::BrokenPipe);
}

#[corio::test]
async fn a_flush_waits_for_what_was_written_before_it_and_for_nothing_else() {
    let (mut reader, writer) = narrow_pair().await;
    writer.write_owned(numbered(0, 4 << 20)).await.unwrap();
    let mut flushing = Box::pin(writer.flush());
    assert!(poll_once(flushing.as_mut()).is_none());
    settle().await;
    let writing = async {
        // It waits for room, and comes behind the flush. It is more than a socket's receive buffer
        // can grow to, which is tens of megabytes on some machines.
        writer.write_owned(vec![0; 128 << 20]).await.unwrap();
    };
    let reading = async {
        let mut first = vec![0; 4 << 20];
        reader.read_exact(&mut first).await.unwrap();
        let mut checker = Checker::default();
        checker.take(&first);
        reader
    };
    let (reader, (), flushed) = bounded(async { corio::join!(reading, writing, flushing) }).await;
    flushed.unwrap();
    settle().await;
    assert!(poll_once(writer.flush()).is_none(), "nobody reads what came behind");
    drop(reader);
}

#[corio::test]
async fn a_flush_with_nothing_unsent_is_ready_at_once() {
    let (_reader, writer) = pair().await;
    poll_once(writer.flush()).unwrap().unwrap();
    writer.write(b"x").await.unwrap();
    assert!(poll_once(writer.flush()).is_none(), "the byte leaves at the end of the turn");
    bounded(writer.flush()).await.unwrap();
    poll_once(writer.flush()).unwrap().unwrap();
}

#[corio::test]
async fn the_first_error_of_a_send_is_that_of_every_later_call() {
    let (peer, stream) = pair_with_std().await;
    reset_by(peer, &stream).await;
    let first = bounded(async {
        loop {
            if let Err(error) = stream.write(b"into the void").await {
                return error;
            }
            corio::yield_now().await;
        }
    })
    .await;
    for _ in 0..2 {
        assert_kind(stream.write(b"x").await, first.kind());
        assert_kind(stream.write_owned(b"x").await, first.kind());
        assert_kind(stream.write(b"").await, first.kind());
        assert_kind(stream.flush().await, first.kind());
        assert_kind(stream.shutdown().await, first.kind());
    }
    assert_kind(bounded(stream.close()).await, first.kind());
}

#[corio::test]
async fn everybody_who_waits_hears_of_a_reset() {
    let (peer, mut stream) = pair_with_std().await;
    reset_later(&peer, &mut stream).await;
    fill(&stream).await;
    let (mut reader, writer) = stream.split();
    let mut nine = [0; 9];
    let waiting = async {
        corio::join!(
            writer.write(b"first"),
            writer.write(b"second"),
            writer.flush(),
            writer.shutdown(),
            reader.read_exact(&mut nine),
            async { drop(peer) },
        )
    };
    // The writes may have been let in by the last bytes that the kernel took.
    let (_, _, flush, shutdown, read, ()) = bounded(waiting).await;
    let later = bounded(writer.write(b"later")).await;
    for result in [flush, shutdown, read, later] {
        let kind = result.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    }
}

/// Leaves unread input with the peer, so that its drop resets the stream.
async fn reset_later(peer: &std::net::TcpStream, stream: &mut TcpStream) {
    stream.write(b"never read").await.unwrap();
    stream.flush().await.unwrap();
    peer.peek(&mut [0]).unwrap();
}

/// Runs with a hook; what it was told.
fn unhandled_of<F: Future>(future: F) -> Vec<String> {
    let told = Rc::<RefCell<Vec<String>>>::default();
    let hook = {
        let told = Rc::clone(&told);
        move |unhandled: &Unhandled| told.borrow_mut().push(unhandled.to_string())
    };
    run_with(Runtime::builder().on_unhandled(hook), future);
    told.take()
}

#[corio::test]
fn a_write_error_that_nobody_saw_is_told_once() {
    let told = unhandled_of(async {
        let (peer, stream) = pair_with_std().await;
        reset_by(peer, &stream).await;
        for _ in 0..3 {
            // Nobody looks at an error: each accepted write only queues.
            let _ = poll_once(stream.write(b"into the void"));
            settle().await;
            if corio::stats().operations_in_flight == 1 {
                break;
            }
        }
        drop(stream);
        settle().await;
    });
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("unsent data"), "{told:?}");
}

#[corio::test]
fn a_write_error_that_was_seen_is_not_told_again() {
    let told = unhandled_of(async {
        let (peer, stream) = pair_with_std().await;
        reset_by(peer, &stream).await;
        while stream.write(b"into the void").await.is_ok() {
            settle().await;
        }
        drop(stream);
        settle().await;
    });
    assert!(told.is_empty(), "{told:?}");
}

#[corio::test]
fn a_peer_that_resets_after_it_was_sent_everything_is_no_unhandled_error() {
    let told = unhandled_of(async {
        for is_reading in [false, true] {
            let (peer, mut stream) = pair_with_std().await;
            if is_reading {
                assert!(poll_once(stream.read_chunk()).is_none());
            }
            reset_by(peer, &stream).await;
            settle().await;
            drop(stream);
            settle().await;
        }
    });
    assert!(told.is_empty(), "{told:?}");
}

#[corio::test]
async fn each_side_may_end_while_the_other_goes_on() {
    let (mut client, mut server) = pair().await;
    client.write(b"question").await.unwrap();
    bounded(client.shutdown()).await.unwrap();
    let mut question = Vec::new();
    bounded(server.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "the end stays");
    for _ in 0..3 {
        server.write(&numbered(0, 100_000)).await.unwrap();
        settle().await;
    }
    bounded(server.shutdown()).await.unwrap();
    let mut answer = Vec::new();
    bounded(client.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer.len(), 300_000);
    assert_kind(client.write(b"more").await, ErrorKind::BrokenPipe);
    assert_eq!(bounded(client.close()).await.unwrap(), corio::io::Closed::PeerFinished);
}

#[corio::test]
async fn segments_of_every_kind_leave_in_order_also_when_there_are_hundreds() {
    let (mut reader, writer) = pair().await;
    let mut position = 0;
    let mut piece = |length: usize| {
        let bytes = numbered(position, length);
        position += length as u64;
        bytes
    };
    for round in 0..60 {
        writer.write(&piece(3)).await.unwrap();
        writer.write_owned(Bytes::from(piece(300))).await.unwrap();
        writer.write_owned(piece(1)).await.unwrap();
        writer.write_owned(Bytes::from(piece(20))).await.unwrap();
        writer.write(&piece(500)).await.unwrap();
        if round % 20 == 19 {
            writer.write_owned(piece(70_000)).await.unwrap();
        }
    }
    writer.shutdown().await.unwrap();
    let mut checker = Checker::default();
    while let Some(chunk) = bounded(reader.read_chunk()).await.unwrap() {
        checker.take(&chunk);
    }
    assert_eq!(checker.position, position);
    let (mut other, forwarder) = pair().await;
    writer_of_text(&forwarder).await;
    assert_eq!(bounded(other.read_line(99)).await.unwrap(), b"static owned\n");
}

async fn writer_of_text(writer: &TcpStream) {
    writer.write_owned("static ").await.unwrap();
    writer.write_owned(String::from("owned")).await.unwrap();
    writer.write_owned(b"\n").await.unwrap();
}

thread_local! {
    static WRITER: RefCell<Option<Rc<TcpStream>>> = const { RefCell::new(None) };
}

/// Memory whose drop, once it was sent, writes to the same stream and starts a task.
struct Talkative(u8);

impl AsRef<[u8]> for Talkative {
    fn as_ref(&self) -> &[u8] {
        std::slice::from_ref(&self.0)
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        let Some(writer) = WRITER.with(|writer| writer.borrow().clone()) else { return };
        assert!(poll_once(writer.write(b"dropped ")).unwrap().is_ok());
        corio::spawn(async move { writer.write(b"spawned").await });
    }
}

#[corio::test]
async fn memory_whose_drop_writes_to_its_own_stream_meets_no_borrowed_outbox() {
    let (mut reader, writer) = pair().await;
    WRITER.with(|place| place.replace(Some(Rc::new(writer))));
    let writer = WRITER.with(|place| place.borrow().clone()).unwrap();
    // The second is copied behind the first, and dropped at once.
    writer.write_owned(Bytes::from_owner(Talkative(b'1'))).await.unwrap();
    writer.write_owned(Bytes::from_owner(Talkative(b'2'))).await.unwrap();
    let mut text = [0; 32];
    bounded(reader.read_exact(&mut text)).await.unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("12"), "{text}");
    assert_eq!(text.matches("dropped ").count() + text.matches("spawned").count(), 4, "{text}");
    drop(WRITER.with(RefCell::take));
}
