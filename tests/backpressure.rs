//! Peers that send without end, readers that stop, and a pool of buffers that is far too small:
//! memory stays bounded, and nobody depends on what others hold.

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use corio::io::Chunk;
use corio::net::{ListenOptions, TcpListener, TcpStream};
use corio::{Builder, Runtime, stats};
use support::{
    Checker, bounded, numbered, pair, pair_with, poll_once, run_with, settle, until, until_stats,
};

/// Bytes that an inbox takes before its stream stops receiving.
const HIGH_WATER_BYTES: usize = 256 << 10;

fn tiny_pool() -> Builder {
    Runtime::builder().buffer_size(4096).buffers_initial(8).buffers_max(8).large_buffers_max(1)
}

/// Answers what comes with the same, until the end.
async fn echo(mut stream: TcpStream) {
    let (mut reader, writer) = stream.split();
    while let Some(chunk) = reader.read_chunk().await.unwrap() {
        writer.write_owned(chunk).await.unwrap();
    }
}

async fn round_trip(stream: &mut TcpStream, message: &[u8]) {
    stream.write(message).await.unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, message);
}

/// What the inbox holds now: no turn of the loop passes meanwhile.
fn unread(stream: &mut TcpStream) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while let Some(chunk) = poll_once(stream.read_chunk()) {
        chunks.push(chunk.unwrap().expect("the stream has not ended"));
    }
    chunks
}

/// Has the receive armed, and nobody wait.
fn arm(stream: &mut TcpStream) {
    assert!(poll_once(stream.read_chunk()).is_none());
}

/// Streams whose inboxes hold the whole pool, since nobody reads them; and their peers.
async fn hold_the_pool() -> Vec<(TcpStream, TcpStream)> {
    let mut held = Vec::new();
    while stats().buffers_in_use < stats().buffers_total {
        let (peer, mut stream) = pair().await;
        arm(&mut stream);
        settle().await;
        peer.write(&[7; 3 * 4096]).await.unwrap();
        settle().await;
        held.push((peer, stream));
        assert!(held.len() < 100, "the pool does not run dry: {:?}", stats());
    }
    held
}

#[corio::test]
fn slow_peers_go_on_while_a_flooding_one_is_not_read() {
    run_with(tiny_pool(), async {
        let (flooder, mut flooded) = pair().await;
        let flooding = corio::spawn(async move {
            for round in 0..400 {
                flooder.write_owned(numbered(round * 40_000, 40_000)).await.unwrap();
            }
            flooder.close().await.unwrap();
        });
        arm(&mut flooded);
        let slow_peers = (0..100u8).map(|number| async move {
            let (mut client, server) = pair().await;
            corio::spawn(echo(server));
            for round in 0..5 {
                corio::sleep(Duration::from_millis(20)).await;
                round_trip(&mut client, &[number, round, 1, 2, 3]).await;
            }
        });
        futures_util::future::join_all(slow_peers).await;
        assert!(!flooding.is_finished(), "nobody has read the flood");
        assert!(stats().buffers_total <= 9, "{:?}", stats());
        let chunks = unread(&mut flooded);
        let bytes: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        assert!((1..=HIGH_WATER_BYTES).contains(&bytes), "{bytes} bytes in the inbox");
        let mut checker = Checker::default();
        chunks.iter().for_each(|chunk| checker.take(chunk));
        drop(chunks);
        while let Some(chunk) = flooded.read_chunk().await.unwrap() {
            checker.take(&chunk);
        }
        assert_eq!(checker.position, 400 * 40_000);
        drop(flooded);
        flooding.await.unwrap();
        until_stats(|stats| stats.buffers_in_use == 0).await;
    });
}

#[corio::test]
async fn an_inbox_that_nobody_reads_stops_at_its_mark() {
    let (flooder, mut flooded) = pair().await;
    arm(&mut flooded);
    corio::spawn(async move {
        loop {
            if flooder.write(&[1; 40_000]).await.is_err() {
                return;
            }
        }
    });
    // The overshoot of the first round is what one system call brought; later ones have none.
    for overshoot in [4 << 20, 256 << 10, 256 << 10] {
        for _ in 0..10 {
            settle().await;
        }
        let bytes: usize = unread(&mut flooded).iter().map(|chunk| chunk.len()).sum();
        assert!(bytes >= HIGH_WATER_BYTES, "the stream stopped early, at {bytes}");
        assert!(bytes <= HIGH_WATER_BYTES + overshoot, "{bytes} bytes in the inbox");
    }
    flooded.abort();
}

#[corio::test]
async fn a_large_read_that_was_given_up_does_not_go_on_filling_the_inbox() {
    let (flooder, mut flooded) = pair().await;
    let mut buffer = vec![0; 32 << 20];
    assert!(poll_once(flooded.read_exact(&mut buffer)).is_none());
    corio::spawn(async move { flooder.write_owned(vec![1; 32 << 20]).await });
    for _ in 0..20 {
        settle().await;
    }
    let bytes: usize = unread(&mut flooded).iter().map(|chunk| chunk.len()).sum();
    assert!(bytes <= HIGH_WATER_BYTES + (4 << 20), "{bytes} bytes in the inbox");
    flooded.abort();
}

