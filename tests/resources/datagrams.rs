//! Datagrams: none is cut or lost without a word, and the inbox has an end.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use corio::net::{UdpOptions, UdpSocket, UnixDatagram};

use crate::stage::{Census, Folder, POLLS, given_up_after, ran_in_a_child, turn};
use crate::support::{assert_kind, bounded, until};

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

#[corio::test]
async fn datagrams_of_every_size_come_whole_and_with_their_sender() {
    let (a, b) = (socket().await, socket().await);
    let mut buffer = vec![0; 65_507];
    // Nothing, the borders of pages and of small buffers, and the largest there is.
    for length in [0, 1, 1472, 4096, 16_384, 16_385, 65_000, 65_507] {
        let sent: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
        a.send_to(&sent, b.local_addr().unwrap()).await.unwrap();
        let (count, from) = bounded(b.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((count, from), (length, a.local_addr().unwrap()));
        assert!(buffer[..count] == sent, "{length} bytes");
    }
    let too_long = a.send_to(&[0; 65_508], b.local_addr().unwrap()).await.unwrap_err();
    assert!(too_long.to_string().contains("too long"), "{too_long}");
}

#[corio::test]
async fn a_datagram_that_does_not_fit_is_an_error_and_stays() {
    let (a, b) = (socket().await, socket().await);
    a.send_to(b"twelve bytes", b.local_addr().unwrap()).await.unwrap();
    let error = bounded(b.recv_from(&mut [0; 11])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("12 bytes"), "{error}");
    let mut buffer = [0; 12];
    assert_eq!(bounded(b.recv(&mut buffer)).await.unwrap(), 12);
    assert_eq!(&buffer, b"twelve bytes");
}

#[corio::test]
async fn datagrams_without_the_internet_protocol_of_version_four_work_as_well() {
    let a = UdpOptions::new().only_v6(true).bind("[::1]:0").await.unwrap();
    let b = UdpSocket::bind("[::1]:0").await.unwrap();
    a.send_to(b"six", b.local_addr().unwrap()).await.unwrap();
    let received = bounded(b.recv_datagram()).await.unwrap();
    assert_eq!((&received.bytes[..], received.from), (&b"six"[..], a.local_addr().unwrap()));
    assert!(!received.is_truncated);
}

#[corio::test]
async fn a_full_inbox_stops_receiving_and_the_kernel_counts_what_it_drops() {
    let a = socket().await;
    let options = UdpOptions::new().inbox_limit(4).receive_buffer(4096);
    let b = options.bind("127.0.0.1:0").await.unwrap();
    let address = b.local_addr().unwrap();
    assert!(given_up_after(1, b.recv(&mut [0; 9])).await.is_none(), "it receives from now on");
    let mut sent = 0u32;
    // One at a time, so that no turn brings more than the limit.
    while b.dropped().unwrap() == 0 {
        a.send_to(&sent.to_ne_bytes(), address).await.unwrap();
        sent += 1;
        turn().await;
        assert!(sent < 100_000, "the kernel's buffer has an end");
    }
    assert!(b.waiting() <= 8, "{} wait beyond the limit", b.waiting());
    let dropped = b.dropped().unwrap();
    for expected in 0..sent - dropped {
        let mut number = [0; 4];
        bounded(b.recv(&mut number)).await.unwrap();
        assert_eq!(u32::from_ne_bytes(number), expected, "those that were kept are the first");
    }
    a.send_to(b"it goes on", address).await.unwrap();
    assert_eq!(bounded(b.recv(&mut [0; 10])).await.unwrap(), 10);
}

#[corio::test]
async fn a_connected_socket_hears_its_peer_only_and_of_its_absence() {
    let (a, b, stranger) = (socket().await, socket().await, socket().await);
    a.connect(b.local_addr().unwrap()).unwrap();
    stranger.send_to(b"stranger", a.local_addr().unwrap()).await.unwrap();
    b.send_to(b"peer", a.local_addr().unwrap()).await.unwrap();
    let mut buffer = [0; 20];
    assert_eq!(bounded(a.recv(&mut buffer)).await.unwrap(), 4);
    a.send(b"answer").await.unwrap();
    assert_eq!(bounded(b.recv(&mut buffer)).await.unwrap(), 6);
    assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
    assert_kind(b.peer_addr(), ErrorKind::NotConnected);
    let address = b.local_addr().unwrap();
    drop(b);
    // Its socket is closed with its last operation.
    until(|| std::net::UdpSocket::bind(address).is_ok()).await;
    a.send(b"nobody").await.unwrap();
    assert_kind(bounded(a.recv(&mut buffer)).await, ErrorKind::ConnectionRefused);
    // The socket goes on after it.
    let back = UdpSocket::bind(address).await.unwrap();
    back.send_to(b"back", a.local_addr().unwrap()).await.unwrap();
    assert_eq!(bounded(a.recv(&mut buffer)).await.unwrap(), 4);
}

#[corio::test]
async fn joined_datagrams_say_how_long_each_is() {
    let a = socket().await;
    let b = UdpOptions::new().join(true).bind("127.0.0.1:0").await.unwrap();
    let plain = socket().await;
    let sent: Vec<u8> = (0..2500u32).map(|at| at as u8).collect();
    for receiver in [&b, &plain] {
        a.send_segments_to(&sent, 1000, receiver.local_addr().unwrap()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < 2500 {
            let datagram = bounded(receiver.recv_datagram()).await.unwrap();
            let size = datagram.segment_size.unwrap_or(datagram.bytes.len());
            assert!(size == 1000 || got.len() == 2000, "{size} after {}", got.len());
            got.extend_from_slice(&datagram.bytes);
        }
        assert_eq!(got, sent);
    }
    let address = b.local_addr().unwrap();
    assert_kind(a.send_segments_to(&sent, 0, address).await, ErrorKind::InvalidInput);
}

#[corio::test]
async fn a_group_hears_what_is_sent_to_it_until_it_is_left() {
    let loopback = (Ipv4Addr::LOCALHOST, 0);
    let member = UdpOptions::new().reuse_address(true).bind("0.0.0.0:0").await.unwrap();
    let port = member.local_addr().unwrap().port();
    // A group of this socket's own: a socket hears what any other one of this machine has joined.
    let [high, low] = port.to_be_bytes();
    let group = IpAddr::V4(Ipv4Addr::new(239, 77, high, low));
    member.join_multicast(group, loopback).unwrap();
    // An own address of the loopback is what sends there.
    let sender = socket().await;
    sender.set_multicast_loop(true).unwrap();
    sender.set_multicast_ttl(0).unwrap();
    sender.send_to(b"all", (group, port)).await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(bounded(member.recv(&mut buffer)).await.unwrap(), 3);
    member.leave_multicast(group, loopback).unwrap();
    assert!(member.leave_multicast(group, loopback).is_err(), "it was left");
    sender.send_to(b"none", (group, port)).await.unwrap();
    sender.send_to(b"direct", ("127.0.0.1", port)).await.unwrap();
    assert_eq!(bounded(member.recv(&mut buffer)).await.unwrap(), 6, "the group is not heard");
}

#[corio::test]
async fn broadcasting_has_to_be_asked_for() {
    let a = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let to = "127.255.255.255:9";
    assert_kind(a.send_to(b"x", to).await, ErrorKind::PermissionDenied);
    a.set_broadcast(true).unwrap();
    a.send_to(b"x", to).await.unwrap();
}

#[corio::test]
async fn several_readers_are_served_in_their_order() {
    let (a, b) = (socket().await, std::rc::Rc::new(socket().await));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let b = std::rc::Rc::clone(&b);
            corio::spawn(async move {
                let mut number = [0; 1];
                b.recv(&mut number).await.unwrap();
                number[0]
            })
        })
        .collect();
    turn().await;
    for number in 0..4 {
        a.send_to(&[number], b.local_addr().unwrap()).await.unwrap();
    }
    for (expected, reader) in readers.into_iter().enumerate() {
        assert_eq!(usize::from(bounded(reader).await.unwrap()), expected);
    }
}

