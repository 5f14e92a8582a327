//! The servers that take part: how each is started, and whether it can be.

use std::fs;
use std::path::{Path, PathBuf};

/// What is asked of a server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Echo,
    Http,
}

/// Which program a server is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `raw-peer`, with this word.
    Raw(&'static str),
    /// One of the packages here, with what it can serve.
    Peer { binary: &'static str, echo: Option<&'static str>, can_http: bool, can_spin: bool },
    /// `server.py`, with this loop.
    Python(&'static str),
}

/// A server other than corio's own, which `corio bench` starts by itself.
#[derive(Clone, Copy)]
pub struct Server {
    pub name: &'static str,
    program: Program,
    /// Stands only where memory is compared.
    pub is_for_memory: bool,
    buffer_bytes: Option<usize>,
}

const fn peer(name: &'static str, binary: &'static str, can_spin: bool) -> Server {
    let program = Program::Peer { binary, echo: Some("echo"), can_http: true, can_spin };
    Server { name, program, is_for_memory: false, buffer_bytes: None }
}

const fn other(name: &'static str, program: Program) -> Server {
    Server { name, program, is_for_memory: false, buffer_bytes: None }
}

const TOKIO_LEAN: Program =
    Program::Peer { binary: "tokio-peer", echo: Some("lean"), can_http: false, can_spin: false };
const TOKIO_ECHO: Program =
    Program::Peer { binary: "tokio-peer", echo: Some("echo"), can_http: false, can_spin: false };
const HYPER: Program =
    Program::Peer { binary: "hyper-peer", echo: None, can_http: true, can_spin: false };

pub const SERVERS: &[Server] = &[
    other("raw-uring", Program::Raw("raw-uring")),
    other("raw-epoll", Program::Raw("raw-epoll")),
    peer("tokio", "tokio-peer", false),
    other("hyper", HYPER),
    peer("monoio", "monoio-peer", false),
    peer("compio", "compio-peer", false),
    peer("kimojio", "kimojio-peer", true),
    peer("glommio", "glommio-peer", true),
    peer("smol", "smol-peer", false),
    other("uvloop", Program::Python("uvloop")),
    other("asyncio", Program::Python("asyncio")),
    Server { name: "tokio, lean", program: TOKIO_LEAN, is_for_memory: true, buffer_bytes: None },
    Server {
        name: "tokio, 4 KiB",
        program: TOKIO_ECHO,
        is_for_memory: true,
        buffer_bytes: Some(4096),
    },
];

/// corio's own server as a command like the others, where it has to be one.
pub static CORIO: Server = other("corio", Program::Raw("corio"));

/// Where the programs lie.
pub struct Places {
    /// What `cargo build` has made of this workspace: `release` or `debug`.
    pub peers: PathBuf,
    /// The Python of the virtual environment.
    pub python: PathBuf,
    /// This workspace.
    pub workspace: PathBuf,
    /// What the builds had to say, a file for each package.
    pub logs: PathBuf,
}

impl Server {
    /// Python is not held to what a compiled server can do.
    pub fn is_compiled(&self) -> bool {
        !matches!(self.program, Program::Python(_))
    }

    pub fn is_raw(&self) -> bool {
        matches!(self.program, Program::Raw(_))
    }

    /// The command for a shell, with `{port}`; `None` if this server does not do that.
    ///
    /// Buffers are as large as the messages, and at least as large as corio's, so that nobody
    /// needs a second call to receive one.
    pub fn command(&self, places: &Places, kind: Kind, size: usize) -> Option<String> {
        match self.program {
            Program::Raw(name) if kind == Kind::Echo => {
                let binary = places.peers.join("raw-peer");
                Some(format!("exec '{}' {name} --port {{port}}", binary.display()))
            }
            Program::Raw(_) => None,
            Program::Peer { binary, echo, can_http, .. } => {
                let word = match kind {
                    Kind::Echo => echo?,
                    Kind::Http if can_http => "http",
                    Kind::Http => return None,
                };
                let buffer = self.buffer_bytes.unwrap_or(size.max(16 * 1024));
                let binary = places.peers.join(binary);
                let binary = binary.display();
                Some(format!("exec '{binary}' {word} --port {{port}} --buffer {buffer}"))
            }
            Program::Python(name) => {
                let word = if kind == Kind::Http { "http" } else { "echo" };
                let script = places.workspace.join("python/server.py");
                let (python, script) = (places.python.display(), script.display());
                Some(format!("exec '{python}' '{script}' {word} --port {{port}} --loop {name}"))
            }
        }
    }

    /// Added to the command of a server that can poll before it sleeps.
    pub fn spin(&self, micros: u64) -> Option<String> {
        let can_spin = match self.program {
            Program::Raw(_) => true,
            Program::Peer { can_spin, .. } => can_spin,
            Program::Python(_) => false,
        };
        can_spin.then(|| format!(" --spin {micros}"))
    }

    /// Why it cannot be started, if it cannot: it was not built, and the build says why.
    pub fn absence(&self, places: &Places) -> Option<String> {
        let (program, package) = match self.program {
            Program::Raw(_) => (places.peers.join("raw-peer"), "raw-peer"),
            Program::Peer { binary, .. } => (places.peers.join(binary), binary),
            Program::Python(_) => (places.python.clone(), "python-peer"),
        };
        if program.exists() {
            return None;
        }
        let log = fs::read_to_string(places.logs.join(package)).unwrap_or_default();
        let error = log.lines().find(|line| line.starts_with("error"));
        Some(format!("it was not built: {}", error.unwrap_or("no message is known")))
    }
}

/// `name version` of the packages that the lock file of this workspace holds.
pub fn versions(workspace: &Path, names: &[&str]) -> Vec<String> {
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).unwrap_or_default();
    let of = |name: &&str| {
        let after = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
        Some(format!("{name} {}", after.split('"').next()?))
    };
    names.iter().filter_map(of).collect()
}
