//! Connections are used again, are no more than allowed, and are given up in time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use corio::http::{Body, Request, Response, serve, service_fn};
use corio::net::Server;
use corio::sync::{Event, Semaphore};

use crate::support::{bounded, until};
use crate::{Scripted, ask, builder, client};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[corio::test]
async fn one_connection_carries_requests_one_after_the_other() {
    let server = Scripted::answering(OK).await;
    let client = client();
    for _ in 0..5 {
        assert_eq!(ask(client.get(&server.url)).await, (200, "ok".into()));
    }
    assert_eq!(server.count.get(), 1);
    assert_eq!(client.pool_stats().idle, 1);
    assert_eq!(client.pool_stats().connections, 1);
    // A clone shares them, another client does not.
    ask(client.clone().get(&server.url)).await;
    assert_eq!(server.count.get(), 1);
    ask(crate::client().get(&server.url)).await;
    assert_eq!(server.count.get(), 2);
}

#[corio::test]
async fn an_answer_that_is_not_read_keeps_its_connection_from_others() {
    let server = Scripted::answering(OK).await;
    let client = client();
    let first = bounded(client.get(&server.url).send()).await.unwrap();
    ask(client.get(&server.url)).await;
    assert_eq!(server.count.get(), 2, "the first one is in use");
    drop(first);
    until(|| client.pool_stats().connections == 1).await;
    ask(client.get(&server.url)).await;
    assert_eq!(server.count.get(), 2, "the second one was kept");
}

/// A server that answers a request when it is allowed to, and notes who was served.
async fn slow_server(may_answer: &Rc<Semaphore>, served: &Rc<RefCell<Vec<String>>>) -> Server {
    let (may_answer, served) = (Rc::clone(may_answer), Rc::clone(served));
    let service = service_fn(move |request: Request<Body>| {
        let (may_answer, served) = (Rc::clone(&may_answer), Rc::clone(&served));
        async move {
            served.borrow_mut().push(request.uri().path()[1..].to_owned());
            may_answer.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(request.uri().path()[1..].to_owned()))
        }
    });
    serve("127.0.0.1:0", service).await.unwrap()
}

#[corio::test]
async fn no_host_has_more_connections_than_allowed_and_nobody_overtakes() {
    let (may_answer, served) = (Rc::new(Semaphore::new(0)), Rc::default());
    let server = slow_server(&may_answer, &served).await;
    let client = builder().connections_per_host(2).build().unwrap();
    let requests: Vec<_> = (0..10)
        .map(|number| {
            let request = client.get(format!("http://{}/{number}", server.local_addrs()[0]));
            corio::spawn(async move { ask(request).await.1 })
        })
        .collect();
    for count in 2..=10 {
        until(|| served.borrow().len() == count).await;
        assert!(server.connection_count() <= 2);
        assert!(client.pool_stats().connections <= 2);
        may_answer.add_permits(1).unwrap();
    }
    may_answer.add_permits(1).unwrap();
    for (number, request) in requests.into_iter().enumerate() {
        assert_eq!(bounded(request).await.unwrap(), number.to_string());
    }
    let order: Vec<usize> = served.borrow().iter().map(|it| it.parse().unwrap()).collect();
    assert!(order[2..].is_sorted(), "{order:?}");
    assert_eq!(client.pool_stats().idle, 2);
}

#[corio::test]
async fn whoever_gives_up_waiting_leaves_the_line_to_the_next() {
    let (may_answer, served) = (Rc::new(Semaphore::new(0)), Rc::default());
    let server = slow_server(&may_answer, &served).await;
    let url = format!("http://{}/x", server.local_addrs()[0]);
    let client = builder().connections_per_host(1).build().unwrap();
    let first = corio::spawn(ask(client.get(&url)));
    until(|| served.borrow().len() == 1).await;
    let late = client.get(&url).timeout(Duration::from_millis(5)).send();
    let error = bounded(late).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.phase(), corio::http::client::Phase::Pool, "{error}");
    let second = corio::spawn(ask(client.get(&url)));
    may_answer.add_permits(2).unwrap();
    bounded(first).await.unwrap();
    bounded(second).await.unwrap();
    assert_eq!(served.borrow().len(), 2, "the one that gave up was never sent");
}

#[corio::test]
async fn connections_that_nobody_needs_are_closed_in_time() {
    let gone = Rc::new(Cell::new(0));
    let counted = Rc::clone(&gone);
    let server = Scripted::new(move |_, mut peer| {
        let counted = Rc::clone(&counted);
        async move {
            while peer.head().await.is_some() {
                peer.say(OK).await;
            }
            counted.set(counted.get() + 1);
        }
    })
    .await;
    let client = builder().idle_timeout(Duration::from_millis(20)).build().unwrap();
    bounded(corio::gather((0..3).map(|_| crate::text(client.get(&server.url))))).await.unwrap();
    until(|| client.pool_stats().connections == 0).await;
    assert_eq!(client.pool_stats(), Default::default(), "the host is forgotten as well");
    until(|| gone.get() == server.count.get()).await;
    ask(client.get(&server.url)).await;
}

#[corio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let together = Rc::new(corio::sync::Barrier::new(5));
    let service = {
        let together = Rc::clone(&together);
        service_fn(move |_: Request<Body>| {
            let together = Rc::clone(&together);
            async move {
                together.wait().await.unwrap();
                Ok::<_, Infallible>(Response::new(String::from("ok")))
            }
        })
    };
    let server = serve("127.0.0.1:0", service).await.unwrap();
    let url = format!("http://{}/", server.local_addrs()[0]);
    for kept in [0, 2] {
        let client = builder().idle_per_host(kept).build().unwrap();
        let requests = (0..5).map(|_| crate::text(client.get(&url)));
        bounded(corio::gather(requests)).await.unwrap();
        until(|| client.pool_stats().connections == kept).await;
        assert_eq!(client.pool_stats().idle, kept);
    }
    until(|| server.connection_count() == 0).await;
}

#[corio::test]
async fn a_client_that_is_dropped_closes_what_is_idle_and_lets_answers_end() {
    let (may_end, begun) = (Rc::new(Event::new()), Rc::new(Event::new()));
    let gone = Rc::new(Cell::new(0));
    let shared = (Rc::clone(&may_end), Rc::clone(&begun), Rc::clone(&gone));
    let server = Scripted::new(move |_, mut peer| {
        let (may_end, begun, gone) = shared.clone();
        async move {
            let head = peer.head().await.unwrap();
            if head.starts_with("GET /slow") {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha").await;
                begun.set();
                may_end.wait().await;
                peer.say("lf").await;
            } else {
                peer.say(OK).await;
            }
            peer.gone().await;
            gone.set(gone.get() + 1);
        }
    })
    .await;
    let client = client();
    let slow = bounded(client.get(server.url("/slow")).send()).await.unwrap();
    ask(client.get(&server.url)).await;
    bounded(begun.wait()).await;
    drop(client);
    until(|| gone.get() == 1).await;
    may_end.set();
    assert_eq!(bounded(slow.text()).await.unwrap(), "half");
    until(|| gone.get() == 2).await;
}
