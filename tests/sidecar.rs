//! Hazards of a tokio runtime beside the loops: a wake that gets lost between two threads, a task
//! that goes on for nobody, a panic that vanishes, an end that waits for ever.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corio::channel::oneshot;
use futures_util::future::join_all;

use support::{bounded, until};

/// Tells its drop.
struct Guard(Option<oneshot::Sender<&'static str>>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send("dropped");
        }
    }
}

#[corio::test]
async fn values_of_many_tasks_come_back_each_to_its_own() {
    let ask = async |number: u64| {
        let handle = corio::tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(number % 7 * 100)).await;
            tokio::task::yield_now().await;
            number
        });
        handle.await.unwrap()
    };
    let answers = bounded(join_all((0..1000).map(ask))).await;
    assert!(answers.into_iter().eq(0..1000));
}

#[corio::test]
async fn tokios_own_sockets_and_tasks_work_there() {
    let answer = corio::tokio::spawn(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
        });
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    assert_eq!(bounded(answer).await.unwrap(), "hello");
}

#[corio::test]
async fn a_dropped_handle_cancels_its_task_and_a_detached_one_does_not() {
    for detaches in [false, true] {
        let (dropped, was_dropped) = oneshot();
        let (go, gone) = oneshot::<()>();
        let (started, has_started) = oneshot();
        let handle = corio::tokio::spawn(async move {
            let mut guard = Guard(Some(dropped));
            let _ = started.send(());
            let _ = gone.await;
            if let Some(sender) = guard.0.take() {
                let _ = sender.send("finished");
            }
        });
        bounded(has_started).await.unwrap();
        match detaches {
            true => handle.detach(),
            false => drop(handle),
        }
        // Where it is kept, nothing but the drop ends the task.
        let mut go = Some(go);
        if detaches && let Some(go) = go.take() {
            go.send(()).unwrap();
        }
        let ending = if detaches { "finished" } else { "dropped" };
        assert_eq!(bounded(was_dropped).await.unwrap(), ending);
        drop(go);
    }
}

#[corio::test]
async fn a_task_that_is_cancelled_with_its_waiter_ends() {
    let (dropped, was_dropped) = oneshot();
    let (started, has_started) = oneshot();
    let waiter = corio::spawn(async move {
        let handle = corio::tokio::spawn(async move {
            let _guard = Guard(Some(dropped));
            let _ = started.send(());
            std::future::pending::<()>().await;
        });
        handle.await
    });
    bounded(has_started).await.unwrap();
    waiter.cancel();
    assert!(bounded(waiter).await.unwrap_err().is_cancelled());
    assert_eq!(bounded(was_dropped).await.unwrap(), "dropped");
}

#[corio::test]
async fn a_panic_comes_back_to_who_awaits() {
    async fn panics() {
        panic!("as told");
    }
    let error: corio::tokio::JoinError = bounded(corio::tokio::spawn(panics())).await.unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"as told"));

    let handle = corio::tokio::spawn(std::future::pending::<()>());
    handle.cancel();
    assert!(bounded(handle).await.unwrap_err().is_cancelled());
}

#[corio::test]
async fn blocking_code_finds_the_runtime_it_asks_for() {
    let job = corio::tokio::spawn_blocking(|| {
        tokio::runtime::Handle::current().block_on(async { tokio::task::yield_now().await });
        7
    });
    assert_eq!(bounded(job).await.unwrap(), 7);
}

#[test]
fn every_core_awaits_its_own() {
    let total = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let total = Arc::clone(&total);
            std::thread::spawn(move || {
                corio::run(async move {
                    for number in 0..200 {
                        let handle = corio::tokio::spawn(async move { number });
                        total.fetch_add(bounded(handle).await.unwrap(), Ordering::Relaxed);
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(total.load(Ordering::Relaxed), 4 * (0..200).sum::<usize>());
}

/// In a process of its own, since the runtime is one for all tests of this one.
#[test]
fn an_end_is_bounded_and_a_later_spawn_starts_anew() {
    if std::env::var_os("CORIO_TEST_SHUTDOWN").is_some() {
        return end_and_start_anew();
    }
    let itself = std::env::current_exe().unwrap();
    let name = "an_end_is_bounded_and_a_later_spawn_starts_anew";
    let output = std::process::Command::new(itself)
        .args(["--exact", name, "--nocapture"])
        .env("CORIO_TEST_SHUTDOWN", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{complaints}");
}

fn end_and_start_anew() {
    corio::tokio::Builder::new().threads(3).start().unwrap();
    let error = corio::tokio::Builder::new().start().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    corio::run(async {
        let threads = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
            let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
            names.flatten().filter(|name| name.trim_end() == "corio-tokio").count()
        };
        until(|| threads() == 3).await;
        let waiting = corio::tokio::spawn(std::future::pending::<()>());
        let (stuck_has_begun, stuck_begins) = oneshot();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let stuck = corio::tokio::spawn_blocking(move || {
            let _ = stuck_has_begun.send(());
            let _ = gone.recv();
        });
        bounded(stuck_begins).await.unwrap();
        // It would wait for the stuck one for ever.
        bounded(corio::tokio::shutdown(Duration::from_millis(10))).await;
        assert!(bounded(waiting).await.unwrap_err().is_cancelled());
        drop(go);
        let _ = bounded(stuck).await;
        let handle = corio::tokio::spawn(async { 5 });
        assert_eq!(bounded(handle).await.unwrap(), 5);
        bounded(corio::tokio::shutdown(Duration::from_secs(60))).await;
        until(|| threads() == 0).await;
    });
}
