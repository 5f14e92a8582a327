//! Servers over many cores: the limit is exact, loads are counted, connections go where the policy
//! says, one shutdown ends all of it, and a core that is gone takes nothing else with it.

#[path = "cluster/handing_over.rs"]
mod handing_over;
#[path = "cluster/shutting_down.rs"]
mod shutting_down;
mod support;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corio::cores::{Core, CoreHandle, Cores};
use corio::net::{AcceptPolicy, CoresServer, ListenOptions, ServeOptions, TcpStream};
use corio::{spawn, yield_now};
use support::{Random, bounded, until};

/// More loops than this machine has CPUs, and not a word.
fn on_cores<F, T>(count: usize, main: impl FnOnce(Core) -> F + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let cores = Cores::available().unwrap().count(count).on_start(|_| {});
    cores.block_on(|core| bounded(main(core))).unwrap()
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_owned(chunk).await?;
    }
    Ok(())
}

/// Tells the number of the core that serves, then echoes.
async fn tell_core(cores: Arc<[CoreHandle]>, stream: TcpStream) -> io::Result<()> {
    let index = cores.iter().position(CoreHandle::is_current).expect("one of them");
    stream.write(&[index as u8]).await?;
    echo(stream).await
}

async fn serve_telling(core: &Core, policy: AcceptPolicy) -> CoresServer {
    let cores: Arc<[CoreHandle]> = core.handles().into();
    let options = ServeOptions::new().accept(policy);
    let serving = options.serve_on(core.handles(), "127.0.0.1:0", move || {
        move |stream| tell_core(Arc::clone(&cores), stream)
    });
    serving.await.unwrap()
}

/// Connects, and says which core serves the connection.
async fn connect(server: &CoresServer) -> (TcpStream, usize) {
    let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let mut core = [0];
    bounded(stream.read_exact(&mut core)).await.unwrap();
    (stream, core[0].into())
}

async fn round_trip(stream: &mut TcpStream) {
    stream.write(b"ping").await.unwrap();
    let mut reply = [0; 4];
    bounded(stream.read_exact(&mut reply)).await.unwrap();
    assert_eq!(&reply, b"ping");
}

#[corio::test]
fn connections_in_turn_go_to_each_core_in_turn() {
    on_cores(3, |core| async move {
        let server = serve_telling(&core, AcceptPolicy::RoundRobin).await;
        let mut streams = Vec::new();
        for number in 0..9 {
            let (stream, index) = connect(&server).await;
            assert_eq!(index, number % 3);
            streams.push(stream);
        }
        assert_eq!(server.connection_counts(), [3, 3, 3]);
        for stream in &mut streams {
            round_trip(stream).await;
        }
    });
}

#[corio::test]
fn the_core_with_the_fewest_connections_gets_the_next() {
    on_cores(4, |core| async move {
        let server = serve_telling(&core, AcceptPolicy::LeastConnections).await;
        let mut streams = Vec::new();
        for _ in 0..16 {
            streams.push(connect(&server).await);
        }
        assert_eq!(server.connection_counts(), [4, 4, 4, 4]);
        // Two cores lose theirs; whoever comes next goes there.
        streams.retain(|(_, index)| *index > 1);
        until(|| server.connection_counts() == [0, 0, 4, 4]).await;
        for _ in 0..8 {
            let (stream, index) = connect(&server).await;
            assert!(index < 2);
            streams.push((stream, index));
        }
        assert_eq!(server.connection_counts(), [4, 4, 4, 4]);
    });
}

/// The counts of a skewed load: 64 long connections that come among many short ones.
#[corio::test]
fn long_connections_stay_even_while_short_ones_come_and_go() {
    on_cores(4, |core| async move {
        let server = Rc::new(serve_telling(&core, AcceptPolicy::LeastConnections).await);
        let mut random = Random::new(3);
        let mut long = Vec::new();
        let mut short = Vec::new();
        while long.len() < 64 {
            match random.below(4) {
                0 => long.push(connect(&server).await),
                1 if !short.is_empty() => drop(short.remove(random.below(short.len()))),
                _ => short.push(connect(&server).await),
            }
        }
        drop(short);
        until(|| server.connection_count() == 64).await;
        let mut counts = [0; 4];
        long.iter().for_each(|(_, index)| counts[*index] += 1);
        assert_eq!(server.connection_counts(), counts);
        let most = *counts.iter().max().unwrap();
        assert!((most as f64) < 1.5 * 16.0, "{counts:?}");
    });
}

#[corio::test]
fn every_core_has_a_socket_of_its_own_with_reuse_port() {
    on_cores(3, |core| async move {
        let server = serve_telling(&core, AcceptPolicy::ReusePort).await;
        assert_eq!(server.local_addrs().len(), 1, "one address");
        let mut streams = Vec::new();
        let mut seen = [0; 3];
        // By a hash of the ports: each core gets one sooner or later.
        while seen.contains(&0) {
            let (stream, index) = connect(&server).await;
            seen[index] += 1;
            streams.push(stream);
        }
        assert_eq!(server.connection_counts(), seen);
        drop(streams);
        until(|| server.connection_count() == 0).await;
    });
}

/// Counts how many handlers run, and the most there ever were.
#[derive(Default)]
struct Gauge {
    open: AtomicUsize,
    most: AtomicUsize,
    served: AtomicUsize,
}

