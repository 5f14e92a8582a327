//! Connections in secret: what is asked for is had or refused, and a cancel goes the same way.

use std::pin::pin;
use std::sync::OnceLock;

use corio::postgres::{ConnectOptions, Error, Pool};
use corio::tls::Connector;
use futures_util::future::{Either, select};

use super::servers::{self, Server};
use super::support::bounded;
use super::{BUSY, named, session_of, until_sessions};

struct Secret {
    server: Server,
    certificate: String,
}

/// A server with a certificate for `localhost`.
fn secret() -> &'static Secret {
    static SECRET: OnceLock<Secret> = OnceLock::new();
    SECRET.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let server = servers::start_postgres_with(Some((&certificate, &key)));
        Secret { server, certificate }
    })
}

fn options(host: &str, mode: &str, name: &str) -> ConnectOptions {
    let port = secret().server.port;
    named(&format!("postgres://corio@{host}:{port}/postgres?sslmode={mode}"), name)
}

fn connector() -> Connector {
    Connector::builder().root_certificates(&secret().certificate).build().unwrap()
}

async fn is_secret(options: ConnectOptions) -> Result<bool, Error> {
    let connection = bounded(options.connect()).await?;
    let text = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(bounded(connection.query_one(text, &[])).await?.get(0))
}

#[corio::test]
async fn a_session_is_as_secret_as_it_was_asked_to_be() {
    for (mode, expected) in [("disable", false), ("prefer", true), ("require", true)] {
        let options = options("localhost", mode, "modes").tls(connector());
        assert_eq!(is_secret(options).await.unwrap(), expected, "{mode}");
    }
    // Nothing was given to be secret with.
    assert!(!is_secret(options("localhost", "prefer", "modes")).await.unwrap());
    let error = is_secret(options("localhost", "require", "modes")).await.unwrap_err();
    assert!(error.to_string().contains("give the options a connector"), "{error}");
}

#[corio::test]
async fn what_cannot_be_secret_is_refused() {
    // The certificate is of another name, or nobody vouches for it.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let other = Connector::builder().root_certificates(&other).build().unwrap();
    for (host, connector) in [("127.0.0.1", connector()), ("localhost", other)] {
        let error = is_secret(options(host, "require", "wrong").tls(connector)).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let plain = format!("{}?sslmode=require", servers::postgres().postgres_url());
    let options = named(&plain, "plain").tls(connector());
    let error = is_secret(options).await.unwrap_err();
    assert!(error.to_string().contains("the server has no TLS"), "{error}");
}

#[corio::test]
async fn a_cancel_goes_in_secret_too() {
    let watcher = options("localhost", "require", "watcher").tls(connector());
    let watcher = bounded(watcher.connect()).await.unwrap();
    let name = format!("secret {}", session_of(&watcher).await);
    let pool = Pool::builder(options("localhost", "require", &name).tls(connector()));
    let pool = pool.size(1).build();
    {
        let long = pin!(async {
            let connection = pool.acquire().await.unwrap();
            connection.query("SELECT pg_sleep(3600)", &[]).await
        });
        let watch = pin!(until_sessions(&watcher, &name, &["active"], 1));
        assert!(matches!(select(long, watch).await, Either::Right(_)), "it runs for an hour");
    }
    until_sessions(&watcher, &name, BUSY, 0).await;
    let connection = bounded(pool.acquire()).await.unwrap();
    bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
}