#[corio::test]
fn a_waiting_reader_receives_when_unread_inboxes_hold_every_buffer() {
    run_with(tiny_pool(), async {
        let held = hold_the_pool().await;
        let (mut client, server) = pair().await;
        corio::spawn(echo(server));
        for round in 0..20 {
            round_trip(&mut client, &numbered(round, 3000)).await;
        }
        // Also a large one, whose demand no inbox may hold in buffers.
        round_trip(&mut client, &numbered(0, 300_000)).await;
        assert!(stats().own_receives > 0);
        assert_eq!(stats().buffers_in_use, stats().buffers_total, "they are still held");
        drop(client);
        for (peer, mut stream) in held {
            peer.shutdown().await.unwrap();
            let mut everything = Vec::new();
            stream.read_to_end(&mut everything).await.unwrap();
            assert!(everything == [7; 3 * 4096]);
        }
        until_stats(|stats| stats.buffers_in_use == 0).await;
    });
}

#[corio::test]
fn a_waiting_reader_receives_when_every_buffer_is_leaked() {
    run_with(tiny_pool(), async {
        let (peer, mut stream) = pair().await;
        let mut leaked_count = 0;
        while leaked_count < 50 {
            peer.write(&[9; 4000]).await.unwrap();
            std::mem::forget(stream.read_chunk().await.unwrap().unwrap());
            leaked_count += 1;
        }
        // What is handed out when the pool is scarce is a copy, so that some of it is left; inboxes
        // that nobody reads hold that.
        let in_use = stats().buffers_in_use;
        assert!((4..8).contains(&in_use), "{in_use} buffers are leaked");
        let held = hold_the_pool().await;
        let (mut client, server) = pair().await;
        corio::spawn(echo(server));
        for round in 0..20 {
            round_trip(&mut client, &numbered(round, 3000)).await;
        }
        drop(held);
        until_stats(|stats| stats.buffers_in_use == in_use).await;
    });
}

/// Reads far more than any mark at once, by number and by separator.
async fn read_far_beyond_the_marks() {
    const LARGE: usize = 16 << 20;
    let (writer, mut reader) = pair().await;
    corio::spawn(async move {
        writer.write_owned(numbered(0, LARGE)).await.unwrap();
        let mut record = vec![b'.'; LARGE / 2];
        record.extend_from_slice(b"<end>");
        writer.write_owned(record).await.unwrap();
        writer.close().await.unwrap();
    });
    let in_use_max = Rc::new(Cell::new(0));
    let watching = {
        let in_use_max = Rc::clone(&in_use_max);
        corio::spawn(async move {
            loop {
                in_use_max.set(in_use_max.get().max(stats().buffers_in_use));
                corio::sleep(Duration::from_micros(500)).await;
            }
        })
    };
    let mut exact = vec![0; LARGE];
    bounded(reader.read_exact(&mut exact)).await.unwrap();
    assert!(exact == numbered(0, LARGE));
    let record = bounded(reader.read_until(b"<end>", 1 << 30)).await.unwrap();
    assert_eq!(record.len(), LARGE / 2 + 5);
    assert!(reader.read_chunk().await.unwrap().is_none());
    watching.cancel();
    assert!(in_use_max.get() <= 100, "{} buffers hold one demand", in_use_max.get());
}

#[corio::test]
async fn a_demand_beyond_every_mark_is_met() {
    read_far_beyond_the_marks().await;
}

#[corio::test]
fn a_demand_beyond_every_mark_is_met_with_a_pool_of_eight() {
    run_with(tiny_pool(), read_far_beyond_the_marks());
}

#[corio::test]
fn a_demand_beyond_every_mark_is_met_when_others_hold_every_buffer() {
    run_with(tiny_pool(), async {
        let held = hold_the_pool().await;
        read_far_beyond_the_marks().await;
        drop(held);
    });
}

#[corio::test]
async fn a_peer_that_drips_single_bytes_pins_one_buffer() {
    let (mut reader, dripper) = pair_with(&ListenOptions::new().nodelay(true)).await;
    arm(&mut reader);
    let completions_before = stats().completions;
    for byte in numbered(0, 1500) {
        dripper.write(&[byte]).await.unwrap();
        bounded(dripper.flush()).await.unwrap();
        let in_use = stats().buffers_in_use;
        assert!(in_use <= 2, "{in_use} buffers for single bytes");
    }
    settle().await;
    assert_eq!(stats().buffers_in_use, 1);
    let completions = stats().completions - completions_before;
    assert!(completions > 1200, "the bytes came together, in {completions} completions");
    let mut everything = vec![0; 1500];
    bounded(reader.read_exact(&mut everything)).await.unwrap();
    assert_eq!(everything, numbered(0, 1500));
    assert_eq!(stats().buffers_in_use, 0);
}

/// Writes until the kernel takes no more, with less in the outbox than its mark.
async fn fill_kernel(writer: &TcpStream) {
    loop {
        writer.write(&[0; 30_000]).await.unwrap();
        settle().await;
        settle().await;
        if poll_once(writer.flush()).is_none() {
            return;
        }
    }
}