impl Gauge {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        let line = stream.read_line(100).await.unwrap();
        yield_now().await;
        stream.write(&line).await.unwrap();
        stream.shutdown().await.unwrap();
        self.served.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[corio::test]
fn no_more_are_open_on_all_cores_together_than_the_limit_says_and_everybody_is_served() {
    for policy in AcceptPolicy::ALL {
        for limit in [1, 5] {
            on_cores(3, move |core| async move {
                let gauge = Arc::new(Gauge::default());
                let counted = Arc::clone(&gauge);
                let server = ServeOptions::new()
                    .listen(ListenOptions::new().backlog(256))
                    .accept(policy)
                    .max_connections(limit)
                    .serve_on(core.handles(), "127.0.0.1:0", move || {
                        move |stream| Arc::clone(&counted).serve(stream)
                    })
                    .await
                    .unwrap();
                let address = server.local_addrs()[0];
                let clients: Vec<_> = (0..60)
                    .map(|_| {
                        spawn(async move {
                            let mut stream = TcpStream::connect(address).await.unwrap();
                            stream.write(b"line\n").await.unwrap();
                            assert_eq!(stream.read_line(100).await.unwrap(), b"line\n");
                        })
                    })
                    .collect();
                for client in clients {
                    bounded(client).await.unwrap();
                }
                let most = gauge.most.load(Ordering::SeqCst);
                assert!((1..=limit).contains(&most), "{policy:?}: {most} of {limit}");
                until(|| server.connection_counts() == [0, 0, 0]).await;
                assert_eq!(gauge.served.load(Ordering::SeqCst), 60);
            });
        }
    }
}

/// Hazard: a place that is free, and a client on a core that does not hear of it.
#[corio::test]
fn a_place_that_one_core_gives_back_is_taken_by_another() {
    on_cores(2, |core| async move {
        let server = ServeOptions::new()
            .accept(AcceptPolicy::ReusePort)
            .max_connections(1)
            .serve_on(core.handles(), "127.0.0.1:0", || echo)
            .await
            .unwrap();
        let mut waiting: Vec<_> = Vec::new();
        for _ in 0..12 {
            waiting.push(TcpStream::connect(server.local_addrs()[0]).await.unwrap());
        }
        // Some are in the queue of one core, some in the other's; only one is served at a time, and
        // the next one when it goes, whichever core that is on.
        while !waiting.is_empty() {
            for stream in &waiting {
                stream.write(b"x").await.unwrap();
            }
            let served = {
                let reads =
                    waiting.iter_mut().map(|it| Box::pin(async { it.read(&mut [0]).await }));
                let (read, index, _) = bounded(futures_util::future::select_all(reads)).await;
                assert_eq!(read.unwrap(), 1);
                index
            };
            assert!(server.connection_count() <= 1);
            drop(waiting.swap_remove(served));
        }
        until(|| server.connection_count() == 0).await;
    });
}

#[corio::test]
fn handlers_are_made_on_each_core_and_need_not_be_send() {
    on_cores(2, |core| async move {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let server = ServeOptions::new()
            .accept(AcceptPolicy::RoundRobin)
            .serve_on(core.handles(), "127.0.0.1:0", move || {
                counted.fetch_add(1, Ordering::SeqCst);
                let served = Rc::new(std::cell::Cell::new(0u8));
                move |stream: TcpStream| {
                    let served = Rc::clone(&served);
                    async move {
                        served.set(served.get() + 1);
                        stream.write(&[served.get()]).await
                    }
                }
            })
            .await
            .unwrap();
        for number in 0..6u8 {
            let (_, count) = connect(&server).await;
            assert_eq!(count, usize::from(number / 2 + 1), "each core counts for itself");
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
    });
}

#[corio::test]
fn connections_are_steered_to_the_cpu_that_handles_them_where_cores_are_pinned() {
    // As many as there are CPUs: then each is pinned.
    let cores = Cores::available().unwrap().on_start(|_| {});
    cores
        .block_on(|core| {
            bounded(async move {
                let options = ServeOptions::new().steer_by_cpu(true);
                let serving = options.serve_on(core.handles(), "127.0.0.1:0", || echo);
                let server = serving.await.unwrap();
                for _ in 0..8 {
                    let address = server.local_addrs()[0];
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    round_trip(&mut stream).await;
                    // The loopback handles a packet where it was sent: on this core's CPU.
                    assert_eq!(
                        server.connection_counts()[0],
                        1,
                        "{:?}",
                        server.connection_counts()
                    );
                    drop(stream);
                    until(|| server.connection_count() == 0).await;
                }
            })
        })
        .unwrap();
}

#[corio::test]
fn what_cannot_be_served_is_refused_with_its_reason_and_nobody_serves() {
    on_cores(2, |core| async move {
        let refused = |options: ServeOptions, cores: &[CoreHandle]| {
            let serving = options.serve_on(cores, "127.0.0.1:0", || echo);
            async move { serving.await.map(drop).unwrap_err() }
        };
        let error = refused(ServeOptions::new(), &[]).await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let steered = ServeOptions::new().steer_by_cpu(true).accept(AcceptPolicy::RoundRobin);
        let error = refused(steered, core.handles()).await;
        assert!(error.to_string().contains("ReusePort"), "{error}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = ServeOptions::new().serve_on(core.handles(), address, || echo).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let ended = std::thread::spawn(|| corio::run(async { CoreHandle::current() }));
        let ended = ended.join().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cores = [core.handle(0), ended];
        let error = ServeOptions::new().serve_on(&cores, free, || echo).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        // What had begun to listen stops.
        until(|| std::net::TcpStream::connect(free).is_err()).await;
        let panics = ServeOptions::new()
            .serve_on(
                core.handles(),
                "127.0.0.1:0",
                || -> fn(TcpStream) -> std::future::Ready<()> { panic!("no handler") },
            )
            .await;
        assert!(panics.unwrap_err().to_string().contains("`make` panicked"));
    });
}
