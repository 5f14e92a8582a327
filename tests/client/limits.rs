//! Time limits: of the whole request and of each phase, each told by its name.

use std::io;
use std::time::Duration;

use corio::http::client::{Body, Error, Phase};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};

use crate::support::{Blackhole, bounded, until};
use crate::{Scripted, ask, builder, client};

/// For what does not come.
const SHORT: Duration = Duration::from_millis(30);

/// For what has to come: no machine is that slow.
const LONG: Duration = Duration::from_secs(2);

/// What a timeout says, and in which phase.
#[track_caller]
fn assert_late(error: Error, phase: Phase, name: &str) {
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.phase(), phase, "{error}");
    assert_eq!(error.host(), Some("127.0.0.1"), "{error}");
    assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
}

#[corio::test]
async fn a_host_that_does_not_accept() {
    let hole = Blackhole::new().await;
    let url = format!("http://{}/", hole.address);
    let error = bounded(client().get(&url).connect_timeout(SHORT).send()).await.unwrap_err();
    assert!(error.is_connect());
    assert_late(error, Phase::Connect, "connect_timeout");
    let error = bounded(client().get(&url).timeout(SHORT).send()).await.unwrap_err();
    assert_late(error, Phase::Connect, "timeout");
}

#[corio::test]
async fn a_host_that_refuses() {
    let listener = corio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = bounded(client().get(format!("http://{address}/")).send()).await.unwrap_err();
    assert!(error.is_connect() && !error.is_timeout(), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
}

#[corio::test]
async fn a_server_that_does_not_answer() {
    for head in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Scripted::new(move |_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 204 No Content\r\n\r\n").await;
            peer.head().await;
            peer.say(head).await;
            peer.gone().await;
        })
        .await;
        for name in ["head_timeout", "timeout"] {
            let client = client();
            // Its connection is there, so that no time goes into that.
            ask(client.get(&server.url)).await;
            let request = client.get(&server.url);
            let request = match name {
                "timeout" => request.timeout(SHORT),
                _ => request.head_timeout(SHORT),
            };
            assert_late(bounded(request.send()).await.unwrap_err(), Phase::Head, name);
            until(|| client.pool_stats().connections == 0).await;
        }
    }
}

#[corio::test]
async fn a_server_that_does_not_take_the_body() {
    let server = Scripted::new(|_, mut peer| async move {
        peer.head().await;
        std::future::pending().await
    })
    .await;
    let body = vec![0; 64 << 20];
    let request = client().post(&server.url).body(body).head_timeout(SHORT);
    let error = bounded(request.send()).await.unwrap_err();
    assert_late(error, Phase::Head, "head_timeout");
}

#[corio::test]
async fn a_body_that_takes_its_time_to_be_made_is_not_the_servers_fault() {
    let server = Scripted::new(|_, mut peer| async move {
        peer.head().await;
        peer.stream.read_until(b"0\r\n\r\n", 10_000).await.unwrap();
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        peer.gone().await;
    })
    .await;
    let slow = stream::once(async {
        corio::sleep(LONG + LONG / 8).await;
        Ok::<_, io::Error>(Frame::data(Bytes::from("piece")))
    });
    let request = client().post(&server.url).body(Body::wrap(StreamBody::new(slow)));
    assert_eq!(ask(request.head_timeout(LONG)).await.1, "ok");
}

#[corio::test]
async fn a_body_that_stops() {
    let server = Scripted::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        peer.gone().await;
    })
    .await;
    let client = client();
    let request = client.get(&server.url).body_timeout(SHORT);
    let error = bounded(bounded(request.send()).await.unwrap().bytes()).await.unwrap_err();
    assert_late(error, Phase::Body, "body_timeout");
    until(|| client.pool_stats().connections == 0).await;
    let mut answer =
        bounded(client.get(&server.url).timeout(LONG).send()).await.expect("in good time");
    assert_eq!(bounded(answer.chunk()).await.unwrap().unwrap(), "half");
    let error = bounded(answer.chunk()).await.unwrap_err();
    assert_late(error, Phase::Body, "timeout");
    assert_eq!(bounded(answer.chunk()).await.unwrap(), None, "an error ends the body");
    until(|| client.pool_stats().connections == 0).await;
}

#[corio::test]
async fn a_reader_that_takes_its_time_is_not_the_servers_fault() {
    let server = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody").await;
    let client = builder().body_timeout(LONG).build().unwrap();
    let mut answer = bounded(client.get(&server.url).send()).await.unwrap();
    corio::sleep(LONG + LONG / 8).await;
    assert_eq!(bounded(answer.chunk()).await.unwrap().unwrap(), "body");
}
