//! Hazards around accepting: clients lost to timeouts, an inbox that takes more than it may,
//! waiters that are forgotten, a listener that ends, and one that runs out of descriptors.

#[path = "support/child.rs"]
mod child;

#[path = "accepting/descriptors.rs"]
mod descriptors;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as Client};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::{spawn, timeout, yield_now};
use futures_util::{Stream, StreamExt};

const PATIENCE: Duration = Duration::from_secs(5);

/// xorshift: enough randomness for a test, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

fn connect(server: SocketAddr) -> Client {
    Client::connect(server).expect("the backlog has room")
}

fn connect_all(server: SocketAddr, count: usize) -> Vec<Client> {
    (0..count).map(|_| connect(server)).collect()
}

/// Lets the loop turn a few times.
async fn settle() {
    let last = corio::stats().turns + 8;
    while corio::stats().turns < last {
        yield_now().await;
    }
}

/// Until so many connections wait in the inbox.
async fn until_waiting(listener: &TcpListener, count: usize) {
    let filled = async {
        while listener.waiting() < count {
            yield_now().await;
        }
    };
    timeout(PATIENCE, filled).await.expect("the inbox fills");
}

const CLIENTS: u32 = 10_000;
const THREADS: u32 = 4;
/// Connected at a time by one thread.
const BATCH: u32 = 100;

#[corio::test]
fn a_timeout_around_accept_loses_no_client() {
    if child::rerun("a_timeout_around_accept_loses_no_client", &[]).is_some() {
        return;
    }
    // The first runtime of a process opens what is kept for later ones.
    corio::run(async {});
    let before = descriptors::count();
    corio::run(serve_all_clients()).expect("no client sees an error");
    assert_eq!(descriptors::count(), before);
}

async fn serve_all_clients() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let visitors: Vec<_> =
        (0..THREADS).map(|first| thread::spawn(move || visit(server, first))).collect();
    let mut random = Random(7);
    let mut handlers = Vec::new();
    while handlers.len() < CLIENTS as usize {
        let patience = Duration::from_nanos(random.below(1_000_000));
        if let Ok(stream) = timeout(patience, listener.accept()).await {
            handlers.push(spawn(echo_once(stream?)));
        }
    }
    for handler in handlers {
        handler.await.expect("no handler panics")?;
    }
    let extra = timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(extra.is_err(), "more connections than clients");
    assert_eq!(corio::stats().dropped_connections, 0);
    for visitor in visitors {
        visitor.join().expect("no visitor panics")?;
    }
    Ok(())
}

async fn echo_once(mut stream: TcpStream) -> io::Result<()> {
    let mut number = [0; 4];
    stream.read_exact(&mut number).await?;
    stream.write(&number).await?;
    stream.close().await.map(drop)
}

/// One thread's share of the clients, in batches.
fn visit(server: SocketAddr, first: u32) -> io::Result<()> {
    let numbers: Vec<u32> = (first..CLIENTS).step_by(THREADS as usize).collect();
    for batch in numbers.chunks(BATCH as usize) {
        let mut clients = Vec::new();
        for number in batch {
            let mut client = Client::connect(server)?;
            client.write_all(&number.to_le_bytes())?;
            clients.push(client);
        }
        for (number, mut client) in batch.iter().zip(clients) {
            let mut echo = Vec::new();
            client.read_to_end(&mut echo)?;
            assert_eq!(echo, number.to_le_bytes());
        }
    }
    Ok(())
}

#[corio::test]
fn no_more_than_the_free_places_are_accepted() {
    if child::rerun("no_more_than_the_free_places_are_accepted", &[]).is_none() {
        corio::run(accept_up_to_the_limit());
    }
}

async fn accept_up_to_the_limit() {
    let options = ListenOptions::new().backlog(1024).inbox_limit(100);
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let clients = connect_all(listener.local_addr().unwrap(), 1000);
    let descriptors_before = descriptors::count();
    let first = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    settle().await;
    corio::sleep(Duration::from_millis(20)).await;
    assert_eq!(listener.waiting(), 100);
    let accepted = descriptors::count() - descriptors_before;
    assert_eq!(accepted, 101, "the inbox is full, and one was handed out");
    // A place that is given back is filled again, and only that one.
    let second = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    corio::sleep(Duration::from_millis(20)).await;
    assert_eq!(listener.waiting(), 100);
    assert_eq!(descriptors::count() - descriptors_before, 102);
    drop((first, second, clients));
}

