//! Hazards of the start: io_uring refused in every way there is, limits that are too low, settings
//! that change under a running process. Whatever happens, a program runs on the best driver there
//! is and says why, or is refused with the fact, the cause and the cure; and `corio probe` tells
//! beforehand.
//!
//! Filters and limits are for a process's whole life, so each test runs in a child.

#[path = "support/child.rs"]
mod child;
#[path = "support/seccomp.rs"]
mod seccomp;
mod support;
#[path = "support/syscalls.rs"]
mod syscalls;

#[path = "starting/limits.rs"]
mod limits;
#[path = "starting/probing.rs"]
mod probing;
#[path = "starting/profile.rs"]
mod profile;
#[path = "starting/refused.rs"]
mod refused;
#[path = "starting/switch.rs"]
mod switch;

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use corio::{Builder, Runtime};
use serde_json::Value;

/// Before the children's other prefixes: the suite also runs with these set.
const CLEAN: [&str; 5] = ["env", "-u", "CORIO_DRIVER", "-u", "CORIO_DISABLE"];

/// Runs the test once more in a child without settings for corio; true in the parent.
#[track_caller]
fn in_child(test: &str, prefix: &[&str]) -> bool {
    child::rerun(test, &[&CLEAN[..], prefix].concat()).is_some()
}

/// A builder whose runtime notes what it tells.
fn noting() -> (Builder, Rc<RefCell<Vec<String>>>) {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&notes);
    let hook = move |unhandled: &corio::Unhandled| told.borrow_mut().push(unhandled.to_string());
    (Runtime::builder().on_unhandled(hook), notes)
}

/// A runtime that is worth its name carries a connection.
#[track_caller]
fn assert_echoes(runtime: &Runtime) {
    runtime.block_on(support::bounded(async {
        let (mut client, mut server) = support::pair().await;
        let echo = corio::spawn(async move {
            while let Some(chunk) = server.read_chunk().await.unwrap() {
                server.write_owned(chunk).await.unwrap();
            }
        });
        let sent = support::numbered(0, 100_000);
        client.write(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, sent);
        echo.await.unwrap();
    }));
}

fn corio(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corio"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// What `corio probe` says, as text and as JSON, with its exit code, which must be the same.
#[track_caller]
fn probe(arguments: &[&str]) -> (i32, String, Value) {
    let run = |more: &[&str]| -> Output {
        corio(&[&["probe"], arguments, more].concat()).output().expect("corio starts")
    };
    let (page, object) = (run(&[]), run(&["--json"]));
    let complaint = text(&page.stderr);
    assert_eq!(complaint, "", "a probe that works complains of nothing");
    assert_eq!(page.status.code(), object.status.code());
    let json: Value = serde_json::from_slice(&object.stdout).expect("one JSON object");
    let code = page.status.code().expect("it survives");
    assert_eq!(json["exit_code"], code);
    (code, text(&page.stdout).to_owned(), json)
}

/// What the probe found out about one feature.
#[track_caller]
fn finding<'a>(json: &'a Value, name: &str) -> &'a Value {
    let features = json["features"].as_array().expect("a list");
    features.iter().find(|feature| feature["name"] == name).expect("it is in the tables")
}

/// The program's echo server answers, in a process of its own.
#[track_caller]
fn assert_server_echoes(arguments: &[&str]) {
    let mut server = corio(&[&["serve", "echo"], arguments].concat()).spawn().expect("starts");
    let mut told = BufReader::with_capacity(1, server.stderr.take().expect("piped"));
    let mut line = String::new();
    let mut said = String::new();
    let address = loop {
        line.clear();
        if told.read_line(&mut line).expect("text") == 0 {
            panic!("the server ended: {said}");
        }
        said += &line;
        if let Some(address) = line.trim_end().strip_prefix("listening on ") {
            break address.parse::<SocketAddr>().expect("an address");
        }
    };
    let echoed = TcpStream::connect(address).and_then(|mut client| {
        client.write_all(b"hello")?;
        client.shutdown(std::net::Shutdown::Write)?;
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed)?;
        Ok(echoed)
    });
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(echoed.expect("an answer"), b"hello", "{said}");
}

/// Whether this process may do what root may.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a mask");
    u64::from_str_radix(line.trim(), 16).expect("a mask") >> 21 & 1 == 1
}
