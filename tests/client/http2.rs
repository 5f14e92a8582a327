//! HTTP/2: many requests on one connection, servers that refuse, go away or limit.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corio::http::client::{Client, Phase};
use corio::http::{Body, Request, Response, ServeOptions, Version, service_fn};
use corio::net::{TcpListener, TcpStream};
use corio::sync::Semaphore;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};

use crate::support::{bounded, until};
use crate::{ask, builder, text};

fn client() -> Client {
    builder().http2_prior_knowledge().build().unwrap()
}

type Opened = (Request<RecvStream>, SendResponse<Bytes>);

/// A server of HTTP/2 that does what a script says with each connection; its address, and how many
/// connections there were.
async fn scripted<F, R>(script: F) -> (String, Rc<Cell<usize>>)
where
    F: Fn(usize, Connection<TcpStream, Bytes>) -> R + 'static,
    R: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let script = Rc::new(script);
    corio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let number = counted.replace(counted.get() + 1);
            let script = Rc::clone(&script);
            corio::spawn(async move {
                if let Ok(connection) = h2::server::handshake(stream).await {
                    script(number, connection).await;
                }
            });
        }
    });
    (url, count)
}

fn answer((request, mut respond): Opened) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(request.uri().path().to_owned().into(), true).unwrap();
}

#[corio::test]
async fn requests_share_one_connection() {
    let service = service_fn(async |request: Request<Body>| {
        assert_eq!(request.version(), Version::HTTP_2);
        corio::yield_now().await;
        Ok::<_, Infallible>(Response::new(request.uri().to_string()))
    });
    let server = ServeOptions::new().serve("127.0.0.1:0", service).await.unwrap();
    let client = client();
    let urls = (0..200).map(|number| format!("http://{}/{number}", server.local_addrs()[0]));
    let requests = urls.map(|url| {
        let request = client.get(&url);
        async move {
            assert_eq!(text(request).await?, (200, url));
            Ok::<_, corio::http::client::Error>(())
        }
    });
    bounded(corio::gather(requests.collect::<Vec<_>>())).await.unwrap();
    assert_eq!(server.connection_count(), 1);
    assert_eq!(client.pool_stats().connections, 1);
}

#[corio::test]
async fn no_more_streams_are_open_than_the_server_allows() {
    let (open, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let may_answer = Rc::new(Semaphore::new(0));
    let shared = (Rc::clone(&open), Rc::clone(&most), Rc::clone(&may_answer));
    let service = service_fn(move |_: Request<Body>| {
        let (open, most, may_answer) = shared.clone();
        async move {
            open.set(open.get() + 1);
            most.set(most.get().max(open.get()));
            may_answer.acquire().await.unwrap().forget();
            open.set(open.get() - 1);
            Ok::<_, Infallible>(Response::new(String::from("ok")))
        }
    });
    let server = ServeOptions::new().streams_max(3).serve("127.0.0.1:0", service).await.unwrap();
    let url = format!("http://{}/", server.local_addrs()[0]);
    let client = client();
    // The server's limit is known from here on.
    may_answer.add_permits(1).unwrap();
    ask(client.get(&url)).await;
    let requests: Vec<_> = (0..12).map(|_| corio::spawn(ask(client.get(&url)))).collect();
    until(|| open.get() == 3).await;
    may_answer.add_permits(12).unwrap();
    for request in requests {
        assert_eq!(bounded(request).await.unwrap().1, "ok");
    }
    assert_eq!(most.get(), 3);
    assert_eq!(server.connection_count(), 1);
}

#[corio::test]
async fn a_refused_stream_is_asked_again_even_if_it_posts() {
    let seen = Rc::new(Cell::new(0));
    let shared = Rc::clone(&seen);
    let (url, count) = scripted(move |_, mut connection| {
        let seen = Rc::clone(&shared);
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                seen.set(seen.get() + 1);
                match seen.get() {
                    1 | 2 => respond.send_reset(Reason::REFUSED_STREAM),
                    _ => answer((request, respond)),
                }
            }
        }
    })
    .await;
    assert_eq!(ask(client().post(format!("{url}/x")).body("body")).await, (200, "/x".into()));
    assert_eq!((seen.get(), count.get()), (3, 1));
}

#[corio::test]
async fn a_server_that_always_refuses_is_an_error() {
    let seen = Rc::new(Cell::new(0));
    let shared = Rc::clone(&seen);
    let (url, _) = scripted(move |_, mut connection| {
        let seen = Rc::clone(&shared);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.set(seen.get() + 1);
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        }
    })
    .await;
    let error = bounded(text(client().get(&url))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
    assert_eq!(seen.get(), 10, "and not for ever");
}

