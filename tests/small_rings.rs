//! Rings that are much too small for their work: nothing is lost, nobody stalls, nothing spins.

#[path = "support/child.rs"]
mod child;
mod support;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Poll, Waker};

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::{Builder, Driver, Runtime, Stats};
use support::{bounded, pair};

fn tiny() -> Builder {
    Runtime::builder().driver(Driver::Uring).ring_entries(2).completion_entries(4)
}

/// The whole name of a test of this file, also where it is a part of another binary.
fn path(test: &str) -> String {
    match module_path!().split_once("::") {
        Some((_, inner)) => format!("{inner}::{test}"),
        None => test.to_owned(),
    }
}

fn message(connection: usize, round: usize) -> Vec<u8> {
    format!("connection {connection} round {round};").into_bytes()
}

async fn echo(mut stream: TcpStream) {
    while let Some(chunk) = stream.read_chunk().await.unwrap() {
        stream.write_owned(chunk).await.unwrap();
    }
}

async fn exchange(stream: &mut TcpStream, connection: usize, rounds: usize) {
    for round in 0..rounds {
        let sent = message(connection, round);
        stream.write(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);
    }
}

#[corio::test]
fn twenty_thousand_sends_pass_through_a_ring_of_two() {
    const PAIRS: usize = 100;
    const ROUNDS: usize = 100;
    let runtime = tiny().completion_entries(4096).build().unwrap();
    runtime.block_on(bounded(async {
        let mut tasks = Vec::new();
        for connection in 0..PAIRS {
            let (mut client, server) = pair().await;
            corio::spawn(echo(server));
            tasks.push(corio::spawn(async move {
                exchange(&mut client, connection, ROUNDS).await;
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }));
    let stats = runtime.stats();
    let sends = (2 * PAIRS * ROUNDS) as u64;
    // The environment has the last word on the driver. Epoll has no ring, and sends by plain calls.
    let is_ring = runtime.features().driver() == Driver::Uring;
    assert_eq!(stats.submissions >= sends, is_ring, "{stats:?}");
    assert_eq!(stats.submission_overflows > 0, is_ring, "{stats:?}");
    // Two submissions an enter: sends, and receives where the kernel has none that stand.
    let entries = if is_ring { stats.submissions } else { sends };
    assert!(stats.enters < entries * 3 / 4, "two entries an enter: {stats:?}");
    assert!(stats.turns < sends && stats.polls < 3 * sends, "it spins: {stats:?}");
    assert_eq!(stats.lost_completions, 0);
}

/// Three thousand connections, each of which is heard of in each round.
async fn crowd(rounds: usize) {
    const CONNECTIONS: usize = 3000;
    let listener = ListenOptions::new().backlog(4096).bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = Rc::new(listener);
    corio::spawn(accept_all(Rc::clone(&listener)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            corio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                exchange(&mut client, connection, rounds).await;
                client
            })
        })
        .collect();
    let mut streams = Vec::new();
    for client in clients {
        streams.push(client.await.unwrap());
    }
    // All of them are open now, and all write at once.
    let again: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(connection, mut client)| {
            corio::spawn(async move { exchange(&mut client, connection, rounds).await })
        })
        .collect();
    for client in again {
        client.await.unwrap();
    }
}

async fn accept_all(listener: Rc<TcpListener>) {
    while let Ok(stream) = listener.accept().await {
        corio::spawn(echo(stream));
    }
}

#[track_caller]
fn assert_sound(stats: &Stats) {
    assert_eq!((stats.lost_completions, stats.foreign_completions), (0, 0), "{stats:?}");
    assert!(stats.enters < 4 * (stats.submissions + stats.completions), "it spins: {stats:?}");
}

#[corio::test]
fn three_thousand_connections_echo_through_a_completion_queue_of_four() {
    let test = path("three_thousand_connections_echo_through_a_completion_queue_of_four");
    let limit = "ulimit -n 7000 && exec \"$@\"";
    if child::rerun(&test, &["sh", "-c", limit, "sh"]).is_some() {
        return;
    }
    let runtime = tiny().build().unwrap();
    runtime.block_on(bounded(crowd(2)));
    assert_sound(&runtime.stats());
    assert_eq!(runtime.close().leaked_operations, 0);
}

/// Hands a waker to another thread, which wakes it once; ready after that.
async fn foreign_wake(wakers: &Sender<(Arc<AtomicBool>, Waker)>) {
    let (is_woken, mut is_sent) = (Arc::new(AtomicBool::new(false)), false);
    poll_fn(|context| {
        if !std::mem::replace(&mut is_sent, true) {
            wakers.send((Arc::clone(&is_woken), context.waker().clone())).unwrap();
        }
        if is_woken.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[corio::test]
fn the_bell_is_heard_while_a_completion_queue_of_four_overflows() {
    const WAKES: usize = 200;
    let runtime = tiny().build().unwrap();
    let (wakers, asked) = channel::<(Arc<AtomicBool>, Waker)>();
    let ringer = std::thread::spawn(move || {
        for (is_woken, waker) in asked {
            is_woken.store(true, Ordering::Release);
            waker.wake();
        }
    });
    runtime.block_on(bounded(async {
        let mut tasks = Vec::new();
        for connection in 0..50 {
            let (mut client, server) = pair().await;
            corio::spawn(echo(server));
            tasks.push(corio::spawn(async move { exchange(&mut client, connection, 20).await }));
        }
        for _ in 0..WAKES {
            foreign_wake(&wakers).await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        // The loop sleeps between these.
        for _ in 0..WAKES {
            foreign_wake(&wakers).await;
        }
    }));
    drop(wakers);
    ringer.join().unwrap();
    assert_sound(&runtime.stats());
}

#[corio::test]
fn a_tiny_ring_ends_in_good_order_with_a_crowd_outstanding() {
    let runtime = tiny().build().unwrap();
    runtime.block_on(bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..200 {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let server = listener.accept().await.unwrap();
            corio::spawn(echo(client));
            corio::spawn(echo(server));
        }
        support::until_stats(|stats| stats.operations_in_flight > 400).await;
    }));
    let stats = runtime.stats();
    assert_sound(&stats);
    let report = runtime.close();
    assert_eq!((report.leaked_operations, report.cancelled_tasks), (0, 400), "{report:?}");
}
