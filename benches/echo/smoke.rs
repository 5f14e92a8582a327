//! The small run: each raw server echoes verified messages in this process.
//!
//! It keeps the yardstick honest between real runs. Beside the usual configuration it tries the
//! ones that hurt: a pool of four small buffers, so that receives end for want of one and sends
//! have many pieces, and polling before blocking.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::server::{Counts, Options, RawServer, listen};

const CLIENT_COUNT: u64 = 12;
const BATCH_COUNT: u64 = 24;
const MESSAGES_PER_BATCH: usize = 4;
/// A whole batch of the largest fits the sockets' own buffers, so a client may write first.
const MESSAGE_SIZES: [usize; 4] = [1, 64, 1500, 16 * 1024];

/// Runs each server in each configuration and prints what it echoed.
pub fn run() -> Result<(), String> {
    for (name, server) in [("raw-uring", RawServer::Uring), ("raw-epoll", RawServer::Epoll)] {
        let small = Some(512);
        let spin = Duration::from_micros(50);
        let configurations = [
            ("usual", Options::default()),
            ("small", Options { buffer_bytes: small, buffer_count: Some(4), ..Options::default() }),
            ("spinning", Options { spin, ..Options::default() }),
        ];
        for (configuration, options) in configurations {
            match echo_verified(server, options) {
                Ok(line) => println!("{name} ({configuration}): {line}"),
                Err(error) if is_refused(&error) => {
                    println!("{name} ({configuration}): not run, the kernel refuses it: {error}");
                }
                Err(error) => return Err(format!("{name} ({configuration}): {error}")),
            }
        }
    }
    Ok(())
}

/// Containers and hardened hosts deny io_uring; that is no fault of this program.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES))
}

fn echo_verified(server: RawServer, options: Options) -> io::Result<String> {
    let listener = listen(0)?;
    let address = listener.local_addr()?;
    let (stop, mut stopper) = UnixStream::pair()?;
    let serving = thread::spawn(move || server.serve(&listener, stop.as_fd(), &options));
    let clients: Vec<_> =
        (0..CLIENT_COUNT).map(|seed| thread::spawn(move || converse(address, seed))).collect();
    let mut checksum = 0_u64;
    let mut fault = None;
    for client in clients {
        match joined(client) {
            Ok(sum) => checksum = checksum.wrapping_add(sum),
            Err(error) => fault = Some(error),
        }
    }
    // A server that ended early has closed its end of this; its own error says more.
    let _ = stopper.write_all(b"stop");
    let Counts { enters, requests } = joined(serving)?;
    if let Some(error) = fault {
        return Err(error);
    }
    let message_count = CLIENT_COUNT * BATCH_COUNT * MESSAGES_PER_BATCH as u64;
    Ok(format!(
        "{message_count} messages verified, checksum {checksum:016x}, \
         {requests} sends, {enters} enters"
    ))
}

fn joined<T>(handle: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    handle.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// One client: batches of messages, each byte of which must come back in its place.
fn converse(address: SocketAddr, seed: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut state = seed;
    let mut checksum = 0_u64;
    for batch in 0..BATCH_COUNT {
        let size = MESSAGE_SIZES[((seed + batch) % MESSAGE_SIZES.len() as u64) as usize];
        let sent: Vec<u8> = (0..size * MESSAGES_PER_BATCH).map(|_| next_byte(&mut state)).collect();
        stream.write_all(&sent)?;
        let mut received = vec![0; sent.len()];
        stream.read_exact(&mut received)?;
        if received != sent {
            return Err(io::Error::other(format!(
                "client {seed}: batch {batch} came back changed"
            )));
        }
        let sum: u64 = received.iter().map(|byte| u64::from(*byte)).sum();
        checksum = checksum.rotate_left(7) ^ sum;
    }
    Ok(checksum)
}

/// A linear congruential generator: its high bits look random enough to show a misplaced byte.
fn next_byte(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}
