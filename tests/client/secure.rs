//! `https`: which version TLS agrees on, whom it believes, and the same behind a proxy.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use corio::compat::hyper::{Executor, Timer};
use corio::http::client::{Client, Phase};
use corio::http::{Request, Response, Version};
use corio::net::{Server, TcpStream, serve};
use corio::tls::{Acceptor, Connector};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;

use crate::authority::{Authority, Identity, authority};
use crate::proxies::proxy;
use crate::support::{bounded, until};
use crate::{ask, builder, text};

/// Answers with the version and the address, in the version that was agreed upon. Counts the
/// connections that took up an earlier session.
async fn server(identity: &Identity, protocols: &[&str]) -> (Server, Rc<Cell<usize>>) {
    let acceptor = Acceptor::builder().certificate(&identity.chain, &identity.key);
    let acceptor = acceptor.alpn(protocols).build().unwrap();
    let resumed = Rc::new(Cell::new(0));
    let counted = Rc::clone(&resumed);
    let serving = serve("127.0.0.1:0", move |stream: TcpStream| {
        let (acceptor, counted) = (acceptor.clone(), Rc::clone(&counted));
        async move {
            // Hand-shakes fail here on purpose.
            let Ok(stream) = acceptor.accept(stream).await else {
                return Ok(());
            };
            counted.set(counted.get() + usize::from(stream.is_resumed()));
            let is_http2 = stream.alpn() == Some(b"h2");
            let echo = service_fn(async |request: Request<Incoming>| {
                let text = format!("{:?} {}", request.version(), request.uri().path());
                Ok::<_, Infallible>(Response::new(text))
            });
            // A client that is gone is no error of this server.
            let _ = match is_http2 {
                true => {
                    http2::Builder::new(Executor).timer(Timer).serve_connection(stream, echo).await
                }
                false => http1::Builder::new().timer(Timer).serve_connection(stream, echo).await,
            };
            Ok::<_, Infallible>(())
        }
    });
    (serving.await.unwrap(), resumed)
}

fn url(server: &Server, host: &str) -> String {
    format!("https://{host}:{}/x", server.local_addrs()[0].port())
}

fn connector() -> Connector {
    Connector::builder().root_certificates(&authority().root).build().unwrap()
}

fn client() -> Client {
    builder().tls(connector()).build().unwrap()
}

#[corio::test]
async fn the_version_is_agreed_upon() {
    let table: [(&[&str], &str); 3] = [
        (&["h2", "http/1.1"], "HTTP/2.0 /x"),
        (&["http/1.1"], "HTTP/1.1 /x"),
        (&[], "HTTP/1.1 /x"),
    ];
    for (protocols, due) in table {
        let (server, _) = server(&authority().server(), protocols).await;
        let client = client();
        // Those that ask at the same time, before the version is known, too.
        let url = url(&server, "localhost");
        let requests = (0..5).map(|_| text(client.get(&url)));
        for answer in bounded(corio::gather(requests)).await.unwrap() {
            assert_eq!(answer, (200, due.into()));
        }
        assert_eq!(ask(client.get(&url)).await.1, due);
        if due.starts_with("HTTP/2") {
            assert_eq!(client.pool_stats().connections, 1);
        }
    }
}

#[corio::test]
async fn a_client_may_insist_on_one_version() {
    let (server, _) = server(&authority().server(), &["h2", "http/1.1"]).await;
    let url = url(&server, "localhost");
    let old = builder().tls(connector()).http1_only().build().unwrap();
    let answer = bounded(old.get(&url).send()).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_11);
    assert_eq!(bounded(answer.text()).await.unwrap(), "HTTP/1.1 /x");
    let new = builder().tls(connector()).http2_prior_knowledge().build().unwrap();
    assert_eq!(ask(new.get(&url)).await.1, "HTTP/2.0 /x");
}

#[corio::test]
async fn nobody_is_believed_without_reason() {
    let identities = [
        authority().expired_server(),
        authority().client("elsewhere.example"),
        Authority::self_signed(),
        Authority::new("somebody").server(),
    ];
    for identity in identities {
        let (server, _) = server(&identity, &["h2", "http/1.1"]).await;
        let client = client();
        let error = bounded(text(client.get(url(&server, "localhost")))).await.unwrap_err();
        assert_eq!(error.phase(), Phase::Connect, "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(client.pool_stats().connections, 0);
    }
    // An address may be what a certificate is for.
    let (server, _) = server(&authority().server(), &[]).await;
    assert_eq!(ask(client().get(url(&server, "127.0.0.1"))).await.1, "HTTP/1.1 /x");
    // Those whom the system believes do not vouch for us.
    let error = bounded(text(crate::client().get(url(&server, "localhost")))).await;
    assert_eq!(error.unwrap_err().phase(), Phase::Connect);
}

#[corio::test]
async fn a_session_is_taken_up_again() {
    let (server, resumed) = server(&authority().server(), &["http/1.1"]).await;
    let client = builder().tls(connector()).idle_per_host(0).build().unwrap();
    for _ in 0..3 {
        ask(client.get(url(&server, "localhost"))).await;
        until(|| client.pool_stats().connections == 0).await;
    }
    assert!(resumed.get() > 0);
}

#[corio::test]
async fn a_tunnel_carries_tls_and_its_proxy_sees_nothing() {
    for (protocols, due) in [(["h2"], "HTTP/2.0 /x"), (["http/1.1"], "HTTP/1.1 /x")] {
        let (server, _) = server(&authority().server(), &protocols).await;
        let proxy = proxy(None).await;
        let url = url(&server, "localhost");
        let behind = builder().tls(connector()).proxy(&proxy.url, "").build().unwrap();
        for _ in 0..3 {
            let request = behind.get(&url).bearer_auth("secret");
            assert_eq!(ask(request).await, (200, due.into()));
        }
        assert_eq!(proxy.heads.borrow().len(), 1, "one tunnel serves all");
        let head = proxy.heads.borrow()[0].1.clone();
        assert!(head.starts_with("CONNECT localhost:"), "{head}");
        assert!(!head.contains("secret"), "{head}");
    }
}
