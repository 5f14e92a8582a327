//! Panics, wherever foreign code may panic: the core lives, whoever waits gets it, and what nobody
//! waits for is told once.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use corio::{JoinHandle, Runtime, sleep, spawn, timeout, yield_now};

use crate::{OnDrop, PATIENCE, child, noting};

/// A value whose drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb went off");
    }
}

/// Panics with a value whose drop panics, too.
struct DoubleBomb;

impl Drop for DoubleBomb {
    fn drop(&mut self) {
        panic_any(Bomb);
    }
}

/// What shows that the loop still does everything it should.
async fn assert_alive() {
    let task = spawn(async {
        sleep(Duration::from_micros(10)).await;
        7
    });
    assert_eq!(timeout(PATIENCE, task).await.expect("the core lives").unwrap(), 7);
}

#[corio::test]
async fn whoever_awaits_a_task_gets_its_panic() {
    let line = line!() + 1;
    let task = spawn(async { panic!("the reason") });
    let error = task.await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    let text = error.to_string();
    assert!(text.contains("the reason"), "{text}");
    assert!(text.contains(&format!("{}:{line}", file!())), "{text}");
    let payload = error.into_panic();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"the reason"));
    let caught = catch_unwind(AssertUnwindSafe(|| resume_unwind(payload)));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"the reason"));
    assert_alive().await;
}

#[corio::test]
fn a_panic_nobody_awaits_is_told_once_with_its_spawn_site() {
    let (builder, reports) = noting();
    let runtime = builder.build().unwrap();
    let line = line!() + 2;
    let kept = runtime.block_on(async {
        drop(spawn(async { panic!("detached {}", 1) }));
        let late = spawn(async { panic!("dropped late") });
        let kept = spawn(async { panic!("dropped outside") });
        let awaited = spawn(async { panic!("awaited") });
        yield_now().await;
        yield_now().await;
        drop(late);
        assert!(awaited.await.is_err());
        assert_alive().await;
        kept
    });
    drop(kept);
    let reports_before_the_end = reports.borrow().len();
    drop(runtime);
    let reports = reports.take();
    assert_eq!(reports.len(), reports_before_the_end);
    assert_eq!(reports.len(), 3, "{reports:#?}");
    for (report, text) in reports.iter().zip(["detached 1", "dropped late", "dropped outside"]) {
        assert!(report.contains(text), "{report}");
    }
    assert!(reports[0].contains(&format!("{}:{line}", file!())), "{}", reports[0]);
}

#[corio::test]
fn a_panic_of_the_main_future_reaches_the_caller_and_the_runtime_goes_on() {
    let (builder, reports) = noting();
    let runtime = builder.build().unwrap();
    let spawned = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&spawned);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async move {
            *slot.borrow_mut() = Some(spawn(async { 5 }));
            panic!("of main");
        });
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"of main"));
    let task: JoinHandle<i32> = spawned.take().unwrap();
    assert_eq!(runtime.block_on(task).unwrap(), 5);
    runtime.block_on(assert_alive());
    let caught = catch_unwind(|| corio::run(async { panic!("of run") }));
    assert!(caught.is_err());
    corio::run(assert_alive());
    assert!(reports.borrow().is_empty());
}

#[corio::test]
fn a_panic_in_a_drop_during_shutdown_is_told_and_the_rest_ends_in_order() {
    let (builder, reports) = noting();
    let runtime = builder.build().unwrap();
    let others = Rc::new(Cell::new(0));
    let kept = runtime.block_on(async {
        let bomb = || async {
            let _bomb = Bomb;
            pending::<()>().await;
        };
        drop(spawn(bomb()));
        let kept = spawn(bomb());
        for _ in 0..10 {
            let others = Rc::clone(&others);
            let guard = OnDrop(move || others.set(others.get() + 1));
            spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            });
        }
        yield_now().await;
        kept
    });
    let report = runtime.close();
    assert_eq!(report.cancelled_tasks, 12);
    assert_eq!(others.get(), 10);
    // The one whose handle is kept tells its panic to whoever asks, the other to the hook.
    assert_eq!(reports.borrow().len(), 1, "{reports:#?}");
    assert!(reports.borrow()[0].contains("a bomb went off"));
    let error = corio::run(kept).unwrap_err();
    assert!(error.is_panic(), "{error}");
}

#[corio::test]
fn a_panic_in_the_drop_of_a_future_that_is_cancelled_is_its_outcome() {
    let (builder, reports) = noting();
    builder.build().unwrap().block_on(async {
        let task = spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(task.cancel());
        let error = task.await.unwrap_err();
        assert!(error.is_panic(), "{error}");
        assert_alive().await;
    });
    assert!(reports.borrow().is_empty());
}

