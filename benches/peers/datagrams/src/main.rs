//! What an echoed datagram costs a UDP server: corio and tokio, in one run and in turns.
//!
//! ```text
//! datagrams [COUNT [ROUNDS [PEERS [BYTES]]]]
//! ```
//!
//! The server is a thread on the first CPU, whose CPU time is measured from the first datagram to
//! the last. The peers are sockets of a thread on the second CPU: each has one datagram on its way,
//! and sends the next when its echo came, whose bytes are looked at.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Longer than all echoes take on a busy machine; then one was lost.
const PATIENCE: Duration = Duration::from_secs(60);

struct Load {
    count: usize,
    peers: usize,
    bytes: usize,
}

type Server = fn(&Load, Sender<SocketAddr>) -> Duration;

const SERVERS: [(&str, Server); 2] = [("corio", on_corio), ("tokio", on_tokio)];

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse().expect("a number"));
    let count: usize = arguments.next().unwrap_or(200_000);
    let rounds = arguments.next().unwrap_or(7).max(1);
    let peers = arguments.next().unwrap_or(64).max(1);
    let bytes = arguments.next().unwrap_or(64).max(8);
    let load = Load { count: count.div_ceil(peers) * peers, peers, bytes };
    let mut figures = [const { Vec::new() }; 2];
    for round in 0..rounds {
        for turn in 0..SERVERS.len() {
            let at = (round + turn) % SERVERS.len();
            figures[at].push(round_of(SERVERS[at].1, &load));
        }
    }
    println!("| {peers} peers × {bytes} bytes | corio | tokio | ratio |\n|---|---|---|---|");
    let micros = |which: fn(&(f64, f64)) -> f64| {
        let ratios = figures[0].iter().zip(&figures[1]).map(|(a, b)| which(a) / which(b));
        let mut ratios: Vec<_> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let [corio, tokio] = [0, 1].map(|at: usize| median(figures[at].iter().map(which)));
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let ratio = ratios[ratios.len() / 2];
        format!("{corio:.3} | {tokio:.3} | {ratio:.3} ({least:.3} to {most:.3})")
    };
    println!("| server CPU, µs a datagram | {} |", micros(|it| it.0));
    println!("| time, µs a datagram | {} |", micros(|it| it.1));
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The server's CPU and the time for a datagram, in microseconds.
fn round_of(server: Server, load: &Load) -> (f64, f64) {
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let server = scope.spawn(move || {
            pin(0);
            server(load, sender)
        });
        let address = receiver.recv().expect("the server starts");
        let client = scope.spawn(move || {
            pin(1);
            ask(address, load)
        });
        let time = client.join().expect("every datagram came back");
        let cpu = server.join().expect("the server ends");
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / load.count as f64;
        (micros(cpu), micros(time))
    })
}

fn pin(at: usize) {
    let cpus = core_affinity::get_core_ids().expect("the system tells its CPUs");
    assert!(core_affinity::set_for_current(cpus[at % cpus.len()]), "a thread can be pinned");
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A peer: its socket, what it sent last, and how many are left to send.
struct Peer {
    socket: UdpSocket,
    number: u64,
    left: usize,
}

impl Peer {
    fn send(&mut self, bytes: &mut [u8]) {
        self.number += 1;
        self.left -= 1;
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        self.socket.send(bytes).expect("sends");
    }
}

fn ask(server: SocketAddr, load: &Load) -> Duration {
    let mut bytes = vec![7; load.bytes];
    let mut echo = vec![0; load.bytes + 1];
    let mut peers: Vec<_> = (0..load.peers)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.connect(server).expect("connects");
            socket.set_nonblocking(true).expect("it can");
            Peer { socket, number: 0, left: load.count / load.peers }
        })
        .collect();
    let start = Instant::now();
    for peer in &mut peers {
        peer.send(&mut bytes);
    }
    let mut waiting = peers.len();
    while waiting > 0 {
        for peer in &mut peers {
            match peer.socket.recv(&mut echo) {
                Ok(count) => {
                    assert_eq!(count, load.bytes);
                    assert_eq!(echo[..8], peer.number.to_le_bytes(), "its own, and in order");
                    match peer.left {
                        0 => waiting -= 1,
                        _ => peer.send(&mut bytes),
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    assert!(start.elapsed() < PATIENCE, "a datagram was lost");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    start.elapsed()
}

fn on_corio(load: &Load, started: Sender<SocketAddr>) -> Duration {
    corio::run(async {
        let socket = corio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        started.send(socket.local_addr().expect("it has one")).expect("somebody waits");
        let mut buffer = vec![0; 2048];
        let (mut count, mut from) = socket.recv_from(&mut buffer).await.expect("receives");
        let before = cpu();
        for _ in 1..load.count {
            socket.send_to(&buffer[..count], from).await.expect("sends");
            (count, from) = socket.recv_from(&mut buffer).await.expect("receives");
        }
        socket.send_to(&buffer[..count], from).await.expect("sends");
        cpu() - before
    })
}

fn on_tokio(load: &Load, started: Sender<SocketAddr>) -> Duration {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().build().expect("tokio starts").block_on(async {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        started.send(socket.local_addr().expect("it has one")).expect("somebody waits");
        let mut buffer = vec![0; 2048];
        let (mut count, mut from) = socket.recv_from(&mut buffer).await.expect("receives");
        let before = cpu();
        for _ in 1..load.count {
            socket.send_to(&buffer[..count], from).await.expect("sends");
            (count, from) = socket.recv_from(&mut buffer).await.expect("receives");
        }
        socket.send_to(&buffer[..count], from).await.expect("sends");
        cpu() - before
    })
}