#[corio::test]
async fn a_standing_accept_leaves_room_for_what_the_backlog_holds() {
    // The limit is above the backlog, so the accept stands until one enter could bring too many.
    let options = ListenOptions::new().backlog(16).inbox_limit(40);
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let mut clients = connect_all(server, 16);
    let mut accepted = vec![timeout(PATIENCE, listener.accept()).await.unwrap().unwrap()];
    for expected in [15, 31, 40] {
        settle().await;
        corio::sleep(Duration::from_millis(5)).await;
        assert_eq!(listener.waiting(), expected);
        if expected < 40 {
            clients.extend(connect_all(server, 16));
        }
    }
    for _ in 1..48 {
        accepted.push(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    }
}

#[corio::test]
async fn close_hands_out_what_is_in_the_inbox() {
    let options = ListenOptions::new().inbox_limit(5);
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let mut clients = connect_all(listener.local_addr().unwrap(), 20);
    drop(listener.accept().await.unwrap());
    until_waiting(&listener, 5).await;
    timeout(PATIENCE, listener.close()).await.expect("close returns");
    assert_eq!(listener.waiting(), 5);
    for client in &mut clients[1..6] {
        let stream = listener.accept().await.unwrap();
        stream.write(b"late").await.unwrap();
        stream.flush().await.unwrap();
        let mut text = [0; 4];
        client.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"late");
    }
    let error = listener.accept().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(listener.local_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    assert!(listener.incoming().next().await.is_none());
}

#[corio::test]
async fn a_dropped_listener_resets_what_nobody_accepted() {
    let listener = listen().await;
    let mut clients = connect_all(listener.local_addr().unwrap(), 4);
    drop(listener.accept().await.unwrap());
    until_waiting(&listener, 3).await;
    drop(listener);
    assert_eq!(corio::stats().dropped_connections, 3);
    for client in &mut clients[1..] {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[corio::test]
async fn the_address_of_a_dropped_listener_is_free_at_once() {
    let listener = listen().await;
    let server = listener.local_addr().unwrap();
    let client = connect(server);
    let accepted = listener.accept().await.unwrap();
    for _ in 0..3 {
        let mut waiting = pin!(listener.accept());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        yield_now().await;
    }
    drop(listener);
    let again = TcpListener::bind(server).await.expect("the address is free");
    let second = connect(server);
    timeout(PATIENCE, again.accept()).await.unwrap().unwrap();
    timeout(PATIENCE, again.close()).await.unwrap();
    TcpListener::bind(server).await.expect("the address is free after a close, too");
    drop((client, accepted, second));
}

#[corio::test]
async fn a_waiter_that_goes_away_passes_its_turn_on() {
    let listener = Rc::new(listen().await);
    let server = listener.local_addr().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut first = Box::pin(listener.accept());
    assert!(futures_util::poll!(&mut first).is_pending());
    let waiters: Vec<_> = (0..3)
        .map(|number| {
            let (listener, order) = (Rc::clone(&listener), Rc::clone(&order));
            spawn(async move {
                let stream = listener.accept().await.unwrap();
                order.borrow_mut().push(number);
                stream
            })
        })
        .collect();
    yield_now().await;
    let _clients = connect_all(server, 3);
    // The first in line is woken for the first of the clients, and goes away instead.
    until_waiting(&listener, 1).await;
    assert!(order.borrow().is_empty(), "nobody overtakes the first in line");
    drop(first);
    for waiter in waiters {
        timeout(PATIENCE, waiter).await.expect("the turn was passed on").unwrap();
    }
    assert_eq!(*order.borrow(), [0, 1, 2]);
}

#[corio::test]
async fn an_ended_wait_that_is_kept_holds_up_nobody() {
    let listener = listen().await;
    let mut kept = listener.incoming();
    assert!(futures_util::poll!(kept.next()).is_pending());
    let mut other = pin!(listener.accept());
    assert!(futures_util::poll!(other.as_mut()).is_pending());
    timeout(PATIENCE, listener.close()).await.unwrap();
    assert!(kept.next().await.is_none());
    let error = timeout(PATIENCE, other).await.expect("the other one is told, too").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(kept.next().await.is_none());
}

#[corio::test]
async fn everybody_who_closes_a_listener_is_told_of_its_end() {
    let listener = Rc::new(listen().await);
    assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
    let close = || {
        let listener = Rc::clone(&listener);
        spawn(async move { listener.close().await })
    };
    for task in [close(), close(), close()] {
        timeout(PATIENCE, task).await.expect("no close is forgotten").unwrap();
    }
    timeout(PATIENCE, listener.close()).await.expect("a closed listener closes at once");
}

#[corio::test]
async fn a_close_that_is_given_up_goes_on() {
    let listener = listen().await;
    let server = listener.local_addr().unwrap();
    assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err());
    assert!(timeout(Duration::ZERO, listener.close()).await.is_err());
    let refused = Client::connect(server).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    timeout(PATIENCE, listener.close()).await.unwrap();
}

#[corio::test]
async fn a_peer_that_is_gone_is_no_error_of_accept() {
    let listener = listen().await;
    let server = listener.local_addr().unwrap();
    let gone = TcpStream::connect(server).await.unwrap();
    gone.abort();
    settle().await;
    let client = connect(server);
    let mut stream = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    if stream.peer_addr().is_err() || stream.peer_addr().unwrap() != client.local_addr().unwrap() {
        assert!(stream.read(&mut [0; 8]).await.is_err());
        stream = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    }
    assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
}

#[corio::test]
fn a_listener_away_from_its_runtime_is_an_error_and_waits_for_nobody() {
    let runtime = corio::Runtime::new().unwrap();
    let listener = runtime.block_on(listen());
    let server = listener.local_addr().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(listener.accept()).poll(&mut context), Poll::Ready(Err(_))));
    corio::run(async { assert!(listener.accept().await.is_err()) });
    // Between two runs the kernel's clients wait; the next run serves them.
    let client = connect(server);
    let stream = runtime.block_on(timeout(PATIENCE, listener.accept())).unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
    runtime.close();
    assert!(matches!(pin!(listener.accept()).poll(&mut context), Poll::Ready(Err(_))));
    assert!(pin!(listener.close()).poll(&mut context).is_ready());
    drop(listener);
    assert!(Client::connect(server).is_err());
}

