//! Compressed answers: whole, broken, and larger than anybody wants.

use async_compression::Level;
use async_compression::futures::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use corio::http::client::Phase;
use futures_util::io::AsyncReadExt;

use crate::support::{bounded, until};
use crate::{Scripted, ask, builder, client};

async fn encoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut result = Vec::new();
    let level = Level::Fastest;
    let read = match coding {
        "gzip" => GzipEncoder::with_quality(bytes, level).read_to_end(&mut result).await,
        "br" => BrotliEncoder::with_quality(bytes, level).read_to_end(&mut result).await,
        "zstd" => ZstdEncoder::with_quality(bytes, level).read_to_end(&mut result).await,
        other => panic!("no coding `{other}`"),
    };
    read.unwrap();
    result
}

/// An answer in chunks of a few bytes.
fn chunked(coding: &str, bytes: &[u8], size: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\n");
    let mut answer = (head + "transfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in bytes.chunks(size) {
        answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        answer.extend_from_slice(piece);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\nx-trailer: yes\r\n\r\n");
    answer
}

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn words() -> String {
    (0..3_000).map(|number| format!("word {number} ")).collect()
}

#[corio::test]
async fn each_coding_is_asked_for_and_undone() {
    for coding in CODINGS {
        let bytes = encoded(coding, words().as_bytes()).await;
        for size in [1, 300, 1 << 20] {
            let server = Scripted::answering(chunked(coding, &bytes, size)).await;
            let client = client();
            for _ in 0..2 {
                let mut answer = bounded(client.get(&server.url).send()).await.unwrap();
                assert!(!answer.headers().contains_key("content-encoding"));
                assert_eq!(answer.content_length(), None);
                let mut all = Vec::new();
                while let Some(piece) = bounded(answer.chunk()).await.unwrap() {
                    assert!(!piece.is_empty());
                    all.extend_from_slice(&piece);
                }
                assert!(all == words().as_bytes(), "{coding} in chunks of {size}");
                assert_eq!(answer.trailers().unwrap()["x-trailer"], "yes");
            }
            assert_eq!(server.count.get(), 1, "{coding}: the end was read");
            let asked = server.heads.borrow()[0].1.contains("accept-encoding: gzip, br, zstd\r\n");
            assert!(asked);
        }
    }
}

#[corio::test]
async fn what_was_asked_for_by_hand_or_is_unknown_comes_as_it_is() {
    let bytes = encoded("gzip", b"text").await;
    let server = Scripted::answering(chunked("gzip", &bytes, 100)).await;
    let by_hand = client().get(&server.url).header("accept-encoding", "gzip");
    let not_at_all = builder().decompress(false).build().unwrap().get(&server.url);
    for request in [by_hand, not_at_all] {
        let answer = bounded(request.send()).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(bounded(answer.bytes()).await.unwrap(), bytes);
    }
    for coding in ["compress", "gzip, br", "identity"] {
        let server = Scripted::answering(chunked(coding, b"bytes", 100)).await;
        let answer = bounded(client().get(&server.url).send()).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert_eq!(bounded(answer.bytes()).await.unwrap(), "bytes");
    }
}

#[corio::test]
async fn a_coded_body_that_is_cut_or_damaged_or_too_long_is_an_error() {
    for coding in CODINGS {
        let whole = encoded(coding, &words().as_bytes()[..5_000]).await;
        let mut cases = Vec::new();
        for length in [1, 5, 11, whole.len() / 2, whole.len() - 1] {
            cases
                .push((format!("cut after {length} of {}", whole.len()), whole[..length].to_vec()));
        }
        cases.push(("nonsense".into(), b"this was never compressed by anything".to_vec()));
        cases.push(("more behind".into(), [&whole[..], b"more"].concat()));
        for (name, bytes) in cases {
            let server = Scripted::answering(chunked(coding, &bytes, 50)).await;
            let client = client();
            let answer = bounded(client.get(&server.url).send()).await.unwrap();
            let error = bounded(answer.bytes()).await.expect_err(&format!("{coding} {name}"));
            assert_eq!(error.phase(), Phase::Decode, "{coding} {name}: {error}");
            // The connection itself may be at its end, and idle; it is not lost.
            until(|| client.pool_stats().connections == client.pool_stats().idle).await;
        }
    }
}

#[corio::test]
async fn a_body_that_is_cut_off_below_its_coding_is_told_as_that() {
    let bytes = encoded("gzip", words().as_bytes()).await;
    let mut answer = chunked("gzip", &bytes, 1000);
    answer.truncate(answer.len() / 2);
    let server = Scripted::ending(answer).await;
    let answer = bounded(client().get(&server.url).send()).await.unwrap();
    let error = bounded(answer.bytes()).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Body, "{error}");
}

#[corio::test]
async fn nothing_is_a_coded_form_of_nothing() {
    for coding in CODINGS {
        let server = Scripted::answering(chunked(coding, b"", 1)).await;
        assert_eq!(ask(client().get(&server.url)).await, (200, String::new()), "{coding}");
    }
}

#[corio::test]
async fn several_members_of_gzip_are_one_body() {
    let both = [encoded("gzip", b"one ").await, encoded("gzip", b"two").await].concat();
    let server = Scripted::answering(chunked("gzip", &both, 7)).await;
    assert_eq!(ask(client().get(&server.url)).await.1, "one two");
}

#[corio::test]
async fn a_bomb_does_no_harm() {
    let zeros = vec![0; 4 << 20];
    for coding in CODINGS {
        let bomb = encoded(coding, &zeros).await;
        assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
        let server = Scripted::answering(chunked(coding, &bomb, 10_000)).await;
        let client = builder().body_limit(1 << 18).build().unwrap();
        let answer = bounded(client.get(&server.url).send()).await.unwrap();
        let error = bounded(answer.bytes()).await.unwrap_err();
        assert!(error.to_string().contains("body_limit"), "{coding}: {error}");
        // Whoever reads it piece by piece has small pieces.
        let mut answer = bounded(client.get(&server.url).send()).await.unwrap();
        for _ in 0..50 {
            let piece = bounded(answer.chunk()).await.unwrap().unwrap();
            assert!(piece.len() <= 64 << 10, "{coding}: {}", piece.len());
        }
        drop(answer);
        until(|| client.pool_stats().connections == client.pool_stats().idle).await;
    }
}

#[corio::test]
async fn the_limit_of_a_plain_body_is_exact() {
    let server =
        Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n";
    let in_chunks = Scripted::answering(chunked).await;
    let client = client();
    for url in [&server.url, &in_chunks.url] {
        let answer = bounded(client.get(url).body_limit(10).send()).await.unwrap();
        assert_eq!(bounded(answer.bytes()).await.unwrap(), "0123456789");
        let answer = bounded(client.get(url).body_limit(9).send()).await.unwrap();
        let error = bounded(answer.bytes()).await.unwrap_err();
        assert_eq!(error.phase(), Phase::Body, "{error}");
    }
}
