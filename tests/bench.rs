//! `corio bench` has to find what is wrong: with a server, with itself, with a comparison.
//!
//! The servers that misbehave are blocking threads of the standard library. Runs are short: what is
//! asked here is whether the figures are true, not what they are.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

#[path = "support/program.rs"]
mod support;

use support::{Server, run, stderr, stdout};

/// Runs a short benchmark that has to succeed, and returns its objects.
fn bench(arguments: &[&str]) -> Vec<Value> {
    let output = run(&[&["bench"], arguments, &["--json", "--warmup", "0.05"]].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    let lines = stdout(&output).lines();
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn bench_one(arguments: &[&str]) -> Value {
    let mut objects = bench(&[arguments, &["--rounds", "1"]].concat());
    assert_eq!(objects.len(), 1, "one server and one number of connections");
    objects.remove(0)
}

/// A blocking server of HTTP that calls `answer` with the number of each request, from 0.
fn http_server(answer: impl Fn(&mut TcpStream, usize) -> bool + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    // The threads end with their connections, the accepting one with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.expect("a connection"), answer.clone());
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                let mut number = 0;
                while let Ok(1..) = stream.read(&mut piece) {
                    if !answer(&mut stream, number) {
                        return;
                    }
                    number += 1;
                }
            });
        }
    });
    address
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

fn hello(stream: &mut TcpStream) -> bool {
    stream.write_all(HELLO).is_ok()
}

