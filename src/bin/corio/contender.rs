//! The servers of a benchmark: processes of their own, so that their CPU time is their own.
//!
//! corio's server is this program itself, as `corio serve KIND --child --stats`. It prints its
//! address, serves, and ends when its standard input does, printing its counters. Any other server
//! (`--against CMD`) is started by a shell, which ends it when its own standard input does. So
//! whatever happens here (an error, a panic, Ctrl-C, a kill), the kernel closes the pipe, and no
//! server outlives its benchmark.
//!
//! A server is started from a thread that runs on the server's CPU: its process inherits that.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use corio::time::{Duration, Instant};

use corio::Driver;
use corio::net::AcceptPolicy;

use nix::sys::signal::SigSet;

use crate::arguments::{BusyPoll, Cpu};

/// How long the server may take to end once it has been told to.
const END_LIMIT: Duration = Duration::from_secs(10);

/// The address of what has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long another server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How often is looked at whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs the command `$0` until standard input ends, then ends all of its processes. If the command
/// ends by itself, so does the shell.
const GUARD: &str = r#"
{ trap : TERM; (eval "$0"); kill -KILL -$$; } </dev/null >/dev/null &
server=$!
trap : TERM
read -r end
kill -TERM -$$
(sleep 3; kill -KILL -$$) &
wait $server; wait $server
kill -KILL -$$
"#;

/// A server that takes part.
#[derive(Clone)]
pub(crate) enum Contender {
    /// corio's own.
    Own(Settings),
    /// A command with `{port}`.
    Command { text: String, core: Option<Cpu> },
    /// None: what is measured runs in this process.
    Within,
    /// None: the same work by plain system calls.
    Plain,
    /// One that runs already.
    Outside { address: SocketAddr, process: Option<u32> },
}

impl Contender {
    /// The name in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Contender::Own(_) | Contender::Within => "corio".to_owned(),
            Contender::Plain => "pread".to_owned(),
            Contender::Command { text, .. } => text.clone(),
            Contender::Outside { address, .. } => address.to_string(),
        }
    }

    pub(crate) fn start(&self) -> Result<Running, String> {
        match self {
            Contender::Within | Contender::Plain => {
                Ok(Running::Outside { address: NOWHERE, process: Some(std::process::id()) })
            }
            Contender::Own(settings) => ServerChild::start(settings).map(Running::Own),
            Contender::Command { text, core } => {
                CommandServer::start(text, *core).map(Running::Command)
            }
            Contender::Outside { address, process } => {
                Ok(Running::Outside { address: *address, process: *process })
            }
        }
    }
}

/// A server's name as people read it: of a command the program without its folder, and no port.
pub(crate) fn shown(name: &str) -> String {
    if !name.contains("{port}") {
        return name.to_owned();
    }
    let words = name.split_whitespace().skip_while(|word| *word == "exec");
    let mut shown: Vec<&str> = Vec::new();
    for word in words {
        let word = word.trim_matches(['\'', '"']);
        let is_port = word.contains("{port}");
        if is_port && shown.last().is_some_and(|last| last.starts_with('-')) && !word.contains('=')
        {
            shown.pop();
        } else if !is_port {
            shown.push(word.rsplit('/').next().unwrap_or(word));
        }
    }
    if shown.is_empty() { name.to_owned() } else { shown.join(" ") }
}

/// A server that listens.
pub(crate) enum Running {
    Own(ServerChild),
    Command(CommandServer),
    Outside { address: SocketAddr, process: Option<u32> },
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Running::Own(server) => server.address,
            Running::Command(server) => server.address,
            Running::Outside { address, .. } => *address,
        }
    }

    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Running::Own(server) => Some(server.child.id()),
            Running::Command(server) => Some(server.guard.id()),
            Running::Outside { process, .. } => *process,
        }
    }

    /// Ends the server, if it was started here, and reads the counters that corio's own tells.
    pub(crate) fn finish(self) -> Result<Option<serde_json::Value>, String> {
        match self {
            Running::Own(server) => server.finish().map(Some),
            Running::Command(_) | Running::Outside { .. } => Ok(None),
        }
    }
}

