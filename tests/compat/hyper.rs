//! hyper on both sides of a connection: HTTP/1.1 and 2, bodies of megabytes, timers, upgrades.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use corio::compat::OnItsCore;
use corio::compat::hyper::{Executor, Timer};
use corio::net::TcpStream;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, client, header, server, upgrade};

use crate::support::{Checker, bounded, numbered, pair};

type Answer = Result<Response<Full<Bytes>>, Infallible>;

async fn echo(request: Request<Incoming>) -> Answer {
    let body = request.into_body().collect().await.expect("the body comes").to_bytes();
    Ok(Response::new(Full::new(body)))
}

async fn exchange(
    sender: &mut client::conn::http1::SendRequest<Full<Bytes>>,
    body: Vec<u8>,
) -> Bytes {
    let request = Request::post("/").header("host", "here").body(Full::from(body)).unwrap();
    let response = bounded(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    bounded(response.into_body().collect()).await.unwrap().to_bytes()
}

#[corio::test]
async fn a_megabyte_is_echoed_by_http_1_and_the_connection_is_kept() {
    let (near, far) = pair().await;
    // An `Rc` in the service: nothing asks for `Send`.
    let served = Rc::new(Cell::new(0));
    let count = Rc::clone(&served);
    let serving = corio::spawn(async move {
        let service = service_fn(move |request| {
            count.set(count.get() + 1);
            echo(request)
        });
        server::conn::http1::Builder::new().timer(Timer).serve_connection(far, service).await
    });
    let (mut sender, connection) = client::conn::http1::handshake(near).await.unwrap();
    corio::spawn(connection);
    for length in [1 << 20, 0, 17] {
        let body = exchange(&mut sender, numbered(0, length)).await;
        assert_eq!(body.len(), length);
        Checker::default().take(&body);
    }
    drop(sender);
    bounded(serving).await.unwrap().unwrap();
    assert_eq!(served.get(), 3);
}

#[corio::test]
async fn many_requests_share_one_connection_of_http_2() {
    let (near, far) = pair().await;
    let serving = corio::spawn(async move {
        let builder = server::conn::http2::Builder::new(Executor);
        builder.serve_connection(far, service_fn(echo)).await
    });
    let handshake = client::conn::http2::handshake(Executor, near);
    let (sender, connection) = bounded(handshake).await.unwrap();
    corio::spawn(connection);
    let requests = (0..20).map(|number: usize| {
        let mut sender = sender.clone();
        async move {
            let body = Full::<Bytes>::from(numbered(0, number * 10_000));
            let request = Request::post("http://here/").body(body).unwrap();
            let response = sender.send_request(request).await?;
            let body = response.into_body().collect().await?.to_bytes();
            assert_eq!(body.len(), number * 10_000);
            Checker::default().take(&body);
            Ok::<_, hyper::Error>(())
        }
    });
    bounded(corio::gather(requests)).await.unwrap();
    drop(sender);
    bounded(serving).await.unwrap().unwrap();
}

#[corio::test]
async fn a_client_that_sends_no_head_is_timed_out_by_the_cores_clock() {
    let (mut near, far) = pair().await;
    let serving = corio::spawn(async move {
        let mut builder = server::conn::http1::Builder::new();
        builder.timer(Timer).header_read_timeout(Duration::from_millis(5));
        builder.serve_connection(far, service_fn(echo)).await
    });
    near.write(b"GET / HT").await.unwrap();
    let outcome = bounded(serving).await.unwrap();
    assert!(outcome.unwrap_err().is_timeout());
    bounded(near.read_to_end(&mut Vec::new())).await.unwrap();
}

#[corio::test]
async fn an_upgraded_connection_keeps_the_bytes_that_came_with_the_request() {
    let (mut near, far) = pair().await;
    let serving = corio::spawn(async move {
        let service = service_fn(async |request: Request<Incoming>| -> Answer {
            corio::spawn(async move {
                let upgraded = upgrade::on(request).await.unwrap();
                let parts =
                    upgraded.downcast::<OnItsCore<TcpStream>>().expect("it is corio's stream");
                let mut stream = parts.io.into_inner();
                let mut line = parts.read_buf.to_vec();
                line.extend(stream.read_line(100).await.unwrap());
                stream.write_owned(line).await.unwrap();
                stream.close().await.unwrap();
            });
            let builder = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let builder = builder.header(header::UPGRADE, "line").header("connection", "upgrade");
            Ok(builder.body(Full::default()).unwrap())
        });
        // hyper asks for `Send` where a stream may be handed on.
        let far = OnItsCore::new(far);
        let connection = server::conn::http1::Builder::new().serve_connection(far, service);
        connection.with_upgrades().await
    });
    let head = "GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: line\r\n\r\nearly ";
    near.write(head.as_bytes()).await.unwrap();
    let answer = bounded(near.read_until(b"\r\n\r\n", 1000)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
    near.write(b"and late\n").await.unwrap();
    assert_eq!(bounded(near.read_line(100)).await.unwrap(), b"early and late\n");
    bounded(serving).await.unwrap().unwrap();
}