/// Ready at once, and its drop panics.
struct ReadyBomb(Option<Bomb>);

impl Future for ReadyBomb {
    type Output = i32;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<i32> {
        assert!(self.0.is_some());
        Poll::Ready(3)
    }
}

#[corio::test]
fn a_panic_in_the_drop_of_a_finished_future_does_not_take_its_value() {
    let (builder, reports) = noting();
    builder.build().unwrap().block_on(async {
        assert_eq!(spawn(ReadyBomb(Some(Bomb))).await.unwrap(), 3);
        assert_alive().await;
    });
    assert!(reports.borrow().len() <= 1);
}

#[corio::test]
fn a_panic_in_the_drop_of_an_output_meets_who_drops_it() {
    let (builder, reports) = noting();
    builder.build().unwrap().block_on(async {
        // Nobody has the handle: the core drops the output.
        drop(spawn(ready(Bomb)));
        yield_now().await;
        assert_alive().await;
        // The handle is dropped with the output in it: whoever drops it.
        let task = spawn(ready(Bomb));
        yield_now().await;
        assert!(task.is_finished());
        let caught = catch_unwind(AssertUnwindSafe(|| drop(task)));
        assert!(caught.is_err());
        assert_alive().await;
        // A task that drops another one's handle ends by it.
        let task = spawn(ready(Bomb));
        yield_now().await;
        let error = spawn(async move { drop(task) }).await.unwrap_err();
        assert!(error.is_panic());
        assert_alive().await;
    });
    let reports = reports.take();
    assert!(reports.len() <= 1, "only the first one is nobody's: {reports:#?}");
}

#[corio::test]
fn a_panic_whose_payload_panics_when_dropped_ends_no_core() {
    let (builder, reports) = noting();
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        // Unobserved: the core drops the payload.
        drop(spawn(async { panic_any(Bomb) }));
        drop(spawn(async { panic_any(DoubleBomb) }));
        yield_now().await;
        assert_alive().await;
        // In the drop of a future, and of an output, that the core drops.
        let task = spawn(async {
            let _bomb = OnDrop(|| panic_any(DoubleBomb));
            pending::<()>().await;
        });
        yield_now().await;
        task.cancel();
        drop(task);
        drop(spawn(ready(OnDrop(|| panic_any(DoubleBomb)))));
        for _ in 0..4 {
            yield_now().await;
        }
        assert_alive().await;
    });
    drop(runtime);
    assert!(reports.borrow().len() >= 2);
}

#[corio::test]
fn a_hook_that_panics_ends_no_core() {
    // A core that fails here may abort the process, or go round in panics for ever.
    if child::rerun("panics::a_hook_that_panics_ends_no_core", &[]).is_some() {
        return;
    }
    let calls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&calls);
    let hook = move |_: &corio::Unhandled| {
        counter.set(counter.get() + 1);
        spawn(async {});
        panic_any(DoubleBomb);
    };
    let runtime = Runtime::builder().on_unhandled(hook).build().unwrap();
    runtime.block_on(async {
        drop(spawn(async { panic!("first") }));
        yield_now().await;
        let task = spawn(async { panic!("second") });
        yield_now().await;
        drop(task);
        assert_alive().await;
    });
    assert_eq!(calls.get(), 2);
}

/// A waker that does as it is told when it is woken.
struct Rude(Box<dyn Fn() + Send + Sync>);

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

#[corio::test]
fn a_foreign_waker_that_panics_is_told_and_ends_no_core() {
    let name = "panics::a_foreign_waker_that_panics_is_told_and_ends_no_core";
    if child::rerun(name, &[]).is_some() {
        return;
    }
    let (builder, reports) = noting();
    builder.build().unwrap().block_on(async {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wakes);
        let waker = Waker::from(Arc::new(Rude(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            panic_any(DoubleBomb);
        }))));
        let mut context = Context::from_waker(&waker);
        let mut timer = pin!(sleep(Duration::from_millis(1)));
        assert!(timer.as_mut().poll(&mut context).is_pending());
        let mut task = pin!(spawn(async {}));
        assert!(task.as_mut().poll(&mut context).is_pending());
        let listener = corio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut accept = pin!(listener.accept());
        assert!(accept.as_mut().poll(&mut context).is_pending());
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sleep(Duration::from_millis(5)).await;
        assert_eq!(wakes.load(Ordering::SeqCst), 3);
        assert!(futures_util::poll!(&mut timer).is_ready());
        assert!(futures_util::poll!(&mut task).is_ready());
        assert!(futures_util::poll!(&mut accept).is_ready());
        assert_alive().await;
    });
    assert_eq!(reports.borrow().len(), 3, "{reports:#?}");
    assert!(reports.borrow().iter().all(|report| report.contains("waker")));
}