/// A waker whose wake and drop run foreign code.
struct Rude(Box<dyn Fn() + Send + Sync>);

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    /// What a rude waker meddles with; wakers are `Send`, listeners are not.
    static SHARED: RefCell<Option<Rc<TcpListener>>> = const { RefCell::new(None) };
}

#[corio::test]
async fn a_waker_that_meddles_with_the_listener_meets_no_borrow() {
    let listener = Rc::new(listen().await);
    let server = listener.local_addr().unwrap();
    SHARED.set(Some(Rc::clone(&listener)));
    let meddle = || {
        let listener = SHARED.with_borrow(Clone::clone);
        if let Some(listener) = listener {
            let mut context = Context::from_waker(Waker::noop());
            let _ = pin!(listener.accept()).poll(&mut context);
            let _ = pin!(listener.incoming()).poll_next(&mut context);
            let _ = (listener.waiting(), listener.local_addr());
            spawn(async {});
        }
    };
    let waker = Waker::from(Arc::new(Rude(Box::new(meddle))));
    let mut waiting = Box::pin(listener.accept());
    for _ in 0..2 {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let other = Waker::from(Arc::new(Rude(Box::new(meddle))));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
    drop(waker);
    let _clients = connect_all(server, 3);
    settle().await;
    let mut closing = Box::pin(listener.close());
    assert!(closing.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
    drop(other);
    drop(waiting);
    settle().await;
    assert!(futures_util::poll!(&mut closing).is_ready());
    SHARED.set(None);
}

#[corio::test]
async fn a_waker_that_panics_passes_the_turn_on_all_the_same() {
    let listener = listen().await;
    let panics = || panic!("a rude waker");
    let waker = Waker::from(Arc::new(Rude(Box::new(panics))));
    let mut first = Box::pin(listener.accept());
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    std::mem::forget(waker);
    let mut second = pin!(listener.accept());
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    let _client = connect(listener.local_addr().unwrap());
    until_waiting(&listener, 1).await;
    drop(first);
    timeout(PATIENCE, second).await.expect("the turn was passed on").unwrap();
}

#[corio::test]
async fn what_cannot_be_bound_is_an_error_that_says_why() {
    let listener = listen().await;
    let taken = TcpListener::bind(listener.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    let nonsense = TcpListener::bind("no address").await.unwrap_err();
    assert_eq!(nonsense.kind(), ErrorKind::InvalidInput);
    assert!(nonsense.to_string().contains("no address"), "{nonsense}");
    let shared = ListenOptions::new().reuse_port(true);
    let one = shared.bind("127.0.0.1:0").await.unwrap();
    shared.bind(one.local_addr().unwrap()).await.expect("two share the address");
}

#[corio::test]
async fn options_of_the_listener_hold_for_what_it_accepts() {
    let options = ListenOptions::new()
        .nodelay(true)
        .keepalive(Some(Duration::from_secs(9)))
        .receive_buffer(32 << 10)
        .send_buffer(32 << 10)
        .reuse_address(true);
    let listener = options.bind("127.0.0.1:0").await.unwrap();
    let _client = connect(listener.local_addr().unwrap());
    let stream = listener.accept().await.unwrap();
    assert!(stream.nodelay().unwrap());
    stream.set_nodelay(false).unwrap();
    assert!(!stream.nodelay().unwrap());
}
