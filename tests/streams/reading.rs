//! Reads: what they say at the end, at a limit and after an error, and what a leaked one leaves.

use std::cell::RefCell;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use corio::Runtime;
use corio::io::{IncompleteRead, LimitOverrun};
use corio::net::TcpStream;
use futures_util::AsyncBufRead;

use crate::support::{
    assert_kind, bounded, numbered, pair, pair_with_std, poll_once, reset_by, run_with, settle,
};

fn incomplete(error: &std::io::Error) -> &IncompleteRead {
    error.get_ref().and_then(|it| it.downcast_ref()).unwrap_or_else(|| panic!("{error}"))
}

fn overrun(error: &std::io::Error) -> &LimitOverrun {
    error.get_ref().and_then(|it| it.downcast_ref()).unwrap_or_else(|| panic!("{error}"))
}

/// Writes, and waits until the bytes can be read at the other end.
async fn send_now(writer: &TcpStream, bytes: &[u8]) {
    writer.write(bytes).await.unwrap();
    writer.flush().await.unwrap();
    settle().await;
}

#[corio::test]
async fn empty_reads_and_writes_do_nothing_and_wait_for_nothing() {
    let (writer, mut reader) = pair().await;
    assert_eq!(poll_once(reader.read(&mut [])).unwrap().unwrap(), 0);
    poll_once(reader.read_exact(&mut [])).unwrap().unwrap();
    poll_once(writer.write(b"")).unwrap().unwrap();
    poll_once(writer.write_owned(Vec::new())).unwrap().unwrap();
    poll_once(writer.flush()).unwrap().unwrap();
    assert!(poll_once(reader.read_chunk()).is_none(), "an empty write made a chunk");
    writer.write(b"x").await.unwrap();
    assert_eq!(&bounded(reader.read_chunk()).await.unwrap().unwrap()[..], b"x");
    writer.shutdown().await.unwrap();
    assert_eq!(bounded(reader.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(reader.read(&mut []).await.unwrap(), 0);
    reader.read_exact(&mut []).await.unwrap();
}

#[corio::test]
async fn an_early_end_gives_what_came_and_says_how_much_was_asked() {
    let (writer, mut reader) = pair().await;
    writer.write(b"seven b").await.unwrap();
    writer.shutdown().await.unwrap();
    let error = bounded(reader.read_exact(&mut [0; 10])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(incomplete(&error).partial, b"seven b");
    assert_eq!(incomplete(&error).expected, Some(10));
    let error = reader.read_exact(&mut [0; 10]).await.unwrap_err();
    assert_eq!(incomplete(&error).partial, b"", "the bytes were given twice");
    let error = reader.read_until(b"\n", 100).await.unwrap_err();
    assert_eq!((incomplete(&error).partial.len(), incomplete(&error).expected), (0, None));
    assert_eq!(reader.read_line(100).await.unwrap(), b"");
    assert_eq!(reader.fill_buf().await.unwrap(), b"");
    assert!(reader.read_chunk().await.unwrap().is_none());
}

#[corio::test]
async fn a_separator_beyond_the_limit_leaves_every_byte_in_the_stream() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"abcdef\r\nrest").await;
    for limit in [1, 2, 7] {
        let error = reader.read_until(b"\r\n", limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(overrun(&error).consumed, 6, "what lies before the separator");
    }
    assert_eq!(reader.read_until(b"\r\n", 8).await.unwrap(), b"abcdef\r\n");
    let error = reader.read_line(3).await.unwrap_err();
    assert_eq!(overrun(&error).consumed, 4, "all that came may be thrown away");
    send_now(&writer, b"!\n").await;
    assert_eq!(reader.read_line(6).await.unwrap(), b"rest!\n");
}

#[corio::test]
async fn a_limit_of_one_takes_a_bare_separator_and_nothing_else() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"\nx").await;
    assert_eq!(reader.read_until(b"\n", 1).await.unwrap(), b"\n");
    assert_kind(bounded(reader.read_until(b"\n", 1)).await, ErrorKind::InvalidData);
    assert_kind(bounded(reader.read_until(b"xy", 1)).await, ErrorKind::InvalidData);
    let mut left = [0];
    reader.read_exact(&mut left).await.unwrap();
    assert_eq!(&left, b"x");
}

