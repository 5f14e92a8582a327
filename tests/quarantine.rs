//! What moves memory between the kernel and its owners, once more under an allocator that sees what
//! the kernel writes into freed memory (`support/quarantine.rs`); and tests of that allocator.
#![allow(unsafe_code)]
// Shows that the allocator sees what it should: writes into freed memory.
// Themes of the suite are run here once more, each with the fixtures it names.
#![allow(clippy::duplicate_mod)]

#[path = "dropping.rs"]
mod dropping;
#[path = "support/quarantine.rs"]
mod quarantine;
#[path = "streams/reading.rs"]
mod reading;
#[path = "small_rings.rs"]
mod small_rings;
mod support;
#[path = "streams/writing.rs"]
mod writing;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use corio::Runtime;
use corio::net::{TcpListener, TcpStream};
use quarantine::Quarantine;

#[global_allocator]
static ALLOCATOR: Quarantine = Quarantine;

/// Says to a child of this binary which crime to commit.
const CRIME: &str = "CORIO_TEST_CRIME";

/// The address of the last byte of a freed block.
fn freed_byte() -> *mut u8 {
    let mut block = vec![1u8; 1000];
    let address: *mut u8 = &raw mut block[999];
    drop(block);
    address
}

fn commit(crime: &str) {
    let address = freed_byte();
    match crime {
        // SAFETY: [quarantined] none: it is the crime, and the memory is still mapped.
        "store" => unsafe { address.write_volatile(7) },
        "kernel" => {
            let (reader, mut writer) = UnixStream::pair().unwrap();
            writer.write_all(b"x").unwrap();
            // SAFETY: [quarantined] none: it is the crime, and the memory is still mapped.
            let count = unsafe { libc::read(reader.as_raw_fd(), address.cast(), 1) };
            assert_eq!(count, 1);
        }
        "nothing" => {}
        other => panic!("`{other}` is no crime"),
    }
    quarantine::check();
}

#[test]
fn a_write_into_freed_memory_ends_the_process() {
    if let Ok(crime) = std::env::var(CRIME) {
        return commit(&crime);
    }
    for (crime, finding) in [
        ("store", "a freed block of 1000 bytes was written to: byte 999 is 0x07"),
        ("kernel", "a freed block of 1000 bytes was written to: byte 999 is 0x78"),
        ("nothing", ""),
    ] {
        let test = "a_write_into_freed_memory_ends_the_process";
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(CRIME, crime)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.success(), crime == "nothing", "{crime}: {text}");
        assert!(text.contains(finding), "{crime}: {text}");
    }
}

/// Whoever sends from memory that was freed sends the allocator's pattern instead of this.
const SENT: u8 = 0x5a;

/// Reads until the end or a reset, and looks at each byte.
fn assert_sent(mut peer: std::net::TcpStream) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut buffer, mut total) = (vec![0; 100_000], 0);
        while let Ok(count @ 1..) = peer.read(&mut buffer) {
            assert!(buffer[..count].iter().all(|byte| *byte == SENT), "foreign memory was sent");
            total += count;
        }
        total
    })
}

#[corio::test]
fn sends_that_are_given_up_send_nothing_but_what_was_written() {
    let runtime = own_memory();
    let mut peers = Vec::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for round in 0..40 {
            let (peer, mut stream) = connections(&listener, 1).await.remove(0);
            peers.push(assert_sent(peer));
            stream.write_owned(vec![SENT; 4 << 20]).await.unwrap();
            for _ in 0..round % 7 {
                corio::yield_now().await;
            }
            let waiting = vec![SENT; 200_000];
            let _ = corio::timeout(Duration::ZERO, stream.write(&waiting)).await;
            drop(waiting);
            corio::sleep(Duration::from_micros(round * 20)).await;
            match round % 3 {
                0 => stream.abort(),
                1 => stream.set_linger(Duration::from_micros(200)),
                _ => {}
            }
        }
    });
    drop(runtime);
    let total: usize = peers.into_iter().map(|peer| peer.join().unwrap()).sum();
    assert!(total > 4 << 20, "{total}");
    quarantine::check();
}

/// Peers that send whatever happens to their connection, from a thread of their own.
fn flood(peers: Vec<std::net::TcpStream>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for round in 0..50 {
            for mut peer in &peers {
                // The other end may be gone.
                let _ = peer.write_all(&[round; 600]);
            }
        }
    })
}

async fn connections(
    listener: &TcpListener,
    count: usize,
) -> Vec<(std::net::TcpStream, TcpStream)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        all.push((peer, listener.accept().await.unwrap()));
    }
    all
}

/// Without a pool to speak of, receives go into memory of their own: the kernel holds pointers into
/// the heap.
fn own_memory() -> Runtime {
    Runtime::builder().buffers_initial(1).buffers_max(1).build().unwrap()
}

#[corio::test]
fn receives_into_own_memory_write_nowhere_else() {
    let runtime = own_memory();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for round in 0..20 {
            let (peers, streams): (Vec<_>, Vec<_>) =
                connections(&listener, 20).await.into_iter().unzip();
            let readers: Vec<_> = streams
                .into_iter()
                .map(|mut stream| {
                    corio::spawn(async move {
                        let mut received = [0; 900];
                        let limit = Duration::from_micros(round * 100);
                        let _ = corio::timeout(limit, stream.read_exact(&mut received)).await;
                        if round % 2 == 0 {
                            stream.abort();
                        }
                    })
                })
                .collect();
            let flood = flood(peers);
            for reader in readers {
                reader.await.unwrap();
            }
            quarantine::check();
            corio::sleep(Duration::from_millis(1)).await;
            flood.join().unwrap();
        }
        assert!(corio::stats().own_receives > 0);
    });
    drop(runtime);
    quarantine::check();
}

#[corio::test]
fn a_teardown_with_receives_and_sends_outstanding_leaves_the_heap_alone() {
    for _ in 0..10 {
        let runtime = own_memory();
        let peers = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut peers = Vec::new();
            for (peer, mut stream) in connections(&listener, 30).await {
                peers.push(peer);
                corio::spawn(async move {
                    let all = vec![7; 8 << 20];
                    stream.write_owned(all).await.unwrap();
                    let mut received = vec![0; 1 << 20];
                    stream.read_exact(&mut received).await.unwrap();
                });
            }
            corio::sleep(Duration::from_millis(1)).await;
            peers
        });
        let flood = flood(peers);
        assert_eq!(runtime.close().leaked_operations, 0);
        let looks = quarantine::check();
        flood.join().unwrap();
        assert!(quarantine::check() > looks);
    }
}
