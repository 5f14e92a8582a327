//! Servers that close connections at the wrong moment: what is safe is asked again, and nothing
//! else.

use std::cell::Cell;
use std::rc::Rc;

use corio::http::Method;
use corio::http::client::{Body, Phase};
use corio::sync::Event;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};

use crate::support::{bounded, until};
use crate::{Scripted, ask, client, text};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers the first request of the first connection, reads a second one there, and ends without an
/// answer to it. Later connections answer everything.
async fn closes_on_the_second() -> Scripted {
    Scripted::new(|number, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(OK).await;
            if number == 0 {
                peer.head().await;
                return peer.end().await;
            }
        }
    })
    .await
}

#[corio::test]
async fn an_idempotent_request_is_sent_again_once() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let server = closes_on_the_second().await;
        let client = client();
        ask(client.get(&server.url)).await;
        let again = client.request(method.clone(), &server.url).body("body");
        assert_eq!(ask(again).await.0, 200, "{method}");
        assert_eq!(server.count.get(), 2);
        assert_eq!(server.heads.borrow().len(), 3, "the second one was sent twice");
    }
}

#[corio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    for method in [Method::POST, Method::PATCH] {
        let server = closes_on_the_second().await;
        let client = client();
        ask(client.get(&server.url)).await;
        let error = bounded(text(client.request(method, &server.url).body("body"))).await;
        let error = error.unwrap_err();
        assert_eq!(error.phase(), Phase::Head, "{error}");
        assert!(!error.is_timeout() && !error.is_connect());
        assert_eq!(server.heads.borrow().len(), 2, "nothing was sent twice");
        assert_eq!(ask(client.post(&server.url)).await.0, 200);
    }
}

#[corio::test]
async fn a_body_that_can_be_made_once_is_not_sent_again() {
    let server = closes_on_the_second().await;
    let client = client();
    ask(client.get(&server.url)).await;
    let once = stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from("once")))]);
    let request = client.put(&server.url).body(Body::wrap(StreamBody::new(once)));
    let error = bounded(text(request)).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
}

#[corio::test]
async fn a_server_that_never_answers_is_asked_twice_at_most() {
    let server = Scripted::new(|number, mut peer| async move {
        peer.head().await;
        if number == 0 {
            peer.say(OK).await;
            peer.head().await;
        }
        peer.end().await;
    })
    .await;
    let client = client();
    ask(client.get(&server.url)).await;
    let error = bounded(text(client.get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
    assert_eq!(error.host(), Some("127.0.0.1"));
    assert_eq!(server.count.get(), 2);
}

#[corio::test]
async fn what_fails_on_a_new_connection_is_not_sent_again() {
    let server = Scripted::ending("").await;
    let error = bounded(text(client().get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
    assert_eq!(server.count.get(), 1);
}

#[corio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let may_close = Rc::new(Event::new());
    let shared = Rc::clone(&may_close);
    let server = Scripted::new(move |number, mut peer| {
        let may_close = Rc::clone(&shared);
        async move {
            while peer.head().await.is_some() {
                peer.say(OK).await;
                if number == 0 {
                    may_close.wait().await;
                    return peer.end().await;
                }
            }
        }
    })
    .await;
    let client = client();
    ask(client.get(&server.url)).await;
    may_close.set();
    until(|| client.pool_stats().connections == 0).await;
    assert_eq!(ask(client.post(&server.url).body("x")).await.0, 200);
    assert_eq!(server.heads.borrow().len(), 2, "each request was sent once");
}

/// The server closes between the client's look at the connection and its send: nothing is sent, so
/// even a POST with a body that is made once goes out on another connection.
#[corio::test]
async fn a_race_with_a_close_loses_no_request() {
    let closed = Rc::new(Cell::new(0));
    let shared = Rc::clone(&closed);
    let server = Scripted::new(move |number, mut peer| {
        let closed = Rc::clone(&shared);
        async move {
            peer.head().await;
            peer.say(OK).await;
            if number % 2 == 0 {
                closed.set(closed.get() + 1);
                return peer.end().await;
            }
            while peer.head().await.is_some() {
                peer.say(OK).await;
            }
        }
    })
    .await;
    let client = client();
    for _ in 0..100 {
        ask(client.get(&server.url)).await;
        // By now the end may have arrived, or not.
        ask(client.get(&server.url)).await;
        corio::yield_now().await;
    }
    assert!(closed.get() > 0);
}

#[corio::test]
async fn a_server_that_announces_the_end_is_not_asked_again_on_that_connection() {
    for head in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let server = Scripted::answering(head).await;
        let client = client();
        for count in 1..4 {
            assert_eq!(ask(client.post(&server.url).body("x")).await.1, "ok");
            assert_eq!(server.count.get(), count);
        }
        until(|| client.pool_stats().connections == 0).await;
    }
}

#[corio::test]
async fn bytes_that_nobody_asked_for_end_a_connection() {
    let server = Scripted::new(|number, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(OK).await;
            if number == 0 {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong").await;
            }
        }
    })
    .await;
    let client = client();
    assert_eq!(ask(client.get(&server.url)).await.1, "ok");
    until(|| client.pool_stats().connections == 0).await;
    assert_eq!(ask(client.get(&server.url)).await.1, "ok", "not the one that nobody asked for");
}

#[corio::test]
async fn an_unsolicited_answer_right_behind_another_reaches_nobody() {
    let twice = format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong");
    let server = Scripted::answering(twice).await;
    let client = client();
    for _ in 0..20 {
        match bounded(text(client.get(&server.url))).await {
            Ok(answer) => assert_eq!(answer, (200, "ok".into())),
            Err(error) => panic!("{error}"),
        }
    }
}