#[corio::test]
async fn a_last_line_without_its_end_may_be_as_long_as_the_limit() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"12345").await;
    assert!(poll_once(reader.read_line(5)).is_none(), "the end may follow");
    writer.shutdown().await.unwrap();
    assert_kind(bounded(reader.read_line(4)).await, ErrorKind::InvalidData);
    assert_eq!(bounded(reader.read_line(5)).await.unwrap(), b"12345");
    assert_eq!(reader.read_line(5).await.unwrap(), b"");
}

#[corio::test]
async fn a_separator_that_comes_in_pieces_is_found() {
    let (writer, mut reader) = pair().await;
    let reading = corio::spawn(async move {
        let first = reader.read_until(b"--end--", 100).await.unwrap();
        let second = reader.read_until(b"aab", 100).await.unwrap();
        (first, second)
    });
    for piece in ["body-", "-en-", "-end-", "-", "aa", "a", "b"] {
        send_now(&writer, piece.as_bytes()).await;
    }
    let (first, second) = bounded(reading).await.unwrap();
    assert_eq!(first, b"body--en--end--");
    assert_eq!(second, b"aaab");
}

#[corio::test]
fn a_separator_across_two_buffers_of_the_kernel_is_found() {
    let builder = Runtime::builder().buffer_size(64).buffers_max(64);
    run_with(builder, async {
        let (writer, mut reader) = pair().await;
        for before in 60..70 {
            let mut record = vec![b'.'; before];
            record.extend_from_slice(b"<--->");
            writer.write(&record).await.unwrap();
            assert_eq!(reader.read_until(b"<--->", 100).await.unwrap(), record);
        }
    });
}

#[corio::test]
async fn what_came_before_a_reset_is_read_first_and_the_error_stays() {
    let (mut peer, mut stream) = pair_with_std().await;
    assert!(poll_once(stream.read_chunk()).is_none(), "this arms the receive");
    peer.write_all(b"before").unwrap();
    settle().await;
    reset_by(peer, &stream).await;
    settle().await;
    let mut six = [0; 6];
    assert_kind(bounded(stream.read_exact(&mut [0; 7])).await, ErrorKind::ConnectionReset);
    stream.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"before");
    for _ in 0..2 {
        assert_kind(bounded(stream.read(&mut [0])).await, ErrorKind::ConnectionReset);
        assert_kind(bounded(stream.read_line(9)).await, ErrorKind::ConnectionReset);
        assert_kind(bounded(stream.fill_buf()).await, ErrorKind::ConnectionReset);
    }
}

#[corio::test]
async fn a_reset_that_a_write_was_told_of_is_no_clean_end_for_reads() {
    let (mut peer, mut stream) = pair_with_std().await;
    peer.write_all(b"half of a message").unwrap();
    reset_by(peer, &stream).await;
    // No read was ever asked for, so it is the write that the kernel tells of the reset.
    let error = bounded(async {
        loop {
            stream.write(b"x").await?;
            stream.flush().await?;
        }
    });
    let error: std::io::Result<()> = error.await;
    assert_kind(error, ErrorKind::ConnectionReset);
    let mut everything = Vec::new();
    let end = bounded(stream.read_to_end(&mut everything)).await;
    assert_eq!(everything, b"half of a message");
    assert_kind(end, ErrorKind::ConnectionReset);
}

#[corio::test]
async fn a_slice_of_fill_buf_stays_as_it_is_while_bytes_arrive_after_a_leaked_read() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, &numbered(0, 1000)).await;
    // The leaked read would go on demanding more than it ever gets.
    let nowhere = Box::leak(vec![0; 8 << 20].into_boxed_slice());
    let mut leaked = Box::pin(reader.read_exact(nowhere));
    assert!(poll_once(leaked.as_mut()).is_none());
    settle().await;
    std::mem::forget(leaked);
    let shown = bounded(reader.fill_buf()).await.unwrap();
    assert_eq!(shown, numbered(0, 1000));
    let writing = corio::spawn(async move {
        for round in 0..64 {
            writer.write(&numbered(1000 + round * 50_000, 50_000)).await.unwrap();
            settle().await;
        }
        writer
    });
    for _ in 0..20 {
        settle().await;
        assert_eq!(shown, numbered(0, 1000), "bytes moved under a lent slice");
    }
    reader.consume(1000);
    let mut rest = vec![0; 64 * 50_000];
    bounded(reader.read_exact(&mut rest)).await.unwrap();
    assert!(rest == numbered(1000, 64 * 50_000));
    drop(bounded(writing).await);
}