/// How corio's own server is to run.
#[derive(Clone)]
pub(crate) struct Settings {
    /// `echo` or `http`.
    pub(crate) kind: &'static str,
    pub(crate) driver: Option<Driver>,
    pub(crate) core: Option<Cpu>,
    pub(crate) cores: Option<usize>,
    pub(crate) accept: Option<AcceptPolicy>,
    pub(crate) busy_poll: Option<BusyPoll>,
    pub(crate) buffers_max: Option<u16>,
    pub(crate) addresses: u32,
}

pub(crate) struct ServerChild {
    child: Child,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl ServerChild {
    /// Starts the server and waits until it listens. What it has to say on standard error goes to
    /// ours.
    fn start(settings: &Settings) -> Result<ServerChild, String> {
        let mut command = command(settings)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on(settings.core, command)
            .map_err(|error| format!("cannot start the server process: {error}"))?;
        let Some(output) = child.stdout.take() else {
            unreachable!("the standard output was asked for as a pipe")
        };
        let mut server = ServerChild { child, output: BufReader::new(output), address: NOWHERE };
        server.address = server.read_address()?;
        Ok(server)
    }

    /// Ends the server and reads its counters.
    fn finish(mut self) -> Result<serde_json::Value, String> {
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
                Ok(None) => std::thread::sleep(LOOK_INTERVAL),
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

/// A server that a command of the user's has started.
pub(crate) struct CommandServer {
    guard: Child,
    input: Option<ChildStdin>,
    address: SocketAddr,
}

impl CommandServer {
    /// Starts the command with a free port, and waits until something listens there.
    fn start(text: &str, core: Option<Cpu>) -> Result<CommandServer, String> {
        let address = free_address().map_err(|error| format!("no port is free: {error}"))?;
        let script = text.replace("{port}", &address.port().to_string());
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, &script]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut guard = spawn_on(core, command).map_err(|error| format!("no shell: {error}"))?;
        let input = guard.stdin.take();
        let mut server = CommandServer { guard, input, address };
        server.wait_until_it_listens(text)?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, text: &str) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            if !matches!(self.guard.try_wait(), Ok(None)) {
                return Err(format!(
                    "`{text}` has ended before it listened; its own message says why"
                ));
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "`{text}` does not listen on {} after {START_LIMIT:?}; does it use the port \
                     that it is given as {{port}}?",
                    self.address
                ));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for CommandServer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.guard.wait();
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Starts a process that runs on this CPU only, and hears every signal: those that the load
/// generator has listened to are withheld from this process, and so from its children.
fn spawn_on(core: Option<Cpu>, mut command: Command) -> std::io::Result<Child> {
    let spawning = std::thread::spawn(move || {
        if let Some(Cpu(id)) = core {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        SigSet::empty().thread_set_mask()?;
        command.spawn()
    });
    match spawning.join() {
        Ok(spawned) => spawned,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn command(settings: &Settings) -> Result<Command, String> {
    let program = std::env::current_exe()
        .map_err(|error| format!("cannot find this program to start its server: {error}"))?;
    let mut command = Command::new(program);
    command.args(["serve", settings.kind, "--child", "--stats"]);
    command.args(["--addresses", &settings.addresses.to_string()]);
    if let Some(driver) = settings.driver {
        command.args(["--driver", driver.name()]);
    }
    if let Some(Cpu(core)) = settings.core {
        command.args(["--core", &core.to_string()]);
    }
    if let Some(cores) = settings.cores {
        command.args(["--cores", &cores.to_string()]);
    }
    if let Some(accept) = settings.accept {
        command.args(["--accept", accept.name()]);
    }
    if let Some(busy_poll) = settings.busy_poll {
        command.args(["--busy-poll", &busy_poll.argument()]);
    }
    if let Some(buffers_max) = settings.buffers_max {
        command.args(["--buffers-max", &buffers_max.to_string()]);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn of_a_command_the_program_and_what_matters_is_shown() {
        let names = [
            ("corio", "corio"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("exec '/opt/a/tokio-peer' echo --port {port}", "tokio-peer echo"),
            ("./my-server {port} --fast", "my-server --fast"),
            ("python3 /srv/s.py --port={port} --loop uvloop", "python3 s.py --loop uvloop"),
            ("{port}", "{port}"),
        ];
        for (name, expected) in names {
            assert_eq!(shown(name), expected);
        }
    }
}
