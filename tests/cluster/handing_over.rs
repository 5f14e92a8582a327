//! Listening sockets go from one server to the next, and no client notices.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use corio::net::{
    AcceptPolicy, CoresServer, ListenOptions, ListeningSocket, ServeOptions, TcpListener, TcpStream,
};
use corio::spawn;

use super::{connect, echo, on_cores, round_trip, serve_telling};
use crate::support::{assert_kind, bounded, until};

/// Clients that connect, ask once and leave, over and over; how many were served.
fn load(server: &CoresServer, is_over: &Rc<Cell<bool>>) -> Vec<corio::JoinHandle<usize>> {
    let address = server.local_addrs()[0];
    let client = |_| {
        let is_over = Rc::clone(is_over);
        spawn(async move {
            let mut served = 0;
            while !is_over.get() {
                let mut stream = TcpStream::connect(address).await.expect("nobody is refused");
                stream.write(b"ping\n").await.expect("nobody is reset");
                let reply = stream.read_line(10).await.expect("nobody is reset");
                assert_eq!(reply, b"ping\n");
                served += 1;
            }
            served
        })
    };
    (0..8).map(client).collect()
}

/// A successor with other cores and another policy, through a socket as between processes.
async fn succeed(
    server: &CoresServer,
    core: &corio::cores::Core,
    policy: AcceptPolicy,
    served: &Arc<AtomicUsize>,
) -> CoresServer {
    let (here, there) = UnixStream::pair().unwrap();
    ListeningSocket::send(&server.sockets().await.unwrap(), &here).unwrap();
    let sockets = ListeningSocket::receive(&there).unwrap();
    let served = Arc::clone(served);
    let options = ServeOptions::new().accept(policy);
    let successor = options.serve_sockets_on(core.handles(), sockets, move || {
        move |stream| {
            served.fetch_add(1, Ordering::SeqCst);
            echo(stream)
        }
    });
    successor.await.unwrap()
}

#[corio::test]
fn a_restart_under_load_refuses_nobody_and_resets_nobody() {
    for (before, after) in [
        (AcceptPolicy::ReusePort, AcceptPolicy::ReusePort),
        (AcceptPolicy::LeastConnections, AcceptPolicy::RoundRobin),
        (AcceptPolicy::ReusePort, AcceptPolicy::LeastConnections),
    ] {
        on_cores(3, move |core| async move {
            let options = ServeOptions::new().accept(before);
            let cores = &core.handles()[..2];
            let mut server = options.serve_on(cores, "127.0.0.1:0", || echo).await.unwrap();
            let is_over = Rc::new(Cell::new(false));
            let clients = load(&server, &is_over);
            for _ in 0..3 {
                let served = Arc::new(AtomicUsize::new(0));
                let successor = succeed(&server, &core, after, &served).await;
                let report = bounded(server.shutdown(Duration::from_secs(20))).await;
                assert_eq!((report.cancelled(), report.aborted()), (0, 0));
                assert!(report.is_complete());
                until(|| served.load(Ordering::SeqCst) > 8).await;
                server = successor;
            }
            is_over.set(true);
            let mut served = 0;
            for client in clients {
                served += bounded(client).await.unwrap();
            }
            assert!(served > 24, "{served}");
        });
    }
}

/// Hazard: who waits in the queue of a socket that is closed is reset.
#[corio::test]
fn clients_that_wait_in_the_backlog_are_served_by_the_successor() {
    on_cores(2, |core| async move {
        let options = ServeOptions::new().max_connections(1);
        let server = options.serve_on(core.handles(), "127.0.0.1:0", || echo).await.unwrap();
        let address = server.local_addrs()[0];
        let mut clients = Vec::new();
        for _ in 0..10 {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.write(b"ping").await.unwrap();
            clients.push(stream);
        }
        let sockets = server.sockets().await.unwrap();
        let closing = spawn(async move { server.shutdown(Duration::from_secs(20)).await });
        let options = ServeOptions::new();
        let successor = options.serve_sockets_on(core.handles(), sockets, || echo).await.unwrap();
        for stream in &mut clients {
            let mut reply = [0; 4];
            bounded(stream.read_exact(&mut reply)).await.unwrap();
            assert_eq!(&reply, b"ping");
        }
        drop(clients);
        assert_eq!(bounded(closing).await.unwrap().aborted(), 0);
        bounded(successor.shutdown(Duration::from_secs(20))).await;
        // The kernel lets go of the last socket when the core that closed it is back from it.
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        bounded(refused).await;
    });
}

#[corio::test]
async fn a_listener_of_one_core_is_handed_over_as_well() {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    ListeningSocket::send(&[first.socket().unwrap()], &here).unwrap();
    let waiting = TcpStream::connect(address).await.unwrap();
    first.close().await;
    let mut sockets = ListeningSocket::receive(&there).unwrap();
    assert_eq!(sockets[0].local_addr().unwrap(), address);
    let second = ListenOptions::new().listen_on(sockets.remove(0)).unwrap();
    let accepted = bounded(second.accept()).await.unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), waiting.local_addr().unwrap());
    second.close().await;
    assert_kind(TcpStream::connect(address).await, io::ErrorKind::ConnectionRefused);
}

