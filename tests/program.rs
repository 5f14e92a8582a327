//! The program `corio` as its users run it: a process with arguments, output and an exit code.
//!
//! The servers that misbehave here are blocking threads of the standard library, and the client of
//! the last test is Python's asyncio: whatever corio gets wrong, they do not get wrong with it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

#[path = "support/program.rs"]
mod support;

use support::{Server, corio, run, signal, stderr, stdout, wait_until};

/// Runs a short benchmark that has to succeed, and returns its JSON.
fn bench_json(arguments: &[&str]) -> Value {
    let output =
        run(&[&["bench", "echo", "--json", "--rounds", "1", "--warmup", "0.05"], arguments]
            .concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1, "one object on one line");
    serde_json::from_str(stdout(&output)).expect("JSON")
}

#[test]
fn a_benchmark_prints_one_json_object() {
    let json = bench_json(&["--seconds", "0.3", "--connections", "8"]);
    assert_eq!(json["bench"], "echo");
    let driver = std::env::var("CORIO_DRIVER").unwrap_or_default();
    assert_eq!(json["driver"], if driver.is_empty() { "uring" } else { &driver });
    assert_eq!(json["connections"], 8);
    assert_eq!(json["size"], 64);
    assert_eq!(json["pipeline"], 1);
    assert_eq!(json["seconds"], 0.3);
    assert_eq!(json["errors"], 0);
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name}: {json}"));
    assert!(number("requests") > 0.0);
    assert!(number("server_cpu_ns_per_request") > 0.0);
    assert!(number("server_enters_per_request") > 0.0);
    assert!((0.0..=1.0).contains(&number("least_share")));
    let rate = number("requests") / number("measured_seconds");
    assert!((rate / number("requests_per_s") - 1.0).abs() < 0.01, "{json}");
    let latencies = ["p50", "p90", "p99", "p99_9", "max"]
        .map(|name| json["latency_us"][name].as_f64().unwrap_or_else(|| panic!("{name}: {json}")));
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{json}");
}

#[test]
fn every_shape_of_traffic_is_echoed_without_an_error() {
    for (connections, size, pipeline) in [
        ("1", "1", "1"),
        ("3", "7", "5"),
        ("64", "64", "16"),
        ("200", "4096", "1"),
        ("4", "65536", "1"),
        ("2", "100000", "8"),
        ("1", "3000000", "1"),
    ] {
        let shape = ["--connections", connections, "--size", size, "--pipeline", pipeline];
        let json = bench_json(&[&shape[..], &["--seconds", "0.25"]].concat());
        assert_eq!(json["errors"], 0, "{json}");
        assert!(json["requests"].as_u64() > Some(0), "{json}");
    }
}

