//! Servers: every connection has its task, limits are exact, and a shutdown ends in time.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corio::net::{ListenOptions, ServeOptions, Server, Stage, TcpStream, serve};
use corio::{Runtime, Unhandled, catch_cancel, sleep, spawn, timeout, yield_now};

#[path = "serving/ends.rs"]
mod ends;

/// No wait of a test takes longer; what does has lost its wake-up.
const PATIENCE: Duration = Duration::from_secs(20);

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_owned(chunk).await?;
    }
    Ok(())
}

async fn client(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addrs()[0]).await.unwrap()
}

/// Waits until so many handlers run.
async fn connected(server: &Server, count: usize) {
    let counted = async {
        while server.connection_count() != count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let found = timeout(PATIENCE, counted).await;
    found.unwrap_or_else(|_| panic!("{} connections, not {count}", server.connection_count()));
}

async fn round_trip(stream: &mut TcpStream) {
    stream.write(b"ping").await.unwrap();
    let mut reply = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().unwrap();
    assert_eq!(&reply, b"ping");
}

#[corio::test]
async fn each_connection_is_served_by_a_task_of_its_own() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(client(&server).await);
    }
    for stream in &mut clients {
        round_trip(stream).await;
    }
    assert_eq!(server.connection_count(), 20);
    drop(clients);
    connected(&server, 0).await;
    assert!(server.is_serving());
}

#[corio::test]
async fn a_server_listens_on_several_addresses_or_on_none() {
    let other = "127.0.0.2:0".parse().unwrap();
    let server = ServeOptions::new().also(other).serve("127.0.0.1:0", echo).await.unwrap();
    assert_eq!(server.local_addrs().len(), 2);
    for address in server.local_addrs() {
        round_trip(&mut TcpStream::connect(*address).await.unwrap()).await;
    }
    let taken = server.local_addrs()[1];
    let refused = ServeOptions::new().also(taken).serve("127.0.0.1:0", echo).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[corio::test]
async fn no_more_connections_are_open_than_the_limit_says_under_churn() {
    for limit in [1, 3, 2000] {
        let (open, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (counter, highest) = (Rc::clone(&open), Rc::clone(&most));
        let handler = move |mut stream: TcpStream| {
            let counter = Rc::clone(&counter);
            counter.set(counter.get() + 1);
            highest.set(highest.get().max(counter.get()));
            async move {
                let line = stream.read_line(100).await.unwrap();
                yield_now().await;
                stream.write(&line).await.unwrap();
                let _ = stream.close().await;
                counter.set(counter.get() - 1);
            }
        };
        let server = ServeOptions::new()
            .listen(ListenOptions::new().backlog(256))
            .max_connections(limit)
            .also("127.0.0.2:0".parse().unwrap())
            .serve("127.0.0.1:0", handler)
            .await
            .unwrap();
        let clients: Vec<_> = (0..200)
            .map(|number| {
                let address = server.local_addrs()[number % 2];
                spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write(b"line\n").await.unwrap();
                    assert_eq!(stream.read_line(100).await.unwrap(), b"line\n");
                })
            })
            .collect();
        for client in clients {
            timeout(PATIENCE, client).await.expect("everybody is served").unwrap();
        }
        assert!(most.get() <= limit, "{} of {limit}", most.get());
        assert!(limit > 1 || most.get() == 1);
    }
}

#[corio::test]
async fn a_closed_server_refuses_clients_and_serves_those_it_has() {
    let server = serve("127.0.0.1:0", echo).await.unwrap();
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    server.close();
    assert!(!server.is_serving());
    yield_now().await;
    let refused = TcpStream::connect(server.local_addrs()[0]).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    round_trip(&mut stream).await;
    assert!(timeout(Duration::from_millis(5), server.wait_closed()).await.is_err());
    drop(stream);
    timeout(PATIENCE, server.wait_closed()).await.unwrap();
    timeout(PATIENCE, server.wait_closed()).await.expect("also a second time");
}

