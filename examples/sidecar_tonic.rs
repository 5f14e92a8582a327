//! tonic beside corio: a gRPC client that starts tokio's tasks runs on the side-car.
//!
//! The service is gRPC's own for health checks, which is served here as well, also on the
//! side-car. A corio task asks it, and later follows its changes as a stream.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

const SERVICE: &str = "shop.Orders";

fn request() -> HealthCheckRequest {
    HealthCheckRequest { service: SERVICE.to_owned() }
}

/// Serves until its handle is dropped. It says where once it listens.
async fn serve() -> std::io::Result<(SocketAddr, HealthReporter)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    Ok((address, reporter))
}

async fn connect(address: SocketAddr) -> Result<HealthClient<Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(HealthClient::new(endpoint.connect_timeout(Duration::from_secs(10)).connect().await?))
}

#[corio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (address, reporter) = corio::tokio::spawn(serve()).await??;
    println!("health checks on {address}");
    let client = corio::tokio::spawn(connect(address)).await??;

    // One call, whose answer comes back to this core.
    let mut asking = client.clone();
    let answer = corio::tokio::spawn(async move { asking.check(request()).await }).await?;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    let telling = reporter.clone();
    let told = async move { telling.set_service_status(SERVICE, ServingStatus::Serving).await };
    corio::tokio::spawn(told).await?;

    // A stream of answers: a channel of corio carries them from tokio's thread to this core.
    let (sender, mut statuses) = corio::channel::mpsc(16);
    let mut watching = client.clone();
    let watch = corio::tokio::spawn(async move {
        let mut changes = watching.watch(request()).await?.into_inner();
        while let Some(change) = changes.message().await? {
            if sender.send(change.status()).await.is_err() {
                break;
            }
        }
        Ok::<(), Status>(())
    });
    let serving = statuses.recv().await.ok_or("the stream has ended")?;
    println!("{SERVICE} is {}", serving.as_str_name());
    let telling = reporter.clone();
    let told = async move { telling.set_service_status(SERVICE, ServingStatus::NotServing).await };
    corio::tokio::spawn(told).await?;
    let serving = statuses.recv().await.ok_or("the stream has ended")?;
    println!("{SERVICE} is {}", serving.as_str_name());
    assert_eq!(serving.as_str_name(), "NOT_SERVING");

    // The drop cancels the watch; the end gives the server's tasks a second.
    drop(watch);
    corio::tokio::shutdown(Duration::from_secs(1)).await;
    Ok(())
}
