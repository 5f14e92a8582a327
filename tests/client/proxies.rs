//! Proxies: single requests that one passes on, tunnels that it makes, and those that it refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use corio::http::client::Phase;
use corio::net::TcpStream;

use crate::support::bounded;
use crate::{Scripted, ask, builder, child, text};

/// A proxy that makes tunnels, and answers single requests itself. `refusal` is what it answers to
/// whoever asks for a tunnel, instead.
pub async fn proxy(refusal: Option<&'static str>) -> Scripted {
    Scripted::new(move |_, mut peer| async move {
        while let Some(head) = peer.head().await {
            let Some(target) = head.strip_prefix("CONNECT ") else {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await;
                continue;
            };
            if let Some(refusal) = refusal {
                peer.say(refusal).await;
                return peer.gone().await;
            }
            let target = target.split(' ').next().unwrap().to_owned();
            let (host, port) = target.rsplit_once(':').unwrap();
            let port = port.parse().unwrap();
            let Ok(mut server) = corio::net::connect(host, port).await else {
                peer.say("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            };
            peer.say("HTTP/1.1 200 Connection established\r\n\r\n").await;
            let both: &mut TcpStream = &mut peer.stream;
            let _ = corio::io::copy_bidirectional(both, &mut server).await;
            return;
        }
    })
    .await
}

#[corio::test]
async fn a_request_is_passed_on_in_its_absolute_form() {
    let proxy = proxy(None).await;
    let with_name = proxy.url.replace("http://", "http://name:pass@");
    let client = builder().proxy(with_name, "127.0.0.0/8").build().unwrap();
    for _ in 0..2 {
        let request = client.get("http://somewhere.invalid:81/a?b").header("x-own", "1");
        assert_eq!(ask(request).await, (200, "proxy".into()));
    }
    assert_eq!(proxy.count.get(), 1, "the connection is kept");
    let head = proxy.heads.borrow()[0].1.clone();
    assert!(head.starts_with("GET http://somewhere.invalid:81/a?b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: somewhere.invalid:81\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic bmFtZTpwYXNz\r\n"), "{head}");
    // What is spared is asked itself.
    let spared = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown").await;
    assert_eq!(ask(client.get(&spared.url)).await.1, "own");
}

#[corio::test]
async fn a_tunnel_that_is_refused_is_an_error() {
    let refusals = [
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 10\r\n\r\nnever",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nearly bytes",
    ];
    for refusal in refusals {
        let proxy = proxy(Some(refusal)).await;
        let client = builder().proxy(&proxy.url, "").build().unwrap();
        let error = bounded(text(client.get("https://somewhere.invalid/"))).await;
        let error = error.expect_err(refusal);
        assert_eq!(error.phase(), Phase::Connect, "{error}");
        assert!(error.to_string().contains("the proxy"), "{error}");
        assert!(
            proxy.heads.borrow()[0].1.starts_with("CONNECT somewhere.invalid:443 HTTP/1.1\r\n")
        );
        assert_eq!(client.pool_stats().connections, 0);
    }
}

#[corio::test]
async fn what_is_no_proxy_is_told() {
    assert!(builder().proxy("", "").build().is_err());
    assert!(builder().proxy("::::", "").build().is_err());
    let client = builder().proxy("socks5://127.0.0.1:1", "").build().unwrap();
    let error = bounded(text(client.get("http://somewhere.invalid/"))).await.unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("socks5"), "{error}");
}

/// Answers everybody on the loopback, in a thread, and tells what it was asked.
fn blocking_proxy() -> (String, mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let head: Vec<_> = stream
                .by_ref()
                .lines()
                .map_while(Result::ok)
                .take_while(|it| !it.is_empty())
                .collect();
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nproxy";
            stream.get_mut().write_all(answer).unwrap();
            sender.send(head.join("\n")).unwrap();
        }
    });
    (address, heads)
}

#[corio::test]
fn the_environment_names_the_proxy_for_others_than_this_machine() {
    let test = "proxies::the_environment_names_the_proxy_for_others_than_this_machine";
    if !child::is_child(test) {
        let (address, heads) = blocking_proxy();
        let proxy = format!("HTTP_PROXY=http://{address}");
        let spared = "NO_PROXY=spared.invalid,10.0.0.0/8";
        child::rerun(test, &["env", "-u", "http_proxy", "-u", "no_proxy", &proxy, spared]);
        let asked: Vec<_> = heads.try_iter().collect();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].starts_with("GET http://far.invalid/x HTTP/1.1\n"), "{asked:?}");
        return;
    }
    corio::run(async {
        let client = corio::http::Client::new();
        assert_eq!(ask(client.get("http://far.invalid/x")).await.1, "proxy");
        let own = Scripted::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown").await;
        assert_eq!(ask(client.get(&own.url)).await.1, "own");
        // Whatever comes of it, the proxy does not hear of it.
        let spared = client.get("http://10.9.9.9/").timeout(Duration::from_millis(10));
        let _ = bounded(text(spared)).await;
    });
}