#[corio::test]
async fn clients_that_are_closed_get_what_was_written_and_aborted_ones_a_reset() {
    let server = serve("127.0.0.1:0", async |stream: TcpStream| {
        stream.write(b"hello\n").await.unwrap();
        pending::<()>().await;
    });
    let server = server.await.unwrap();
    let mut closed = client(&server).await;
    connected(&server, 1).await;
    // A handler that is asked before it has begun does not begin.
    yield_now().await;
    server.close_clients();
    assert_eq!(closed.read_line(100).await.unwrap(), b"hello\n");
    assert!(timeout(PATIENCE, closed.read_chunk()).await.unwrap().unwrap().is_none());
    drop(closed);
    connected(&server, 0).await;
    let mut aborted = client(&server).await;
    assert_eq!(aborted.read_line(100).await.unwrap(), b"hello\n");
    server.abort_clients();
    let error = timeout(PATIENCE, aborted.read_chunk()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    connected(&server, 0).await;
}

#[corio::test]
async fn a_shutdown_lets_finish_then_cancels_then_aborts_and_tells() {
    let number = Rc::new(Cell::new(0));
    let server = serve("127.0.0.1:0", move |mut stream: TcpStream| {
        number.set(number.get() + 1);
        let kind = number.get();
        async move {
            stream.write(b"x").await.unwrap();
            match kind {
                1 => drop(stream.read_chunk().await),
                2 => {
                    let _ = catch_cancel(pending::<()>()).await;
                    stream.write(b"bye").await.unwrap();
                }
                _ => loop {
                    let _ = catch_cancel(pending::<()>()).await;
                },
            }
        }
    });
    let server = server.await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut stream = client(&server).await;
        stream.read_exact(&mut [0]).await.unwrap();
        clients.push(stream);
    }
    connected(&server, 3).await;
    let first = clients.remove(0);
    let finisher = spawn(async move {
        sleep(Duration::from_millis(5)).await;
        drop(first);
    });
    let report = timeout(PATIENCE, server.shutdown(Duration::from_millis(50))).await.unwrap();
    let stages: Vec<_> = report.connections.iter().map(|it| it.stage).collect();
    assert_eq!(stages, [Stage::Finished, Stage::Cancelled, Stage::Aborted]);
    assert_eq!((report.finished(), report.cancelled(), report.aborted()), (1, 1, 1));
    assert_eq!(report.connections[1].peer, Some(clients[0].local_addr().unwrap()));
    finisher.await.unwrap();
    let mut rest = Vec::new();
    clients[0].read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    assert!(clients[1].read_chunk().await.is_err(), "reset");
    assert_eq!(server.connection_count(), 0);
    let again = timeout(PATIENCE, server.shutdown(Duration::ZERO)).await.unwrap();
    assert!(again.connections.is_empty());
}

#[corio::test]
async fn whoever_serves_for_ever_closes_the_server_with_its_end() {
    let server = Rc::new(serve("127.0.0.1:0", echo).await.unwrap());
    let serving = Rc::clone(&server);
    let task = spawn(async move { serving.serve_forever().await });
    yield_now().await;
    let mut stream = client(&server).await;
    round_trip(&mut stream).await;
    task.cancel();
    assert!(timeout(PATIENCE, task).await.unwrap().unwrap_err().is_cancelled());
    assert!(!server.is_serving());
    round_trip(&mut stream).await;
}

#[corio::test]
fn errors_and_panics_of_handlers_are_told_and_end_nothing_else() {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&heard);
    let hook = move |unhandled: &Unhandled| note.borrow_mut().push(unhandled.to_string());
    let runtime = Runtime::builder().on_unhandled(hook).build().unwrap();
    runtime.block_on(async {
        let server = serve("127.0.0.1:0", async |mut stream: TcpStream| {
            let line = stream.read_line(100).await?;
            assert_ne!(line, b"panic\n", "as asked");
            Err::<(), _>(io::Error::other("no such line"))
        });
        let server = server.await.unwrap();
        for line in [b"panic\n", b"error\n"] {
            let mut stream = client(&server).await;
            stream.write(line).await.unwrap();
            assert!(timeout(PATIENCE, stream.read_chunk()).await.unwrap().unwrap().is_none());
        }
        connected(&server, 0).await;
        assert!(server.is_serving());
    });
    let heard = heard.borrow();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains("panicked") && heard[0].contains("as asked"), "{heard:?}");
    assert!(heard[1].contains("the handler of the connection from 127.0.0.1:"), "{heard:?}");
    assert!(heard[1].ends_with("failed: no such line"), "{heard:?}");
}

#[corio::test]
fn a_runtime_ends_in_time_with_a_server_that_serves() {
    for is_dropped in [true, false] {
        let runtime = Runtime::new().unwrap();
        let kept = runtime.block_on(async {
            let server = serve("127.0.0.1:0", echo).await.unwrap();
            let mut stream = client(&server).await;
            round_trip(&mut stream).await;
            (!is_dropped).then_some((server, stream))
        });
        let report = runtime.close();
        assert_eq!((report.dropped_tasks, report.leaked_operations), (0, 0), "{report:?}");
        drop(kept);
    }
}