/// What `bench http` says about a server that does wrong.
fn complaint(answer: impl Fn(&mut TcpStream, usize) -> bool + Clone + Send + 'static) -> String {
    let address = http_server(answer);
    let load = ["--connections", "2", "--seconds", "0.3", "--warmup", "0", "--target", &address];
    let output = run(&[&["bench", "http"], &load[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output).to_owned()
}

#[test]
fn http_is_measured_and_says_the_same_fields_as_echo() {
    let echo = bench_one(&["echo", "--seconds", "0.5", "--connections", "4"]);
    for path in ["/plaintext", "/json"] {
        let shape = ["--path", path, "--pipeline", "4", "--connections", "4"];
        let http = bench_one(&[&["http", "--seconds", "0.5"], &shape[..]].concat());
        assert_eq!(http["bench"], "http");
        assert_eq!(http["path"], path);
        assert_eq!(http["errors"], 0);
        assert!(http["requests"].as_u64() > Some(0), "{http}");
        assert!(http["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{http}");
        let names = |json: &Value| -> Vec<String> {
            json.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(names(&http), names(&echo));
    }
    for fact in ["kernel", "cpus", "mitigations", "governor", "features", "placement"] {
        assert!(echo["machine"][fact].is_string(), "{fact}: {echo}");
    }
}

#[test]
fn a_wrong_body_a_wrong_status_and_a_reply_too_many_are_found() {
    let wrong = complaint(|stream, number| match number {
        20 => stream.write_all(&[&HELLO[..HELLO.len() - 1], b"?"].concat()).is_ok(),
        _ => hello(stream),
    });
    assert!(wrong.contains("a wrong body came back"), "{wrong}");
    let status = complaint(|stream, number| match number {
        20 => stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").is_ok(),
        _ => hello(stream),
    });
    assert!(status.contains("503 Busy"), "{status}");
    let doubled = complaint(|stream, number| match number {
        20 => stream.write_all(&HELLO.repeat(2)).is_ok(),
        _ => hello(stream),
    });
    assert!(doubled.contains("more than 1 replies"), "{doubled}");
    let closed = complaint(|stream, number| number < 20 && hello(stream));
    assert!(closed.contains("closed it while 1 replies"), "{closed}");
}

#[test]
fn a_reply_that_never_comes_is_found() {
    let silent = complaint(|stream, number| number >= 20 || hello(stream));
    assert!(silent.contains("had no answer"), "{silent}");
}

/// Hazard: coordinated omission. A server that stands still for 100 ms delays every message that
/// was meant to be sent meanwhile; a client that waits for it counts one.
#[test]
fn a_pause_of_the_server_shows_in_the_percentiles_of_an_open_loop() {
    let address = http_server(|stream, number| {
        if number == 100 {
            // The pause is the hazard itself.
            std::thread::sleep(Duration::from_millis(100));
        }
        hello(stream)
    });
    let load = ["--connections", "1", "--seconds", "1", "--target", &address];
    let json = bench_one(&[&["http", "--rate", "1000"], &load[..]].concat());
    // 100 of 1,000 messages were meant for the pause; half of them waited 50 ms and more.
    let p99 = json["latency_us"]["p99"].as_f64().expect("a latency");
    assert!(p99 > 50_000.0, "{json}");
    assert_eq!(json["rate"], 1000.0);
    assert!(json["lag_us"]["p50"].is_number(), "{json}");
}

#[test]
fn an_open_loop_sends_what_it_is_told_to_and_ends_though_its_messages_are_rare() {
    let shape = ["--seconds", "0.5", "--connections", "50", "--rate", "400"];
    let json = bench_one(&[&["echo"], &shape[..]].concat());
    assert!(json["requests"].as_u64() <= Some(300), "more than were asked for: {json}");
    assert!(json["requests"].as_u64() > Some(0), "{json}");
    let rare = ["--seconds", "0.2", "--connections", "200", "--rate", "100"];
    assert_eq!(bench_one(&[&["echo"], &rare[..]].concat())["errors"], 0);
}

#[test]
fn servers_are_compared_and_equal_ones_are_not_told_apart_by_one_round() {
    let program = env!("CARGO_BIN_EXE_corio");
    let other = format!("exec '{program}' serve echo --port {{port}}");
    let shape = ["--connections", "1,8", "--seconds", "0.1", "--rounds", "1"];
    let objects = bench(&[&["echo", "--against", &other], &shape[..]].concat());
    let servers: Vec<_> = objects.iter().map(|json| json["server"].as_str()).collect();
    assert_eq!(servers, [Some("corio"), Some(&other), Some("corio"), Some(&other)]);
    for json in &objects {
        assert!(json["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{json}");
    }
    assert!(objects[0]["against"].is_null());
    assert_eq!(objects[1]["against"]["server"], "corio");
    assert!(objects[1]["against"]["better"].is_null(), "one round proves nothing");
}

/// Servers take turns, with all their connections open, and one of them is at fault.
#[test]
fn a_server_at_fault_among_others_is_the_one_that_is_named() {
    let program = env!("CARGO_BIN_EXE_corio");
    let wrong = format!("exec '{program}' serve echo --port {{port}}");
    // It takes connections and bytes, and says nothing.
    let silent = "exec python3 -c 'import socket, time; \
                  server = socket.create_server((\"127.0.0.1\", {port}), backlog=64); \
                  time.sleep(60)'";
    let good = format!("exec '{program}' serve http --port {{port}}");
    for (fault, told) in [(wrong.as_str(), "connection 0"), (silent, "had no answer")] {
        let shape = ["--connections", "2", "--seconds", "0.1", "--rounds", "1"];
        let output =
            run(&[&["bench", "http", "--against", &good, "--against", fault], &shape[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        let said = stderr(&output);
        let named = said.lines().find(|line| line.contains("errors of")).expect("an error");
        assert!(named.contains(fault) && named.contains(told), "{said}");
    }
}

#[test]
fn a_command_that_does_not_serve_is_named_at_once() {
    let output = run(&["bench", "echo", "--seconds", "0.1", "--against", "exit 3 # {port}"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has ended before it listened"), "{}", stderr(&output));
}

/// Hazard: a server that has something to do at its end (counters to write, as `perf stat` has) is
/// killed at once.
#[test]
fn a_server_is_given_time_to_end_in_order() {
    let program = env!("CARGO_BIN_EXE_corio");
    let file = std::env::temp_dir().join(format!("corio-end-{}", std::process::id()));
    let path = file.display();
    let other = format!(
        "trap : TERM; '{program}' serve echo --port {{port}}; sleep 0.3; echo ended >'{path}'"
    );
    bench(&["echo", "--against", &other, "--seconds", "0.1", "--rounds", "1"]);
    let written = std::fs::read_to_string(&file).expect("the end was reached");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(written, "ended\n");
}

/// Hazard: what the load generator listens to is withheld from the servers of later rounds, which
/// are not told to end then, but killed after three seconds each.
#[test]
fn the_servers_of_all_rounds_are_told_to_end() {
    let program = env!("CARGO_BIN_EXE_corio");
    let file = std::env::temp_dir().join(format!("corio-told-{}", std::process::id()));
    let path = file.display();
    let other = format!(
        "trap 'echo told >>\"{path}\"; exit' TERM; '{program}' serve echo --port {{port}} & wait"
    );
    bench(&["echo", "--against", &other, "--seconds", "0.1", "--rounds", "3"]);
    let written = std::fs::read_to_string(&file).expect("each was told");
    std::fs::remove_file(&file).expect("removed");
    // Rounds that were disturbed are repeated.
    assert!(written.lines().count() >= 3, "{written}");
}

#[test]
fn the_page_holds_everything_and_refers_to_nothing() {
    let directory = std::env::temp_dir().join(format!("corio-page-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("page.html");
    let shape =
        ["--seconds", "0.1", "--connections", "1,4", "--html", file.to_str().expect("text")];
    bench(&[&["http", "--rounds", "1"], &shape[..]].concat());
    let page = std::fs::read_to_string(&file).expect("the page");
    std::fs::remove_dir_all(&directory).expect("removed");
    for part in ["Throughput by connections", "CPU per request", "Latency, 4 connections", "<svg"] {
        assert!(page.contains(part), "{part} is missing");
    }
    for reference in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(reference), "it refers to something: {reference}");
    }
}

#[test]
fn a_server_on_several_cores_tells_what_each_did_and_how_uneven_it_was() {
    for policy in ["reuse-port", "round-robin", "least-connections"] {
        let shape = ["--seconds", "0.2", "--connections", "8", "--cores", "2"];
        let json = bench_one(&[&["echo", "--accept", policy], &shape[..]].concat());
        assert_eq!(json["errors"], 0);
        let cores = json["cores"].as_array().expect("core by core");
        assert_eq!(cores.len(), 2, "{json}");
        let connections: Vec<_> = cores.iter().map(|core| core["connections"].as_u64()).collect();
        assert_eq!(connections.iter().flatten().sum::<u64>(), 8, "{json}");
        if policy != "reuse-port" {
            assert_eq!(connections, [Some(4), Some(4)]);
        }
        assert!(json["imbalance"].as_f64() >= Some(1.0), "{json}");
        assert!(cores.iter().all(|core| core["busy"].is_number()), "{json}");
    }
    let one = bench_one(&["echo", "--seconds", "0.1", "--connections", "2"]);
    assert_eq!((&one["cores"], &one["imbalance"]), (&Value::Array(vec![]), &Value::Null));
}

#[test]
fn connections_are_opened_again_and_again() {
    let json = bench_one(&["accept", "--seconds", "0.3", "--connections", "4"]);
    assert_eq!((&json["bench"], &json["errors"]), (&"accept".into(), &0.into()));
    assert!(json["requests"].as_u64() > Some(10), "{json}");
}

#[test]
fn idle_connections_are_weighed_and_are_alive_afterwards() {
    let json = bench_one(&["idle", "--seconds", "0.2", "--connections", "400"]);
    assert_eq!(json["requests"], 400, "each has echoed once more: {json}");
    let bytes = json["bytes_per_connection"].as_f64().expect("known");
    assert!((0.0..1e6).contains(&bytes), "{json}");
}

/// Hazard: the memory of the shell that starts a server is taken for the server's.
#[test]
fn the_memory_of_a_server_behind_a_shell_is_the_servers() {
    let program = env!("CARGO_BIN_EXE_corio");
    let other = format!("'{program}' serve echo --port {{port}}; true");
    let shape = ["--connections", "1000", "--seconds", "0.1", "--rounds", "1"];
    let objects = bench(&[&["idle", "--against", &other], &shape[..]].concat());
    let bytes = objects[1]["bytes_per_connection"].as_f64().expect("known");
    assert!(bytes > 100.0, "a task and a stream take more: {}", objects[1]);
}

#[test]
fn more_connections_than_open_files_are_refused_before_the_first() {
    let program = env!("CARGO_BIN_EXE_corio");
    let script = format!("ulimit -n 300; exec '{program}' bench idle --connections 1000");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("may open 300"), "{}", stderr(&output));
    assert!(stderr(&output).contains("at most 236 --connections"), "{}", stderr(&output));
}

#[test]
fn timers_are_timed() {
    let json = bench_one(&["timer", "--seconds", "0.4", "--connections", "300"]);
    assert_eq!((&json["bench"], &json["errors"]), (&"timer".into(), &0.into()));
    assert!(json["requests"].as_u64() > Some(300), "each has fired, most of them often: {json}");
    assert!(json["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{json}");
}

#[test]
fn numbers_go_to_another_core_and_come_back() {
    let shape = ["--seconds", "0.2", "--connections", "1,4", "--pipeline", "8", "--rounds", "1"];
    let objects = bench(&[&["channel"], &shape[..]].concat());
    assert_eq!(objects.len(), 2, "{objects:?}");
    for json in &objects {
        assert_eq!((&json["bench"], &json["errors"]), (&"channel".into(), &0.into()));
        assert!(json["requests"].as_u64() > Some(8), "batches came back: {json}");
        assert!(json["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{json}");
    }
}

#[test]
fn a_file_is_read_at_each_depth_and_removed_again() {
    let name = format!("{}/bench-file-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::create_dir_all(&name).expect("a directory");
    let shape = ["--megabytes", "2", "--depth", "1,4", "--seconds", "0.05", "--rounds", "1"];
    let rows = bench(&[&["file", "--dir", &name], &shape[..]].concat());
    let who = |row: &Value| (row["server"].clone(), row["connections"].clone());
    let seen: Vec<_> = rows.iter().map(who).collect();
    let due = [("corio", 1), ("pread", 1), ("corio", 4), ("pread", 4)];
    assert_eq!(seen, due.map(|(server, depth)| (server.into(), depth.into())));
    for row in &rows {
        assert!(row["requests_per_s"].as_f64() > Some(0.0), "{row}");
        assert!(row["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{row}");
    }
    std::fs::remove_dir(&name).expect("nothing is left in it");
}

#[test]
fn mistakes_are_told_with_their_cure() {
    for (arguments, reason) in [
        (&["http", "--path", "plaintext"][..], "it begins with `/`"),
        (&["http", "--rate", "0"], "messages per second from 0.1"),
        (&["http", "--rounds", "0"], "a whole number from 1 to 1000"),
        (&["echo", "--against", "my-server"], "write `{port}` there"),
        (&["echo", "--cores", "2", "--accept", "luck"], "policies: reuse-port"),
        (&["echo", "--cores", "0"], "a whole number from 1 to 1024"),
        (&["echo", "--connections", "1,none"], "a whole number from 1 to"),
        (&["idle", "--rate", "5"], "leave out --rate"),
        (&["timer", "--rate", "5"], "timers have no server"),
        (&["channel", "--rate", "5"], "channels have no server"),
        (&["file", "--connections", "5"], "say --depth"),
        (&["channel", "--cores", "2"], "leave out --cores"),
    ] {
        let output = run(&[&["bench"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
    let server = Server::start("echo", &[]);
    let address = server.address.to_string();
    let output = run(&["bench", "http", "--seconds", "0.1", "--target", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no reply of HTTP"), "{}", stderr(&output));
}
