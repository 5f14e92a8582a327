//! Shutting down: what is asked is answered, what stands idle does not hold it up.

use std::time::Duration;

use corio::http::{Response, ServeOptions, service_fn};
use corio::sync::Event;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use std::rc::Rc;

use crate::support::bounded;
use crate::{connect, echo_server};

const LONG: Duration = Duration::from_secs(10);

#[corio::test]
async fn a_shutdown_answers_what_was_asked_and_closes_what_is_idle() {
    let (begun, may_answer) = (Rc::new(Event::new()), Rc::new(Event::new()));
    let service = {
        let (begun, may_answer) = (Rc::clone(&begun), Rc::clone(&may_answer));
        service_fn(move |_| {
            let (begun, may_answer) = (Rc::clone(&begun), Rc::clone(&may_answer));
            async move {
                begun.set();
                may_answer.wait().await;
                std::io::Result::Ok(Response::new(String::from("answered")))
            }
        })
    };
    let server = ServeOptions::new().serve("127.0.0.1:0", service).await.unwrap();
    let mut idle = connect(&server).await;
    let mut busy = connect(&server).await;
    busy.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    bounded(begun.wait()).await;
    let shutting = server.shutdown(LONG);
    let clients = async {
        assert_eq!(bounded(idle.read_to_end(&mut Vec::new())).await.unwrap(), 0);
        may_answer.set();
        let mut answer = Vec::new();
        bounded(busy.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.ends_with(b"answered"), "{}", answer.escape_ascii());
        let head = answer.to_ascii_lowercase();
        assert!(head.windows(17).any(|it| it == b"connection: close"), "no more is taken");
    };
    let (report, ()) = bounded(async { corio::join!(shutting, clients) }).await;
    assert_eq!((report.finished(), report.cancelled(), report.aborted()), (2, 0, 0));
}

#[corio::test]
async fn a_service_that_never_answers_is_ended_by_the_grace_limit() {
    let begun = Rc::new(Event::new());
    let begin = Rc::clone(&begun);
    let stuck = service_fn(move |_| {
        begin.set();
        std::future::pending::<std::io::Result<Response<String>>>()
    });
    let server = ServeOptions::new().serve("127.0.0.1:0", stuck).await.unwrap();
    let mut client = connect(&server).await;
    client.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    bounded(begun.wait()).await;
    let report = bounded(server.shutdown(Duration::from_millis(20))).await;
    assert_eq!(report.finished(), 0);
    let _ = bounded(client.read_to_end(&mut Vec::new())).await;
}

#[corio::test]
async fn a_connection_of_http_2_is_told_to_go_away() {
    let server = echo_server(ServeOptions::new()).await;
    let executor = corio::compat::hyper::Executor;
    let handshake = hyper::client::conn::http2::handshake(executor, connect(&server).await);
    let (mut sender, connection) = bounded(handshake).await.unwrap();
    let connection = corio::spawn(connection);
    let request = hyper::Request::get("http://here/").body(Empty::<Bytes>::new()).unwrap();
    let response = bounded(sender.send_request(request)).await.unwrap();
    bounded(response.into_body().collect()).await.unwrap();
    let report = bounded(server.shutdown(LONG)).await;
    assert_eq!(report.finished(), 1);
    bounded(connection).await.unwrap().unwrap();
    assert!(sender.is_closed());
}