#[test]
fn a_benchmark_prints_a_table_for_people() {
    let output = run(&["bench", "echo", "--seconds", "0.1", "--connections", "2", "--warmup", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for row in ["requests per second", "latency p50", "latency max", "server CPU per request"] {
        assert!(stdout(&output).contains(row), "{}", stdout(&output));
    }
}

#[test]
fn an_outside_server_is_driven_and_its_cpu_read() {
    let server = Server::start("echo", &["--busy-poll", "off"]);
    let (address, pid) = (server.address.to_string(), server.child.id().to_string());
    let json = bench_json(&["--seconds", "0.2", "--connect", &address, "--pid", &pid]);
    assert_eq!(json["errors"], 0);
    assert_eq!(json["driver"], "outside");
    assert!(json["server_cpu_ns_per_request"].as_f64() > Some(0.0), "{json}");
    let json = bench_json(&["--seconds", "0.1", "--connect", &address]);
    assert!(json["server_cpu_ns_per_request"].is_null(), "{json}");
    assert!(json["server_enters_per_request"].is_null(), "{json}");
}

/// What a server of [`bench_against`] does with a piece of input; `false` ends the connection.
type Misbehaviour = fn(&mut TcpStream, &mut [u8]) -> bool;

/// Benchmarks a blocking server that echoes the first pieces and misbehaves from then on.
fn bench_against(misbehave: Misbehaviour) -> (Value, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    // The threads end with their connections, the accepting one with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut piece = [0; 65_536];
                let mut pieces = 0;
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    pieces += 1;
                    let goes_on = match pieces {
                        ..50 => stream.write_all(&piece[..len]).is_ok(),
                        _ => misbehave(&mut stream, &mut piece[..len]),
                    };
                    if !goes_on {
                        return;
                    }
                }
            });
        }
    });
    let load = ["--connections", "3", "--seconds", "0.3", "--warmup", "0", "--connect", &address];
    let output = run(&[&["bench", "echo", "--json"], &load[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let json = serde_json::from_str(stdout(&output)).expect("JSON");
    (json, stderr(&output).to_owned())
}

#[test]
fn a_wrong_byte_is_found_and_named() {
    let (json, complaint) = bench_against(|stream, piece| {
        piece[63] ^= 0x10;
        stream.write_all(piece).is_ok()
    });
    assert_eq!(json["errors"], 3);
    assert!(complaint.contains("byte 63 of message 49 came back as"), "{complaint}");
}

#[test]
fn a_doubled_echo_is_found() {
    let (json, complaint) =
        bench_against(|stream, piece| stream.write_all(&[&*piece, &*piece].concat()).is_ok());
    assert_eq!(json["errors"], 3);
    assert!(
        complaint.contains("more than it should") || complaint.contains("came back as"),
        "{complaint}"
    );
}

#[test]
fn a_connection_that_is_closed_early_is_an_error() {
    let (json, complaint) = bench_against(|_, _| false);
    assert_eq!(json["errors"], 3);
    assert!(complaint.contains("closed it while 64 bytes"), "{complaint}");
}

#[test]
fn a_server_that_swallows_a_message_is_an_error() {
    let (json, complaint) = bench_against(|_, _| true);
    assert_eq!(json["errors"], 3);
    assert!(complaint.contains("had no answer"), "{complaint}");
}

#[test]
fn a_refused_connection_is_an_error_with_its_cure() {
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = unused.expect("a free port").to_string();
    let output = run(&["bench", "echo", "--seconds", "0.1", "--connect", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nothing listens there"), "{}", stderr(&output));
}

#[test]
fn too_few_descriptors_are_named_with_the_cure() {
    let program = env!("CARGO_BIN_EXE_corio");
    let script = format!("ulimit -n 60; exec '{program}' bench echo --connections 200");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh starts");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("ulimit -n 264"), "{}", stderr(&output));
}

#[test]
fn bad_arguments_are_refused_with_a_reason_and_exit_code_2() {
    for (arguments, reason) in [
        (vec!["--connections", "0"], "a whole number from 1 to"),
        (vec!["--connections", "many"], "a whole number from 1 to"),
        (vec!["--size", "0"], "a whole number from 1 to 67108864"),
        (vec!["--size", "67108865"], "a whole number from 1 to 67108864"),
        (vec!["--size", "1048576", "--pipeline", "65"], "choose a smaller --pipeline or --size"),
        (vec!["--pipeline", "-1"], "'-1'"),
        (vec!["--seconds", "0"], "above 0"),
        (vec!["--seconds", "NaN"], "above 0"),
        (vec!["--core", "100000"], "choose one of"),
        (vec!["--server-core", "x"], "given by its number"),
        (vec!["--driver", "kqueue"], "drivers: uring, epoll"),
        (vec!["--busy-poll", "often"], "`adaptive`, `off` or"),
        (vec!["--connect", "nowhere"], "HOST:PORT"),
        (vec!["--pid", "1"], "--target"),
        (vec!["--connect", "127.0.0.1:1", "--pid", "4194305"], "check --pid"),
        (vec!["--connect", "127.0.0.1:1", "--server-core", "0"], "cannot be used with"),
    ] {
        let output = run(&[&["bench", "echo"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn help_is_there_at_every_level() {
    for (arguments, word) in [
        (&["--help"][..], "corio bench echo"),
        (&["bench", "--help"], "echo"),
        (&["bench", "echo", "--help"], "What is measured"),
        (&["serve", "echo", "--help"], "listening on ADDRESS"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(word), "{}", stdout(&output));
    }
}

#[test]
fn a_server_ends_in_order_on_both_signals() {
    for name in ["TERM", "INT"] {
        let server = Server::start("echo", &["--stats"]);
        let mut client = TcpStream::connect(server.address).expect("it listens");
        client.write_all(b"hello").expect("sent");
        let mut echoed = [0; 5];
        client.read_exact(&mut echoed).expect("echoed");
        assert_eq!(&echoed, b"hello");
        let (code, printed, complaints) = server.end(name);
        assert_eq!(code, Some(0), "{complaints}");
        assert_eq!(complaints, "");
        let stats: Value = serde_json::from_str(&printed).expect("JSON");
        assert_eq!(stats["requests"], 1, "{stats}");
        assert_eq!(stats["connections"], 1, "{stats}");
        assert!(stats["enters"].as_u64() > Some(0), "{stats}");
    }
}

#[test]
fn a_taken_port_is_named_with_the_cure() {
    let server = Server::start("echo", &[]);
    let port = server.address.port().to_string();
    let output = run(&["serve", "echo", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("another process listens there"), "{}", stderr(&output));
}

/// The process that `bench` started, once it is there.
fn child_of(bench: &Child) -> u32 {
    let path = format!("/proc/{0}/task/{0}/children", bench.id());
    let children = || std::fs::read_to_string(&path).unwrap_or_default();
    wait_until("the benchmark has a server", || !children().is_empty());
    children().trim().parse().expect("one child")
}

/// Gone, or dead and not yet collected by whoever inherited it.
fn has_ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

#[test]
fn no_server_outlives_its_benchmark() {
    for (name, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let mut bench = corio(&["bench", "echo", "--seconds", "60"]).spawn().expect("starts");
        let server = child_of(&bench);
        // Long enough for the load to run, and right in any case.
        std::thread::sleep(Duration::from_millis(300));
        signal(name, bench.id());
        let status = bench.wait().expect("reaped");
        assert_eq!(status.code(), code, "SIG{name}");
        wait_until("the server has ended too", || has_ended(server));
    }
}

/// Hazard: a client that is not ours sees what ours does not. It also comes and goes, a tenth of
/// the time with a reset, and nothing of it stays behind.
#[test]
fn asyncio_sees_100_000_correct_echoes_and_churn_leaves_nothing_behind() {
    let server = Server::start("echo", &["--stats"]);
    let idle_descriptor_count = server.descriptor_count();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/asyncio_echo.py");
    let port = server.address.port().to_string();
    let mut python = Command::new("python3");
    let output = python.arg(script).args([&port, "100000", "4000"]).output();
    let output = output.expect("this test needs `python3` (its standard library is enough)");
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));

    wait_until("the server has closed every connection", || {
        server.descriptor_count() == idle_descriptor_count
    });
    let (code, printed, complaints) = server.end("TERM");
    assert_eq!(code, Some(0), "{complaints}");
    let stats: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(stats["connections"], 4_021, "{stats}");
}

#[test]
fn a_server_on_several_cores_serves_and_ends_by_either_signal() {
    for (kind, name) in [("echo", "INT"), ("http", "TERM")] {
        let server = Server::start(kind, &["--cores", "3", "--accept", "round-robin", "--stats"]);
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let mut client = TcpStream::connect(server.address).expect("it listens");
                let request = b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n";
                client.write_all(request).expect("sent");
                client.read_exact(&mut [0; 16]).expect("answered");
                client
            })
            .collect();
        // Who is connected holds up nothing.
        let (code, printed, complaints) = server.end(name);
        assert_eq!(code, Some(0), "{complaints}");
        let stats: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        let cores = stats["cores"].as_array().expect("core by core");
        let connections: Vec<_> = cores.iter().map(|core| core["connections"].as_u64()).collect();
        assert_eq!(connections, [Some(2); 3], "{printed}");
        drop(clients);
    }
}
