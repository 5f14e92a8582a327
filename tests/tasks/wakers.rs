//! Wakers whose wake and drop run arbitrary code, at each place that stores a waker: they meet no
//! borrowed core. (A clone that does is tried beside the wakers themselves.)

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::{JoinHandle, sleep, spawn, timeout, yield_now};
use futures_util::io::AsyncWrite;

use crate::{Blackhole, PATIENCE, pair};

/// What meddling hands get hold of. Wakers are `Send`, and this is not, so it hangs on the thread.
#[derive(Default)]
struct Stock {
    streams: Vec<TcpStream>,
    writer: Option<Rc<TcpStream>>,
    tasks: Vec<JoinHandle<()>>,
    timers: Vec<Pin<Box<corio::time::Sleep>>>,
    listener: Option<Rc<TcpListener>>,
}

thread_local! {
    static STOCK: RefCell<Stock> = RefCell::default();
    static MEDDLED: Cell<u64> = const { Cell::new(0) };
}

/// Does one of everything that touches a core.
fn meddle() {
    MEDDLED.set(MEDDLED.get() + 1);
    let mut context = Context::from_waker(Waker::noop());
    spawn(async { yield_now().await });
    let (stream, task, timer, writer, listener) = STOCK.with_borrow_mut(|stock| {
        let (writer, listener) = (stock.writer.clone(), stock.listener.clone());
        (stock.streams.pop(), stock.tasks.pop(), stock.timers.pop(), writer, listener)
    });
    drop(stream);
    if let Some(task) = task {
        task.cancel();
    }
    drop(timer);
    let mut timer = Box::pin(sleep(Duration::from_secs(1)));
    let _ = timer.as_mut().poll(&mut context);
    STOCK.with_borrow_mut(|stock| stock.timers.push(timer));
    if let Some(writer) = writer {
        let _ = pin!(writer.write(b"meddled")).poll(&mut context);
        let _ = pin!(writer.flush()).poll(&mut context);
    }
    if let Some(listener) = listener {
        let _ = pin!(listener.accept()).poll(&mut context);
        let _ = pin!(TcpStream::connect(listener.local_addr().unwrap())).poll(&mut context);
    }
    let _ = corio::stats();
}

struct Meddler;

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        meddle();
    }
}

fn meddler() -> Waker {
    Waker::from(Arc::new(Meddler))
}

/// Something that a peer does, for a wait to end.
type Event<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls with one meddling waker after the other, so that the first is dropped where it was kept,
/// has the event happen, and polls until the wait is over; or drops the wait half way. Returns how
/// often the waker of a dropped wait meddled.
async fn try_everything<'a, F: Future>(
    mut make: impl FnMut() -> F,
    mut event: impl FnMut() -> Event<'a>,
) -> u64 {
    let mut dropped_count = 0;
    for is_dropped in [true, false] {
        let before = MEDDLED.get();
        let mut wait = Box::pin(make());
        for _ in 0..2 {
            let waker = meddler();
            for _ in 0..2 {
                let poll = wait.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(poll.is_pending(), "the wait must wait for the event");
            }
        }
        assert!(MEDDLED.get() > before, "the first waker was dropped when the second came");
        if is_dropped {
            let before = MEDDLED.get();
            drop(wait);
            settle().await;
            event().await;
            settle().await;
            // A stream may keep its reader's waker until the next one comes.
            dropped_count += MEDDLED.get() - before;
            continue;
        }
        event().await;
        let woken = async {
            while wait.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending() {
                sleep(Duration::from_micros(100)).await;
            }
        };
        timeout(PATIENCE, woken).await.expect("the wait ends");
    }
    settle().await;
    dropped_count
}

async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
    sleep(Duration::from_micros(200)).await;
}