#[corio::test]
async fn a_burst_is_received_whole_while_the_pool_is_small() {
    let (a, b) = (socket().await, socket().await);
    assert!(given_up_after(1, b.recv(&mut [0; 9])).await.is_none());
    let mut kept = Vec::new();
    for round in 0..40u32 {
        for number in 0..20u32 {
            let number = (round * 20 + number).to_ne_bytes();
            a.send_to(&number, b.local_addr().unwrap()).await.unwrap();
        }
        for number in 0..20 {
            // Kept datagrams keep buffers, until the pool has none for them.
            let datagram = bounded(b.recv_datagram()).await.unwrap();
            assert_eq!(datagram.bytes[..], (round * 20 + number).to_ne_bytes());
            kept.push(datagram);
        }
    }
    for (number, datagram) in kept.iter().enumerate() {
        assert_eq!(datagram.bytes[..], (number as u32).to_ne_bytes(), "nobody wrote over it");
    }
}

#[corio::test]
async fn unix_datagrams_wait_for_room_and_keep_their_order() {
    let folder = Folder::new();
    let path = folder.file("socket");
    let b = UnixDatagram::bind(&path).unwrap();
    let a = UnixDatagram::unbound().unwrap();
    let (c, d) = UnixDatagram::pair().unwrap();
    let send = async {
        for number in 0..3000u32 {
            a.send_to(&number.to_ne_bytes(), &path).await.unwrap();
            c.send(&number.to_ne_bytes()).await.unwrap();
        }
    };
    let receive = async {
        for expected in 0..3000u32 {
            let mut number = [0; 4];
            let (_, from) = b.recv_from(&mut number).await.unwrap();
            assert!(from.is_unnamed());
            assert_eq!(u32::from_ne_bytes(number), expected);
            d.recv(&mut number).await.unwrap();
            assert_eq!(u32::from_ne_bytes(number), expected);
        }
    };
    bounded(async { corio::join!(send, receive) }).await;
    let named = UnixDatagram::bind(folder.file("other")).unwrap();
    named.connect(&path).unwrap();
    named.send(b"named").await.unwrap();
    let (_, from) = bounded(b.recv_from(&mut [0; 9])).await.unwrap();
    assert_eq!(from.as_pathname(), Some(&*folder.file("other")));
    drop(d);
    let refused = async {
        while c.send(b"x").await.is_ok() {
            turn().await;
        }
    };
    bounded(refused).await;
}

