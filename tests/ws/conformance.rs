//! Every case of `cases.rs`, by hand against our server and our client, and against Python's
//! `websockets` as server and client: what is heard has to be the same.

use corio::net::{TcpListener, TcpStream};
use corio::ws::{Client, Options};

use super::cases::{self, Case, MESSAGE_LIMIT, Step};
use super::hand::Hand;
use super::python;
use crate::support::bounded;
use crate::{echo, echo_server};

/// Does by hand what a case says; returns what was heard.
async fn play(mut hand: Hand, case: &Case) -> Vec<String> {
    for step in &case.steps {
        match step {
            Step::Frame(head, payload) => hand.send(*head, payload, case.piece).await,
            Step::WronglyMasked(head, payload) => hand.send_wrongly_masked(*head, payload).await,
            Step::Head(head, length) => hand.send_head(*head, *length).await,
            Step::Hear(count) => {
                while hand.heard.len() < *count && !hand.is_over {
                    hand.hear().await;
                }
            }
        }
    }
    while !hand.is_over {
        hand.hear().await;
    }
    let heard = std::mem::take(&mut hand.heard);
    // Whoever has said everything does not wait for long.
    let _ = hand.end().await;
    heard
}

/// Lists what is not as it should be.
fn judge(verdicts: &[(String, Vec<String>, Vec<String>)]) {
    let wrong: Vec<String> = verdicts
        .iter()
        .filter(|(_, heard, due)| heard != due)
        .map(|(name, heard, due)| format!("{name}: heard {heard:?}, due was {due:?}"))
        .collect();
    let count = verdicts.len();
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "only {count} cases were played");
}

fn options() -> Options {
    Options::new().message_limit(MESSAGE_LIMIT).frame_limit(MESSAGE_LIMIT)
}

#[corio::test]
async fn a_client_that_breaks_the_protocol_is_told_how() {
    let (server, _) = echo_server(options()).await;
    let mut verdicts = Vec::new();
    for case in cases::all() {
        let stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
        let heard = play(Hand::client(stream).await, &case).await;
        verdicts.push((case.name, heard, case.heard));
    }
    judge(&verdicts);
}

#[corio::test]
async fn a_server_that_breaks_the_protocol_is_told_how() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let cases = cases::all();
    let count = cases.len();
    let clients = corio::spawn(async move {
        for _ in 0..count {
            let socket = Client::new().options(options()).connect(&url).await.unwrap();
            let _ = echo(socket).await;
        }
    });
    let mut verdicts = Vec::new();
    for case in cases {
        let stream = bounded(listener.accept()).await.unwrap();
        let heard = play(Hand::server(stream).await, &case).await;
        verdicts.push((case.name, heard, case.heard));
    }
    judge(&verdicts);
    bounded(clients).await.unwrap();
}

#[corio::test(driver = "uring", reason = "it is Python that is tried")]
async fn a_server_in_python_says_the_same() {
    let peer = python::Peer::start(&["server", &MESSAGE_LIMIT.to_string()]);
    let mut verdicts = Vec::new();
    for case in cases::all() {
        let stream = TcpStream::connect(peer.address()).await.unwrap();
        let heard = play(Hand::client(stream).await, &case).await;
        verdicts.push((case.name, heard, case.python.unwrap_or(case.heard)));
    }
    judge(&verdicts);
}

#[corio::test(driver = "uring", reason = "it is Python that is tried")]
async fn a_client_in_python_says_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let cases = cases::all();
    let count = cases.len().to_string();
    let _peer = python::Peer::start(&["clients", &url, &count, &MESSAGE_LIMIT.to_string()]);
    let mut verdicts = Vec::new();
    for case in cases {
        let stream = bounded(listener.accept()).await.unwrap();
        let heard = play(Hand::server(stream).await, &case).await;
        verdicts.push((case.name, heard, case.python.unwrap_or(case.heard)));
    }
    judge(&verdicts);
}
