//! The ends of a server, and what does not end it.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use corio::net::{ServeOptions, TcpStream, serve};
use corio::{Builder, Runtime, Unhandled, spawn, task, timeout, yield_now};

use crate::{PATIENCE, client, connected, echo, round_trip};

/// Awaits what must come.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it comes")
}

#[corio::test]
async fn waiting_for_the_end_waits_while_it_serves_and_for_the_last_client() {
    let server = Rc::new(serve("127.0.0.1:0", echo).await.unwrap());
    let wait = || {
        let server = Rc::clone(&server);
        spawn(async move { server.wait_closed().await })
    };
    let before = wait();
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    let with_a_client = wait();
    yield_now().await;
    assert!(!before.is_finished() && !with_a_client.is_finished(), "it was not closed");
    server.close();
    let after_the_close = wait();
    round_trip(&mut stream).await;
    assert!(!before.is_finished() && !after_the_close.is_finished(), "a client is served");
    drop(stream);
    for task in [before, with_a_client, after_the_close] {
        soon(task).await.unwrap();
    }
    assert_eq!(timeout(Duration::ZERO, server.wait_closed()).await, Ok(()));
}

#[corio::test]
async fn a_server_that_closes_as_its_last_client_leaves_is_closed() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    drop(stream);
    server.close();
    soon(server.wait_closed()).await;
    assert_eq!(server.connection_count(), 0);
}

#[corio::test]
async fn a_client_that_was_accepted_as_the_server_closed_is_served_or_refused() {
    for turns in 0..12 {
        let server = serve("127.0.0.1:0", echo).await.unwrap();
        let address = server.local_addrs()[0];
        let connecting = spawn(TcpStream::connect(address));
        for _ in 0..turns {
            yield_now().await;
        }
        server.close();
        if let Ok(mut stream) = soon(connecting).await.unwrap() {
            // Either it is served, or it ends: it does not hang.
            let _ = soon(stream.write(b"ping")).await;
            let _ = soon(stream.read_exact(&mut [0; 4])).await;
        }
        soon(server.wait_closed()).await;
    }
}

#[corio::test]
async fn a_server_may_be_closed_again_and_without_clients() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    server.close_clients();
    server.abort_clients();
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    server.close_clients();
    assert_eq!(soon(stream.read(&mut [0; 4])).await.unwrap(), 0);
    round_trip(&mut client(&server).await).await;
    connected(&server, 0).await;
    for _ in 0..2 {
        server.close();
        assert!(!server.is_serving());
    }
    soon(server.wait_closed()).await;
    server.close();
    server.close_clients();
    server.abort_clients();
    soon(server.wait_closed()).await;
    assert_eq!(soon(server.shutdown(PATIENCE)).await.connections, []);
}

#[corio::test]
async fn a_server_may_be_closed_by_its_own_handler() {
    let slot = Rc::new(Cell::new(None));
    let taken = Rc::clone(&slot);
    let handler = move |mut stream: TcpStream| {
        let taken = Rc::clone(&taken);
        async move {
            let line = stream.read_line(100).await.unwrap();
            let server: corio::net::Server = taken.take().expect("the first to come");
            server.close();
            server.close_clients();
            stream.write(&line).await.unwrap();
            taken.set(Some(server));
        }
    };
    let server = serve("127.0.0.1:0", handler).await.unwrap();
    let mut stream = client(&server).await;
    slot.set(Some(server));
    stream.write(b"the end\n").await.unwrap();
    assert_eq!(soon(stream.read_line(100)).await.unwrap(), b"the end\n", "its value wins");
    let server = slot.take().expect("the handler is over");
    soon(server.wait_closed()).await;
}

#[corio::test]
async fn a_server_that_is_dropped_serves_on() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    let address = server.local_addrs()[0];
    drop(server);
    round_trip(&mut TcpStream::connect(address).await.unwrap()).await;
}

#[corio::test]
async fn who_cancels_every_task_does_not_stop_the_server() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    for task in task::all() {
        task.cancel();
        task.abort();
    }
    assert_eq!(soon(stream.read(&mut [0; 4])).await.unwrap_or(0), 0, "its handler was a task");
    round_trip(&mut client(&server).await).await;
    server.close();
    soon(server.wait_closed()).await;
}

/// The texts of what nobody waited for, while `work` ran.
fn unhandled(work: impl Future<Output = ()>) -> Vec<String> {
    let told = Rc::new(std::cell::RefCell::new(Vec::new()));
    let notes = Rc::clone(&told);
    let hook = move |event: &Unhandled| notes.borrow_mut().push(event.to_string());
    let builder: Builder = Runtime::builder().on_unhandled(hook);
    builder.build().unwrap().block_on(work);
    told.take()
}

#[corio::test]
fn a_handler_that_panics_before_it_is_a_future_ends_its_connection_only() {
    let told = unhandled(async {
        let count = Cell::new(0);
        let handler = move |stream: TcpStream| {
            count.set(count.get() + 1);
            if count.get() == 1 {
                std::panic::resume_unwind(Box::new("not even a future"));
            }
            echo(stream)
        };
        let server = serve("127.0.0.1:0", handler).await.unwrap();
        let mut first = client(&server).await;
        assert_eq!(soon(first.read(&mut [0; 4])).await.unwrap_or(0), 0);
        round_trip(&mut client(&server).await).await;
        server.close();
        soon(server.wait_closed()).await;
    });
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("panicked and nobody awaited it: not even a future"), "{told:?}");
}

#[corio::test]
async fn the_smallest_and_the_greatest_limit_serve() {
    for limit in [0, 1, usize::MAX] {
        let options = ServeOptions::new().max_connections(limit);
        let server = options.serve("127.0.0.1:0", echo).await.unwrap();
        for _ in 0..3 {
            round_trip(&mut client(&server).await).await;
        }
        soon(server.shutdown(Duration::ZERO)).await;
        assert!(!server.is_serving());
    }
}

#[corio::test]
async fn two_shutdowns_at_once_both_end() {
    let server = serve("127.0.0.1:0", async |_: TcpStream| pending::<()>().await).await.unwrap();
    let _stream = client(&server).await;
    connected(&server, 1).await;
    let both = async { corio::join!(server.shutdown(Duration::ZERO), server.shutdown(PATIENCE)) };
    let (one, other) = soon(both).await;
    assert_eq!(one.connections.len() + other.connections.len(), 1, "it is told of once");
}
