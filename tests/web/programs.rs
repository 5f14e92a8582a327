//! Clients that are not ours: curl, wrk, h2load, aiohttp. `ci/services` installs them.

use std::ffi::OsStr;

use corio::fs::{self, TemporaryFolder};
use corio::http::ServeOptions;
use corio::net::Server;
use corio::process::{Command, Output, Stdio};

use crate::echo_server;
use crate::support::{bounded, numbered};

/// Runs a program to its end, which has to be a good one, and gives what it printed.
async fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = bounded(command.output()).await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; cure: ci/services"));
    text_of(program, &output)
}

#[track_caller]
fn text_of(program: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{text}\n{errors}", output.status);
    text + &errors
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.local_addrs()[0])
}

/// Asks curl, quietly, and with an answer's status as the last line.
async fn curl(arguments: &[&str]) -> String {
    let always = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "15"];
    let status = ["--write-out", "\n%{http_version} %{http_code}"];
    run("curl", always.iter().chain(&status).chain(arguments)).await
}

#[corio::test]
async fn curl_speaks_1_0_and_1_1_and_2() {
    let server = echo_server(ServeOptions::new()).await;
    let url = url(&server);
    for (how, version) in
        [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")]
    {
        let answer = curl(&[how, "--data", "some words", &url]).await;
        assert_eq!(answer, format!("some words\n{version} 200"));
        // Two on one connection.
        let answer = curl(&[how, "--data", "ab", &url, &url]).await;
        assert_eq!(answer.matches(&format!("ab\n{version} 200")).count(), 2, "{answer}");
    }
    // An offer to go on with HTTP/2 may be left (RFC 9110, section 7.8).
    let answer = curl(&["--http2", "--data", "x", &url]).await;
    assert_eq!(answer, "x\n1.1 200");
}

#[corio::test]
async fn curl_uploads_in_chunks_what_has_no_length() {
    let server = echo_server(ServeOptions::new()).await;
    let bytes = numbered(0, 3_000_000);
    for how in ["--http1.1", "--http2-prior-knowledge"] {
        let arguments =
            ["--silent", "--noproxy", "*", "--max-time", "15", how, "--upload-file", "-"];
        let mut command = Command::new("curl");
        command.args(arguments).arg(url(&server));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let output = bounded(child.communicate(&bytes)).await.unwrap();
        assert!(output.status.success() && output.stdout == bytes, "{how}: {}", output.status);
    }
}

#[corio::test]
async fn curl_waits_for_100_continue() {
    let server = echo_server(ServeOptions::new()).await;
    let expect = ["--http1.1", "--header", "expect: 100-continue", "--verbose"];
    // Longer than the test lasts: only the word of the server has curl go on.
    let patience = ["--expect100-timeout", "100", "--data", "at last"];
    let url = url(&server);
    let answer = curl(&[&expect[..], &patience, &[&url]].concat()).await;
    assert!(answer.contains("HTTP/1.1 100 Continue"), "{answer}");
    assert!(answer.contains("at last\n1.1 200"), "{answer}");
}

#[corio::test]
async fn curl_goes_on_with_a_download_that_was_cut_off() {
    let folder = TemporaryFolder::new().await.unwrap();
    let root = fs::canonicalize(folder.path()).await.unwrap();
    let bytes = numbered(0, 500_000);
    fs::write(root.join("whole"), bytes.clone()).await.unwrap();
    let server = crate::examples::files(&root).await;
    let part = root.join("part");
    fs::write(&part, bytes[..123_456].to_vec()).await.unwrap();
    let part_name = part.to_str().unwrap();
    let url = url(&server) + "whole";
    let answer = curl(&["--continue-at", "-", "--output", part_name, &url]).await;
    assert_eq!(answer, "\n1.1 206");
    assert_eq!(fs::read(&part).await.unwrap(), bytes);
    assert_eq!(curl(&["--range", "8-15", "--output", part_name, &url]).await, "\n1.1 206");
    assert_eq!(fs::read(&part).await.unwrap(), 1u64.to_le_bytes());
}

#[corio::test]
async fn wrk_finds_no_error() {
    let server = echo_server(ServeOptions::new()).await;
    let report = run("wrk", ["-t1", "-c50", "-d1s", &url(&server)]).await;
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
}

#[corio::test]
async fn h2load_gets_every_answer() {
    let server = echo_server(ServeOptions::new()).await;
    let url = url(&server);
    for (how, requests) in [("h2c", "5000"), ("http/1.1", "1000")] {
        let how = format!("--no-tls-proto={how}");
        let report = run("h2load", ["-n", requests, "-c", "10", "-m", "50", &how, &url]).await;
        let due = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(report.contains(&due), "{report}");
    }
}

#[corio::test]
async fn aiohttp_gets_right_answers() {
    let server = echo_server(ServeOptions::new().body_limit(1_000_000)).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aiohttp_client.py");
    // The system's Python, which has the system's packages.
    let report = run("/usr/bin/python3", [script, &url(&server)]).await;
    assert_eq!(report, "all answers are right\n");
}
