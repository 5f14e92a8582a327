//! Streams of bytes: nothing is lost, doubled or moved, whatever is dropped in between.
//!
//! The core is one test: a numbered stream, read in every way there is under random timeouts. It
//! runs again in processes of its own with features of the kernel switched off.

#[path = "streams/halves.rs"]
mod halves;
#[path = "streams/polling.rs"]
mod polling;
#[path = "streams/reading.rs"]
mod reading;
#[path = "streams/separating.rs"]
mod separating;
mod support;
#[path = "streams/writing.rs"]
mod writing;

use std::rc::Rc;
use std::time::Duration;

use corio::net::TcpStream;
use support::{Checker, Random, bounded, numbered, pair};

const TOTAL_BYTES: u64 = 1 << 20;

/// Writes the numbered stream in pieces of any size, in bursts and with pauses.
async fn write_numbered(writer: TcpStream, seed: u64) {
    let mut random = Random::new(seed);
    let mut position = 0;
    while position < TOTAL_BYTES {
        let most = [16, 4096, 40_000][random.below(3)];
        let length = (1 + random.below(most)).min((TOTAL_BYTES - position) as usize);
        let piece = numbered(position, length);
        position += length as u64;
        match random.below(2) {
            0 => writer.write(&piece).await.unwrap(),
            _ => writer.write_owned(piece).await.unwrap(),
        }
        match random.below(6) {
            0 => writer.flush().await.unwrap(),
            1 => corio::yield_now().await,
            2 => corio::sleep(Duration::from_micros(random.below(400) as u64)).await,
            _ => {}
        }
    }
    writer.close().await.unwrap();
}

/// One read of a random kind and size. What it took goes to the checker at once, so that what a
/// dropped one had taken would be missing there.
async fn read_somehow(reader: &mut TcpStream, random: &mut Random, checker: &mut Checker) {
    let limit = 1 + random.below(9000);
    match random.below(6) {
        0 => {
            let mut buffer = vec![0; limit];
            let count = reader.read(&mut buffer).await.unwrap();
            checker.take(&buffer[..count]);
        }
        1 => {
            let rest = (TOTAL_BYTES - checker.position) as usize;
            let mut buffer = vec![0; random.below(60_000).min(rest)];
            reader.read_exact(&mut buffer).await.unwrap();
            checker.take(&buffer);
        }
        2 => {
            // A line that is too long stays in the stream.
            if let Ok(line) = reader.read_line(limit).await {
                checker.take(&line);
            }
        }
        3 => match reader.read_until(&[0, 0], limit).await {
            Ok(record) => checker.take(&record),
            Err(error) => match error.get_ref().and_then(|it| it.downcast_ref()) {
                Some(corio::io::IncompleteRead { partial, .. }) => checker.take(partial),
                None => assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}"),
            },
        },
        4 => {
            if let Some(chunk) = reader.read_chunk().await.unwrap() {
                checker.take(&chunk);
            }
        }
        _ => {
            let shown = reader.fill_buf().await.unwrap();
            let count = shown.len().min(limit);
            checker.take(&shown[..count]);
            reader.consume(count);
        }
    }
}

async fn read_numbered_under_timeouts(seed: u64) {
    let (writer, mut reader) = pair().await;
    let writing = corio::spawn(write_numbered(writer, seed));
    let mut random = Random::new(seed + 1000);
    let mut checker = Checker::default();
    let mut timeouts_count = 0;
    while checker.position < TOTAL_BYTES {
        let patience = random.moment();
        let read = read_somehow(&mut reader, &mut random, &mut checker);
        timeouts_count += usize::from(corio::timeout(patience, read).await.is_err());
    }
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0, "seed {seed}: more came than was sent");
    // How many is a question of the machine's speed; without any, the test would show nothing.
    assert!(timeouts_count > 0, "seed {seed}: no read was given up");
    drop(reader);
    writing.await.unwrap();
}

#[corio::test]
async fn every_byte_comes_once_and_in_order_under_random_timeouts() {
    bounded(async {
        for seed in 1..=4 {
            eprintln!("seed {seed}");
            read_numbered_under_timeouts(seed).await;
        }
    })
    .await;
}

/// A peer that echoes what comes, without a copy.
async fn echo(mut stream: TcpStream) {
    let (mut reader, writer) = stream.split();
    while let Ok(Some(chunk)) = reader.read_chunk().await {
        writer.write_owned(chunk).await.unwrap();
    }
}

#[corio::test]
async fn both_directions_at_once_keep_their_bytes_apart() {
    let (client, server) = pair().await;
    corio::spawn(echo(server));
    let (mut reader, writer) = client.into_split();
    let writer = Rc::new(writer);
    let sending = {
        let writer = Rc::clone(&writer);
        corio::spawn(async move {
            let mut random = Random::new(7);
            let mut position = 0;
            while position < TOTAL_BYTES {
                let length = (1 + random.below(70_000)).min((TOTAL_BYTES - position) as usize);
                writer.write(&numbered(position, length)).await.unwrap();
                position += length as u64;
            }
            writer.shutdown().await.unwrap();
        })
    };
    bounded(async {
        let mut checker = Checker::default();
        while let Some(chunk) = reader.read_chunk().await.unwrap() {
            checker.take(&chunk);
        }
        assert_eq!(checker.position, TOTAL_BYTES);
        sending.await.unwrap();
    })
    .await;
}

#[corio::test]
async fn bytes_stay_in_order_when_a_stream_is_given_large_buffers_and_loses_them() {
    let (writer, mut reader) = pair().await;
    let writing = corio::spawn(async move {
        let mut position = 0;
        for round in 0..3 {
            // Full buffers in a row earn large ones; many messages of a few bytes lose them.
            for (count, length) in [(24, 60_000), (150, 40)] {
                for _ in 0..count {
                    writer.write(&numbered(position, length)).await.unwrap();
                    position += length as u64;
                    if length == 40 {
                        writer.flush().await.unwrap();
                        corio::yield_now().await;
                    }
                }
            }
            eprintln!("round {round} is written");
        }
        writer.close().await.unwrap();
        position
    });
    bounded(async {
        let mut checker = Checker::default();
        let mut longest = 0;
        while let Some(chunk) = reader.read_chunk().await.unwrap() {
            longest = longest.max(chunk.len());
            checker.take(&chunk);
        }
        drop(reader);
        assert_eq!(checker.position, writing.await.unwrap());
        assert!(longest > 16 << 10, "no large buffer was ever used: {longest}");
    })
    .await;
}
