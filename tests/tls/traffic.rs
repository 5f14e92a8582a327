//! What goes through a session, both ways at once, to its end.

use std::io::ErrorKind;

use futures_util::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Checker, assert_kind, bounded, numbered};
use crate::tls_pair;

#[corio::test]
async fn megabytes_go_both_ways_at_once() {
    const LENGTH: usize = 3 << 20;
    let (client, server) = tls_pair().await;
    let ends = [client, server].map(|end| {
        let (mut reader, mut writer) = end.split();
        let writing = async move {
            for from in (0..LENGTH).step_by(50_000) {
                let bytes = numbered(from as u64, 50_000.min(LENGTH - from));
                writer.write_all(&bytes).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let reading = async move {
            let mut checker = Checker::default();
            let mut buffer = vec![0; 20_000];
            loop {
                match reader.read(&mut buffer).await.unwrap() {
                    0 => return checker.position,
                    count => checker.take(&buffer[..count]),
                }
            }
        };
        (corio::spawn(writing), corio::spawn(reading))
    });
    for (writing, reading) in ends {
        bounded(writing).await.unwrap();
        assert_eq!(bounded(reading).await.unwrap(), LENGTH as u64);
    }
}

#[corio::test]
async fn an_end_that_the_peer_did_not_announce_is_an_error_after_the_bytes() {
    let (client, mut server) = tls_pair().await;
    let mut client = client;
    client.write(b"half of it").await.unwrap();
    drop(client);
    let mut buffer = [0; 100];
    assert_eq!(bounded(server.read(&mut buffer)).await.unwrap(), 10);
    assert_kind(bounded(server.read(&mut buffer)).await, ErrorKind::UnexpectedEof);
    assert_kind(bounded(server.read(&mut buffer)).await, ErrorKind::UnexpectedEof);
}

#[corio::test]
async fn one_side_may_end_and_the_other_goes_on() {
    let (mut client, mut server) = tls_pair().await;
    client.write(b"question").await.unwrap();
    bounded(client.shutdown()).await.unwrap();
    assert_kind(bounded(client.write(b"more")).await, ErrorKind::BrokenPipe);
    let mut question = Vec::new();
    bounded(server.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    server.write(&numbered(0, 300_000)).await.unwrap();
    let answering = async {
        server.shutdown().await.unwrap();
    };
    let reading = async {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = bounded(async { corio::join!(answering, reading) }).await;
    assert_eq!(answer.len(), 300_000);
    Checker::default().take(&answer);
}
