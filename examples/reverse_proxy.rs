//! A reverse proxy: each request goes on to an upstream, bodies both ways as they come.
//!
//! ```text
//! cargo run --features http --example reverse_proxy                                      # checks itself
//! cargo run --features http --example reverse_proxy -- 127.0.0.1:8080 127.0.0.1:9000     # until Ctrl-C
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corio::http::header::{self, HeaderMap, HeaderName};
use corio::http::{Body, Request, Response, StatusCode, service_fn};
use corio::net::TcpStream;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Takes out what is said for one connection only (RFC 9110, section 7.6.1).
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = ["connection", "keep-alive", "proxy-connection", "proxy-authenticate"];
    let more = ["proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"];
    let always = always.into_iter().chain(more).map(HeaderName::from_static);
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
}

async fn forward(upstream: SocketAddr, mut request: Request<Body>) -> hyper::Result<Answer> {
    strip(request.headers_mut());
    let Ok(stream) = TcpStream::connect(upstream).await else {
        let mut answer = Response::new(Either::Right(Full::from("the upstream is not there\n")));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(answer);
    };
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with the last byte of the answer, or with the client.
    corio::spawn(connection);
    let mut response = sender.send_request(request).await?;
    strip(response.headers_mut());
    Ok(response.map(Either::Left))
}

/// Serves at an address what is upstream.
pub async fn serve(at: &str, upstream: SocketAddr) -> io::Result<corio::net::Server> {
    corio::http::serve(at, service_fn(move |request| forward(upstream, request))).await
}

/// What stands behind the proxy where none is named: it sends back what it gets.
pub async fn echo(request: Request<Body>) -> io::Result<Response<Full<Bytes>>> {
    assert!(!request.headers().contains_key("x-hop"), "that was for the proxy alone");
    let body = request.into_body().collect().await.map_err(io::Error::other)?;
    Ok(Response::new(Full::new(body.to_bytes())))
}

#[corio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [address, upstream] = &arguments[..] {
        let upstream = upstream.parse().map_err(io::Error::other)?;
        let server = serve(address, upstream).await?;
        return server.serve_until_signal(Duration::from_secs(10)).await.map(drop);
    }
    let upstream = corio::http::serve("127.0.0.1:0", service_fn(echo)).await?;
    let proxy = serve("127.0.0.1:0", upstream.local_addrs()[0]).await?;
    let mut client = TcpStream::connect(proxy.local_addrs()[0]).await?;
    let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close, x-hop\r\nx-hop: y\r\n";
    client.write(format!("{head}content-length: 5\r\n\r\nhello").as_bytes()).await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\nhello"));
    println!("the proxy passed on: hello");
    Ok(())
}
