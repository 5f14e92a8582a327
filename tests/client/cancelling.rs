//! Requests that are given up at any moment: no answer reaches another request, no connection and
//! no place is lost.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corio::http::client::{Body as Outgoing, RequestBuilder};
use corio::http::{Body, Client, Request, Response, Server, StatusCode, serve, service_fn};
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};

use crate::support::{Random, bounded, until};
use crate::{builder, text};

/// A number that an answer has in all of its pieces.
fn pieces(number: usize, count: usize) -> String {
    format!("<{number}>").repeat(count)
}

/// Answers `/number/count` with its number, so many times, in pieces, now and then after a while;
/// `/moved/..` with a redirect to it. A body has to be the number as well.
async fn numbers_server() -> Server {
    let random = Rc::new(RefCell::new(Random::new(8)));
    let service = service_fn(move |request: Request<Body>| {
        let random = Rc::clone(&random);
        async move {
            let path = request.uri().path().to_owned();
            if let Some(rest) = path.strip_prefix("/moved") {
                let empty = StreamBody::new(stream::iter(Vec::new())).boxed_local();
                let answer = Response::builder().status(StatusCode::TEMPORARY_REDIRECT);
                return Ok(answer.header("location", rest).body(empty).unwrap());
            }
            let mut parts = path[1..].split('/').map(|part| part.parse::<usize>().unwrap());
            let (number, count) = (parts.next().unwrap(), parts.next().unwrap());
            let body = request.into_body().collect().await?.to_bytes();
            assert!(body.is_empty() || body == pieces(number, body.len() / pieces(number, 1).len()));
            let moments: Vec<_> =
                (0..3).map(|_| random.borrow_mut().moment() * random.borrow_mut().below(2) as u32);
            let moments: Vec<Duration> = moments;
            corio::sleep(moments[0]).await;
            let frames = stream::unfold((0, moments), move |(index, moments)| async move {
                let moment = *moments.get(index)?;
                corio::sleep(moment).await;
                let piece = Bytes::from(pieces(number, count));
                Some((io::Result::Ok(Frame::data(piece)), (index + 1, moments)))
            });
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(
                StreamBody::new(frames).boxed_local(),
            ))
        }
    });
    serve("127.0.0.1:0", service).await.unwrap()
}
