//! Services of all kinds: functions with an `Rc`, axum's router, errors, streams of HTTP/2.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use corio::compat::OnItsCore;
use corio::compat::hyper::Executor;
use corio::http::{Body, Request, Response, ServeOptions, serve, service_fn};
use corio::{Runtime, Unhandled};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

use crate::support::{Checker, bounded, numbered};
use crate::{connect, echo_server, talk};

#[corio::test]
async fn a_service_may_hold_what_belongs_to_its_core() {
    let count = Rc::new(Cell::new(0));
    let service = {
        let count = Rc::clone(&count);
        service_fn(move |_: Request<Body>| {
            let count = Rc::clone(&count);
            async move {
                corio::yield_now().await;
                count.set(count.get() + 1);
                io::Result::Ok(Response::new(count.get().to_string()))
            }
        })
    };
    let server = serve("127.0.0.1:0", service).await.unwrap();
    for due in 1..4 {
        let answer = talk(&server, "GET / HTTP/1.0\r\n\r\n").await;
        assert!(answer.ends_with(&format!("\r\n\r\n{due}")), "{answer}");
    }
    assert_eq!(count.get(), 3);
}

#[corio::test]
async fn a_router_of_axum_serves_as_it_is() {
    async fn hello(Path(name): Path<String>, State(count): State<Arc<AtomicUsize>>) -> String {
        let number = count.fetch_add(1, Ordering::Relaxed);
        // corio's own timers are not `Send`; axum asks for it.
        OnItsCore::future(corio::sleep(std::time::Duration::from_millis(1))).await;
        format!("hello {name}, number {number}")
    }
    async fn sum(Json(numbers): Json<Vec<u32>>) -> Json<u32> {
        Json(numbers.iter().sum())
    }
    let router = axum::Router::new()
        .route("/hello/{name}", get(hello))
        .route("/sum", post(sum))
        .with_state(Arc::new(AtomicUsize::new(0)));
    let server = serve("127.0.0.1:0", router).await.unwrap();
    let answer = talk(&server, "GET /hello/world HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("hello world, number 0"), "{answer}");
    let head = "POST /sum HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n";
    let answer = talk(&server, format!("{head}[1,2,3]")).await;
    assert!(answer.ends_with("\r\n\r\n6"), "{answer}");
    let answer = talk(&server, "GET /nowhere HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 404"), "{answer}");
}

#[corio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = echo_server(ServeOptions::new()).await;
    let request = |body: &str| {
        format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let mut all: String = ["one", "two", "three"].map(request).concat();
    all.push_str("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    let answers = talk(&server, all).await;
    let places = ["one", "two", "three"].map(|body| answers.find(&format!("\r\n\r\n{body}")));
    assert!(places.is_sorted() && places[0].is_some(), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 4);
}

#[corio::test]
async fn a_connection_of_http_2_carries_many_requests_at_a_time() {
    let server = echo_server(ServeOptions::new()).await;
    let stream = connect(&server).await;
    let handshake = hyper::client::conn::http2::handshake(Executor, stream);
    let (sender, connection) = bounded(handshake).await.unwrap();
    corio::spawn(connection);
    let requests = (0..10).map(|number: usize| {
        let mut sender = sender.clone();
        async move {
            let body = Full::<Bytes>::from(numbered(0, number * 20_000));
            let request = Request::post("http://here/").body(body).unwrap();
            let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
            assert_eq!(body.len(), number * 20_000);
            Checker::default().take(&body);
            Ok::<_, hyper::Error>(())
        }
    });
    bounded(corio::gather(requests)).await.unwrap();
}

#[corio::test]
fn an_error_of_a_service_is_told_and_one_of_a_client_is_not() {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let hook = Rc::clone(&heard);
    let runtime = Runtime::builder()
        .on_unhandled(move |unhandled: &Unhandled| hook.borrow_mut().push(unhandled.to_string()))
        .build()
        .unwrap();
    runtime.block_on(async {
        let fails = service_fn(async |_: Request<Body>| {
            Err::<Response<String>, _>(io::Error::other("the service broke"))
        });
        let server = serve("127.0.0.1:0", fails).await.unwrap();
        assert_eq!(talk(&server, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await, "");
        let stream = connect(&server).await;
        stream.write(b"GET / HT").await.unwrap();
        stream.close().await.unwrap();
        assert!(talk(&server, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        bounded(server.shutdown(std::time::Duration::from_secs(1))).await;
    });
    let heard = heard.borrow();
    assert_eq!(heard.len(), 1, "{heard:?}");
}