#[corio::test]
async fn python_and_socat_answer_datagrams() {
    use corio::process::{Command, Stdio};
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        s.bind(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n\
        for _ in range(100):\n    data, who = s.recvfrom(2000)\n    s.sendto(data[::-1], who)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut python = python.spawn().expect("this test needs `python3`");
    let line = bounded(python.stdout.as_mut().unwrap().read_line(20)).await.unwrap();
    let port: u16 = String::from_utf8(line).unwrap().trim().parse().unwrap();
    let ours = socket().await;
    let mut buffer = [0; 100];
    for number in 0..100u8 {
        ours.send_to(&[number, 1, 2], ("127.0.0.1", port)).await.unwrap();
        assert_eq!(bounded(ours.recv(&mut buffer)).await.unwrap(), 3);
        assert_eq!(buffer[..3], [2, 1, number]);
    }
    assert!(bounded(python.wait()).await.unwrap().success());

    let mut socat = Command::new("socat");
    let target = format!("UDP4-SENDTO:{}", ours.local_addr().unwrap());
    socat.args(["-", &target]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut socat = socat.spawn().expect("this test needs `socat`: ci/services installs it");
    socat.stdin.as_ref().unwrap().write(b"from socat").await.unwrap();
    let (count, from) = bounded(ours.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..count], b"from socat");
    ours.send_to(b"to socat", from).await.unwrap();
    let mut answer = [0; 8];
    bounded(socat.stdout.as_mut().unwrap().read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"to socat");
}

#[corio::test]
fn every_wait_can_be_given_up_after_each_poll() {
    if ran_in_a_child(module_path!(), "every_wait_can_be_given_up_after_each_poll", &[]) {
        return;
    }
    corio::run(bounded(async {
        // The pool of a core stays once it was made.
        drop(socket().await);
        let before = Census::take();
        for polls in 0..POLLS {
            for stimulus_first in [false, true] {
                let (a, b) = (socket().await, socket().await);
                let address = b.local_addr().unwrap();
                let mut number = [0; 4];
                for expected in 0..5u32 {
                    let send = async {
                        a.send_to(&expected.to_ne_bytes(), address).await.unwrap();
                    };
                    let received = if stimulus_first {
                        send.await;
                        given_up_after(polls, b.recv(&mut number)).await
                    } else {
                        let received = given_up_after(polls, b.recv(&mut number)).await;
                        send.await;
                        received
                    };
                    if received.is_none() {
                        b.recv(&mut number).await.unwrap();
                    }
                    assert_eq!(u32::from_ne_bytes(number), expected, "after {polls} polls");
                }
            }
            let (c, _d) = UnixDatagram::pair().unwrap();
            while given_up_after(1, c.send(b"x")).await.is_some() {}
            assert!(given_up_after(polls, c.send(b"x")).await.is_none(), "nobody makes room");
        }
        before.comes_back().await;
        corio::sleep(Duration::ZERO).await;
    }));
}
