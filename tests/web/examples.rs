//! What the examples promise: files with ranges and no way out of the folder, a proxy that passes
//! bodies on as they come.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use corio::fs::{self, TemporaryFolder};
use corio::http::{Body, Request, Response, service_fn};
use corio::net::Server;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use crate::support::{Checker, bounded, numbered};
use crate::{connect, talk};

#[allow(dead_code, reason = "its `main` is not used here")]
#[path = "../../examples/reverse_proxy.rs"]
mod reverse_proxy;
#[allow(dead_code, reason = "its `main` is not used here")]
#[path = "../../examples/static_files.rs"]
mod static_files;

pub async fn files(root: &Path) -> Server {
    let root = Rc::new(fs::Dir::open(root).await.unwrap());
    let service = service_fn(move |request| static_files::serve(Rc::clone(&root), request));
    corio::http::serve("127.0.0.1:0", service).await.unwrap()
}

/// A folder with `digits` in it, beside a file that is none of its affair.
async fn folder() -> (TemporaryFolder, PathBuf) {
    let outer = TemporaryFolder::new().await.unwrap();
    let path = fs::canonicalize(outer.path()).await.unwrap();
    let root = path.join("root");
    fs::create_dir(&root).await.unwrap();
    fs::write(root.join("digits"), "0123456789").await.unwrap();
    fs::write(path.join("secret"), "secret").await.unwrap();
    (outer, root)
}

async fn get(server: &Server, path: &str, fields: &str) -> (String, String) {
    let answer = talk(server, format!("GET {path} HTTP/1.0\r\n{fields}\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

#[corio::test]
async fn ranges_are_those_of_the_standard() {
    let (_outer, root) = folder().await;
    let server = files(&root).await;
    let whole = ("http/1.0 200", "", "0123456789");
    for (range, (status, said, due)) in [
        ("bytes=0-0", ("http/1.0 206", "content-range: bytes 0-0/10", "0")),
        ("bytes=3-6", ("http/1.0 206", "content-range: bytes 3-6/10", "3456")),
        ("bytes=7-", ("http/1.0 206", "content-range: bytes 7-9/10", "789")),
        ("bytes=7-999", ("http/1.0 206", "content-range: bytes 7-9/10", "789")),
        ("bytes=-2", ("http/1.0 206", "content-range: bytes 8-9/10", "89")),
        ("bytes=10-", ("http/1.0 416", "content-range: bytes */10", "")),
        // Several may be answered with the whole, and nonsense is ignored.
        ("bytes=0-1,4-5", whole),
        ("lines=0-1", whole),
        ("bytes=x", whole),
    ] {
        let (head, body) = get(&server, "/digits", &format!("range: {range}\r\n")).await;
        assert!(head.starts_with(status) && head.contains(said), "{range}: {head}");
        assert_eq!(body, due, "{range}");
    }
}

#[corio::test]
async fn what_a_client_has_is_not_sent_again() {
    let (_outer, root) = folder().await;
    let server = files(&root).await;
    let modified = fs::metadata(root.join("digits")).await.unwrap().modified().unwrap();
    let modified = httpdate::fmt_http_date(modified);
    let (head, _) = get(&server, "/digits", "").await;
    let told = format!("last-modified: {modified}").to_ascii_lowercase();
    assert!(head.contains(&told), "{head}");
    let since = |time: &str| format!("if-modified-since: {time}\r\n");
    let (head, body) = get(&server, "/digits", &since(&modified)).await;
    assert!(head.starts_with("http/1.0 304") && body.is_empty(), "{head}");
    let before = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    assert_eq!(get(&server, "/digits", &since(&before)).await.1, "0123456789");
    assert_eq!(get(&server, "/digits", &since("yesterday")).await.1, "0123456789");
}

#[corio::test]
async fn a_head_tells_the_length_without_the_file() {
    let (_outer, root) = folder().await;
    let server = files(&root).await;
    let answer = talk(&server, "HEAD /digits HTTP/1.0\r\n\r\n").await.to_ascii_lowercase();
    assert!(answer.contains("content-length: 10\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = talk(&server, "DELETE /digits HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 405"), "{answer}");
}

#[corio::test]
async fn no_path_leads_out_of_the_folder() {
    let (outer, root) = folder().await;
    let secret = fs::canonicalize(outer.path()).await.unwrap().join("secret");
    fs::symlink(&secret, root.join("link")).await.unwrap();
    fs::symlink(outer.path(), root.join("way")).await.unwrap();
    let server = files(&root).await;
    assert_eq!(get(&server, "/%64igits", "").await.1, "0123456789");
    let absolute = secret.to_str().unwrap();
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "//../secret",
        "/digits/../../secret",
        "/link",
        "/way/secret",
        "/",
        "/.",
        "/nowhere",
        "/%00",
        "/%ff",
        absolute,
        &format!("/{absolute}"),
    ] {
        let (head, body) = get(&server, path, "").await;
        assert!(head.starts_with("http/1.0 404") && body.is_empty(), "{path}: {head}{body}");
    }
}

#[corio::test]
async fn a_proxy_passes_large_bodies_on_and_keeps_what_is_its_own() {
    let upstream = corio::http::serve("127.0.0.1:0", service_fn(reverse_proxy::echo));
    let upstream = upstream.await.unwrap();
    let proxy = reverse_proxy::serve("127.0.0.1:0", upstream.local_addrs()[0]).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close, x-hop\r\nx-hop: y\r\n";
    let mut request = format!("{head}content-length: 2000000\r\n\r\n").into_bytes();
    request.extend(numbered(0, 2_000_000));
    let mut stream = connect(&proxy).await;
    stream.write(&request).await.unwrap();
    let head = bounded(stream.read_until(b"\r\n\r\n", 2000)).await.unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
    let mut body = Vec::new();
    bounded(stream.read_to_end(&mut body)).await.unwrap();
    assert_eq!(body.len(), 2_000_000);
    Checker::default().take(&body);
}

#[corio::test]
async fn a_proxy_passes_a_piece_on_before_the_next_is_there() {
    let ask = service_fn(async |request: Request<Body>| {
        let pieces = request.into_body().into_data_stream();
        let back = futures_util::StreamExt::map(pieces, |piece| piece.map(Frame::data));
        io::Result::Ok(Response::new(StreamBody::new(back)))
    });
    let upstream = corio::http::serve("127.0.0.1:0", ask).await.unwrap();
    let proxy = reverse_proxy::serve("127.0.0.1:0", upstream.local_addrs()[0]).await.unwrap();
    let mut stream = connect(&proxy).await;
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write(head).await.unwrap();
    bounded(async {
        stream.write(b"3\r\none\r\n").await.unwrap();
        stream.read_until(b"\r\n\r\n", 2000).await.unwrap();
        assert_eq!(stream.read_until(b"one\r\n", 100).await.unwrap(), b"3\r\none\r\n");
        stream.write(b"3\r\ntwo\r\n").await.unwrap();
        assert_eq!(stream.read_until(b"two\r\n", 100).await.unwrap(), b"3\r\ntwo\r\n");
    })
    .await;
}

#[corio::test]
async fn a_proxy_without_an_upstream_says_so() {
    let nobody = corio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let proxy = reverse_proxy::serve("127.0.0.1:0", address).await.unwrap();
    let answer = talk(&proxy, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 502"), "{answer}");
}