#[corio::test]
async fn a_stream_that_is_reset_otherwise_is_not_asked_again() {
    let seen = Rc::new(Cell::new(0));
    let shared = Rc::clone(&seen);
    let (url, count) = scripted(move |_, mut connection| {
        let seen = Rc::clone(&shared);
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                seen.set(seen.get() + 1);
                match request.uri().path() {
                    "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
                    _ => answer((request, respond)),
                }
            }
        }
    })
    .await;
    let client = client();
    ask(client.get(format!("{url}/x"))).await;
    let error = bounded(text(client.get(format!("{url}/reset")))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Head, "{error}");
    // The others on the connection do not mind.
    ask(client.get(format!("{url}/x"))).await;
    assert_eq!((seen.get(), count.get()), (3, 1));
}

#[corio::test]
async fn a_server_that_goes_away_answers_what_it_took_and_the_rest_goes_elsewhere() {
    let (url, count) = scripted(|_, mut connection| async move {
        // Each connection takes three, and announces its end behind the first.
        let mut taken: Vec<Opened> = Vec::new();
        while let Some(Ok(opened)) = connection.accept().await {
            taken.push(opened);
            if taken.len() == 1 {
                connection.graceful_shutdown();
            }
            taken.drain(..).for_each(answer);
        }
    })
    .await;
    let client = client();
    for round in 0..10 {
        let requests = (0..5).map(|number| {
            let (request, path) = (client.post(format!("{url}/{number}")), format!("/{number}"));
            async move {
                assert_eq!(text(request.body("body")).await?, (200, path));
                Ok::<_, corio::http::client::Error>(())
            }
        });
        bounded(corio::gather(requests.collect::<Vec<_>>()))
            .await
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(count.get() > 1);
    until(|| client.pool_stats().connections <= 1).await;
}

#[corio::test]
async fn a_server_that_breaks_off_is_asked_again_where_that_is_safe() {
    for (method, is_safe) in [("GET", true), ("PUT", true), ("POST", false)] {
        let (url, count) = scripted(|number, mut connection| async move {
            let mut taken = 0;
            while let Some(Ok(opened)) = connection.accept().await {
                taken += 1;
                if number == 0 && taken == 2 {
                    // Dropped without a word: the socket is closed.
                    return;
                }
                answer(opened);
            }
        })
        .await;
        let client = client();
        ask(client.get(format!("{url}/x"))).await;
        let request = client.request(method.parse().unwrap(), format!("{url}/x")).body("body");
        let outcome = bounded(text(request)).await;
        assert_eq!(outcome.is_ok(), is_safe, "{method}: {outcome:?}");
        assert_eq!(count.get(), if is_safe { 2 } else { 1 });
    }
}

#[corio::test]
async fn an_answer_that_is_dropped_ends_its_stream_and_no_other() {
    let ended = Rc::new(RefCell::new(Vec::new()));
    let shared = Rc::clone(&ended);
    let (url, count) = scripted(move |_, mut connection| {
        let ended = Rc::clone(&shared);
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let path = request.uri().path().to_owned();
                if path != "/endless" {
                    answer((request, respond));
                    continue;
                }
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from("part of it"), false).unwrap();
                let ended = Rc::clone(&ended);
                corio::spawn(async move {
                    let reason = std::future::poll_fn(|context| body.poll_reset(context)).await;
                    ended.borrow_mut().push(reason.unwrap());
                });
            }
        }
    })
    .await;
    let client = client();
    let mut endless = bounded(client.get(format!("{url}/endless")).send()).await.unwrap();
    assert_eq!(bounded(endless.chunk()).await.unwrap().unwrap(), "part of it");
    ask(client.get(format!("{url}/x"))).await;
    drop(endless);
    until(|| *ended.borrow() == [Reason::CANCEL]).await;
    ask(client.get(format!("{url}/x"))).await;
    assert_eq!(count.get(), 1);
}

#[corio::test]
async fn a_connection_that_nobody_needs_is_closed_and_one_that_is_used_is_not() {
    let service = service_fn(async |request: Request<Body>| {
        if request.uri().path() == "/slow" {
            corio::sleep(Duration::from_millis(200)).await;
        }
        Ok::<_, Infallible>(Response::new(String::from("ok")))
    });
    let server = ServeOptions::new().serve("127.0.0.1:0", service).await.unwrap();
    let url = format!("http://{}", server.local_addrs()[0]);
    let settings = builder().http2_prior_knowledge().idle_timeout(Duration::from_millis(30));
    let client = settings.build().unwrap();
    ask(client.get(format!("{url}/slow"))).await;
    until(|| client.pool_stats().connections == 0 && server.connection_count() == 0).await;
    ask(client.get(&url)).await;
}

#[corio::test]
async fn one_that_speaks_http_1_only_is_an_error() {
    let server = crate::Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client();
    let error = bounded(text(client.get(&server.url))).await.unwrap_err();
    assert!(matches!(error.phase(), Phase::Head | Phase::Connect), "{error}");
    until(|| client.pool_stats().connections == 0).await;
}
