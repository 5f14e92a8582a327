//! The opening handshake: what is refused and how, what is agreed on, and what comes too late.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use corio::http::{self, Body, Request, Response, service_fn};
use corio::net::{TcpListener, TcpStream, UnixStream};
use corio::ws::{self, Client, CloseCode, Message, Options, Refused, Server, WebSocket};

use super::hand::{FIN, TEXT, frame, request};
use crate::echo;
use crate::support::{assert_kind, bounded, pair, until};

/// What a server answers to these bytes, and its error.
async fn answer_to(server: &Server, bytes: &[u8]) -> (String, Option<ErrorKind>) {
    let (mut client, far) = pair().await;
    client.write(bytes).await.unwrap();
    let (mut answer, accepted) = (Vec::new(), bounded(server.accept(far)).await);
    let kind = accepted.err().map(|error| error.kind());
    if kind.is_some() {
        bounded(client.read_to_end(&mut answer)).await.unwrap();
    } else {
        answer = client.read_chunk().await.unwrap().unwrap().to_vec();
    }
    (String::from_utf8(answer).unwrap(), kind)
}

#[corio::test]
async fn a_request_that_is_none_is_refused_and_told_why() {
    let server = Server::new();
    let good = request();
    let too_long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let cases = [
        (good.replace("Upgrade: websocket\r\n", ""), "426"),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), "426"),
        (good.replace("keep-alive, Upgrade", "keep-alive"), "426"),
        (good.replace("Version: 13", "Version: 8"), "426"),
        (good.replace("GET ", "POST "), "405"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "400"),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), "400"),
        (good.replace("Sec-WebSocket-Key", "Sec-WebSocket-Keys"), "400"),
        ("nonsense\r\n\r\n".into(), "400"),
        (too_long, "431"),
        (many, "431"),
    ];
    for (bytes, status) in cases {
        let (answer, kind) = answer_to(&server, bytes.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer} to {bytes}");
        assert!(answer.contains("sec-websocket-version: 13\r\n"), "{answer}");
        assert_eq!(kind, Some(ErrorKind::InvalidData));
    }
    let (answer, kind) = answer_to(&server, good.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // The example of RFC 6455.
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert_eq!(kind, None);
}

#[corio::test]
async fn an_offer_of_an_extension_is_declined() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let bytes = request().replace("\r\n\r\n", &format!("\r\n{offer}"));
    let (answer, _) = answer_to(&Server::new(), bytes.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.contains("extensions"), "{answer}");
}

