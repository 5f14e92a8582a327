//! The server of a benchmark: a child process, so that its CPU time is its own.
//!
//! The child is this program itself, as `corio serve echo --child --stats`. It prints its address,
//! serves, and ends when its standard input does, printing its counters. Whatever happens here (an
//! error, a panic, Ctrl-C), the child is reaped: by [`ServerChild::finish`] or by the drop, which
//! kills it by its process id. If this process is killed outright, the kernel closes the pipe, and
//! the child ends by itself.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use corio::Driver;

use crate::arguments::{BusyPoll, Cpu};

/// How long the server may take to end once it has been told to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How the server is to run.
pub(crate) struct Settings {
    pub(crate) driver: Option<Driver>,
    pub(crate) core: Option<Cpu>,
    pub(crate) busy_poll: Option<BusyPoll>,
    pub(crate) buffers_max: Option<u16>,
}

pub(crate) struct ServerChild {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl ServerChild {
    /// Starts the server and waits until it listens. What it has to say on standard error goes to
    /// ours.
    pub(crate) fn start(settings: &Settings) -> Result<ServerChild, String> {
        let mut child = command(settings)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the server process: {error}"))?;
        let Some(output) = child.stdout.take() else {
            unreachable!("the standard output was asked for as a pipe")
        };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = ServerChild { child, output: BufReader::new(output), address: nowhere };
        server.address = server.read_address()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server and reads its counters.
    pub(crate) fn finish(mut self) -> Result<serde_json::Value, String> {
        drop(self.child.stdin.take());
        self.wait_for_end()?;
        let mut text = String::new();
        self.output.read_to_string(&mut text).map_err(|error| error.to_string())?;
        serde_json::from_str(&text)
            .map_err(|error| format!("the server's counters cannot be read ({error}): {text}"))
    }

    fn read_address(&mut self) -> Result<SocketAddr, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        let address = line.trim_end().strip_prefix("listening on ");
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            return Ok(address);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        Err(format!("the server process could not start ({status}); its own message says why"))
    }

    fn wait_for_end(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server process failed ({status})")),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("the server process did not end within {END_LIMIT:?} and was killed"))
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        // Both are harmless when the child has already been reaped: std remembers its status and
        // signals nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(settings: &Settings) -> Result<Command, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find this program to start its server: {error}"))?;
    let mut command = Command::new(program);
    command.args(["serve", "echo", "--child", "--stats"]);
    if let Some(driver) = settings.driver {
        command.args(["--driver", driver.name()]);
    }
    if let Some(Cpu(core)) = settings.core {
        command.args(["--core", &core.to_string()]);
    }
    if let Some(busy_poll) = settings.busy_poll {
        command.args(["--busy-poll", &busy_poll.argument()]);
    }
    if let Some(buffers_max) = settings.buffers_max {
        command.args(["--buffers-max", &buffers_max.to_string()]);
    }
    Ok(command)
}
