//! Handshakes that are cut at each byte, dropped at each poll, or none at all: an error for who is
//! left, and nothing that stays behind.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use corio::Stats;
use corio::net::TcpStream;
use corio::tls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use corio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use corio::tls::{Acceptor, Connector, TlsStream};
use futures_util::io::{AsyncRead, AsyncWrite, BufWriter};

use crate::authority::{HOST, authority, certificate, key};
use crate::cut::Cut;
use crate::support::{Random, assert_kind, bounded, pair, until_stats};
use crate::{acceptor, connector, tls_pair};

/// As the builders make them, but with a key exchange of few bytes: each of them is tried.
static SHORT: LazyLock<(Connector, Acceptor)> = LazyLock::new(|| {
    let provider = Arc::new(CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority().root)).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let identity = authority().server();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&identity.chain)], key(&identity.key))
        .unwrap();
    (Connector::from(Arc::new(client)), Acceptor::from(Arc::new(server)))
});

/// Who is left finds an error, now or, if it was done already, with its first read.
async fn finds_an_end<S>(handshake: impl Future<Output = io::Result<TlsStream<S>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let error = match handshake.await {
        Err(error) => error,
        Ok(mut stream) => stream.read(&mut [0]).await.expect_err("nobody has announced an end"),
    };
    let is_the_end = matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    );
    assert!(is_the_end, "{error:?}");
}

/// What there is of a runtime before its test.
struct Before(Stats);

impl Before {
    fn now() -> Before {
        Before(corio::stats())
    }

    /// Waits until there is no more than that.
    async fn comes_back(self) {
        let Before(before) = self;
        until_stats(|stats| {
            stats.tasks <= before.tasks
                && stats.operations_in_flight <= before.operations_in_flight
                && stats.buffers_in_use == 0
        })
        .await;
    }
}

#[corio::test]
async fn a_server_that_goes_away_after_any_byte_is_an_error_for_its_client() {
    let before = Before::now();
    let (connector, acceptor) = &*SHORT;
    for sent in 0.. {
        let (client, server) = pair().await;
        let room = Rc::new(Cell::new(sent));
        let server = async { drop(acceptor.accept(Cut::new(server, &room)).await) };
        let client = finds_an_end(connector.connect(HOST, client));
        bounded(async { corio::join!(server, client) }).await;
        if room.get() > 0 {
            assert!(sent > 500, "the server has a certificate to show, in {sent} bytes");
            break;
        }
    }
    before.comes_back().await;
}

#[corio::test]
async fn a_client_that_goes_away_after_any_byte_is_an_error_for_its_server() {
    let before = Before::now();
    let (connector, acceptor) = &*SHORT;
    for sent in 0.. {
        let (client, server) = pair().await;
        let room = Rc::new(Cell::new(sent));
        let client = async { drop(connector.connect(HOST, Cut::new(client, &room)).await) };
        let server = finds_an_end(acceptor.accept(server));
        bounded(async { corio::join!(server, client) }).await;
        if room.get() > 0 {
            assert!(sent > 200, "the client says hello and finishes, in {sent} bytes");
            break;
        }
    }
    before.comes_back().await;
}

/// Polls a future so many times, one turn of the loop apart, and drops it. True if it was ready.
async fn dropped_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return true;
        }
        let before = corio::stats().turns;
        while corio::stats().turns == before {
            corio::yield_now().await;
        }
    }
    false
}

#[corio::test]
async fn a_handshake_may_be_dropped_at_each_poll() {
    let before = Before::now();
    let (connector, acceptor) = (connector(), acceptor());
    let (mut client_ends, mut server_ends) = (false, false);
    for polls in 0.. {
        assert!(polls < 10_000, "the handshakes do not end");
        if !client_ends {
            let (client, server) = pair().await;
            let server = finds_an_end(acceptor.accept(server));
            let client = dropped_after(polls, connector.connect(HOST, client));
            ((), client_ends) = bounded(async { corio::join!(server, client) }).await;
        }
        if !server_ends {
            let (client, server) = pair().await;
            let client = finds_an_end(connector.connect(HOST, client));
            let server = dropped_after(polls, acceptor.accept(server));
            ((), server_ends) = bounded(async { corio::join!(client, server) }).await;
        }
        if client_ends && server_ends {
            break;
        }
    }
    before.comes_back().await;
}

#[corio::test]
async fn a_handshake_that_nobody_answers_can_time_out() {
    let before = Before::now();
    let (near, far) = pair().await;
    let moment = std::time::Duration::from_millis(1);
    assert!(corio::timeout(moment, acceptor().accept(near)).await.is_err());
    let mut peer = far;
    assert_eq!(bounded(peer.read(&mut [0])).await.unwrap(), 0, "the stream was closed");
    drop(peer);
    let (near, far) = pair().await;
    assert!(corio::timeout(moment, connector().connect(HOST, near)).await.is_err());
    drop(far);
    before.comes_back().await;
}

