//! gRPC by tonic, as it is: its services are tower services, and its clients take any. The health
//! service has its code made beforehand, so no compiler of protocols is needed.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use corio::compat::hyper::Executor;
use corio::http::serve;
use corio::net::{Server, TcpStream};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::health_reporter;

use crate::support::bounded;

/// A connection of hyper, on a stream of corio, as tonic's clients take one.
#[derive(Clone)]
struct Transport(SendRequest<tonic::body::Body>);

impl tower_service::Service<Request<tonic::body::Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn client(server: &Server) -> HealthClient<Transport> {
    let stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let (sender, connection) = bounded(handshake(Executor, stream)).await.unwrap();
    corio::spawn(connection);
    HealthClient::with_origin(Transport(sender), "http://here".parse().unwrap())
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[corio::test]
async fn a_service_of_tonic_answers_a_client_of_tonic() {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("sums", ServingStatus::Serving).await;
    let server = serve("127.0.0.1:0", service).await.unwrap();
    let mut client = client(&server).await;
    let answer = bounded(client.check(about("sums"))).await.unwrap().into_inner();
    assert_eq!(answer.status(), Told::Serving);
    reporter.set_service_status("sums", ServingStatus::NotServing).await;
    let answer = bounded(client.check(about("sums"))).await.unwrap().into_inner();
    assert_eq!(answer.status(), Told::NotServing);
    let error = bounded(client.check(about("nobody"))).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[corio::test]
async fn a_stream_of_answers_goes_on_until_the_client_drops_it() {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("sums", ServingStatus::Serving).await;
    let server = serve("127.0.0.1:0", service).await.unwrap();
    let mut client = client(&server).await;
    let mut answers = bounded(client.watch(about("sums"))).await.unwrap().into_inner();
    for (status, told) in [
        (ServingStatus::NotServing, Told::Serving),
        (ServingStatus::Serving, Told::NotServing),
        (ServingStatus::Serving, Told::Serving),
    ] {
        let answer = bounded(answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.status(), told);
        reporter.set_service_status("sums", status).await;
    }
    drop(answers);
    // The connection is as good as before.
    let answer = bounded(client.check(about("sums"))).await.unwrap().into_inner();
    assert_eq!(answer.status(), Told::Serving);
    let endless = bounded(client.watch(about("sums"))).await.unwrap();
    let report = bounded(server.shutdown(Duration::from_millis(50))).await;
    assert_eq!(report.connections.len(), 1);
    drop(endless);
}
