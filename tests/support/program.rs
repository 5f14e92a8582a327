//! The program `corio` in processes of their own, for the tests that run it. What a test starts
//! here ends with the test.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to do what it was told, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn corio(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corio"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    corio(arguments).output().expect("corio starts")
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

pub fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(status.expect("sh starts").success(), "kill -{name} {pid}");
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `corio serve KIND` in a process of its own, which no failing test leaves behind.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(kind: &str, arguments: &[&str]) -> Server {
        let mut child = corio(&[&["serve", kind], arguments].concat()).spawn().expect("starts");
        let mut line = String::new();
        let errors = child.stderr.as_mut().expect("piped");
        BufReader::with_capacity(1, errors).read_line(&mut line).expect("text");
        let address = line.trim_end().strip_prefix("listening on ").map(str::parse);
        let Some(Ok(address)) = address else {
            let _ = child.kill();
            panic!("expected `listening on ADDRESS`, got {line:?}");
        };
        Server { child, address }
    }

    pub fn descriptor_count(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).expect("the server runs").count()
    }

    /// Ends the server by a signal, and returns its exit code and what it printed on both outputs.
    pub fn end(mut self, name: &str) -> (Option<i32>, String, String) {
        signal(name, self.child.id());
        let (mut printed, mut complaints) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut printed).expect("text");
        self.child.stderr.take().expect("piped").read_to_string(&mut complaints).expect("text");
        let status = self.child.wait().expect("reaped");
        (status.code(), printed, complaints)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