/// What may come instead of a handshake.
fn garbage() -> Vec<Vec<u8>> {
    let mut random = Random::new(3);
    let mut noise = |length: usize| (0..length).map(|_| random.below(256) as u8).collect();
    let mut all: Vec<Vec<u8>> = (0..20).map(|at| noise(1 + at * at * 10)).collect();
    all.extend([
        b"GET / HTTP/1.1\r\nhost: here\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        vec![0; 100_000],
        vec![0x16; 100_000],
        // Records: longer than any may be, begun and not ended, empty.
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x16\x03\x01\x40\x00\x01".to_vec(),
        b"\x16\x03\x01\x00\x00".repeat(1000),
        // A hello of 16 MiB, and one that says it holds more than its record.
        [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &vec![7; 200_000]].concat(),
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff".to_vec(),
        // Changes of cipher without end, data too early, alerts: the end, a failure, unknown ones.
        b"\x14\x03\x03\x00\x01\x01".repeat(1000),
        b"\x17\x03\x03\x00\x05early".to_vec(),
        b"\x15\x03\x03\x00\x02\x01\x00".to_vec(),
        b"\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        b"\x15\x03\x03\x00\x02\x01\xee".repeat(1000),
    ]);
    all
}

#[corio::test]
async fn garbage_is_an_error_for_either_side() {
    let before = Before::now();
    let (connector, acceptor) = (connector(), acceptor());
    for bytes in garbage() {
        let shown = bytes[..bytes.len().min(20)].escape_ascii().to_string();
        for is_server in [true, false] {
            let (near, mut far) = pair().await;
            let talking = async {
                // The other side may have gone by then.
                let _ = far.write(&bytes).await;
                let _ = far.shutdown().await;
                let _ = far.read_to_end(&mut Vec::new()).await;
            };
            let shaking = async {
                match is_server {
                    true => acceptor.accept(near).await.map(drop),
                    false => connector.connect(HOST, near).await.map(drop),
                }
            };
            let ((), result) = bounded(async { corio::join!(talking, shaking) }).await;
            assert!(result.is_err(), "{shown}");
        }
    }
    before.comes_back().await;
}

#[corio::test]
async fn who_does_not_speak_tls_is_told_apart_at_once() {
    // The client waits for its answer, and does not end.
    let (near, far) = pair().await;
    far.write(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = bounded(acceptor().accept(near)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    drop(far);
}

#[corio::test]
async fn a_plain_dialogue_turns_into_tls_though_the_client_did_not_wait_for_it() {
    let (mut client, mut server) = pair().await;
    let client = async {
        server_says(&mut client, b"ready\n").await;
        // The hello is in the same packet as the command.
        client.write(b"STARTTLS\n").await.unwrap();
        let mut stream = connector().connect(HOST, client).await.unwrap();
        stream.write(b"secret").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    };
    let server = async {
        server.write(b"ready\n").await.unwrap();
        assert_eq!(server.read_line(100).await.unwrap(), b"STARTTLS\n");
        let mut stream = acceptor().accept(server).await.unwrap();
        let mut all = Vec::new();
        futures_util::AsyncReadExt::read_to_end(&mut stream, &mut all).await.unwrap();
        assert_eq!(all, b"secret");
        stream.shutdown().await.unwrap();
    };
    bounded(async { corio::join!(client, server) }).await;
}

async fn server_says(client: &mut TcpStream, line: &[u8]) {
    assert_eq!(client.read_line(100).await.unwrap(), line);
}

/// Whether two ends understand each other.
async fn converse<A, B>(near: &mut TlsStream<A>, far: &mut TlsStream<B>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = [0; 10];
    near.write(b"question").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(bounded(far.read(&mut buffer)).await.unwrap(), 8);
    far.write(b"answer").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(bounded(near.read(&mut buffer)).await.unwrap(), 6);
}

#[corio::test]
async fn a_stream_that_sends_only_when_it_is_flushed_is_flushed() {
    let (client, server) = pair().await;
    let (connector, acceptor) = (connector(), acceptor());
    let client = connector.connect(HOST, BufWriter::with_capacity(100_000, client));
    let server = acceptor.accept(BufWriter::with_capacity(100_000, server));
    let (client, server) = bounded(async { corio::join!(client, server) }).await;
    converse(&mut client.unwrap(), &mut server.unwrap()).await;
}

#[corio::test]
async fn tls_goes_through_tls() {
    let (client, server) = tls_pair().await;
    let (connector, acceptor) = (connector(), acceptor());
    let (client, server) = (connector.connect(HOST, client), acceptor.accept(server));
    let (client, server) = bounded(async { corio::join!(client, server) }).await;
    converse(&mut client.unwrap(), &mut server.unwrap()).await;
}

#[corio::test]
async fn a_peer_that_is_gone_already_is_an_error() {
    let (near, far) = pair().await;
    far.abort();
    drop(far);
    assert_kind(
        bounded(acceptor().accept(near)).await.map_err(|error| match error.kind() {
            // Which of the two comes first is the kernel's.
            ErrorKind::BrokenPipe => ErrorKind::ConnectionReset.into(),
            _ => error,
        }),
        ErrorKind::ConnectionReset,
    );
}
