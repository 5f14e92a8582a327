//! Servers over many cores: one call serves on each, one limit and one end hold for all.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corio::cores::{Core, CoreHandle, Cores};
use corio::http::{Body, Request, Response, ServeOptions, serve_on, service_fn};
use corio::net::{AcceptPolicy, CoresServer, TcpStream, server_closing};
use corio::sync::Event;
use corio::{net, spawn};

use crate::support::{bounded, poll_once, until};

const LONG: Duration = Duration::from_secs(30);

fn on_cores<F, T>(count: usize, main: impl FnOnce() -> F + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let cores = Cores::available().unwrap().count(count).on_start(|_| {});
    cores.block_on(|_| bounded(main())).unwrap()
}

fn in_turn() -> ServeOptions {
    ServeOptions::new().net(net::ServeOptions::new().accept(AcceptPolicy::RoundRobin))
}

/// Tells the number of the core that answers, and of its answers so far: a service with an `Rc`.
async fn tellers(options: ServeOptions) -> CoresServer {
    let serving = options.serve_on(Core::current().handles(), "127.0.0.1:0", || {
        let (core, count) = (Core::current().index(), Rc::new(Cell::new(0)));
        service_fn(move |_: Request<Body>| {
            let count = Rc::clone(&count);
            async move {
                corio::yield_now().await;
                count.set(count.get() + 1);
                std::io::Result::Ok(Response::new(format!("core {core}, answer {}", count.get())))
            }
        })
    });
    serving.await.unwrap()
}

/// A connection that is kept, and what it is answered.
struct Client(TcpStream);

impl Client {
    async fn connect(server: &CoresServer) -> Client {
        Client(TcpStream::connect(server.local_addrs()[0]).await.unwrap())
    }

    async fn ask(&mut self) -> String {
        self.0.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let head = bounded(self.0.read_until(b"\r\n\r\n", 1000)).await.unwrap();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).expect("a length");
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        bounded(self.0.read_exact(&mut body)).await.unwrap();
        String::from_utf8(body).unwrap()
    }
}

#[corio::test]
fn one_call_serves_on_all_cores_services_that_stay_there() {
    on_cores(3, || async {
        let server = tellers(in_turn()).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(Client::connect(&server).await);
        }
        for answer in 1..3 {
            // The second three share the cores with the first.
            for (number, client) in clients.iter_mut().enumerate() {
                let count = 2 * (answer - 1) + 1 + number / 3;
                assert_eq!(client.ask().await, format!("core {}, answer {count}", number % 3));
            }
        }
        assert_eq!(server.connection_counts(), [2, 2, 2]);
    });
}

#[corio::test]
fn the_limit_on_connections_is_one_for_all_cores() {
    on_cores(2, || async {
        let limited = net::ServeOptions::new().max_connections(3).accept(AcceptPolicy::RoundRobin);
        let server = tellers(ServeOptions::new().net(limited)).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(&server).await;
            client.ask().await;
            clients.push(client);
        }
        let mut fourth = Client::connect(&server).await;
        fourth.0.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        // Whoever is served asks again and again; the fourth has no place meanwhile.
        for client in &mut clients {
            client.ask().await;
        }
        assert_eq!(server.connection_count(), 3);
        drop(clients.pop());
        assert!(fourth.answer().await.starts_with("core"));
    });
}

#[corio::test]
fn one_shutdown_answers_what_was_asked_on_each_core_and_closes_what_is_idle() {
    on_cores(3, || async {
        let cores: Vec<CoreHandle> = Core::current().handles().to_vec();
        // Each request waits for a word to its core.
        thread_local! {
            static MAY_ANSWER: Rc<Event> = Rc::new(Event::new());
        }
        let begun = Arc::new(AtomicUsize::new(0));
        let begin = Arc::clone(&begun);
        let serving = in_turn().serve_on(&cores, "127.0.0.1:0", move || {
            service_fn(move |request: Request<Body>| {
                let begin = Arc::clone(&begin);
                async move {
                    if request.uri().path() == "/slow" {
                        begin.fetch_add(1, Ordering::SeqCst);
                        MAY_ANSWER.with(Rc::clone).wait().await;
                    }
                    std::io::Result::Ok(Response::new(request.uri().to_string()))
                }
            })
        });
        let server = serving.await.unwrap();
        let (mut idle, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let mut client = Client::connect(&server).await;
            assert_eq!(client.ask().await, "/");
            idle.push(client);
        }
        for _ in 0..3 {
            let mut client = Client::connect(&server).await;
            assert_eq!(client.ask().await, "/");
            client.0.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            busy.push(client);
        }
        until(|| begun.load(Ordering::SeqCst) == 3).await;
        let closing = spawn(async move {
            let report = server.shutdown(LONG).await;
            (report, server)
        });
        for client in &mut idle {
            assert_eq!(bounded(client.0.read_to_end(&mut Vec::new())).await.unwrap(), 0);
        }
        for core in &cores {
            core.call_soon(|| MAY_ANSWER.with(|event| event.set())).unwrap();
        }
        for client in &mut busy {
            assert_eq!(client.answer().await, "/slow");
            assert_eq!(bounded(client.0.read_to_end(&mut Vec::new())).await.unwrap(), 0);
        }
        let (report, server) = bounded(closing).await.unwrap();
        assert!(report.is_complete());
        assert_eq!((report.cancelled(), report.aborted()), (0, 0));
        assert_eq!(server.connection_count(), 0);
    });
}

#[corio::test]
async fn a_runtime_by_itself_is_the_one_core_of_its_group() {
    let core = Core::current();
    assert_eq!((core.index(), core.count()), (0, 1));
    let serving = serve_on(core.handles(), "127.0.0.1:0", || {
        service_fn(async |_| std::io::Result::Ok(Response::new(String::from("alone"))))
    });
    let server = serving.await.unwrap();
    assert_eq!(Client::connect(&server).await.ask().await, "alone");
    assert!(bounded(server.shutdown(LONG)).await.is_complete());
}

#[corio::test]
async fn closing_is_told_to_handlers_and_their_tasks_and_to_nobody_else() {
    assert!(poll_once(server_closing()).is_none());
    let (told, others) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let begun = Rc::new(Event::new());
    let count = |cell: &Rc<Cell<u32>>| {
        let cell = Rc::clone(cell);
        async move {
            server_closing().await;
            cell.set(cell.get() + 1);
        }
    };
    let serve = |told: &Rc<Cell<u32>>| {
        let (told, begun) = (Rc::clone(told), Rc::clone(&begun));
        net::serve("127.0.0.1:0", move |stream: TcpStream| {
            let (child, own, begun) = (spawn(count(&told)), count(&told), Rc::clone(&begun));
            async move {
                begun.set();
                own.await;
                child.await.unwrap();
                drop(stream);
            }
        })
    };
    let (closed, other) = (serve(&told).await.unwrap(), serve(&others).await.unwrap());
    let mut clients = Vec::new();
    for server in [&closed, &other] {
        clients.push(TcpStream::connect(server.local_addrs()[0]).await.unwrap());
        bounded(begun.wait()).await;
        begun.clear();
    }
    closed.close();
    bounded(closed.wait_closed()).await;
    assert_eq!((told.get(), others.get()), (2, 0));
}
