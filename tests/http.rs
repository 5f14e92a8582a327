//! `corio serve http` as its clients see it: blocking sockets of the standard library, which send
//! what a browser sends and what nobody should.
//!
//! What is made of each request's bytes is tried without sockets, beside the code
//! (`src/bin/corio/http/conversation_tests.rs`). Here is what needs a connection: time, memory,
//! resets, and several at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

#[path = "support/program.rs"]
mod support;

use support::{Server, wait_until};

const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: here\r\n\r\n";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream
}

/// Everything that comes until the server ends the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an orderly end");
    text
}

/// Reads one answer with a body of 13 bytes.
fn read_hello(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nHello, World!") {
        let mut piece = [0; 1];
        assert_eq!(stream.read(&mut piece).expect("an answer"), 1, "the connection has ended");
        answer.extend_from_slice(&piece);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_connection_is_kept_until_its_client_asks_for_the_end() {
    let server = Server::start("http", &[]);
    let mut stream = connect(&server);
    for _ in 0..3 {
        stream.write_all(GET).expect("sent");
        read_hello(&mut stream);
    }
    stream.write_all(b"GET /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("sent");
    let last = rest(&mut stream);
    assert!(last.contains("Connection: close\r\n"), "{last}");
    assert!(last.ends_with("{\"message\":\"Hello, World!\"}"), "{last}");
}

/// Hazard: more answers than fit into the socket's buffers, for a client that sends first and reads
/// later.
#[test]
fn ten_thousand_pipelined_requests_have_ten_thousand_answers() {
    let server = Server::start("http", &["--stats"]);
    let mut stream = connect(&server);
    let mut sender = stream.try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || {
        sender.write_all(&GET.repeat(10_000)).expect("sent");
        sender.shutdown(Shutdown::Write).expect("ended");
    });
    let answers = rest(&mut stream);
    sending.join().expect("sent");
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 10_000);
    assert_eq!(answers.matches("Hello, World!").count(), 10_000);
    drop(stream);
    let (code, stats, complaints) = server.end("TERM");
    assert_eq!((code, complaints.as_str()), (Some(0), ""));
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["requests"], 10_000);
    assert_eq!(stats["failed_connections"], 0);
}

/// Hazard: the last answer is lost because the connection is reset with unread input.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::start("http", &[]);
    for _ in 0..20 {
        let mut stream = connect(&server);
        let head = "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&vec![b'x'; 300_000]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("ended");
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{answer}");
    }
}

#[test]
fn a_body_in_chunks_is_read_to_its_end_before_the_next_request() {
    let server = Server::start("http", &[]);
    let mut stream = connect(&server);
    let head = "POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    for _ in 0..50 {
        stream.write_all(format!("2710\r\n{}\r\n", "x".repeat(10_000)).as_bytes()).expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    stream.write_all(GET).expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    let answers = rest(&mut stream);
    assert!(answers.starts_with("HTTP/1.1 405 Method Not Allowed\r\nServer"), "{answers}");
    assert!(answers.contains("Allow: GET, HEAD\r\n"), "{answers}");
    assert!(answers.ends_with("Hello, World!"), "{answers}");
}

/// Hazard: a client that sends a byte now and then holds a connection for ever (slowloris).
#[test]
fn a_request_that_trickles_in_is_given_up_at_its_limit() {
    let server = Server::start("http", &["--request-limit", "0.5"]);
    let mut stream = connect(&server);
    let mut trickle = stream.try_clone().expect("a second handle");
    let begun = Instant::now();
    let sending = std::thread::spawn(move || {
        // The sleep is the hazard itself: a client that is slow on purpose.
        for _ in 0..60 {
            if trickle.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(begun.elapsed() >= Duration::from_millis(500), "it had its time");
    drop(stream);
    sending.join().expect("no panic");
}

#[test]
fn an_idle_connection_ends_without_an_answer_at_its_limit() {
    let server = Server::start("http", &["--idle-limit", "0.3"]);
    let mut stream = connect(&server);
    stream.write_all(GET).expect("sent");
    read_hello(&mut stream);
    assert_eq!(rest(&mut stream), "");
}

/// Hazard: one client's trouble becomes another's.
#[test]
fn resets_and_rubbish_disturb_nobody_else_and_leave_nothing_behind() {
    let server = Server::start("http", &[]);
    let mut honest = connect(&server);
    honest.write_all(GET).expect("sent");
    read_hello(&mut honest);
    let open_count = server.descriptor_count();
    for round in 0..200 {
        let mut stream = connect(&server);
        match round % 4 {
            0 => drop(stream.write_all(&GET[..round % GET.len()])),
            1 => {
                stream.write_all(b"\x16\x03\x01\x00\x00rubbish\r\n\r\n").expect("sent");
                let answer = rest(&mut stream);
                assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
            }
            // Closed with answers unread: the kernel sends a reset.
            2 => stream.write_all(&GET.repeat(50)).expect("sent"),
            _ => {}
        }
        drop(stream);
        honest.write_all(GET).expect("sent");
        read_hello(&mut honest);
    }
    wait_until("all others are closed", || server.descriptor_count() <= open_count);
}

/// Hazard: a client that asks and never reads makes the server's memory grow without end.
#[test]
fn a_client_that_does_not_read_is_not_read_from_either() {
    let server = Server::start("http", &[]);
    let mut stream = connect(&server);
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a limit");
    let batch = GET.repeat(1000);
    let mut sent_count = 0;
    let error = loop {
        match stream.write(&batch) {
            Ok(count) => sent_count += count,
            Err(error) => break error,
        }
        assert!(sent_count < 200 << 20, "the server goes on taking requests");
    };
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id()));
    let status = status.expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kibibytes < 64 << 10, "{kibibytes} KiB for one client");
}
