//! `JoinHandle::cancel`: soft, so that nothing is lost, and final, so that nothing goes on.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::TcpStream as Client;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use corio::net::TcpStream;
use corio::{sleep, spawn, timeout, yield_now};

use crate::{Blackhole, OnDrop, PATIENCE, listen, pair};

#[corio::test]
async fn a_value_that_is_ready_wins_over_the_cancel() {
    let task = spawn(async {
        yield_now().await;
        5
    });
    yield_now().await;
    assert!(task.cancel());
    assert!(task.cancel(), "asking twice is asking once");
    assert_eq!(task.await.unwrap(), 5, "ready at its next poll");
}

#[corio::test]
async fn a_task_that_is_cancelled_before_it_has_run_never_runs() {
    let task = spawn(async { unreachable!("it was not to run") });
    assert!(task.cancel());
    let error: corio::JoinError = task.await.unwrap_err();
    assert!(error.is_cancelled());
}

#[corio::test]
async fn a_waiting_task_is_dropped_and_its_handle_says_cancelled() {
    let dropped = Rc::new(Cell::new(false));
    let note = Rc::clone(&dropped);
    let task = spawn(async move {
        let _guard = OnDrop(move || note.set(true));
        sleep(Duration::from_secs(60)).await;
    });
    yield_now().await;
    assert!(task.cancel());
    assert!(!dropped.get(), "not inside of the call");
    let error = timeout(PATIENCE, task).await.unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert!(error.to_string().contains("was cancelled"), "{error}");
    assert!(dropped.get());
}

#[corio::test]
async fn a_cancelled_task_ends_only_when_its_operations_have() {
    let blackhole = Blackhole::new().await;
    let address = blackhole.address;
    let before = corio::stats().operations_in_flight;
    let task = spawn(async move { TcpStream::connect(address).await.map(drop) });
    yield_now().await;
    assert_eq!(corio::stats().operations_in_flight, before + 1);
    assert!(task.cancel());
    assert!(!task.is_finished());
    let error = timeout(PATIENCE, task).await.unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(corio::stats().operations_in_flight, before, "nothing of it is in flight");
}

#[corio::test]
async fn an_operation_that_was_dropped_still_belongs_to_its_task() {
    let blackhole = Blackhole::new().await;
    let address = blackhole.address;
    let before = corio::stats().operations_in_flight;
    for _ in 0..20 {
        let task = spawn(async move {
            let connects = (0..10).map(|_| TcpStream::connect(address));
            let all = futures_util::future::join_all(connects);
            timeout(Duration::ZERO, all).await.map(drop)
        });
        assert!(task.await.unwrap().is_err());
        assert_eq!(corio::stats().operations_in_flight, before);
    }
}

#[corio::test]
async fn an_operation_that_completed_all_the_same_gives_its_value() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let mut late_values = 0;
    for _ in 0..20 {
        let task = spawn(TcpStream::connect(address));
        // At the start of the next turn the connect has completed, and the task is not yet polled.
        let turn = corio::stats().turns;
        while corio::stats().turns == turn {
            yield_now().await;
        }
        let was_asked = task.cancel();
        match timeout(PATIENCE, task).await.unwrap() {
            Ok(stream) => {
                let served = listener.accept().await.unwrap();
                assert_eq!(served.peer_addr().unwrap(), stream.unwrap().local_addr().unwrap());
                late_values += i32::from(was_asked);
            }
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    assert!(late_values > 0, "completed, asked to end before it was polled, and not lost");
}

#[corio::test]
async fn a_cancelled_task_starts_no_new_operation() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let task = spawn(async move {
        yield_now().await;
        let stream = TcpStream::connect(address).await;
        unreachable!("{stream:?}");
    });
    yield_now().await;
    let before = corio::stats().operations_in_flight;
    task.cancel();
    assert!(timeout(PATIENCE, task).await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(corio::stats().operations_in_flight, before);
    assert!(timeout(Duration::from_millis(5), listener.accept()).await.is_err());
}

#[corio::test]
async fn a_cancelled_accept_or_read_loses_nothing() {
    let listener = Rc::new(listen().await);
    let accepting = Rc::clone(&listener);
    let task = spawn(async move { accepting.accept().await });
    yield_now().await;
    let client = Client::connect(listener.local_addr().unwrap()).unwrap();
    task.cancel();
    let stream = match timeout(PATIENCE, task).await.unwrap() {
        Ok(stream) => stream.unwrap(),
        Err(_) => timeout(PATIENCE, listener.accept()).await.unwrap().unwrap(),
    };
    assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());

    let (writer, reader) = pair().await;
    let reader = Rc::new(RefCell::new(Some(reader)));
    let slot = Rc::clone(&reader);
    let task = spawn(async move {
        let mut stream = slot.take().unwrap();
        let mut buffer = [0; 4];
        let keeper = OnDrop(|| {});
        let read = stream.read_exact(&mut buffer).await;
        drop(keeper);
        read.map(|()| buffer)
    });
    yield_now().await;
    writer.write(b"data").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(timeout(PATIENCE, task).await.unwrap().unwrap().unwrap(), *b"data");
}

