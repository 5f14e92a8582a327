//! HTTP on hyper and tokio's current-thread runtime: what most servers in Rust are built on.
//!
//! Answers to pipelined requests are flushed together (`pipeline_flush`), as hyper's entry in
//! TechEmpower's comparison does. hyper sends the date itself; the other fields are those of
//! corio's server.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use program::{Kind, Orders};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Http])?;
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(orders)).map_err(|error| error.to_string())
}

async fn serve(orders: Orders) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", orders.port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A connection that fails just ends: its client sees it.
        tokio::spawn(serving);
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/plaintext" => (StatusCode::OK, "text/plain", Bytes::from_static(b"Hello, World!")),
        "/json" => {
            let object = serde_json::json!({ "message": "Hello, World!" });
            (StatusCode::OK, "application/json", Bytes::from(object.to_string()))
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", Bytes::from_static(b"not found\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("hyper"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