async fn fill_stock() {
    let mut stock = Stock::default();
    for _ in 0..30 {
        let (one, two) = pair().await;
        stock.streams.extend([one, two]);
        stock.tasks.push(spawn(std::future::pending()));
        let mut timer = Box::pin(sleep(Duration::from_secs(9)));
        assert!(futures_util::poll!(&mut timer).is_pending());
        stock.timers.push(timer);
    }
    let (writer, reader) = pair().await;
    spawn(async move {
        let mut reader = reader;
        while matches!(reader.read_chunk().await, Ok(Some(_))) {}
    });
    stock.writer = Some(Rc::new(writer));
    stock.listener = Some(Rc::new(crate::listen().await));
    STOCK.set(stock);
}

/// Runs a trial with a full stock, and empties it.
fn with_stock<F: Future<Output = ()>>(trial: impl FnOnce() -> F) {
    corio::run(async {
        fill_stock().await;
        trial().await;
        let stock = STOCK.take();
        drop(stock);
    });
}

#[corio::test]
fn of_a_handle() {
    with_stock(|| async {
        let gate = Rc::new(Cell::new(false));
        let task = || {
            let gate = Rc::clone(&gate);
            spawn(async move {
                while !gate.replace(false) {
                    yield_now().await;
                }
            })
        };
        assert!(try_everything(task, || Box::pin(async { gate.set(true) })).await > 0);
        // And of one that is cancelled.
        try_everything(
            || {
                let handle = Rc::new(RefCell::new(spawn(std::future::pending::<()>())));
                STOCK.with_borrow_mut(|stock| stock.tasks.clear());
                std::future::poll_fn(move |context| {
                    let mut handle = handle.borrow_mut();
                    let poll = Pin::new(&mut *handle).poll(context);
                    if poll.is_pending() && gate_is_open() {
                        handle.cancel();
                    }
                    poll
                })
            },
            || Box::pin(async { OPEN.set(true) }),
        )
        .await;
    });
}

thread_local! {
    static OPEN: Cell<bool> = const { Cell::new(false) };
}

fn gate_is_open() -> bool {
    OPEN.get()
}

#[corio::test]
fn of_a_timer() {
    with_stock(|| async {
        let wait = || sleep(Duration::from_millis(2));
        let event = || -> Event<'_> { Box::pin(sleep(Duration::from_millis(3))) };
        assert!(try_everything(wait, event).await > 0);
    });
}

#[corio::test]
fn of_an_operation() {
    with_stock(|| async {
        for _ in 0..2 {
            let blackhole = Blackhole::new().await;
            let address = blackhole.address;
            let mut connect = Box::pin(TcpStream::connect(address));
            for _ in 0..2 {
                let waker = meddler();
                for _ in 0..2 {
                    let poll = connect.as_mut().poll(&mut Context::from_waker(&waker));
                    assert!(poll.is_pending());
                }
            }
            settle().await;
            drop(connect);
            settle().await;
        }
        let listener = crate::listen().await;
        let address = listener.local_addr().unwrap();
        let mut connect = Box::pin(TcpStream::connect(address));
        assert!(connect.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending());
        let before = MEDDLED.get();
        settle().await;
        assert!(MEDDLED.get() > before, "the completion woke it");
        let poll = connect.as_mut().poll(&mut Context::from_waker(&meddler()));
        assert!(matches!(poll, Poll::Ready(Ok(_))));
    });
}

#[corio::test]
fn of_a_read() {
    with_stock(|| async {
        let (writer, reader) = pair().await;
        let (writer, reader) = (Rc::new(writer), Rc::new(RefCell::new(reader)));
        let wait = || {
            let reader = Rc::clone(&reader);
            async move {
                reader.borrow_mut().read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let event = || -> Event<'_> {
            Box::pin(async {
                writer.write(b"12345678").await.unwrap();
                writer.flush().await.unwrap();
            })
        };
        // What the dropped wait left is read first.
        let mut round = 0;
        let event_once = || -> Event<'_> {
            round += 1;
            if round == 1 { Box::pin(async {}) } else { event() }
        };
        try_everything(wait, event_once).await;
    });
}

