//! Requests that are given up at any moment: no answer reaches another request, no connection and
//! no place is lost.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::http::client::{Body as Outgoing, ClientBuilder, RequestBuilder};
use corio::http::{Body, Client, Request, Response, StatusCode, serve, service_fn};
use corio::net::Server;
use corio::sync::Barrier;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};

use crate::support::{Random, bounded, until};
use crate::{builder, text};

const PLACES: usize = 8;

/// A number that an answer has in all of its pieces.
fn pieces(number: usize, count: usize) -> String {
    format!("<{number}>").repeat(count)
}

/// Answers `/number/count` three times with its number, so many times, now and then after a while;
/// `/moved/..` with a redirect to that; `/together` when as many ask as there are places.
async fn numbers_server() -> Server {
    let random = Rc::new(RefCell::new(Random::new(8)));
    let together = Rc::new(Barrier::new(PLACES));
    let service = service_fn(move |request: Request<Body>| {
        let (random, together) = (Rc::clone(&random), Rc::clone(&together));
        async move {
            let path = request.uri().path().to_owned();
            if path == "/together" {
                together.wait().await.unwrap();
            }
            let target = path.strip_prefix("/moved");
            let mut parts = target.unwrap_or(&path)[1..].split('/').map(str::parse::<usize>);
            let number = parts.next().unwrap().unwrap_or_default();
            let count = parts.next().map_or(0, Result::unwrap);
            let mut moments = some_moments(&mut random.borrow_mut());
            let mut answer = Response::builder();
            if let Some(target) = target {
                answer = answer.status(StatusCode::TEMPORARY_REDIRECT).header("location", target);
                moments.clear();
            }
            let body = request.into_body().collect().await?.to_bytes();
            let length = pieces(number, 1).len();
            assert!(body.is_empty() || body == pieces(number, body.len() / length), "{path}");
            let frames = stream::unfold((0, moments), move |(index, moments)| async move {
                let moment: Duration = *moments.get(index)?;
                corio::sleep(moment).await;
                let piece = Bytes::from(pieces(number, count));
                Some((io::Result::Ok(Frame::data(piece)), (index + 1, moments)))
            });
            let answer = answer.body(StreamBody::new(frames)).unwrap();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer)
        }
    });
    serve("127.0.0.1:0", service).await.unwrap()
}

fn some_moments(random: &mut Random) -> Vec<Duration> {
    (0..3).map(|_| random.moment() * random.below(2) as u32).collect()
}

/// A request of one of the kinds there are.
fn request(client: &Client, url: &str, number: usize, count: usize, kind: usize) -> RequestBuilder {
    let body = pieces(number, count);
    match kind {
        0 => client.get(format!("{url}/{number}/{count}")),
        1 => client.get(format!("{url}/moved/{number}/{count}")),
        2 => client.put(format!("{url}/moved/{number}/{count}")).body(body),
        3 => client.post(format!("{url}/{number}/{count}")).body(body),
        _ => {
            let pieces = (0..3).map(move |_| io::Result::Ok(Frame::data(body.clone().into())));
            let pieces = StreamBody::new(stream::iter(pieces));
            client.post(format!("{url}/{number}/{count}")).body(Outgoing::wrap(pieces))
        }
    }
}

/// Fifty requests, most of which are given up at some moment. Returns how many were.
async fn give_up_often(client: Client, url: String, first: usize) -> usize {
    let mut random = Random::new(first as u64);
    let mut given_up = 0;
    for number in first..first + 50 {
        let count = 1 + random.below(3) * random.below(3000);
        let request = text(request(&client, &url, number, count, random.below(5)));
        let patience = match number % 5 {
            0 => Duration::from_secs(20),
            _ => random.moment() * (1 + random.below(10) as u32),
        };
        match corio::timeout(patience, request).await {
            Ok(Ok(answer)) => assert!(answer == (200, pieces(number, 3 * count)), "{number}"),
            Ok(Err(error)) => panic!("request {number}: {error}"),
            Err(_) => given_up += 1,
        }
    }
    given_up
}

