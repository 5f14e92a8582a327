//! What two sides agree upon: versions, protocols, earlier sessions, new keys.

use std::io::ErrorKind;
use std::sync::Arc;

use corio::tls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use corio::tls::rustls::version::{TLS12, TLS13};
use corio::tls::rustls::{
    CipherSuite, CipherSuiteCommon, ClientConfig, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedCipherSuite, SupportedProtocolVersion, Tls13CipherSuite,
};
use corio::tls::{Acceptor, Connector};

use crate::authority::{HOST, authority, certificate, key};
use crate::support::{Checker, bounded, numbered};
use crate::{acceptor, handshake};

/// A client of these versions.
fn connector_of(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Connector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority().root)).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
        .into()
}

/// Shakes hands, and reads what a server sends with its first bytes. Whether it was resumed, as
/// both sides say.
async fn is_resumed(connector: &Connector, acceptor: &Acceptor) -> bool {
    let (client, server) = handshake(connector, HOST, acceptor).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    server.write(b"!").await.unwrap();
    bounded(client.read(&mut [0])).await.unwrap();
    assert_eq!(client.is_resumed(), server.is_resumed());
    assert_eq!(
        client.peer_certificates().map(<[_]>::len),
        Some(1),
        "of the first session, if this one showed none"
    );
    client.is_resumed()
}

#[corio::test]
async fn a_later_connection_takes_up_an_earlier_session() {
    for versions in [[&TLS12], [&TLS13]] {
        let connector = connector_of(aws_lc_rs::default_provider(), &versions);
        let acceptor = acceptor();
        assert!(!is_resumed(&connector, &acceptor).await);
        for _ in 0..3 {
            assert!(is_resumed(&connector.clone(), &acceptor.clone()).await, "{versions:?}");
        }
        let other = connector_of(aws_lc_rs::default_provider(), &versions);
        assert!(!is_resumed(&other, &acceptor).await, "another client has no ticket");
        // A server with other keys for its tickets.
        assert!(!is_resumed(&connector, &crate::acceptor()).await);
    }
}

#[corio::test]
async fn both_versions_are_spoken() {
    for (version, agreed) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let connector = connector_of(aws_lc_rs::default_provider(), &[version]);
        let (client, server) = handshake(&connector, HOST, &acceptor()).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.protocol_version(), Some(agreed));
        assert_eq!(server.protocol_version(), Some(agreed));
        assert_eq!(server.alpn(), None);
    }
}

fn acceptor_offering(protocols: &[&str]) -> Acceptor {
    let server = authority().server();
    let builder = Acceptor::builder().certificate(&server.chain, &server.key);
    builder.alpn(protocols).build().unwrap()
}

fn connector_offering(protocols: &[&str]) -> Connector {
    let builder = Connector::builder().root_certificates(&authority().root);
    builder.alpn(protocols).build().unwrap()
}

#[corio::test]
async fn the_servers_best_protocol_is_agreed_upon() {
    let agreed = async |offered: &[&str], served: &[&str]| {
        let (connector, acceptor) = (connector_offering(offered), acceptor_offering(served));
        let (client, server) = handshake(&connector, HOST, &acceptor).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.alpn(), server.alpn());
        client.alpn().map(<[u8]>::to_vec)
    };
    assert_eq!(agreed(&["http/1.1", "h2"], &["h2", "http/1.1"]).await.unwrap(), b"h2");
    assert_eq!(agreed(&["http/1.1"], &["h2", "http/1.1"]).await.unwrap(), b"http/1.1");
    assert_eq!(agreed(&[], &["h2"]).await, None, "who offers none takes what there is");
    assert_eq!(agreed(&["h2"], &[]).await, None);
}

#[corio::test]
async fn without_a_protocol_in_common_both_sides_are_told() {
    let (connector, acceptor) = (connector_offering(&["h2"]), acceptor_offering(&["http/1.1"]));
    let (client, server) = handshake(&connector, HOST, &acceptor).await;
    for error in [client.unwrap_err(), server.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("offers by ALPN"), "{error}");
    }
}

/// A cipher suite whose keys have to be renewed after a few records.
fn forgetful() -> CryptoProvider {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let common = CipherSuiteCommon { confidentiality_limit: 10, ..suite.common };
    let suite = Tls13CipherSuite { common, ..*suite };
    let suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)));
    CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() }
}

#[corio::test]
async fn keys_are_renewed_under_way_on_both_sides() {
    const LENGTH: usize = 2 << 20;
    let connector = connector_of(forgetful(), &[&TLS13]);
    let identity = authority().server();
    let acceptor: Acceptor = ServerConfig::builder_with_provider(Arc::new(forgetful()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&identity.chain)], key(&identity.key))
        .unwrap()
        .into();
    let (client, server) = handshake(&connector, HOST, &acceptor).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    let suite = client.session().negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
    crate::traffic::both_ways(client, server, LENGTH).await;
}

#[corio::test]
async fn a_reader_that_never_writes_takes_new_keys() {
    // The client asks for new keys of the server with each of its own, and gets no answer.
    let connector = connector_of(forgetful(), &[&TLS13]);
    let (client, server) = handshake(&connector, HOST, &acceptor()).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let writing = async {
        for from in (0..1 << 20).step_by(1 << 14) {
            client.write(&numbered(from, 1 << 14)).await.unwrap();
        }
        client.shutdown().await.unwrap();
    };
    let reading = async {
        let mut checker = Checker::default();
        let mut buffer = vec![0; 10_000];
        loop {
            match server.read(&mut buffer).await.unwrap() {
                0 => return checker.position,
                count => checker.take(&buffer[..count]),
            }
        }
    };
    let ((), count) = bounded(async { corio::join!(writing, reading) }).await;
    assert_eq!(count, 1 << 20);
}

#[corio::test]
async fn a_connector_of_the_systems_roots_does_not_trust_the_tests() {
    let connector = match Connector::new() {
        Ok(connector) => connector,
        Err(error) => {
            // A system without any says so.
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains("ca-certificates"), "{error}");
            return;
        }
    };
    let (client, _server) = handshake(&connector, HOST, &acceptor()).await;
    assert!(client.unwrap_err().to_string().contains("no trusted root"));
    let both = Connector::builder().root_certificates(&authority().root).system_roots();
    let (client, _server) = handshake(&both.build().unwrap(), HOST, &acceptor()).await;
    assert!(client.is_ok());
}
