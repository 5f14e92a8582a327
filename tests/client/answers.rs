//! Answers of all shapes, and those that are none.

use std::rc::Rc;

use corio::http::StatusCode;
use corio::http::client::Phase;
use corio::sync::Event;

use crate::support::{bounded, until};
use crate::{Scripted, ask, client, text};

#[corio::test]
async fn what_is_no_answer_is_an_error_and_its_connection_is_closed() {
    let shapes: [&[u8]; 12] = [
        b"",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/3.7 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname: \x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for shape in shapes {
        let server = Scripted::ending(shape).await;
        let client = client();
        let error = bounded(text(client.post(&server.url))).await.expect_err(&format!("{shape:?}"));
        assert_eq!(error.phase(), Phase::Head, "{error}");
        assert!(error.to_string().contains(&server.url), "{error}");
        until(|| client.pool_stats().connections == 0).await;
    }
}

#[corio::test]
async fn a_head_without_end_is_an_error() {
    let server = Scripted::new(|_, mut peer| async move {
        peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..200 {
            peer.say(format!("x: {}\r\n", "y".repeat(10_000))).await;
        }
        peer.gone().await;
    })
    .await;
    let error = bounded(text(client().get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
}

#[corio::test]
async fn a_body_that_breaks_off_is_an_error() {
    let shapes = [
        "content-length: 10\r\n\r\nshort",
        "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "transfer-encoding: chunked\r\n\r\n9\r\nshort",
        "transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "transfer-encoding: chunked\r\n\r\n-5\r\nshort\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nshort0\r\n\r\n",
    ];
    for shape in shapes {
        let server = Scripted::ending(format!("HTTP/1.1 200 OK\r\n{shape}")).await;
        let client = client();
        let answer = bounded(client.get(&server.url).send()).await.unwrap();
        let error = bounded(answer.bytes()).await.expect_err(shape);
        assert_eq!(error.phase(), Phase::Body, "{shape}: {error}");
        until(|| client.pool_stats().connections == 0).await;
    }
}

#[corio::test]
async fn a_longer_body_than_announced_reaches_nobody() {
    let lie = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nlie";
    let server = Scripted::answering(lie).await;
    let client = client();
    for _ in 0..10 {
        assert_eq!(ask(client.get(&server.url)).await, (200, "ok".into()));
    }
}

#[corio::test]
async fn a_body_up_to_the_end_of_the_connection_is_whole() {
    let server = Scripted::ending("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    assert_eq!(ask(client().get(&server.url)).await.1, "all of it");
    let server = Scripted::ending("HTTP/1.0 200 OK\r\n\r\nall of it").await;
    assert_eq!(ask(client().get(&server.url)).await.1, "all of it");
}

#[corio::test]
async fn answers_without_a_body_end_at_their_head() {
    let table = [
        ("HEAD", "200 OK\r\ncontent-length: 5"),
        ("HEAD", "200 OK\r\ntransfer-encoding: chunked"),
        ("HEAD", "200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\r\ncontent-length: 5"),
        ("GET", "200 OK\r\ncontent-length: 0"),
        ("GET", "200 OK\r\ncontent-length: 0\r\ncontent-encoding: br"),
    ];
    for (method, head) in table {
        let server = Scripted::answering(format!("HTTP/1.1 {head}\r\n\r\n")).await;
        let client = client();
        for _ in 0..3 {
            let request = client.request(method.parse().unwrap(), &server.url);
            assert_eq!(ask(request).await.1, "", "{method} {head}");
        }
        assert_eq!(server.count.get(), 1, "{method} {head}: one connection serves all");
    }
    // What HEAD tells of the length stays readable.
    let server = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    let answer = bounded(client().head(&server.url).send()).await.unwrap();
    assert_eq!(answer.content_length(), Some(5));
}

#[corio::test]
async fn preliminary_answers_are_passed_over() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let server = Scripted::answering(answer).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(ask(client.get(&server.url)).await, (200, "ok".into()));
    }
    assert_eq!(server.count.get(), 1);
}

#[corio::test]
async fn chunks_come_piece_by_piece_and_trailers_behind_them() {
    let next = Rc::new(Event::new());
    let shared = Rc::clone(&next);
    let server = Scripted::new(move |_, mut peer| {
        let next = Rc::clone(&shared);
        async move {
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n")
                    .await;
                for piece in ["3;ext=1\r\none\r\n", "3\r\ntwo\r\n", "0\r\nsum: 6\r\n\r\n"] {
                    peer.say(piece).await;
                    next.wait().await;
                    next.clear();
                }
            }
        }
    })
    .await;
    let client = client();
    for _ in 0..2 {
        let mut answer = bounded(client.get(&server.url).send()).await.unwrap();
        for piece in ["one", "two"] {
            assert_eq!(bounded(answer.chunk()).await.unwrap().unwrap(), piece);
            next.set();
        }
        assert_eq!(bounded(answer.chunk()).await.unwrap(), None);
        assert_eq!(answer.trailers().unwrap()["sum"], "6");
        assert_eq!(bounded(answer.chunk()).await.unwrap(), None, "the end stays the end");
        next.set();
    }
    assert_eq!(server.count.get(), 1);
}

#[corio::test]
async fn an_answer_that_comes_before_the_request_was_sent_is_taken() {
    let body = vec![b'x'; 8 << 20];
    let early = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno!";
    let server = Scripted::new(move |_, mut peer| async move {
        while peer.head().await.is_some() {
            peer.say(early).await;
            // It never reads the body, and does not close either.
            peer.stream.read_exact(&mut [0; 10]).await.ok();
            std::future::pending().await
        }
    })
    .await;
    let client = client();
    for count in 1..3 {
        let answer = ask(client.post(&server.url).body(body.clone())).await;
        assert_eq!(answer, (413, "no!".into()));
        assert_eq!(server.count.get(), count, "a connection with half a request is not used again");
    }
    until(|| client.pool_stats().connections == 0).await;
}

#[corio::test]
async fn statuses_are_answers_and_errors_for_whoever_asks() {
    let server = Scripted::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let answer = bounded(client().get(&server.url).send()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let error = answer.error_for_status().unwrap_err();
    assert_eq!(error.status(), Some(404));
    let server = Scripted::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = bounded(client().get(&server.url).send()).await.unwrap();
    assert!(answer.error_for_status().is_ok());
}

#[corio::test]
async fn text_and_json_are_what_they_say() {
    let answer = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let server = Scripted::answering(answer("grüße".as_bytes())).await;
    assert_eq!(ask(client().get(&server.url)).await.1, "grüße");
    let server = Scripted::answering(answer(b"gr\xfc\xdfe")).await;
    let error = bounded(text(client().get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Decode, "{error}");
    let server = Scripted::answering(answer(b"{\"a\": [1, 2]}")).await;
    let value: serde_json::Value =
        bounded(client().get(&server.url).send()).await.unwrap().json().await.unwrap();
    assert_eq!(value["a"][1], 2);
    let answer = bounded(client().get(&server.url).send()).await.unwrap();
    let error = bounded(answer.json::<Vec<u8>>()).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Decode, "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidData);
}

#[corio::test]
async fn a_request_that_is_none_is_told_and_not_sent() {
    let client = client();
    let requests = [
        client.get("no address"),
        client.get("/relative"),
        client.get("ftp://host/"),
        client.get("http://"),
        client.get("http://h:99999/"),
        client.get("http://h/").header("na me", "x"),
        client.get("http://h/").header("name", "a\r\nb"),
        client.get("http://h/").bearer_auth("a\nb"),
    ];
    for request in requests {
        let shown = format!("{request:?}");
        let error = bounded(request.send()).await.expect_err(&shown);
        assert_eq!(error.phase(), Phase::Request, "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
    }
    assert!(crate::builder().header("na me", "x").build().is_err());
}

#[corio::test]
async fn what_is_asked_for_arrives_as_it_was_meant() {
    let server = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = crate::builder().header("x-all", "1").header("user-agent", "me").build().unwrap();
    let requests = [
        client.get(server.url("/a b?c=d#e")).query([("f g", "h&i")]),
        client.post(&server.url).header("x-all", "2").form([("a", "b c"), ("d", "é")]),
        client.post(&server.url).basic_auth("me", "secret"),
        client.put(&server.url).json(&[1, 2]),
        client.delete(server.url.replace("http://", "http://name:word@")),
    ];
    for request in requests {
        ask(request).await;
    }
    let heads = server.heads.borrow();
    let heads: Vec<_> = heads.iter().map(|(_, head)| head.to_ascii_lowercase()).collect();
    let has = |index: usize, text: &str| {
        let head: &str = &heads[index];
        assert!(head.contains(text), "`{text}` is not in\n{head}");
    };
    has(0, "get /a%20b?c=d&f+g=h%26i http/1.1\r\n");
    has(0, &format!("host: {}\r\n", &server.url[7..]));
    has(0, "x-all: 1\r\n");
    has(0, "user-agent: me\r\n");
    has(0, "accept: */*\r\n");
    has(1, "x-all: 2\r\n");
    has(1, "content-type: application/x-www-form-urlencoded\r\n");
    has(1, "content-length: 14\r\n");
    has(2, "authorization: basic bwu6c2vjcmv0\r\n");
    has(2, "content-length: 0\r\n");
    has(3, "content-type: application/json\r\n");
    has(4, "delete / http/1.1\r\n");
    has(4, "authorization: basic bmftztp3b3jk\r\n");
    assert!(!heads[1].contains("x-all: 1"));
    assert!(!heads[0].contains("content-length"));
}
