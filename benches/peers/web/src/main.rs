//! The same two servers, hyper's and axum's, on corio and on tokio's current-thread runtime:
//!
//! ```text
//! web-peer hyper-corio|hyper-tokio|axum-corio|axum-tokio --port PORT
//! ```
//!
//! Only the runtime differs. hyper's connections are driven as they are; axum's router is served by
//! `corio::http::serve`, with its limits and its shutdown, and by `axum::serve`.

use std::convert::Infallible;
use std::future::pending;
use std::io;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let usage = "web-peer hyper-corio|hyper-tokio|axum-corio|axum-tokio --port PORT";
    let [stack, "--port", port] = words[..] else { return Err(usage.to_owned()) };
    let port = port.parse().map_err(|_| usage.to_owned())?;
    let served = match stack {
        "hyper-corio" => corio::run(hyper_on_corio(port)),
        "axum-corio" => corio::run(axum_on_corio(port)),
        "hyper-tokio" => on_tokio(hyper_on_tokio(port)),
        "axum-tokio" => on_tokio(axum_on_tokio(port)),
        _ => return Err(usage.to_owned()),
    };
    served.map_err(|error| error.to_string())
}

fn on_tokio(server: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(server)
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn router() -> Router {
    Router::new().route("/plaintext", get(|| async { "Hello, World!" }))
}

async fn hyper_on_corio(port: u16) -> io::Result<()> {
    let address = ("127.0.0.1", port);
    let server = corio::net::serve(address, async |stream: corio::net::TcpStream| {
        // A connection that fails just ends: its client sees it.
        let _ = http1::Builder::new().serve_connection(stream, service_fn(hello)).await;
    });
    server.await?.serve_forever().await;
    Ok(())
}

async fn axum_on_corio(port: u16) -> io::Result<()> {
    let _server = corio::http::serve(("127.0.0.1", port), router()).await?;
    pending().await
}

async fn hyper_on_tokio(port: u16) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello));
        tokio::spawn(serving);
    }
}

async fn axum_on_tokio(port: u16) -> io::Result<()> {
    use axum::serve::ListenerExt;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router()).await
}
