//! WebSockets on TLS: the same on both sides, and what only TLS refuses.

use std::io::ErrorKind;

use corio::net::TcpStream;
use corio::tls::{Acceptor, Connector};
use corio::ws::{self, Client, CloseCode, Message};

use crate::echo;
use crate::support::{assert_kind, bounded};

/// A server on TLS that echoes, its URL, and its certificate.
async fn secure_server() -> (corio::net::Server, String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let acceptor = Acceptor::builder().certificate(&certificate, &key).build().unwrap();
    let handler = move |stream: TcpStream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = echo(ws::accept(stream).await?).await;
            }
            std::io::Result::Ok(())
        }
    };
    let server = corio::net::serve("127.0.0.1:0", handler).await.unwrap();
    let url = format!("wss://localhost:{}/", server.local_addrs()[0].port());
    (server, url, certificate)
}

#[corio::test]
async fn messages_of_all_sizes_go_both_ways_on_tls() {
    let (server, url, certificate) = secure_server().await;
    let connector = Connector::builder().root_certificates(&certificate).build().unwrap();
    let mut socket = bounded(Client::new().connect_tls(&url, &connector)).await.unwrap();
    for length in [0, 1, 125, 126, 65536, 3_000_000] {
        let message = Message::from(vec![7; length]);
        bounded(socket.send(message.clone())).await.unwrap();
        assert_eq!(bounded(socket.recv()).await.unwrap(), Some(message));
    }
    bounded(socket.close(CloseCode::Normal, "bye")).await.unwrap();
    drop(socket);
    bounded(server.shutdown(std::time::Duration::from_secs(10))).await;
}

#[corio::test]
async fn two_tasks_share_a_websocket_on_tls() {
    let (_server, url, certificate) = secure_server().await;
    let connector = Connector::builder().root_certificates(&certificate).build().unwrap();
    let socket = bounded(Client::new().connect_tls(&url, &connector)).await.unwrap();
    let (mut sender, mut receiver) = socket.into_split();
    // More than all buffers between hold: each side has to wait for the other.
    let sending = corio::spawn(async move {
        for number in 0..100u8 {
            sender.send(vec![number; 50_000]).await.unwrap();
        }
        sender.close(CloseCode::Normal, "").await.unwrap();
    });
    for number in 0..100u8 {
        let message = bounded(receiver.recv()).await.unwrap();
        assert_eq!(message, Some(Message::from(vec![number; 50_000])));
    }
    assert_eq!(bounded(receiver.recv()).await.unwrap(), None);
    bounded(sending).await.unwrap();
}

#[corio::test]
async fn a_server_that_is_not_trusted_opens_nothing() {
    let (server, url, _) = secure_server().await;
    let (_, _, other) = secure_server().await;
    let connector = Connector::builder().root_certificates(&other).build().unwrap();
    let refused = bounded(Client::new().connect_tls(&url, &connector)).await;
    assert_kind(refused, ErrorKind::InvalidData);
    let plain = format!("ws://{}/", server.local_addrs()[0]);
    assert_kind(Client::new().connect_tls(&plain, &connector).await, ErrorKind::InvalidInput);
    // What is answered is TLS, and no answer of HTTP.
    assert_kind(bounded(ws::connect(&plain)).await, ErrorKind::InvalidData);
}
