//! The end of a runtime: in bounded time, in order, and with nothing left behind.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener as Blocking, TcpStream as Client};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::{JoinHandle, Runtime, sleep, spawn, timeout, yield_now};

use crate::{OnDrop, PATIENCE, child, noting};

const SECOND: Duration = Duration::from_secs(1);

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// A listener whose backlog is full, so that a connect to it does not come to an end.
pub async fn blackhole() -> (TcpListener, SocketAddr, Vec<Client>) {
    let listener = ListenOptions::new().backlog(1).bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let full = (0..2).map(|_| Client::connect(address).expect("the backlog takes two")).collect();
    (listener, address, full)
}

#[corio::test]
fn an_end_with_everything_outstanding_takes_less_than_a_second() {
    let start = Instant::now();
    let address = corio::run(async {
        let listener = listen().await;
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        spawn(async move { listener.accept().await.map(drop) });
        spawn(async move { server.read(&mut [0; 1]).await.map(drop) });
        let (blackhole, silent, full) = blackhole().await;
        spawn(async move { TcpStream::connect(silent).await.map(drop) });
        spawn(async move { timeout(Duration::from_secs(60), pending::<()>()).await });
        spawn(sleep(Duration::MAX));
        spawn(async {
            loop {
                yield_now().await;
            }
        });
        for _ in 0..1000 {
            spawn(sleep(Duration::from_secs(3600)));
        }
        sleep(Duration::from_millis(5)).await;
        std::mem::forget((client, blackhole, full));
        address
    });
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    Blocking::bind(address).expect("the port can be bound again at once");
}

#[corio::test]
fn an_end_with_nothing_to_wait_for_does_not_wait() {
    let limit = Duration::from_secs(30);
    let runtime = Runtime::builder().grace(limit).linger_at_close(limit).build().unwrap();
    let client = runtime.block_on(async {
        let listener = listen().await;
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        // One stream whose peer is gone, one that a task drops only when it is cancelled.
        drop(listener.accept().await.unwrap());
        let other = Client::connect(listener.local_addr().unwrap()).unwrap();
        let held = listener.accept().await.unwrap();
        spawn(async move {
            sleep(Duration::from_secs(60)).await;
            drop(held);
        });
        drop(other);
        client
    });
    drop(client);
    let start = Instant::now();
    let report = runtime.close();
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    assert_eq!((report.cancelled_tasks, report.dropped_tasks), (1, 0));
    assert_eq!((report.abandoned_streams, report.leaked_operations), (0, 0));
}

#[corio::test]
fn what_was_written_is_sent_before_the_end() {
    let mut client = corio::run(async {
        let listener = listen().await;
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().await.unwrap();
        stream.write(b"last words").await.unwrap();
        client
    });
    let mut text = String::new();
    client.read_to_string(&mut text).expect("FIN, not RST");
    assert_eq!(text, "last words");
}

#[corio::test]
fn a_task_that_does_not_end_is_dropped_at_the_grace_limit_and_reported() {
    let runtime = Runtime::builder().grace(Duration::from_millis(20)).build().unwrap();
    // A drop that spawns, cancels and polls meets a runtime that is ending.
    let outcome = Rc::new(RefCell::new(None::<JoinHandle<()>>));
    let kept = Rc::clone(&outcome);
    let refused = Rc::new(Cell::new(false));
    let seen = Rc::clone(&refused);
    let guard = OnDrop(move || {
        let handle = spawn(async { unreachable!("nothing is started any more") });
        seen.set(handle.is_finished());
        *kept.borrow_mut() = Some(handle);
    });
    let handle = runtime.block_on(async {
        let handle = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        handle
    });
    let report = runtime.close();
    assert_eq!(report.cancelled_tasks, 1);
    assert!(refused.get());
    for handle in [outcome.take().unwrap(), handle] {
        let outcome = pin!(handle).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(outcome, std::task::Poll::Ready(Err(error)) if error.is_cancelled()));
    }
}

#[corio::test]
fn a_spawn_while_the_runtime_ends_gives_a_cancelled_handle() {
    let later = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&later);
    corio::run(async move {
        spawn(async move {
            let _guard = OnDrop(move || *slot.borrow_mut() = Some(spawn(async { 1 })));
            pending::<()>().await;
        });
        yield_now().await;
    });
    let handle = later.take().expect("the guard ran");
    assert!(handle.is_finished());
    assert!(!handle.cancel());
    let error = corio::run(handle).unwrap_err();
    assert!(error.is_cancelled());
    assert!(error.to_string().contains(file!()), "{error}");
}

#[corio::test]
fn tasks_rest_between_two_runs_and_go_on() {
    let runtime = Runtime::new().unwrap();
    let count = Rc::new(Cell::new(0));
    let counter = Rc::clone(&count);
    let ticking = runtime.block_on(async move {
        let ticking = spawn(async move {
            loop {
                counter.set(counter.get() + 1);
                yield_now().await;
            }
        });
        sleep(Duration::from_millis(1)).await;
        ticking
    });
    let resting = count.get();
    assert!(resting > 0);
    let spinning = Instant::now();
    while spinning.elapsed() < Duration::from_millis(2) {}
    assert_eq!(count.get(), resting);
    runtime.block_on(sleep(Duration::from_millis(1)));
    assert!(count.get() > resting);
    assert!(ticking.cancel());
    let error = runtime.block_on(ticking).unwrap_err();
    assert!(error.is_cancelled());
}

#[corio::test]
fn a_timer_that_came_due_while_the_runtime_rested_fires_in_the_next_run() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.block_on(async { spawn(sleep(Duration::from_millis(2))) });
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(3) {}
    runtime.block_on(async { timeout(PATIENCE, handle).await }).unwrap().unwrap();
}