#[corio::test]
fn a_panic_in_the_drop_of_what_was_sent_ends_no_core() {
    // Owned bytes may have a drop of the user's own.
    struct Owner;
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"bytes"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            panic!("in the drop of what was sent");
        }
    }
    corio::run(async {
        let listener = corio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = corio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        client.write_owned(bytes::Bytes::from_owner(Owner)).await.unwrap();
        timeout(PATIENCE, client.flush()).await.expect("the flush is told").unwrap();
        let mut text = [0; 5];
        timeout(PATIENCE, server.read_exact(&mut text)).await.unwrap().unwrap();
        assert_eq!(&text, b"bytes");
        client.write(b"after").await.unwrap();
        timeout(PATIENCE, server.read_exact(&mut text)).await.unwrap().unwrap();
        assert_eq!(&text, b"after");
        assert_alive().await;
    });
}

/// A waker that panics when it is dropped.
struct Fragile;

impl Wake for Fragile {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("a fragile waker");
    }
}

#[corio::test]
fn a_waker_that_panics_when_it_is_dropped_ends_no_core() {
    let name = "panics::a_waker_that_panics_when_it_is_dropped_ends_no_core";
    if child::rerun(name, &[]).is_some() {
        return;
    }
    let (builder, reports) = noting();
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        let listener = corio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for peer_goes_first in [true, false] {
            let client = std::net::TcpStream::connect(address).unwrap();
            let mut stream = listener.accept().await.unwrap();
            poll_with_fragile(pin!(stream.read(&mut [0; 1])));
            // If the waker goes with the stream, the panic is that of the drop, here.
            if peer_goes_first {
                drop(client);
                sleep(Duration::from_millis(2)).await;
                let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
            } else {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
                sleep(Duration::from_millis(2)).await;
                drop(client);
            }
            sleep(Duration::from_millis(2)).await;
            assert_alive().await;
        }
        // The operation in flight is the last to hold the stream, and its waker.
        let client = std::net::TcpStream::connect(address).unwrap();
        let mut stream = listener.accept().await.unwrap();
        poll_with_fragile(pin!(stream.read(&mut [0; 1])));
        sleep(Duration::from_millis(1)).await;
        stream.abort();
        drop(stream);
        sleep(Duration::from_millis(1)).await;
        assert_alive().await;
        drop(client);
        // Here it is what the turn still has to do: to arm the receive, and to flush.
        let client = std::net::TcpStream::connect(address).unwrap();
        let mut stream = listener.accept().await.unwrap();
        poll_with_fragile(pin!(stream.read(&mut [0; 1])));
        stream.write(b"never sent").await.unwrap();
        stream.abort();
        drop(stream);
        yield_now().await;
        sleep(Duration::from_millis(1)).await;
        assert_alive().await;
        drop(client);
        // And those that the end of the runtime finds.
        let mut timer = Box::pin(sleep(Duration::from_secs(60)));
        let mut task = Box::pin(spawn(pending::<()>()));
        poll_with_fragile(timer.as_mut());
        poll_with_fragile(task.as_mut());
        std::mem::forget((timer, task));
    });
    runtime.close();
    corio::run(assert_alive());
    assert!(!reports.borrow().is_empty());
}

/// Polls with a fragile waker, of which whoever is waited for gets the only copy.
fn poll_with_fragile<F: Future>(future: Pin<&mut F>) {
    let waker = Waker::from(Arc::new(Fragile));
    assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    let _ = catch_unwind(AssertUnwindSafe(|| drop(waker)));
}

#[corio::test]
fn a_runtime_that_is_dropped_by_a_panic_ends_in_order() {
    let ended = Rc::new(Cell::new(false));
    let end = Rc::clone(&ended);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        corio::run(async move {
            spawn(async move {
                let _guard = OnDrop(move || end.set(true));
                pending::<()>().await;
            });
            spawn(async {
                let _bomb = Bomb;
                pending::<()>().await;
            });
            yield_now().await;
            panic!("with tasks left");
        });
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"with tasks left"));
    assert!(ended.get());
    corio::run(assert_alive());
}

#[corio::test]
async fn a_task_that_panicked_is_polled_no_more() {
    let polls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&polls);
    let waker = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&waker);
    let task = spawn(poll_fn(move |context| -> Poll<()> {
        *slot.borrow_mut() = Some(context.waker().clone());
        counter.set(counter.get() + 1);
        panic!("once");
    }));
    yield_now().await;
    assert!(!task.cancel(), "it has ended");
    waker.take().unwrap().wake();
    yield_now().await;
    assert_eq!(polls.get(), 1);
    assert!(task.await.unwrap_err().is_panic());
}
