//! Hazards of an HTTP server: a client that sends too much, too slowly or two things at once; a
//! shutdown that cuts an answer off; a service that another bound keeps out.

mod support;

#[path = "web/attacked.rs"]
mod attacked;
#[path = "web/cores.rs"]
mod cores;
#[path = "web/ending.rs"]
mod ending;
#[path = "web/examples.rs"]
mod examples;
#[path = "web/limits.rs"]
mod limits;
#[path = "web/programs.rs"]
mod programs;
#[path = "web/services.rs"]
mod services;

use corio::http::{Body, Request, Response, ServeOptions, StatusCode};
use corio::net::{Server, TcpStream};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

use support::bounded;

/// Answers with the request's body, or with the error that reading it gave.
async fn echo(request: Request<Body>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (status, bytes) = match request.into_body().collect().await {
        Ok(body) => (StatusCode::OK, body.to_bytes()),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into()),
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    Ok(response)
}

async fn echo_server(options: ServeOptions) -> Server {
    options.serve("127.0.0.1:0", corio::http::service_fn(echo)).await.unwrap()
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addrs()[0]).await.unwrap()
}

/// Sends bytes and returns everything that comes, up to the end.
async fn talk(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(server).await;
    // A server may end the connection before it has read all.
    let _ = bounded(stream.write(bytes.as_ref())).await;
    let mut answer = Vec::new();
    let _ = bounded(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
