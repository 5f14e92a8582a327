//! HTTP over TLS: which protocol is spoken, and handshakes that hold nobody up.

use std::time::Duration;

use corio::fs::TemporaryFolder;
use corio::http::{Body, Request, Response, ServeOptions, service_fn};
use corio::net::{Server, TcpStream};
use corio::process::Command;
use futures_util::AsyncReadExt;

use crate::authority::{HOST, authority};
use crate::support::bounded;
use crate::{acceptor, connector};

const LONG: Duration = Duration::from_secs(60);

/// Answers with the version of HTTP that it was asked in.
async fn server(options: ServeOptions) -> Server {
    let version = service_fn(async |request: Request<Body>| {
        std::io::Result::Ok(Response::new(format!("{:?}\n", request.version())))
    });
    options.tls(acceptor()).serve("127.0.0.1:0", version).await.unwrap()
}

#[corio::test]
async fn curl_is_served_in_the_version_that_alpn_agreed_upon() {
    let server = server(ServeOptions::new()).await;
    let port = server.local_addrs()[0].port();
    let folder = TemporaryFolder::new().await.unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &authority().root).unwrap();
    for (option, version) in [("--http2", "HTTP/2.0\n"), ("--http1.1", "HTTP/1.1\n")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", option])
            .args(["--cacert", &root.display().to_string()])
            .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
            .arg(format!("https://{HOST}:{port}/"));
        let output = bounded(curl.output()).await;
        let output = output.expect("this test needs `curl`: ci/services installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), version);
    }
}

#[corio::test]
async fn the_end_of_an_answer_is_announced_inside_of_tls() {
    let server = server(ServeOptions::new()).await;
    let stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let mut stream = bounded(connector().connect(HOST, stream)).await.unwrap();
    stream.write(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    bounded(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("HTTP/1.0\n"), "{answer}");
}

#[corio::test]
async fn who_does_not_shake_hands_is_sent_away() {
    let server = server(ServeOptions::new().head_timeout(Duration::from_millis(100))).await;
    let address = server.local_addrs()[0];
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write(b"\x16\x03\x01").await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    for stream in [&mut silent, &mut slow, &mut plain] {
        let mut said = Vec::new();
        bounded(stream.read_to_end(&mut said)).await.unwrap();
        assert!(!said.starts_with(b"HTTP"), "a plain answer came");
    }
}

#[corio::test]
async fn a_shutdown_does_not_wait_for_a_handshake() {
    let options = ServeOptions::new().head_timeout(LONG).idle_timeout(LONG);
    let server = server(options).await;
    let mut silent = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    crate::support::until(|| server.connection_count() == 1).await;
    let client = async { silent.read_to_end(&mut Vec::new()).await };
    let (report, ended) = bounded(async { corio::join!(server.shutdown(LONG), client) }).await;
    assert_eq!(ended.unwrap(), 0);
    assert_eq!((report.finished(), report.cancelled(), report.aborted()), (1, 0, 0));
}
