//! Names and addresses: the loop goes on while they are resolved, and a slow address holds up no
//! other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corio::net::{TcpListener, TcpStream, connect, connect_any, lookup_host};
use corio::{sleep, spawn, timeout};

mod support;
use support::Blackhole;

/// No wait of a test takes longer; what does has lost its wake-up.
const PATIENCE: Duration = Duration::from_secs(20);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens any more.
async fn refused() -> SocketAddr {
    listener().await.1
}

#[corio::test]
async fn a_numeric_host_is_its_own_address() {
    for (host, address) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7"), ("[::1]", "[::1]:7")]
    {
        assert_eq!(lookup_host(host, 7).await.unwrap(), [address.parse().unwrap()]);
    }
}

#[corio::test]
async fn a_name_is_resolved_while_the_loop_goes_on() {
    let ticking = spawn(async {
        loop {
            sleep(Duration::from_millis(1)).await;
        }
    });
    let addresses = timeout(PATIENCE, lookup_host("localhost", 80)).await.unwrap().unwrap();
    assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
    assert!(!addresses.is_empty() && !ticking.is_finished());
}

#[corio::test]
async fn a_name_that_does_not_exist_is_an_error_that_tells_it() {
    let error = timeout(PATIENCE, lookup_host("no such host.invalid", 80)).await.unwrap();
    assert!(error.unwrap_err().to_string().contains("`no such host.invalid`"));
}

#[corio::test]
async fn refused_addresses_give_way_at_once() {
    let (listener, address) = listener().await;
    let addresses = [refused().await, refused().await, address];
    let connecting = connect_any(addresses).happy_eyeballs(Duration::MAX);
    let stream = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    drop(listener);
}

#[corio::test]
async fn an_address_that_does_not_answer_is_overtaken_and_given_up() {
    let blackhole = Blackhole::new().await;
    let (_listener, address) = listener().await;
    let before = corio::stats().operations_in_flight;
    let addresses = [blackhole.address, address];
    let connecting = connect_any(addresses).happy_eyeballs(Duration::from_millis(5));
    let stream = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    let ended = async {
        while corio::stats().operations_in_flight > before {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the attempt that lost is ended");
}

#[corio::test]
async fn where_none_connects_all_are_listed() {
    let (one, two) = (refused().await, refused().await);
    let error = timeout(PATIENCE, connect_any([one, two])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let text = error.to_string();
    assert!(text.contains(&one.to_string()) && text.contains(&two.to_string()), "{text}");
    let error = connect_any([]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[corio::test]
async fn a_connect_that_is_given_up_leaves_nothing_in_flight() {
    let blackhole = Blackhole::new().await;
    let before = corio::stats().operations_in_flight;
    let connecting = connect_any([blackhole.address]);
    assert!(timeout(Duration::from_millis(5), connecting).await.is_err());
    let ended = async {
        while corio::stats().operations_in_flight > before {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
}

#[corio::test]
async fn a_host_by_name_is_connected_to() {
    let (listener, address) = listener().await;
    let accepting = spawn(async move { listener.accept().await.map(drop) });
    let stream: TcpStream =
        timeout(PATIENCE, connect("localhost", address.port())).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    accepting.await.unwrap().unwrap();
}

#[corio::test]
async fn a_connection_comes_from_the_address_that_was_asked_for() {
    let (listener, address) = listener().await;
    let from = "127.0.0.2:0".parse().unwrap();
    let of_another_family = "[::1]:9".parse().unwrap();
    let connecting = connect_any([of_another_family, address]).local_addr(from);
    let stream = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), from.ip());
    let accepted = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(accepted.peer_addr().unwrap().ip(), from.ip());
    let not_ours = "192.0.2.1:0".parse().unwrap();
    let error = connect_any([address]).local_addr(not_ours).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let error = connect_any([of_another_family]).local_addr(from).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "none is left to try");
}
