//! Limits: how long a client may take, and how much it may send.

use std::time::Duration;

use corio::http::ServeOptions;
use corio::net;

use crate::support::{bounded, until};
use crate::{connect, echo_server, talk};

const SHORT: Duration = Duration::from_millis(30);

#[corio::test]
async fn a_head_that_trickles_is_cut_off_and_others_are_served_meanwhile() {
    let server = echo_server(ServeOptions::new().head_timeout(SHORT)).await;
    let mut slow = connect(&server).await;
    let trickling = async {
        // Each byte comes in time; all of them do not.
        for byte in b"GET / HTTP/1.1\r\nhost: h\r\n".iter().cycle() {
            if slow.write(&[*byte]).await.is_err() || slow.flush().await.is_err() {
                break;
            }
            corio::sleep(SHORT / 10).await;
        }
    };
    let answered = async {
        for _ in 0..5 {
            assert!(talk(&server, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
        }
    };
    bounded(async { corio::join!(trickling, answered) }).await;
    let mut rest = Vec::new();
    let _ = bounded(slow.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
}

#[corio::test]
async fn a_head_has_no_more_time_after_a_pause_than_at_once() {
    let server = echo_server(ServeOptions::new().head_timeout(SHORT)).await;
    let mut slow = connect(&server).await;
    until(|| server.connection_count() == 1).await;
    // Longer than a head may take; only the idle timeout, of a minute, runs meanwhile.
    corio::sleep(SHORT * 3).await;
    slow.write(b"GET / HTTP/1.1\r\n").await.unwrap();
    let _ = bounded(slow.read_to_end(&mut Vec::new())).await;
}

#[corio::test]
async fn a_connection_that_does_nothing_is_closed_and_one_that_works_is_not() {
    let options = ServeOptions::new().idle_timeout(SHORT * 10).head_timeout(SHORT * 100);
    let server = options
        .serve(
            "127.0.0.1:0",
            corio::http::service_fn(async |_| {
                corio::sleep(SHORT * 20).await;
                std::io::Result::Ok(corio::http::Response::new(String::from("slow, and fine")))
            }),
        )
        .await
        .unwrap();
    let mut stream = connect(&server).await;
    stream.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let head = bounded(stream.read_until(b"\r\n\r\n", 1000)).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let mut rest = Vec::new();
    bounded(stream.read_to_end(&mut rest)).await.expect("closed in good order");
    assert_eq!(rest, b"slow, and fine");
}

#[corio::test]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let options = ServeOptions::new().idle_timeout(SHORT * 10);
    let big = corio::http::service_fn(async |_| {
        std::io::Result::Ok(corio::http::Response::new("x".repeat(64 << 20)))
    });
    let server = options.serve("127.0.0.1:0", big).await.unwrap();
    let stream = connect(&server).await;
    stream.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let gone = async {
        while server.connection_count() == 0 {
            corio::sleep(Duration::from_millis(1)).await;
        }
        while server.connection_count() > 0 {
            corio::sleep(Duration::from_millis(1)).await;
        }
    };
    bounded(gone).await;
    drop(stream);
}

#[corio::test]
async fn a_body_that_stops_or_is_too_long_is_an_error_for_the_service() {
    let options = ServeOptions::new().body_limit(10).body_timeout(SHORT);
    let server = echo_server(options).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n";
    let answer = talk(&server, format!("{head}content-length: 10\r\n\r\n0123456789")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = talk(&server, format!("{head}content-length: 11\r\n\r\n0123456789a")).await;
    assert!(answer.contains("longer than the server allows"), "{answer}");
    let chunks = "transfer-encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n678901\r\n0\r\n\r\n";
    let answer = talk(&server, format!("{head}{chunks}")).await;
    assert!(answer.contains("longer than the server allows"), "{answer}");
    let answer = talk(&server, format!("{head}content-length: 10\r\n\r\n01234")).await;
    assert!(answer.contains("stopped in the middle"), "{answer}");
}

#[corio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = echo_server(ServeOptions::new().head_limit(8 << 10).headers_max(10)).await;
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(10_000));
    assert!(talk(&server, long).await.starts_with("HTTP/1.1 431"));
    let many: String = (0..11).map(|number| format!("x{number}: y\r\n")).collect();
    let answer = talk(&server, format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[corio::test]
async fn what_could_be_read_in_two_ways_is_refused_or_read_in_the_safe_one() {
    let server = echo_server(ServeOptions::new()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
    let shapes = [
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "content-length: +3\r\n\r\nabc",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
        "x\u{0}y: z\r\n\r\n",
        " folded: line\r\n\r\n",
    ];
    for shape in shapes {
        let request = format!("POST / HTTP/1.1\r\nhost: h\r\n{shape}{smuggled}");
        let answers = talk(&server, &request).await;
        assert!(answers.starts_with("HTTP/1.1 400"), "{request}{answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "one answer, then the end: {answers}");
    }
    // With both, the chunks count, and the connection ends behind (RFC 9112, section 6.1).
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answers = talk(&server, format!("POST / HTTP/1.1\r\nhost: h\r\n{both}")).await;
    let is_safe = answers.starts_with("HTTP/1.1 400") || answers.ends_with("\r\n\r\nabc");
    assert!(is_safe && answers.matches("HTTP/1.1").count() == 1, "{answers}");
}

#[corio::test]
async fn half_open_connections_up_to_the_limit_are_outlasted() {
    let options = ServeOptions::new()
        .net(net::ServeOptions::new().max_connections(50))
        .head_timeout(SHORT)
        .idle_timeout(SHORT);
    let server = echo_server(options).await;
    let mut half_open = Vec::new();
    for number in 0..100 {
        let stream = connect(&server).await;
        let start: &[u8] = if number % 2 == 0 { b"" } else { b"GET / HTTP" };
        stream.write(start).await.unwrap();
        half_open.push(stream);
    }
    assert!(server.connection_count() <= 50);
    // A slow machine may take this client for one that does nothing, too; it comes back.
    let served = async { while talk(&server, "GET / HTTP/1.0\r\n\r\n").await.is_empty() {} };
    bounded(served).await;
}