async fn give_up_a_thousand(settings: ClientBuilder, connections_max: usize) {
    let server = numbers_server().await;
    let url = format!("http://{}", server.local_addrs()[0]);
    let client = settings.connections_per_host(PLACES).build().unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|task| corio::spawn(give_up_often(client.clone(), url.clone(), task * 50)))
        .collect();
    let mut given_up = 0;
    for task in tasks {
        given_up += bounded(task).await.unwrap();
        assert!(client.pool_stats().connections <= PLACES);
    }
    assert!(given_up > 100 && given_up <= 800, "{given_up} of 1000");
    // What is left is idle, on both sides.
    let is_quiet = || {
        let stats = client.pool_stats();
        stats.connections <= connections_max && stats.connections == server.connection_count()
    };
    until(is_quiet).await;
    // All places are there: so many requests are with the server at a time.
    let all = (0..PLACES).map(|_| text(client.get(format!("{url}/together"))));
    bounded(corio::gather(all)).await.unwrap();
    assert!(client.pool_stats().connections <= connections_max);
    drop(client);
    until(|| server.connection_count() == 0).await;
}

#[corio::test]
async fn a_thousand_requests_given_up_at_random_moments_mix_and_leak_nothing() {
    give_up_a_thousand(builder(), PLACES).await;
}

#[corio::test]
async fn the_same_on_one_connection_of_http_2() {
    give_up_a_thousand(builder().http2_prior_knowledge(), 1).await;
}

/// Polls a future up to `polls` times, a moment apart, and drops it. True if it was ready.
async fn polled<F: Future>(mut future: Pin<Box<F>>, polls: usize) -> bool {
    for _ in 0..polls {
        let poll = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if poll {
            return true;
        }
        corio::sleep(Duration::from_micros(50)).await;
    }
    false
}

async fn drop_after_each_poll(settings: ClientBuilder) {
    let server = numbers_server().await;
    let url = format!("http://{}", server.local_addrs()[0]);
    let client = settings.connections_per_host(1).build().unwrap();
    for kind in 0..5 {
        for has_idle in [false, true] {
            for polls in 0.. {
                assert!(polls < 10_000, "kind {kind} is never ready");
                if !has_idle {
                    // The next request makes a connection.
                    let fresh = builder().build().unwrap();
                    bounded(polled(Box::pin(text(request(&fresh, &url, 7, 9, kind))), polls)).await;
                }
                let given_up = text(request(&client, &url, 1_000 + polls, 2_000, kind));
                let is_ready = bounded(polled(Box::pin(given_up), polls)).await;
                // The one place is free again, and the next answer is its own.
                let next = bounded(text(request(&client, &url, polls, 10, kind))).await;
                assert_eq!(next.unwrap(), (200, pieces(polls, 30)), "kind {kind}, {polls} polls");
                assert!(client.pool_stats().connections <= 1);
                if is_ready {
                    break;
                }
            }
        }
    }
    until(|| server.connection_count() == client.pool_stats().connections).await;
}

#[corio::test]
async fn a_request_can_be_dropped_after_each_poll() {
    drop_after_each_poll(builder()).await;
}

#[corio::test]
async fn a_request_of_http_2_can_be_dropped_after_each_poll() {
    drop_after_each_poll(builder().http2_prior_knowledge()).await;
}

#[corio::test]
async fn a_request_ends_with_its_task_and_at_its_soft_deadline() {
    let server = numbers_server().await;
    let url = format!("http://{}", server.local_addrs()[0]);
    for settings in [builder(), builder().http2_prior_knowledge()] {
        let client = settings.connections_per_host(1).build().unwrap();
        // Nobody else comes, so that this is never answered.
        let alone = text(client.get(format!("{url}/together")));
        let task = corio::spawn(alone);
        until(|| server.connection_count() == 1).await;
        assert!(task.cancel());
        assert!(bounded(task).await.unwrap_err().is_cancelled());
        let alone = text(client.get(format!("{url}/together")));
        let late = corio::wait_for(Duration::from_millis(10), alone);
        assert!(bounded(late).await.is_err());
        let next = bounded(text(request(&client, &url, 5, 5, 0))).await;
        assert_eq!(next.unwrap(), (200, pieces(5, 15)));
        drop(client);
        until(|| server.connection_count() == 0).await;
    }
}

#[corio::test]
fn an_answer_and_its_client_may_outlive_their_runtime() {
    for settings in [builder(), builder().http2_prior_knowledge()] {
        let runtime = corio::Runtime::new().unwrap();
        let kept = runtime.block_on(async {
            let server = numbers_server().await;
            let url = format!("http://{}/1/5000", server.local_addrs()[0]);
            let client = settings.build().unwrap();
            let answer = bounded(client.get(&url).send()).await.unwrap();
            // One is idle, one in the middle of its answer, one was never sent.
            bounded(text(client.get(&url))).await.unwrap();
            (answer, client.get(&url), client)
        });
        assert_eq!(runtime.close().leaked_operations, 0);
        drop(kept);
    }
}