#[corio::test]
fn sockets_without_a_shared_port_are_refused_where_each_core_wants_one() {
    on_cores(2, |core| async move {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = ListeningSocket::from(listener);
        let again = socket.try_clone().unwrap();
        let options = ServeOptions::new();
        let refused = options.serve_sockets_on(core.handles(), vec![socket], || echo).await;
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("ReusePort=true"), "{error}");
        let options = ServeOptions::new().accept(AcceptPolicy::RoundRobin);
        let server = options.serve_sockets_on(core.handles(), vec![again], || echo).await.unwrap();
        let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
        round_trip(&mut stream).await;
    });
}

#[test]
fn what_is_no_listening_socket_is_not_taken() {
    let (here, there) = UnixStream::pair().unwrap();
    assert_kind(ListeningSocket::send(&[], &here), io::ErrorKind::InvalidInput);
    let std = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(std.local_addr().unwrap()).unwrap();
    let others: [OwnedFd; 2] = [connected.into(), UnixStream::pair().unwrap().0.into()];
    for fd in others {
        assert_kind(ListeningSocket::try_from(fd), io::ErrorKind::InvalidInput);
    }
    io::Write::write_all(&mut &here, b"no socks").unwrap();
    assert_kind(ListeningSocket::receive(&there), io::ErrorKind::InvalidData);
    drop(here);
    assert_kind(ListeningSocket::receive(&there), io::ErrorKind::UnexpectedEof);
}

#[test]
fn more_sockets_than_one_message_holds_arrive_in_order() {
    let (here, there) = UnixStream::pair().unwrap();
    let listen = |_| ListeningSocket::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let sockets: Vec<_> = (0..150).map(listen).collect();
    ListeningSocket::send(&sockets, &here).unwrap();
    let received = ListeningSocket::receive(&there).unwrap();
    let addresses = |sockets: &[ListeningSocket]| -> Vec<_> {
        sockets.iter().map(|it| it.local_addr().unwrap()).collect()
    };
    assert_eq!(addresses(&received), addresses(&sockets));
}

#[corio::test]
fn the_policy_may_change_with_the_successor() {
    on_cores(2, |core| async move {
        let first = serve_telling(&core, AcceptPolicy::ReusePort).await;
        let served = Arc::new(AtomicUsize::new(0));
        let (mut old, _) = connect(&first).await;
        let successor = succeed(&first, &core, AcceptPolicy::LeastConnections, &served).await;
        first.close();
        round_trip(&mut old).await;
        let mut new = Vec::new();
        while served.load(Ordering::SeqCst) < 4 {
            let mut stream = TcpStream::connect(successor.local_addrs()[0]).await.unwrap();
            stream.write(b"x").await.unwrap();
            bounded(stream.read(&mut [0])).await.unwrap();
            new.push(stream);
        }
        drop((old, new));
        bounded(first.wait_closed()).await;
    });
}

/// Runs this test again in a process that is passed a socket as systemd would: as descriptor 3,
/// with the number of the process that is executed.
fn run_passed(descriptors: &str, pid: &str) -> (bool, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = format!(
        "LISTEN_PID={pid} LISTEN_FDS={descriptors} LISTEN_FDNAMES=web exec \"$0\" \"$@\" 3<&0"
    );
    let name = "handing_over::sockets_that_a_service_manager_passes_are_taken_once";
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("CORIO_TEST_PASSED", listener.local_addr().unwrap().to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn sockets_that_a_service_manager_passes_are_taken_once() {
    let Ok(address) = std::env::var("CORIO_TEST_PASSED") else {
        let (is_success, printed) = run_passed("1", "$$");
        assert!(is_success && printed.contains("took web"), "{printed}");
        let (is_success, printed) = run_passed("1", "1");
        assert!(is_success && printed.contains("took nothing"), "for another process: {printed}");
        let (is_success, printed) = run_passed("many", "$$");
        assert!(is_success && printed.contains("refused: LISTEN_FDS is `many`"), "{printed}");
        return;
    };
    let mut sockets = match ListeningSocket::from_service_manager() {
        Ok(sockets) => sockets,
        Err(error) => return println!("refused: {error}"),
    };
    let Some(socket) = sockets.pop() else { return println!("took nothing") };
    assert_eq!(socket.local_addr().unwrap().to_string(), address);
    assert!(ListeningSocket::from_service_manager().unwrap().is_empty(), "each once");
    let flags = std::fs::read_to_string("/proc/self/fdinfo/3").unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
    assert!(flags & 0o2_000_000 != 0, "it is not passed on to children");
    println!("took {}", socket.name().unwrap());
    corio::run(async {
        let listener = ListenOptions::new().listen_on(socket).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        bounded(listener.accept()).await.unwrap();
    });
}
