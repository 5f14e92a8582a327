//! Python's `websockets`, of Debian's package `python3-websockets`, at the other end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use corio::net::TcpStream;
use corio::ws::{Client, CloseCode, Message, Server};

use crate::support::bounded;
use crate::{echo, echo_server};

/// A process of `peer.py`, which no failing test leaves behind.
pub struct Peer {
    child: Child,
    first_line: String,
}

impl Peer {
    /// Starts it, and waits for its first line.
    pub fn start(arguments: &[&str]) -> Peer {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().expect("python starts");
        let mut first_line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::with_capacity(1, stdout).read_line(&mut first_line).expect("text");
        assert!(!first_line.is_empty(), "`peer.py` has ended: ci/services installs what it needs");
        Peer { child, first_line }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.first_line.trim_end().parse().expect("an address")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's Python, since it is that which has the package.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ws/peer.py")).args(arguments);
    command
}

/// Runs it to its end, beside this core; returns what it printed.
async fn talk(url: &str) -> String {
    let mut command = command(&["talk", url]);
    let talking = corio::spawn_blocking(move || command.output());
    let output = bounded(talking).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python ended with {}:\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[corio::test]
async fn a_client_in_python_is_served_and_its_offer_to_compress_declined() {
    let accepting = Server::new().subprotocols(["chat.v2", "chat.v1"]);
    let handler = move |stream: TcpStream| {
        let accepting = accepting.clone();
        async move { echo(accepting.accept(stream).await?).await }
    };
    let server = corio::net::serve("127.0.0.1:0", handler).await.unwrap();
    let heard = talk(&format!("ws://{}/", server.local_addrs()[0])).await;
    let due =
        "extensions []\nsubprotocol chat.v2\nheard in several fragments\nclosed 4001 enough\n";
    assert_eq!(heard, due);
}

#[corio::test]
async fn a_server_in_python_that_compresses_is_talked_to_without() {
    let peer = Peer::start(&["server", "1000000", "deflate"]);
    let url = format!("ws://{}/", peer.address());
    let mut socket = bounded(Client::new().connect(&url)).await.unwrap();
    let messages = [
        Message::from("hello"),
        Message::from("\u{e4}\u{1f600}"),
        Message::from(vec![0, 255]),
        Message::from("*".repeat(300_000)),
        Message::from(""),
    ];
    for message in messages {
        bounded(socket.send(message.clone())).await.unwrap();
        assert_eq!(bounded(socket.recv()).await.unwrap(), Some(message));
    }
    bounded(socket.ping()).await.unwrap();
    bounded(socket.send("after the ping")).await.unwrap();
    bounded(socket.recv()).await.unwrap();
    assert!(socket.latency().is_some(), "the ping was not answered");
    bounded(socket.close(CloseCode::from(4001), "enough")).await.unwrap();
    assert_eq!(socket.close_frame().unwrap().code, CloseCode::from(4001));
}

#[corio::test]
async fn many_clients_in_python_one_after_the_other_leave_nothing_open() {
    let (server, url) = echo_server(corio::ws::Options::new()).await;
    for _ in 0..3 {
        talk_without_subprotocol(&url).await;
    }
    bounded(server.shutdown(std::time::Duration::from_secs(10))).await;
    assert_eq!(server.connection_count(), 0);
}

/// A server that speaks none of the subprotocols answers without one, which the client may take.
async fn talk_without_subprotocol(url: &str) {
    let heard = talk(url).await;
    assert!(heard.contains("subprotocol None\n"), "{heard}");
}