#[corio::test]
async fn an_origin_that_is_not_let_in_is_answered_with_403() {
    let server = Server::new().origins(|origin| origin == Some("https://good.example"));
    let from = |origin: &[u8]| {
        let head = request();
        let head = head.trim_end_matches("\r\n");
        [head.as_bytes(), b"\r\nOrigin: ", origin, b"\r\n\r\n"].concat()
    };
    for bytes in [from(b"https://bad.example"), from(b"\xff"), request().into_bytes()] {
        let (answer, kind) = answer_to(&server, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_eq!(kind, Some(ErrorKind::PermissionDenied));
    }
    let (answer, _) = answer_to(&server, &from(b"https://good.example")).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // Our client says where it comes from.
    let client = Client::new().origin("https://good.example").unwrap();
    open(&client, &server).await.unwrap();
}

/// Opens a WebSocket between the two.
async fn open(
    client: &Client,
    server: &Server,
) -> std::io::Result<(WebSocket<UnixStream>, WebSocket<UnixStream>)> {
    let (near, far) = UnixStream::pair()?;
    let opening = client.handshake("ws://here/", near);
    let (client, server) =
        bounded(async { futures_util::join!(opening, server.accept(far)) }).await;
    Ok((client?, server?))
}

#[corio::test]
async fn the_first_subprotocol_of_the_server_that_the_client_offers_is_spoken() {
    let server = Server::new().subprotocols(["v3", "v2", "v1"]);
    let client = Client::new().subprotocols(["v1", "v2"]).unwrap();
    let (near, far) = open(&client, &server).await.unwrap();
    assert_eq!((near.subprotocol(), far.subprotocol()), (Some("v2"), Some("v2")));
    let (near, far) = open(&Client::new(), &server).await.unwrap();
    assert_eq!((near.subprotocol(), far.subprotocol()), (None, None));
    // A client that offers some takes no server that speaks none of them.
    let client = Client::new().subprotocols(["v9"]).unwrap();
    assert_kind(open(&client, &server).await, ErrorKind::InvalidData);
}

#[corio::test]
async fn frames_that_come_with_the_request_are_not_lost() {
    let (client, far) = pair().await;
    let bytes = [request().as_bytes(), &frame(FIN | TEXT, b"early", true)].concat();
    client.write(&bytes).await.unwrap();
    let mut socket = bounded(ws::accept(far)).await.unwrap();
    assert_eq!(bounded(socket.recv()).await.unwrap(), Some(Message::from("early")));
}

/// A client's error when its server answers so.
async fn error_of(answer: &str) -> std::io::Error {
    let (near, mut far) = pair().await;
    let client = Client::new();
    let (opened, _) = bounded(async {
        futures_util::join!(client.handshake("ws://here/", near), async {
            let mut head = [0; 64];
            far.read(&mut head).await.unwrap();
            far.write(answer.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
        })
    })
    .await;
    opened.expect_err("no WebSocket was opened")
}

#[corio::test]
async fn an_answer_that_is_wrong_opens_nothing() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong_key = format!("{good}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    assert_eq!(error_of(&wrong_key).await.kind(), ErrorKind::InvalidData);
    assert_eq!(error_of(&format!("{good}\r\n")).await.kind(), ErrorKind::InvalidData);
    assert_eq!(error_of("nonsense\r\n\r\n").await.kind(), ErrorKind::InvalidData);
    assert_eq!(error_of("HTTP/1.1 101 Swit").await.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(error_of("").await.kind(), ErrorKind::UnexpectedEof);
    let error = error_of("HTTP/1.1 404 Not Found\r\nserver: x\r\n\r\n").await;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let refused = error.get_ref().unwrap().downcast_ref::<Refused>().unwrap();
    assert_eq!((refused.status.as_u16(), &refused.headers["server"]), (404, &"x".parse().unwrap()));
}

#[corio::test]
async fn an_extension_that_nobody_offered_opens_nothing() {
    let (near, mut far) = pair().await;
    let client = Client::new();
    let answering = async {
        let mut head = vec![0; 1000];
        let count = far.read(&mut head).await.unwrap();
        let head = String::from_utf8(head[..count].to_vec()).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        far.write(answer.as_bytes()).await.unwrap();
    };
    let opening = client.handshake("ws://here/", near);
    let (opened, ()) = bounded(async { futures_util::join!(opening, answering) }).await;
    assert_kind(opened, ErrorKind::InvalidData);
}

#[corio::test]
async fn a_handshake_that_stands_still_is_given_up() {
    let options = Options::new().handshake_timeout(Duration::from_millis(20));
    let (near, far) = pair().await;
    far.write(&request().as_bytes()[..50]).await.unwrap();
    assert_kind(bounded(Server::new().options(options).accept(near)).await, ErrorKind::TimedOut);
    let (near, _far) = pair().await;
    let client = Client::new().options(options);
    assert_kind(bounded(client.handshake("ws://here/", near)).await, ErrorKind::TimedOut);
}

#[corio::test]
async fn urls_that_lead_to_no_websocket_are_refused() {
    for url in ["http://here/", "here", "wss://here/", "ws:///", "ws://here:99999/", ""] {
        assert_kind(bounded(ws::connect(url)).await, ErrorKind::InvalidInput);
    }
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = corio::spawn(async move { ws::accept(listener.accept().await?).await });
    bounded(ws::connect(&format!("ws://[::1]:{port}"))).await.unwrap();
    bounded(accepting).await.unwrap().unwrap();
}

/// Echoes on an upgraded connection, and answers other requests as `http` does.
async fn upgrading(mut request: Request<Body>) -> Result<Response<String>, Infallible> {
    let (response, socket) = ws::upgrade(&mut request);
    corio::spawn(async move { echo(socket.await?).await });
    Ok(response)
}

#[corio::test]
async fn a_request_inside_http_is_upgraded_and_others_go_on() {
    let server = http::serve("127.0.0.1:0", service_fn(upgrading)).await.unwrap();
    let address = server.local_addrs()[0];
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let line = bounded(plain.read_line(100)).await.unwrap();
    assert!(line.starts_with(b"HTTP/1.1 426 "), "{:?}", String::from_utf8_lossy(&line));
    check_echo(&format!("ws://{address}/any/path")).await;
}

#[corio::test]
async fn an_upgraded_connection_counts_until_it_ends() {
    let server = http::serve("127.0.0.1:0", service_fn(upgrading)).await.unwrap();
    let url = format!("ws://{}/", server.local_addrs()[0]);
    let mut socket = bounded(ws::connect(&url)).await.unwrap();
    for _ in 0..3 {
        bounded(socket.send("still here")).await.unwrap();
        bounded(socket.recv()).await.unwrap();
        assert_eq!(server.connection_count(), 1);
    }
    bounded(socket.close(CloseCode::Normal, "")).await.unwrap();
    until(|| server.connection_count() == 0).await;
}

async fn check_echo(url: &str) {
    let mut socket = bounded(ws::connect(url)).await.unwrap();
    for length in [0, 5, 200_000] {
        let message = Message::from(vec![7; length]);
        bounded(socket.send(message.clone())).await.unwrap();
        assert_eq!(bounded(socket.recv()).await.unwrap(), Some(message));
    }
    bounded(socket.close(CloseCode::Normal, "")).await.unwrap();
}

#[corio::test]
async fn a_handler_of_axum_upgrades_too() {
    async fn handler(mut request: axum::extract::Request) -> axum::response::Response {
        let (response, socket) = ws::upgrade(&mut request);
        corio::spawn(async move { echo(socket.await?).await });
        response
    }
    let router = axum::Router::new().route("/socket", axum::routing::get(handler));
    let server = http::serve("127.0.0.1:0", router).await.unwrap();
    check_echo(&format!("ws://{}/socket", server.local_addrs()[0])).await;
    let error = bounded(ws::connect(&format!("ws://{}/other", server.local_addrs()[0]))).await;
    assert_kind(error, ErrorKind::ConnectionRefused);
}