#[corio::test]
fn of_writers_and_flushers() {
    with_stock(|| async {
        let (writer, reader) = pair().await;
        let (writer, reader) = (Rc::new(writer), Rc::new(RefCell::new(reader)));
        // Far more than the kernel takes: whoever writes or flushes waits for the reader.
        fill(|| writer.write(&[7; 512 << 10])).await;
        let mut round = 0;
        let mut drain_once = || -> Event<'_> {
            round += 1;
            if round == 1 { Box::pin(async {}) } else { drain_all(&reader) }
        };
        assert!(try_everything(|| writer.flush(), &mut drain_once).await > 0);
        fill(|| writer.write(&[7; 512 << 10])).await;
        round = 0;
        let mut drain_again = || -> Event<'_> {
            round += 1;
            if round == 1 { Box::pin(async {}) } else { drain_all(&reader) }
        };
        let write = || writer.write(b"one more");
        assert!(try_everything(write, &mut drain_again).await > 0);
    });
}

/// Writes until nothing is accepted for a while: the kernel takes a little more now and then.
async fn fill<F: Future>(mut write: impl FnMut() -> F) {
    let mut refused = 0;
    while refused < 10 {
        let poll = pin!(write()).poll(&mut Context::from_waker(Waker::noop()));
        refused = if poll.is_ready() { 0 } else { refused + 1 };
        settle().await;
    }
}

/// Reads until nothing comes any more, or the end.
fn drain_all(reader: &Rc<RefCell<TcpStream>>) -> Event<'_> {
    Box::pin(async {
        while let Ok(Ok(Some(_))) =
            timeout(Duration::from_millis(5), reader.borrow_mut().read_chunk()).await
        {}
    })
}

#[corio::test]
fn of_the_poll_traits() {
    with_stock(|| async {
        let (writer, reader) = pair().await;
        let writer = Rc::new(RefCell::new(writer));
        let reader = Rc::new(RefCell::new(reader));
        let write = |bytes: &'static [u8]| {
            let writer = Rc::clone(&writer);
            std::future::poll_fn(move |context| {
                Pin::new(&mut *writer.borrow_mut()).poll_write(context, bytes)
            })
        };
        fill(|| write(&[7; 64 << 10])).await;
        let mut round = 0;
        let mut drain_once = || -> Event<'_> {
            round += 1;
            if round == 1 { Box::pin(async {}) } else { drain_all(&reader) }
        };
        try_everything(|| write(b"one more"), &mut drain_once).await;
        fill(|| write(&[7; 64 << 10])).await;
        let close = || {
            let writer = Rc::clone(&writer);
            std::future::poll_fn(move |context| {
                Pin::new(&mut *writer.borrow_mut()).poll_close(context)
            })
        };
        round = 0;
        let mut drain_again = || -> Event<'_> {
            round += 1;
            if round == 1 { Box::pin(async {}) } else { drain_all(&reader) }
        };
        try_everything(close, &mut drain_again).await;
    });
}

#[corio::test]
fn at_the_end_of_the_runtime() {
    with_stock(|| async {
        let mut timer = Box::pin(sleep(Duration::from_secs(60)));
        let mut task = Box::pin(spawn(std::future::pending::<()>()));
        let blackhole = Blackhole::new().await;
        let mut connect = Box::pin(TcpStream::connect(blackhole.address));
        let (stream, mut other) = pair().await;
        let mut read = Box::pin(async move { other.read(&mut [0; 1]).await.map(drop) });
        assert!(timer.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending());
        assert!(task.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending());
        assert!(connect.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending());
        assert!(read.as_mut().poll(&mut Context::from_waker(&meddler())).is_pending());
        fill_stock().await;
        // They are left to the runtime, which finds them when it ends.
        std::mem::forget((timer, task, connect, read, stream));
    });
    let before = MEDDLED.get();
    assert!(before > 0);
    corio::run(async { spawn(async { 1 }).await.unwrap() });
}
