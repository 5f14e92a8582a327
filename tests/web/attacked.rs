//! Every future of a server dropped after each of its polls, a server that ends at each step of a
//! conversation, a client that is gone at each byte: nothing is left behind, and others are served.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::compat::hyper::{Executor, Timer};
use corio::http::ServeOptions;
use corio::net::{Server, TcpStream};
use corio::{Runtime, Stats, spawn};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};

use crate::support::{bounded, pair, until};
use crate::{connect, echo_server, talk};

const ONE: &[u8] =
    b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// The preface of HTTP/2, settings, a request with a body.
const TWO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x00\x04\x00\x00\x00\x00\x00\
    \x00\x00\x06\x01\x04\x00\x00\x00\x01\x83\x86\x84\x41\x01h\
    \x00\x00\x05\x00\x01\x00\x00\x00\x01hello";

/// Polls a future so many times; it is dropped at once then, or when it is ready before.
async fn polled<F: Future>(future: F, count: usize) -> Option<F::Output> {
    let (mut future, mut polls) = (Some(Box::pin(future)), 0);
    poll_fn(|context| {
        if polls == count {
            future.take();
            return Poll::Ready(None);
        }
        polls += 1;
        let poll = pin!(future.as_mut().unwrap()).poll(context).map(Some);
        if poll.is_pending() && polls == count {
            future.take();
            return Poll::Ready(None);
        }
        poll
    })
    .await
}

/// Nothing is there beside what was there before.
async fn nothing_is_left(before: &Stats) {
    until(|| {
        let now = corio::stats();
        now.tasks <= before.tasks
            && now.operations_in_flight <= before.operations_in_flight
            && now.buffers_in_use <= before.buffers_in_use
    })
    .await;
}

/// What there is once a server has served somebody.
async fn stats_of(server: &Server) -> Stats {
    assert!(talk(server, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
    until(|| server.connection_count() == 0).await;
    // What ends in the background ends within turns.
    let mut stats = corio::stats();
    for _ in 0..20 {
        corio::sleep(Duration::from_millis(1)).await;
        let now = corio::stats();
        if now.tasks <= stats.tasks && now.operations_in_flight <= stats.operations_in_flight {
            stats = now;
        }
    }
    stats
}

#[corio::test]
async fn a_client_is_reset_or_closes_at_each_byte_of_its_request() {
    let server = echo_server(ServeOptions::new()).await;
    let before = stats_of(&server).await;
    for request in [ONE, TWO] {
        for sent in 0..=request.len() {
            for is_reset in [false, true] {
                let stream = connect(&server).await;
                stream.write(&request[..sent]).await.unwrap();
                stream.flush().await.unwrap();
                if is_reset {
                    stream.abort();
                }
                drop(stream);
                // One that was not even accepted is no connection yet.
                until(|| server.connection_count() == 0).await;
            }
        }
        nothing_is_left(&before).await;
    }
    assert!(talk(&server, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
}

#[corio::test]
async fn a_client_is_reset_at_each_byte_of_its_answer() {
    let server = echo_server(ServeOptions::new()).await;
    let before = stats_of(&server).await;
    for request in [ONE, TWO] {
        // Every answer is longer than that.
        for received in 0..70 {
            let mut stream = connect(&server).await;
            stream.write(request).await.unwrap();
            bounded(stream.read_exact(&mut vec![0; received])).await.unwrap();
            stream.abort();
        }
        until(|| server.connection_count() == 0).await;
        nothing_is_left(&before).await;
    }
    assert!(talk(&server, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
}

#[corio::test]
async fn a_server_shuts_down_or_resets_after_each_byte_of_a_request() {
    let first = echo_server(ServeOptions::new()).await;
    let _ = stats_of(&first).await;
    bounded(first.shutdown(Duration::ZERO)).await;
    let before = corio::stats();
    for request in [ONE, TWO] {
        for sent in 0..=request.len() {
            let server = echo_server(ServeOptions::new()).await;
            let stream = connect(&server).await;
            stream.write(&request[..sent]).await.unwrap();
            stream.flush().await.unwrap();
            corio::yield_now().await;
            if sent % 2 == 0 {
                server.abort_clients();
            }
            bounded(server.shutdown(Duration::ZERO)).await;
            assert_eq!(server.connection_count(), 0);
            drop(stream);
        }
    }
    nothing_is_left(&before).await;
}

#[corio::test]
fn a_runtime_ends_after_each_few_bytes_of_a_request() {
    for request in [ONE, TWO] {
        for sent in (0..=request.len()).step_by(5) {
            let runtime = Runtime::new().unwrap();
            let stream = runtime.block_on(bounded(async {
                let server = echo_server(ServeOptions::new()).await;
                let stream = connect(&server).await;
                stream.write(&request[..sent]).await.unwrap();
                stream.flush().await.unwrap();
                corio::yield_now().await;
                stream
            }));
            drop(stream);
            let report = runtime.close();
            assert_eq!(report.leaked_operations, 0);
        }
    }
}

async fn echo(request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    Ok(Response::new(Full::new(request.into_body().collect().await?.to_bytes())))
}

/// Sends each byte some turns after the one before, and reads to the end.
async fn trickle(mut stream: TcpStream, request: &'static [u8]) {
    for byte in request {
        if stream.write(&[*byte]).await.is_err() {
            break;
        }
        for _ in 0..5 {
            corio::yield_now().await;
        }
    }
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[corio::test]
async fn a_connection_of_hyper_is_dropped_after_each_poll() {
    let before = corio::stats();
    for (version, request) in [(1, ONE), (2, TWO)] {
        for polls in 0.. {
            let (client, stream) = pair().await;
            let trickling = spawn(trickle(client, request));
            let service = hyper::service::service_fn(echo);
            let is_over = if version == 1 {
                let mut protocol = hyper::server::conn::http1::Builder::new();
                let serving = protocol.timer(Timer).serve_connection(stream, service);
                bounded(polled(serving, polls)).await.is_some()
            } else {
                let protocol = hyper::server::conn::http2::Builder::new(Executor);
                bounded(polled(protocol.serve_connection(stream, service), polls)).await.is_some()
            };
            bounded(trickling).await.unwrap();
            if is_over {
                assert!(polls > 1, "it was attacked between its polls");
                break;
            }
        }
    }
    nothing_is_left(&before).await;
}

#[corio::test]
async fn a_client_of_hyper_is_dropped_after_each_poll() {
    let server = Rc::new(echo_server(ServeOptions::new()).await);
    let before = stats_of(&server).await;
    for polls in 0.. {
        let server = Rc::clone(&server);
        let asking = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(connect(&server).await).await?;
            let connection = spawn(connection);
            let body = Full::<Bytes>::from("hello");
            let answer = sender.send_request(Request::post("/").body(body).unwrap()).await?;
            assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello");
            drop(sender);
            connection.await.unwrap()
        };
        match bounded(polled(asking, polls)).await {
            Some(outcome) => {
                outcome.unwrap();
                break;
            }
            None => until(|| server.connection_count() == 0).await,
        }
    }
    nothing_is_left(&before).await;
}
