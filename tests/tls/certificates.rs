//! Who is believed, and what is said of those who are not.

use std::io::{self, ErrorKind};

use corio::tls::{Acceptor, Connector, TlsError};

use crate::authority::{Authority, HOST, Identity, authority, certificate, key};
use crate::support::{assert_kind, bounded};
use crate::{acceptor, connector, handshake};

fn acceptor_of(identity: &Identity) -> Acceptor {
    Acceptor::builder().certificate(&identity.chain, &identity.key).build().unwrap()
}

/// What a refused handshake says. It is an error of TLS, on this side.
#[track_caller]
fn refusal<T>(result: io::Result<T>) -> String {
    let Err(error) = result else { panic!("expected a refusal") };
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    assert!(inner.is_some(), "{error}");
    error.to_string()
}

/// What the client says of this server, which has to hear of it.
async fn client_refuses(name: &str, acceptor: &Acceptor) -> String {
    let (client, server) = handshake(&connector(), name, acceptor).await;
    let heard = refusal(server);
    assert!(heard.contains("alert"), "the server is told: {heard}");
    refusal(client)
}

#[corio::test]
async fn a_server_whose_certificate_has_expired_is_refused() {
    let said = client_refuses(HOST, &acceptor_of(&authority().expired_server())).await;
    assert!(said.contains("certificate expired"), "{said}");
    let said = client_refuses(HOST, &acceptor_of(&authority().future_server())).await;
    assert!(said.contains("not valid yet"), "{said}");
}

#[corio::test]
async fn a_server_of_another_name_is_refused() {
    let said = client_refuses("example.org", &acceptor()).await;
    assert!(said.contains("not valid for name \"example.org\""), "{said}");
    let said = client_refuses("127.0.0.2", &acceptor()).await;
    assert!(said.contains("127.0.0.2"), "an address is a name as well: {said}");
}

#[corio::test]
async fn a_server_that_vouches_for_itself_is_refused_unless_it_is_trusted() {
    let own = Authority::self_signed();
    let said = client_refuses(HOST, &acceptor_of(&own)).await;
    assert!(said.contains("no trusted root has signed it"), "{said}");
    let connector = Connector::builder().root_certificates(&own.chain).build().unwrap();
    let (client, server) = handshake(&connector, HOST, &acceptor_of(&own)).await;
    assert!(client.is_ok() && server.is_ok());
}

#[corio::test]
async fn a_server_of_a_stranger_is_refused() {
    let stranger = Authority::new("a stranger");
    let said = client_refuses(HOST, &acceptor_of(&stranger.server())).await;
    assert!(said.contains("no trusted root has signed it"), "{said}");
}