/// A connect that was begun by one task and is awaited by another.
type Moved = Rc<RefCell<Option<Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>>>>;

#[corio::test]
async fn an_operation_that_moved_away_from_a_cancelled_task_ends_for_its_new_owner() {
    let blackhole = Blackhole::new().await;
    let address = blackhole.address;
    for is_over in [false, true] {
        let moved = Moved::default();
        let slot = Rc::clone(&moved);
        let first = spawn(async move {
            let mut connect: Pin<Box<dyn Future<Output = _>>> =
                Box::pin(TcpStream::connect(address));
            assert!(futures_util::poll!(&mut connect).is_pending());
            *slot.borrow_mut() = Some(connect);
            if !is_over {
                pending::<()>().await;
            }
        });
        yield_now().await;
        let connect = moved.take().expect("the first task has begun it");
        let second = spawn(async move { connect.await.map(drop) });
        yield_now().await;
        first.cancel();
        let error = timeout(PATIENCE, second).await.expect("it does not hang").unwrap();
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(timeout(PATIENCE, first).await.unwrap().is_ok(), is_over);
    }
}

#[corio::test]
async fn a_cancel_reaches_every_wait() {
    let (stream, mut other) = pair().await;
    let listener = listen().await;
    let waits: Vec<Pin<Box<dyn Future<Output = ()>>>> = vec![
        Box::pin(pending()),
        Box::pin(sleep(Duration::MAX)),
        Box::pin(async {
            loop {
                yield_now().await;
            }
        }),
        Box::pin(async move { drop(listener.accept().await) }),
        Box::pin(async move { drop(other.read(&mut [0; 1]).await) }),
        Box::pin(async { assert!(timeout(Duration::MAX, pending::<()>()).await.is_ok()) }),
        Box::pin(async { drop(spawn(pending::<()>()).await) }),
    ];
    let count = waits.len();
    let tasks: Vec<_> = waits.into_iter().map(|wait| spawn(wait)).collect();
    yield_now().await;
    assert!(tasks.iter().all(|task| task.cancel()));
    for task in tasks {
        assert!(timeout(PATIENCE, task).await.unwrap().unwrap_err().is_cancelled());
    }
    assert_eq!(count, 7);
    drop(stream);
}

#[corio::test]
async fn a_cancel_from_a_drop_during_another_cancel_meets_no_borrow() {
    let victim = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&victim);
    let task = spawn(async move {
        let _guard = OnDrop(move || {
            let victim: corio::JoinHandle<()> = slot.take().unwrap();
            assert!(victim.cancel());
            assert!(!victim.is_finished());
            spawn(async {});
        });
        pending::<()>().await;
    });
    let other = spawn(async move {
        let _guard = OnDrop(|| drop(spawn(async {})));
        sleep(Duration::from_secs(60)).await;
    });
    *victim.borrow_mut() = Some(other);
    yield_now().await;
    task.cancel();
    assert!(task.await.unwrap_err().is_cancelled());
    for _ in 0..5 {
        yield_now().await;
    }
    assert_eq!(corio::stats().tasks, 0);
}

#[corio::test]
fn a_cancel_between_two_runs_is_heard_in_the_next() {
    let runtime = corio::Runtime::new().unwrap();
    let task = runtime.block_on(async {
        let task = spawn(sleep(Duration::from_secs(60)));
        yield_now().await;
        task
    });
    assert!(task.cancel());
    let outcome = runtime.block_on(timeout(PATIENCE, task));
    assert!(outcome.unwrap().unwrap_err().is_cancelled());
}

#[corio::test]
async fn a_refused_connect_is_the_kernels_error() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