#[corio::test]
async fn a_polled_slice_of_gathered_bytes_stays_where_it_is_after_a_leaked_read() {
    const LENGTH: usize = 4 << 20;
    let (writer, mut reader) = pair().await;
    let leak_read = |reader: &mut TcpStream| {
        let nowhere = Box::leak(vec![0; 2 * LENGTH].into_boxed_slice());
        let mut leaked = Box::pin(reader.read_exact(nowhere));
        assert!(poll_once(leaked.as_mut()).is_none());
        std::mem::forget(leaked);
    };
    // What a demand holds beyond the share lies in one allocation, which grows.
    leak_read(&mut reader);
    writer.write(&numbered(0, LENGTH / 2)).await.unwrap();
    bounded(writer.flush()).await.unwrap();
    // One driver delivers a buffer a turn: all of it has to be here before any is taken.
    let mut calm = 0;
    while calm < 5 {
        let before = corio::stats().completions;
        settle().await;
        calm = if corio::stats().completions == before { calm + 1 } else { 0 };
    }
    let mut position = 0;
    while bounded(reader.fill_buf()).await.unwrap().len() <= 64 << 10 {
        position += bounded(reader.read_chunk()).await.unwrap().unwrap().len();
    }
    leak_read(&mut reader);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(shown) = Pin::new(&mut reader).poll_fill_buf(&mut context) else {
        panic!("unread bytes are there")
    };
    let shown = shown.unwrap();
    let copy = shown.to_vec();
    assert!(copy == numbered(position as u64, copy.len()));
    let rest = numbered((LENGTH / 2) as u64, LENGTH / 2);
    let writing = corio::spawn(async move {
        writer.write(&rest).await.unwrap();
        writer
    });
    for _ in 0..10 {
        settle().await;
        assert!(shown == copy, "bytes moved under a lent slice");
    }
    let mut rest = vec![0; LENGTH - position];
    bounded(reader.read_exact(&mut rest)).await.unwrap();
    assert!(rest == numbered(position as u64, LENGTH - position));
    drop(bounded(writing).await);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[corio::test]
async fn a_read_that_changes_its_waker_wakes_the_last_one() {
    let (writer, mut reader) = pair().await;
    let counts = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
    let mut buffer = [0; 4];
    {
        let mut reading = pin!(reader.read_exact(&mut buffer));
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        send_now(&writer, b"two").await;
        let woken = [0, 1].map(|index| counts[index].0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 0], "three bytes of four are no reason to wake");
        send_now(&writer, b"s").await;
        let woken = [0, 1].map(|index| counts[index].0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        bounded(reading).await.unwrap();
    }
    assert_eq!(&buffer, b"twos");
}

#[corio::test]
async fn a_read_goes_on_in_another_task() {
    let (writer, mut reader) = pair().await;
    let mut reading = Box::pin(async move { reader.read_line(100).await });
    assert!(poll_once(reading.as_mut()).is_none());
    let reading = corio::spawn(reading);
    send_now(&writer, b"a line\n").await;
    assert_eq!(bounded(reading).await.unwrap().unwrap(), b"a line\n");
}

/// A waker that drops what it was given when it is woken.
struct Dropper(Arc<DropSlot>);

struct DropSlot(std::thread::ThreadId);

thread_local! {
    static HELD: RefCell<Vec<Rc<RefCell<Option<TcpStream>>>>> = const { RefCell::new(Vec::new()) };
}

impl Wake for Dropper {
    fn wake(self: Arc<Self>) {
        assert_eq!(self.0.0, std::thread::current().id());
        let held = HELD.with(RefCell::take);
        for stream in held {
            drop(stream.take());
        }
    }
}

#[corio::test]
async fn a_waker_that_drops_the_stream_it_waits_for_meets_no_borrowed_core() {
    let (writer, reader) = pair().await;
    let slot = Rc::new(RefCell::new(Some(reader)));
    HELD.with(|held| held.borrow_mut().push(Rc::clone(&slot)));
    let waker = Arc::new(Dropper(Arc::new(DropSlot(std::thread::current().id()))));
    let waker = Waker::from(waker);
    {
        let mut reader = slot.borrow_mut();
        let mut reading = Box::pin(reader.as_mut().unwrap().read_chunk());
        assert!(reading.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // The stream keeps the waker; the future is given up, so that the stream can be dropped.
        std::mem::forget(reading);
    }
    send_now(&writer, b"wake").await;
    assert!(slot.borrow().is_none(), "the waker was not woken");
    let mut writer = writer;
    assert_eq!(bounded(writer.read(&mut [0])).await.unwrap(), 0);
}