#[corio::test]
async fn the_certificate_of_an_authority_is_none_of_a_server() {
    // As `openssl req -x509` makes them, unless it is told otherwise.
    let mut params = rcgen::CertificateParams::new([HOST.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = Identity { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    let connector = Connector::builder().root_certificates(&own.chain).build().unwrap();
    let (client, _server) = handshake(&connector, HOST, &acceptor_of(&own)).await;
    let said = refusal(client);
    assert!(said.contains("CA:TRUE"), "{said}");
}

#[corio::test]
async fn both_sides_know_whom_they_speak_to() {
    let named = authority().client("a-client");
    let connector = Connector::builder()
        .root_certificates(&authority().root)
        .client_certificate(&named.chain, &named.key)
        .build()
        .unwrap();
    let server = authority().server();
    let acceptor = Acceptor::builder()
        .certificate(&server.chain, &server.key)
        .client_roots(&authority().root)
        .build()
        .unwrap();
    let (client, server_end) = handshake(&connector, HOST, &acceptor).await;
    let (client, server_end) = (client.unwrap(), server_end.unwrap());
    assert_eq!(client.peer_certificates().unwrap()[0], certificate(&server.chain));
    assert_eq!(server_end.peer_certificates().unwrap()[0], certificate(&named.chain));
}

/// A server that asks for certificates of the tests' authority.
fn asking(is_optional: bool) -> Acceptor {
    let server = authority().server();
    let builder =
        Acceptor::builder().certificate(&server.chain, &server.key).client_roots(&authority().root);
    match is_optional {
        true => builder.client_certificate_optional().build().unwrap(),
        false => builder.build().unwrap(),
    }
}

#[corio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let (client, server) = handshake(&connector(), HOST, &asking(false)).await;
    let said = refusal(server);
    assert!(said.contains("sent no certificates"), "{said}");
    // In TLS 1.3 a client learns after its handshake what the server thinks of it.
    let mut client = client.unwrap();
    let said = refusal(bounded(client.read(&mut [0])).await);
    assert!(said.contains("the peer wants a client certificate"), "{said}");
    refusal(bounded(client.read(&mut [0])).await);
    refusal(bounded(client.write(b"all the same")).await);

    let (client, server) = handshake(&connector(), HOST, &asking(true)).await;
    assert!(client.is_ok());
    assert!(server.unwrap().peer_certificates().is_none());
}

#[corio::test]
async fn a_client_of_a_stranger_is_refused_also_where_none_would_do() {
    let stranger = Authority::new("a stranger").client("a-client");
    let connector = Connector::builder()
        .root_certificates(&authority().root)
        .client_certificate(&stranger.chain, &stranger.key)
        .build()
        .unwrap();
    for is_optional in [false, true] {
        let (client, server) = handshake(&connector, HOST, &asking(is_optional)).await;
        let said = refusal(server);
        assert!(said.contains("UnknownIssuer"), "{said}");
        let said = refusal(bounded(client.unwrap().read(&mut [0])).await);
        assert!(said.contains("alert"), "{said}");
    }
}

#[corio::test]
async fn certificates_and_keys_that_are_none_are_told_when_they_are_given() {
    let server = authority().server();
    let other = authority().server();
    let build = |chain: &str, key: &str| Acceptor::builder().certificate(chain, key).build();
    assert_kind(Acceptor::builder().build(), ErrorKind::InvalidInput);
    assert_kind(build("", &server.key), ErrorKind::InvalidInput);
    assert_kind(build("no PEM", &server.key), ErrorKind::InvalidInput);
    assert_kind(build(&server.key, &server.key), ErrorKind::InvalidInput);
    assert_kind(build(&server.chain, &server.chain), ErrorKind::InvalidInput);
    assert_kind(build(&server.chain, ""), ErrorKind::InvalidInput);
    let said = build(&server.chain, &other.key).unwrap_err();
    assert_eq!(said.to_string(), "the key is not that of the certificate");
    let cut = &server.chain[..server.chain.len() / 2];
    assert_kind(build(cut, &server.key), ErrorKind::InvalidInput);
    let roots = |bytes: &[u8]| Connector::builder().root_certificates(bytes).build();
    assert_kind(roots(b""), ErrorKind::InvalidInput);
    assert_kind(roots(b"\x30\x03abc"), ErrorKind::InvalidInput);
    let trusting_nobody =
        Acceptor::builder().certificate(&server.chain, &server.key).client_roots("nobody");
    assert_kind(trusting_nobody.build(), ErrorKind::InvalidInput);
}

#[corio::test]
async fn certificates_may_be_der() {
    let server = authority().server();
    let (chain, key) = (certificate(&server.chain), key(&server.key));
    let acceptor = Acceptor::builder().certificate(&chain, key.secret_der()).build().unwrap();
    let root = certificate(&authority().root);
    let connector = Connector::builder().root_certificates(&root).build().unwrap();
    let (client, server) = handshake(&connector, HOST, &acceptor).await;
    assert!(client.is_ok() && server.is_ok());
}

#[corio::test]
async fn a_name_that_is_none_is_told_before_anything_is_sent() {
    let (client, _server) = crate::pair().await;
    assert_kind(connector().connect("not a name", client).await, ErrorKind::InvalidInput);
}
