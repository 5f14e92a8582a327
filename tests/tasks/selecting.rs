//! `select!` among real waits: what does not win loses nothing. Its grammar is tested beside it.

use std::future::{pending, ready};
use std::net::TcpStream as Client;
use std::time::Duration;

use corio::{Runtime, select, sleep, spawn, timeout, yield_now};

use crate::{PATIENCE, listen, pair};

/// Which branches win, drawn by a seed, with tasks and timers in between.
fn winners(seed: u64) -> Vec<u8> {
    let runtime = Runtime::builder().seed(seed).build().unwrap();
    runtime.block_on(async {
        let mut winners = Vec::new();
        for round in 0..64 {
            let task = spawn(async { 4 });
            yield_now().await;
            winners.push(select! {
                () = ready(()) => 0,
                () = ready(()), if round % 2 == 0 => 1,
                four = task => four.unwrap(),
                () = sleep(Duration::ZERO) => 3,
            });
        }
        winners
    })
}

#[corio::test]
fn one_seed_gives_one_order() {
    let first = winners(42);
    assert_eq!(first, winners(42));
    assert_ne!(first, winners(43));
    for branch in [0, 1, 3, 4] {
        assert!(first.contains(&branch), "branch {branch} never won");
    }
    for (round, winner) in first.iter().enumerate() {
        assert!(*winner != 1 || round % 2 == 0, "a disabled branch won");
    }
}

/// Not ready at once, so that the others have a turn.
async fn give_up_after(micros: u32) {
    yield_now().await;
    sleep(Duration::from_micros(u64::from(micros))).await;
}

#[corio::test]
async fn a_branch_that_loses_keeps_its_client_and_its_bytes() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let client = Client::connect(address).unwrap();
    for _ in 0..50 {
        select! {
            biased;
            () = yield_now() => {},
            accepted = listener.accept(), if false => drop(accepted),
        }
        select! {
            biased;
            () = ready(()) => {},
            _ = listener.accept() => unreachable!("it comes second"),
        }
    }
    let stream = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());

    let (writer, mut reader) = pair().await;
    let writing = spawn(async move {
        for number in 0..2000u32 {
            writer.write(&number.to_le_bytes()).await.unwrap();
            if number % 16 == 0 {
                yield_now().await;
            }
        }
        writer.shutdown().await.unwrap();
    });
    let mut expected = 0u32;
    let mut number = [0; 4];
    while expected < 2000 {
        select! {
            read = reader.read_exact(&mut number) => {
                read.unwrap();
                assert_eq!(u32::from_le_bytes(number), expected);
                expected += 1;
            }
            () = give_up_after(expected % 7) => {},
        }
    }
    writing.await.unwrap();
}

#[corio::test]
async fn a_select_with_nothing_enabled_takes_its_else() {
    let taken = select! {
        () = pending(), if false => 1,
        Some(number) = ready(None::<i32>) => number,
        else => 3,
    };
    assert_eq!(taken, 3);
}
