//! One shutdown for all cores.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use corio::cores::{CoreHandle, Cores};
use corio::net::{AcceptPolicy, CoreEnd, CoresServer, ServeOptions, TcpStream};
use corio::time::Instant;
use corio::{Runtime, catch_cancel, spawn};

use super::{connect, echo, on_cores, round_trip, serve_telling};
use crate::support::{bounded, until};

/// A runtime on a thread of its own, until the sender is dropped.
fn other_core() -> (CoreHandle, mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let (end, over) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            tell.send(CoreHandle::current()).unwrap();
            let _ = corio::to_thread(move || over.recv()).await;
        });
    });
    (told.recv().unwrap(), end, thread)
}

#[corio::test]
fn each_connection_is_told_of_however_far_it_came_on_whichever_core() {
    for policy in AcceptPolicy::ALL {
        on_cores(3, move |core| async move {
            let number = Arc::new(AtomicUsize::new(0));
            let server = ServeOptions::new()
                .accept(policy)
                .serve_on(core.handles(), "127.0.0.1:0", move || {
                    move |mut stream: TcpStream| {
                        let kind = number.fetch_add(1, Ordering::SeqCst) % 3;
                        async move {
                            stream.write(&[kind as u8]).await.unwrap();
                            match kind {
                                0 => drop(stream.read_chunk().await),
                                1 => {
                                    let _ = catch_cancel(pending::<()>()).await;
                                    stream.write(b"bye").await.unwrap();
                                }
                                _ => loop {
                                    let _ = catch_cancel(pending::<()>()).await;
                                },
                            }
                        }
                    }
                })
                .await
                .unwrap();
            let mut streams = Vec::new();
            for _ in 0..12 {
                streams.push(connect(&server).await);
            }
            streams.retain(|(_, kind)| *kind != 0);
            until(|| server.connection_count() == 8).await;
            let ending = spawn(async move {
                for (stream, kind) in &mut streams {
                    let mut rest = Vec::new();
                    let read = bounded(stream.read_to_end(&mut rest)).await;
                    match kind {
                        1 => assert_eq!((read.unwrap(), &rest[..]), (3, &b"bye"[..])),
                        _ => assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
                    }
                }
            });
            let report = server.shutdown(Duration::from_millis(20)).await;
            assert!(report.is_complete(), "{report:?}");
            let stages = (report.finished(), report.cancelled(), report.aborted());
            assert_eq!(stages, (0, 4, 4), "{policy:?}");
            assert_eq!(report.connections().count(), 8);
            bounded(ending).await.unwrap();
            assert_eq!(server.connection_counts(), [0, 0, 0]);
            let refused = TcpStream::connect(server.local_addrs()[0]).await;
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            bounded(server.wait_closed()).await;
            let again = server.shutdown(Duration::ZERO).await;
            assert!(again.is_complete() && again.connections().count() == 0);
        });
    }
}

#[corio::test]
fn who_finishes_within_the_grace_is_not_disturbed() {
    on_cores(3, |core| async move {
        let server = serve_telling(&core, AcceptPolicy::ReusePort).await;
        let mut streams = Vec::new();
        for _ in 0..9 {
            streams.push(connect(&server).await);
        }
        let address = server.local_addrs()[0];
        let leaving = spawn(async move {
            // Refused by all: each core has begun to shut down.
            until(|| std::net::TcpStream::connect(address).is_err()).await;
            for (stream, _) in &mut streams {
                round_trip(stream).await;
            }
        });
        let report = server.shutdown(Duration::from_secs(20)).await;
        bounded(leaving).await.unwrap();
        // A client that only tried whether it is refused may have been accepted.
        assert!(report.finished() >= 9, "{report:?}");
        assert_eq!((report.cancelled(), report.aborted()), (0, 0));
    });
}

#[corio::test]
fn a_shutdown_without_grace_does_not_wait_for_idle_clients() {
    on_cores(2, |core| async move {
        let server = serve_telling(&core, AcceptPolicy::LeastConnections).await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            streams.push(connect(&server).await);
        }
        let report = server.shutdown(Duration::ZERO).await;
        assert_eq!((report.cancelled(), report.connections().count()), (6, 6));
        for (stream, _) in &mut streams {
            assert!(bounded(stream.read_chunk()).await.unwrap().is_none());
        }
    });
}

