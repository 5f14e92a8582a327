//! Hazards of TLS: a certificate that should not be believed, a handshake that is cut or dropped
//! anywhere, an end that somebody on the way forged, bytes that stay between session and stream;
//! with the programs of others at the other end.

mod support;

#[path = "tls/agreements.rs"]
mod agreements;
#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/counterparts.rs"]
mod counterparts;
#[path = "tls/cut.rs"]
mod cut;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/traffic.rs"]
mod traffic;
#[path = "tls/web.rs"]
mod web;

use std::io;

use corio::net::TcpStream;
use corio::tls::{Acceptor, Connector, TlsStream};

use authority::{HOST, authority};
use support::{bounded, pair};

/// A TLS connection on the loopback: who connected, and who accepted.
type Pair = (TlsStream<TcpStream>, TlsStream<TcpStream>);

/// The server of the tests' authority.
fn acceptor() -> Acceptor {
    let server = authority().server();
    Acceptor::builder().certificate(&server.chain, &server.key).build().unwrap()
}

/// A client that trusts the tests' authority.
fn connector() -> Connector {
    Connector::builder().root_certificates(&authority().root).build().unwrap()
}

/// What both sides find.
async fn handshake(
    connector: &Connector,
    name: &str,
    acceptor: &Acceptor,
) -> (io::Result<TlsStream<TcpStream>>, io::Result<TlsStream<TcpStream>>) {
    let (client, server) = pair().await;
    let both = async { corio::join!(connector.connect(name, client), acceptor.accept(server)) };
    bounded(both).await
}

async fn tls_pair() -> Pair {
    let (client, server) = handshake(&connector(), HOST, &acceptor()).await;
    (client.unwrap(), server.unwrap())
}