#[corio::test]
async fn an_echo_of_single_bytes_that_nobody_reads_pins_a_few_buffers() {
    let options = ListenOptions::new().nodelay(true).send_buffer(64 << 10);
    let (dripper, mut server) = pair_with(&options).await;
    dripper.set_nodelay(true).unwrap();
    // The way back is full, so what is echoed stays in the outbox.
    fill_kernel(&server).await;
    let (mut reader, writer) = server.split();
    let mut echoed = 0;
    let echoing = async {
        while let Some(chunk) = reader.read_chunk().await.unwrap() {
            echoed += chunk.len();
            writer.write_owned(chunk).await.unwrap();
        }
    };
    let dripping = async {
        let mut in_use_max = 0;
        for _ in 0..1000 {
            dripper.write(b".").await.unwrap();
            dripper.flush().await.unwrap();
            in_use_max = in_use_max.max(stats().buffers_in_use);
        }
        dripper.shutdown().await.unwrap();
        in_use_max
    };
    let ((), in_use_max) = bounded(async { corio::join!(echoing, dripping) }).await;
    assert_eq!(echoed, 1000);
    assert!(in_use_max < 10, "{in_use_max} buffers for single bytes");
    dripper.abort();
}

/// Round trips of each of so many connections: all start together, and end together after so many
/// of all.
async fn round_trips(address: SocketAddr, connections: usize) -> Vec<u64> {
    let mut connected = Vec::new();
    for _ in 0..connections {
        connected.push(TcpStream::connect(address).await.unwrap());
    }
    let left = Rc::new(Cell::new(50 * connections));
    let clients = connected.into_iter().map(|mut client| {
        let left = Rc::clone(&left);
        corio::spawn(async move {
            let mut count = 0;
            while left.get() > 0 {
                round_trip(&mut client, &[5; 64]).await;
                left.set(left.get().saturating_sub(1));
                count += 1;
            }
            client.abort();
            count
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut counts = Vec::new();
    for client in clients {
        counts.push(client.await.unwrap());
    }
    counts
}

/// Echoes after some turns, in which it holds its buffer.
async fn slow_echo(mut stream: TcpStream) {
    while let Ok(Some(chunk)) = stream.read_chunk().await {
        for _ in 0..3 {
            corio::yield_now().await;
        }
        if stream.write_owned(chunk).await.is_err() {
            return;
        }
    }
}

#[corio::test]
fn every_connection_gets_its_share_of_a_pool_of_sixteen() {
    let builder = Runtime::builder().buffers_initial(16).buffers_max(16).large_buffers_max(1);
    run_with(builder.on_unhandled(|_| {}), async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        corio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                corio::spawn(slow_echo(stream));
            }
        });
        // On a thread of its own, so that the server sees them at moments of their own.
        let clients = std::thread::spawn(move || corio::run(bounded(round_trips(address, 1000))));
        until(|| clients.is_finished()).await;
        let counts = clients.join().unwrap();
        let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let least = *counts.iter().min().unwrap();
        eprintln!("least {least}, mean {mean:.1}");
        assert!(stats().no_buffers + stats().own_receives > 0, "the pool was never short");
        assert!(least as f64 >= mean / 2.0, "least {least}, mean {mean:.1}");
    });
}

#[corio::test]
fn readers_that_wait_without_a_free_buffer_use_no_cpu() {
    run_with(tiny_pool(), async {
        let held = hold_the_pool().await;
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let (peer, mut stream) = pair().await;
            let reading = corio::spawn(async move { stream.read_chunk().await.unwrap() });
            waiting.push((peer, reading));
        }
        settle().await;
        let before = stats();
        corio::sleep(Duration::from_millis(100)).await;
        let turns = stats().turns - before.turns;
        assert!(turns < 20, "{turns} turns while nothing happened");
        for (peer, reading) in waiting {
            peer.write(b"x").await.unwrap();
            assert_eq!(&reading.await.unwrap().unwrap()[..], b"x");
        }
        drop(held);
    });
}

#[corio::test]
fn the_pool_grows_to_its_limit_and_shrinks_when_it_is_too_large() {
    let builder = Runtime::builder().buffer_size(64).buffers_initial(4).buffers_max(64);
    run_with(builder.large_buffers_max(1), async {
        let (writer, mut reader) = pair().await;
        assert_eq!(stats().buffers_total, 4);
        let mut kept = Vec::new();
        while kept.len() < 60 {
            writer.write(&[3; 48]).await.unwrap();
            kept.push(reader.read_chunk().await.unwrap().unwrap());
        }
        let total = stats().buffers_total;
        assert!((48..=65).contains(&total), "{total} buffers");
        drop(kept);
        // It takes a few thousand returns to see that so many are not needed.
        for _ in 0..20_000 {
            writer.write(&[4; 48]).await.unwrap();
            reader.read_exact(&mut [0; 48]).await.unwrap();
            if stats().buffers_total < total / 2 {
                return;
            }
        }
        panic!("the pool never shrinks: {:?}", stats());
    });
}