#[corio::test]
fn a_closed_server_refuses_clients_and_serves_those_it_has_on_each_core() {
    for policy in AcceptPolicy::ALL {
        on_cores(2, move |core| async move {
            let server = serve_telling(&core, policy).await;
            let mut streams = Vec::new();
            for _ in 0..4 {
                streams.push(connect(&server).await);
            }
            server.close();
            let address = server.local_addrs()[0];
            until(|| std::net::TcpStream::connect(address).is_err()).await;
            for (stream, _) in &mut streams {
                round_trip(stream).await;
            }
            drop(streams);
            bounded(server.wait_closed()).await;
        });
    }
}

#[corio::test]
fn a_core_that_has_ended_is_named_and_the_others_serve_on() {
    on_cores(2, |core| async move {
        let (other, end, thread) = other_core();
        let cores: Arc<[CoreHandle]> = [core.handle(0), other, core.handle(1)].into();
        let told = Arc::clone(&cores);
        let server = ServeOptions::new()
            .accept(AcceptPolicy::RoundRobin)
            .serve_on(&cores, "127.0.0.1:0", move || {
                move |stream| super::tell_core(Arc::clone(&told), stream)
            })
            .await
            .unwrap();
        let mut streams = Vec::new();
        for number in 0..3 {
            let (stream, index) = connect(&server).await;
            assert_eq!(index, number);
            streams.push(stream);
        }
        drop(end);
        corio::to_thread(move || thread.join().unwrap()).await.unwrap();
        for number in 0..6 {
            let (mut stream, index) = connect(&server).await;
            assert_ne!(index, 1, "connection {number} is served by a core that lives");
            round_trip(&mut stream).await;
            streams.push(stream);
        }
        until(|| server.connection_counts()[1] == 0).await;
        drop(streams);
        let report = bounded(server.shutdown(Duration::from_secs(1))).await;
        assert!(!report.is_complete());
        assert!(matches!(
            &report.cores[..],
            [CoreEnd::Reported(_), CoreEnd::Gone, CoreEnd::Reported(_)]
        ));
    });
}

#[corio::test]
fn a_core_that_is_blocked_is_named_and_holds_up_nobody() {
    on_cores(1, |core| async move {
        let (other, end, thread) = other_core();
        let cores = [core.handle(0), other];
        let server = ServeOptions::new()
            .accept(AcceptPolicy::RoundRobin)
            .serve_on(&cores, "127.0.0.1:0", || echo)
            .await
            .unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (is_stuck, stuck) = mpsc::channel();
        other
            .call_soon(move || {
                is_stuck.send(()).unwrap();
                let _ = blocked.recv();
            })
            .unwrap();
        corio::to_thread(move || stuck.recv().unwrap()).await.unwrap();
        let start = Instant::now();
        let report = bounded(server.shutdown(Duration::ZERO)).await;
        assert!(matches!(report.cores[..], [CoreEnd::Reported(_), CoreEnd::Stuck]), "{report:?}");
        assert!(start.elapsed() >= Duration::from_millis(400), "it was given its time");
        drop((release, end));
        corio::to_thread(move || thread.join().unwrap()).await.unwrap();
    });
}

#[corio::test]
fn a_core_whose_work_panics_ends_the_others_and_the_server_with_them() {
    let cores = Cores::available().unwrap().count(3).on_start(|_| {});
    let outcomes = cores
        .run(|core| async move {
            match core.index() {
                0 => {
                    let server = serve_telling(&core, AcceptPolicy::RoundRobin).await;
                    let (mut stream, _) = connect(&server).await;
                    round_trip(&mut stream).await;
                    core.handle(1).call_soon(|| GO.with(|go| go.set(true))).unwrap();
                    pending::<()>().await;
                }
                1 => {
                    until(|| GO.with(std::cell::Cell::get)).await;
                    panic!("core 1 is done for");
                }
                _ => pending::<()>().await,
            }
        })
        .unwrap();
    assert!(outcomes[0].as_ref().unwrap_err().is_cancelled());
    assert!(outcomes[1].as_ref().unwrap_err().is_panic());
    assert!(outcomes[2].as_ref().unwrap_err().is_cancelled());
}

thread_local! {
    static GO: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whoever forgets the server, or drops the shutdown, leaves no core hanging.
#[corio::test]
fn a_server_that_is_dropped_or_whose_shutdown_is_serves_until_the_cores_end() {
    on_cores(2, |core| async move {
        let server: CoresServer = serve_telling(&core, AcceptPolicy::ReusePort).await;
        let (mut stream, _) = connect(&server).await;
        let shutdown = corio::timeout(Duration::ZERO, server.shutdown(Duration::from_secs(60)));
        assert!(shutdown.await.is_err());
        drop(server);
        round_trip(&mut stream).await;
    });
}