#[corio::test]
fn a_sleep_that_began_in_another_runtime_is_told_of_its_end_here() {
    let first = Runtime::new().unwrap();
    let mut sleeping = Box::pin(sleep(Duration::from_millis(5)));
    first.block_on(async {
        assert!(timeout(Duration::ZERO, &mut sleeping).await.is_err());
    });
    corio::run(async { timeout(PATIENCE, sleeping).await.expect("it is over") });
    drop(first);
    let mut sleeping = Box::pin(sleep(Duration::from_millis(5)));
    corio::run(async { assert!(timeout(Duration::ZERO, &mut sleeping).await.is_err()) });
    corio::run(async { timeout(PATIENCE, sleeping).await.expect("it is over") });
}

#[corio::test]
fn a_connect_that_is_taken_elsewhere_ends_there() {
    let first = Runtime::new().unwrap();
    let (blackhole, silent, full) = first.block_on(blackhole());
    let mut connect = Box::pin(TcpStream::connect(silent));
    first.block_on(async {
        assert!(timeout(Duration::ZERO, &mut connect).await.is_err());
    });
    let outcome = corio::run(async { timeout(PATIENCE, connect).await });
    assert!(outcome.expect("it does not hang").is_err());
    drop((blackhole, full));
}

#[corio::test]
fn a_runtime_may_be_dropped_inside_another() {
    let inner = Runtime::new().unwrap();
    let handle = inner.block_on(async { spawn(pending::<()>()) });
    corio::run(async move {
        let own = spawn(async { sleep(Duration::from_millis(1)).await });
        drop(inner);
        assert!(handle.await.unwrap_err().is_cancelled());
        // The outer one is the current one again.
        timeout(PATIENCE, own).await.unwrap().unwrap();
        spawn(async {}).await.unwrap();
    });
}

thread_local! {
    static KEPT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

#[corio::test]
fn a_runtime_in_a_thread_local_ends_with_its_thread() {
    let name = "teardown::a_runtime_in_a_thread_local_ends_with_its_thread";
    if child::rerun(name, &[]).is_some() {
        return;
    }
    // The thread's locals are destroyed in an order that nobody chose: both are tried.
    for first_is_kept in [false, true] {
        let thread = std::thread::spawn(move || {
            if first_is_kept {
                KEPT.with(|_| {});
            }
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async {
                spawn(pending::<()>());
                spawn(async { sleep(Duration::from_secs(60)).await });
                yield_now().await;
            });
            KEPT.set(Some(runtime));
        });
        thread.join().expect("no panic");
    }
}

#[corio::test]
fn a_leaked_runtime_is_harmless() {
    let (runtime, wakers) = (Runtime::new().unwrap(), Rc::new(RefCell::new(Vec::new())));
    let notes = Rc::clone(&wakers);
    let handle = runtime.block_on(async move {
        let _listener = listen().await;
        let handle = spawn(std::future::poll_fn(move |context| {
            notes.borrow_mut().push(context.waker().clone());
            std::task::Poll::<()>::Pending
        }));
        spawn(sleep(Duration::from_secs(60)));
        yield_now().await;
        handle
    });
    std::mem::forget(runtime);
    for waker in wakers.take() {
        waker.wake_by_ref();
        std::thread::spawn(move || waker.wake()).join().unwrap();
    }
    assert!(!handle.is_finished());
    assert!(handle.cancel(), "asked for, and never answered");
    drop(handle);
    corio::run(async { sleep(Duration::from_millis(1)).await });
}

#[corio::test]
fn more_runtimes_one_after_another_than_may_live_at_a_time() {
    for number in 0..1100 {
        let runtime = Runtime::builder().ring_entries(4).completion_entries(8).build().unwrap();
        let value = runtime.block_on(async move {
            // Whatever is left behind keeps no runtime alive, nor its place among the 1024.
            let listener = listen().await;
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            spawn(async move { stream.read(&mut [0; 1]).await.map(drop) });
            spawn(async move { listener.accept().await.map(drop) });
            std::mem::forget(spawn(sleep(Duration::from_secs(60))));
            spawn(async move { number }).await
        });
        assert_eq!(value.unwrap(), number);
        assert_eq!(runtime.close().leaked_operations, 0);
    }
}

#[corio::test]
fn limits_beyond_all_time_are_limits() {
    let (builder, reports) = noting();
    let builder = builder.grace(Duration::MAX).linger_at_close(Duration::MAX);
    let runtime = builder.build().unwrap();
    runtime.block_on(async {
        spawn(sleep(Duration::MAX));
        yield_now().await;
    });
    assert_eq!(runtime.close().dropped_tasks, 0);
    let odd = Duration::from_nanos(u64::MAX) + Duration::from_nanos(2);
    let runtime = Runtime::builder().grace(odd).build().unwrap();
    runtime.block_on(async {
        spawn(pending::<()>());
    });
    // Cut off to 64 bits, the limit would be a nanosecond.
    assert_eq!(runtime.close().dropped_tasks, 0);
    assert!(reports.borrow().is_empty());
}

#[corio::test]
fn resources_that_outlive_their_runtime_answer_with_errors() {
    let runtime = Runtime::new().unwrap();
    let (listener, mut stream, client) = runtime.block_on(async {
        let listener = listen().await;
        let client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().await.unwrap();
        (listener, stream, client)
    });
    drop(runtime);
    corio::run(async {
        assert_eq!(listener.accept().await.unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(stream.flush().await.unwrap_err().kind(), ErrorKind::Other);
    });
    drop((listener, stream, client));
}
