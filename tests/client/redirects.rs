//! Redirects: followed as far as allowed, with the method, the body and the credentials that are
//! right; cookies on the way.

use corio::http::Method;
use corio::http::client::{Body, Phase};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};

use crate::support::bounded;
use crate::{Scripted, ask, builder, client, text};

/// `/status/location` redirects to `/location`, which answers with what it was asked.
async fn redirecting(extra: &'static str) -> Scripted {
    Scripted::new(move |_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let (method, rest) = head.split_once(' ').unwrap();
            let path = rest.split(' ').next().unwrap();
            let length = head
                .to_ascii_lowercase()
                .split_once("content-length: ")
                .map_or(0, |it| it.1.split("\r\n").next().unwrap().parse().unwrap());
            let mut body = vec![0; length];
            peer.stream.read_exact(&mut body).await.unwrap();
            let seen = format!("{method} {path} {}", String::from_utf8(body).unwrap());
            let answer = match path[1..].split_once('/') {
                Some((status, to)) if status.parse::<u16>().is_ok() => {
                    let body = if method == "HEAD" { "" } else { "move" };
                    let head = format!("{status} Moved\r\nlocation: /{to}\r\n{extra}");
                    format!("{head}content-length: 4\r\n\r\n{body}")
                }
                _ if method == "HEAD" => "200 OK\r\ncontent-length: 0\r\n\r\n".into(),
                _ => format!("200 OK\r\ncontent-length: {}\r\n\r\n{seen}", seen.len()),
            };
            peer.say(format!("HTTP/1.1 {answer}")).await;
        }
    })
    .await
}

#[corio::test]
async fn the_method_and_the_body_go_where_the_status_says() {
    let table = [
        (301, "GET", "GET /to "),
        (301, "POST", "GET /to "),
        (301, "PUT", "PUT /to body"),
        (302, "POST", "GET /to "),
        (302, "DELETE", "DELETE /to body"),
        (303, "POST", "GET /to "),
        (303, "PUT", "GET /to "),
        (303, "HEAD", ""),
        (307, "GET", "GET /to "),
        (307, "POST", "POST /to body"),
        (308, "POST", "POST /to body"),
        (308, "PATCH", "PATCH /to body"),
    ];
    let server = redirecting("").await;
    let client = client();
    for (status, method, seen) in table {
        let mut request = client
            .request(method.parse::<Method>().unwrap(), server.url(&format!("/{status}/to")))
            .header("content-type", "text/plain");
        if !matches!(method, "GET" | "HEAD") {
            request = request.body("body");
        }
        let answer = bounded(request.send()).await.unwrap();
        assert_eq!(answer.url().path(), "/to");
        assert_eq!(bounded(answer.text()).await.unwrap(), seen, "{status} {method}");
        let last = server.heads.borrow().last().unwrap().1.clone();
        let has_type = last.contains("content-type");
        let is_kept = seen.ends_with("body") || matches!(method, "GET" | "HEAD");
        assert_eq!(has_type, is_kept, "{status} {method}");
    }
    assert_eq!(server.count.get(), 1, "one connection serves all");
}

#[corio::test]
async fn other_statuses_are_not_followed() {
    let server = redirecting("").await;
    for status in [300, 305, 399] {
        let answer = ask(client().get(server.url(&format!("/{status}/to")))).await;
        assert_eq!(answer, (status, "move".into()));
    }
    let answer = ask(client().get(server.url("/302/to")).follow_redirects(false)).await;
    assert_eq!(answer, (302, "move".into()));
    let client = builder().follow_redirects(false).build().unwrap();
    assert_eq!(ask(client.get(server.url("/302/to"))).await.0, 302);
}

#[corio::test]
async fn a_redirect_without_end_ends() {
    let server =
        Scripted::answering("HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n")
            .await;
    let error = bounded(text(client().get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Redirect, "{error}");
    assert_eq!(server.heads.borrow().len(), 11);
    let none = builder().redirects_max(0).build().unwrap();
    let error = bounded(text(none.get(&server.url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Redirect, "{error}");
    assert_eq!(server.heads.borrow().len(), 12);
}

#[corio::test]
async fn a_body_that_is_made_once_is_not_sent_twice() {
    let server = redirecting("").await;
    let once = || {
        let piece = Ok::<_, std::io::Error>(Frame::data(Bytes::from("once")));
        Body::wrap(StreamBody::new(stream::iter([piece])))
    };
    let client = client();
    let kept = client.put(server.url("/307/to")).header("content-length", "4").body(once());
    let error = bounded(text(kept)).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Redirect, "{error}");
    let dropped = client.post(server.url("/303/to")).header("content-length", "4").body(once());
    assert_eq!(ask(dropped).await.1, "GET /to ");
}

#[corio::test]
async fn credentials_reach_no_other_origin() {
    let target = redirecting("").await;
    let to_other =
        format!("HTTP/1.1 302 Found\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", target.url);
    let first = Scripted::answering(to_other).await;
    let client = builder().header("authorization", "of all").build().unwrap();
    ask(client.get(&first.url).header("cookie", "a=b").header("x-own", "1")).await;
    ask(client.get(target.url("/302/x")).bearer_auth("kept").header("cookie", "a=b")).await;
    let head = |server: &Scripted, index: usize| server.heads.borrow()[index].1.clone();
    assert!(head(&first, 0).contains("authorization: of all\r\n"));
    let foreign = head(&target, 0);
    assert!(!foreign.contains("authorization") && !foreign.contains("cookie"), "{foreign}");
    assert!(foreign.contains("x-own: 1\r\n"));
    assert!(foreign.contains(&format!("host: {}\r\n", &target.url[7..])));
    for own in [head(&target, 1), head(&target, 2)] {
        assert!(own.contains("authorization: Bearer kept\r\n") && own.contains("cookie: a=b"));
    }
}

#[corio::test]
async fn cookies_that_redirects_set_are_sent_to_their_target() {
    let server = redirecting("set-cookie: seen=1; Path=/; HttpOnly\r\n").await;
    let client = builder().cookies(true).build().unwrap();
    ask(client.get(server.url("/302/to"))).await;
    ask(client.get(server.url("/other"))).await;
    ask(client.get(server.url("/other")).header("cookie", "by=hand")).await;
    client.clear_cookies();
    ask(client.get(server.url("/other"))).await;
    let without = crate::client();
    ask(without.get(server.url("/302/to"))).await;
    let heads = server.heads.borrow();
    let cookies: Vec<_> = heads
        .iter()
        .map(|(_, head)| head.lines().find(|line| line.starts_with("cookie: ")).unwrap_or(""))
        .collect();
    let seen = "cookie: seen=1";
    assert_eq!(cookies, ["", seen, seen, "cookie: by=hand", "", "", ""]);
}

#[corio::test]
async fn the_long_body_of_a_redirect_costs_no_more_than_its_connection() {
    let server = Scripted::new(|_, mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET / ") {
                peer.say("HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n").await;
                // Until the client has enough.
                while peer.stream.write(&[b'x'; 10_000]).await.is_ok() {}
                return;
            }
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    assert_eq!(ask(client().get(&server.url)).await.1, "ok");
    assert_eq!(server.count.get(), 2);
}
