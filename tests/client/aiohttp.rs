//! A server that is not ours: Python's aiohttp, with what its users do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use corio::http::client::{Body, Phase};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::Value;

use crate::support::{bounded, numbered, until};
use crate::{ask, builder, text};

/// The server's process, which ends with the test.
struct Aiohttp {
    process: Child,
    url: String,
}

impl Aiohttp {
    fn start() -> Aiohttp {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aiohttp_server.py");
        // Debian's own Python has Debian's packages; `ci/services` installs them.
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs Debian's `python3` and `python3-aiohttp`");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert!(line.starts_with("http://"), "aiohttp does not start: `ci/services` installs it");
        Aiohttp { process, url: line.trim().to_owned() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Aiohttp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[corio::test]
async fn what_its_users_do() {
    let server = Aiohttp::start();
    let client = builder().cookies(true).build().unwrap();

    // Requests as it sees them.
    let request = client.post(server.url("/echo")).query([("a", "b c")]).header("x-own", "1");
    let answer = bounded(request.json(&["text", "é"]).send()).await.unwrap();
    let seen: Value = bounded(answer.json()).await.unwrap();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["query"]["a"], "b c");
    assert_eq!(seen["headers"]["x-own"], "1");
    assert_eq!(seen["json"][1], "é");
    let form = client.post(server.url("/echo")).form([("k", "v&w")]);
    let seen: Value = bounded(bounded(form.send()).await.unwrap().json()).await.unwrap();
    assert_eq!(seen["form"]["k"], "v&w");

    // A body in pieces, in both directions.
    let all = numbered(0, 300_000);
    let pieces: Vec<_> = all.chunks(7_777).map(bytes::Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|piece| std::io::Result::Ok(Frame::data(piece)));
    let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    let answer = bounded(client.post(server.url("/back")).body(body).send()).await.unwrap();
    assert!(bounded(answer.bytes()).await.unwrap() == all);

    // Compressed by it, redirected by it, cookies set by it, names and passwords asked for by it.
    for coding in ["gzip", "identity"] {
        let url = server.url(&format!("/words?coding={coding}"));
        assert_eq!(ask(client.get(url)).await.1, "word ".repeat(10_000), "{coding}");
    }
    let answer = bounded(client.get(server.url("/login")).send()).await.unwrap();
    assert_eq!(answer.url().path(), "/who");
    assert_eq!(bounded(answer.text()).await.unwrap(), "somebody");
    assert_eq!(ask(client.get(server.url("/private"))).await.0, 401);
    let named = client.get(server.url("/private")).basic_auth("me", "pass");
    assert_eq!(ask(named).await, (200, "welcome me".into()));
    assert_eq!(ask(client.head(server.url("/words"))).await, (200, String::new()));

    // It fails in the middle of a body.
    let error = bounded(text(client.get(server.url("/breaks")))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Body, "{error}");
    until(|| client.pool_stats().connections == client.pool_stats().idle).await;
    assert_eq!(ask(client.get(server.url("/who"))).await.1, "somebody");
}
