//! Real servers for tests and examples: PostgreSQL and Redis, each a process of its own on a free
//! port of the loopback, with its data in a temporary folder.
//!
//! A shell stands between: it starts the server, waits for its input to end, ends the server by its
//! process id and removes the folder. Its input is a pipe of this process, so whatever becomes of
//! this process, no server is left. Start it from a thread that takes signals, not by `to_thread`:
//! the shell inherits what is blocked.

#![allow(dead_code, reason = "each test binary and example uses a part")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a server may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often another free port is tried, should somebody take the one that was found.
const ATTEMPTS: usize = 5;

/// Starts a server and ends it. `$1` is the signal, `$2` the folder, the rest is the server. A line
/// on the input keeps the folder. What ends a whole group of processes does not end the keeper,
/// which then sees the end of its input.
const KEEPER: &str = r#"
signal=$1 folder=$2; shift 2
trap '' HUP INT TERM
"$@" 2>&1 </dev/null &
exec >/dev/null 2>&1
if read -r keep; then kill -s "$signal" $!; wait $!; exit 0; fi
kill -s "$signal" $!; wait $!; rm -r "$folder"
"#;

/// Who runs a server: another than root, since PostgreSQL refuses that.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// Nobody in particular, if this is root; otherwise whoever this is.
fn account() -> Option<Account> {
    let is_root = fs::metadata("/proc/self").expect("a process").uid() == 0;
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some(Account { user: fields.next()??, group: fields.next()?? })
    };
    is_root.then(|| of("postgres").or_else(|| of("nobody")).expect("an account without rights"))
}

fn command(program: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    if let Some(account) = account {
        command.uid(account.user).gid(account.group);
    }
    command
}

/// A folder for one server, which is its account's.
fn new_folder(name: &str, account: Option<Account>) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("corio-{name}-{}-{count}", std::process::id()));
    fs::create_dir(&folder).expect("a folder that is new");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("ours");
    if let Some(account) = account {
        chown(&folder, Some(account.user), Some(account.group)).expect("root may");
    }
    folder
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Where a program is: on the path, or where Debian has what belongs to one version.
fn find(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not installed; cure: run ci/services"))
}

/// A process that runs a server, and its keeper.
struct Running {
    keeper: Child,
}

impl Running {
    /// Starts a server; ready when it prints the text. What it printed is the error.
    fn start(
        account: Option<Account>,
        signal: &str,
        folder: &Path,
        server: &[String],
        ready: &'static str,
    ) -> Result<Running, String> {
        let mut keeper = command(Path::new("/bin/sh"), account)
            .args(["-c", KEEPER, "keeper", signal])
            .arg(folder)
            .args(server)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let lines = BufReader::new(keeper.stdout.take().expect("piped")).lines();
        let (sender, receiver) = mpsc::channel();
        // It reads on to the end, so that the server never waits for room.
        thread::spawn(move || {
            let mut printed = String::new();
            for line in lines.map_while(Result::ok) {
                printed = printed + &line + "\n";
                if line.contains(ready) {
                    let _ = sender.send(Ok(()));
                }
            }
            let _ = sender.send(Err(printed));
        });
        let mut running = Running { keeper };
        let printed = match receiver.recv_timeout(START_LIMIT) {
            Ok(Ok(())) => return Ok(running),
            Ok(Err(printed)) => printed,
            Err(_) => "it takes too long".to_owned(),
        };
        running.end(true);
        Err(printed)
    }

    /// Ends the server, and waits until it is gone.
    fn end(&mut self, keeps_folder: bool) {
        let mut input = self.keeper.stdin.take().expect("it is ended once");
        if keeps_folder {
            input.write_all(b"keep\n").expect("the keeper waits");
        }
        drop(input);
        self.keeper.wait().expect("it is ours");
    }
}

/// A server that can be ended and started again at the same place.
pub struct Server {
    account: Option<Account>,
    signal: &'static str,
    ready: &'static str,
    pub folder: PathBuf,
    pub port: u16,
    arguments: fn(&Path, u16) -> Vec<String>,
    running: Option<Running>,
}

impl Server {
    fn start(mut self) -> Server {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            self.port = free_port();
            match self.run() {
                Ok(()) => return self,
                Err(printed) => last = printed,
            }
        }
        panic!("the server does not start:\n{last}");
    }

    fn run(&mut self) -> Result<(), String> {
        let arguments = (self.arguments)(&self.folder, self.port);
        let (account, signal) = (self.account, self.signal);
        let running = Running::start(account, signal, &self.folder, &arguments, self.ready)?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends the server at once, whatever it does.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").end(true);
    }

    /// Starts it again, at the same port and with the same data.
    pub fn restart(&mut self) {
        self.run().expect("it started before");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.running.take() {
            Some(mut running) => running.end(false),
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// PostgreSQL with one superuser, `corio`, who needs no password.
pub fn start_postgres() -> Server {
    start_postgres_with(None)
}

/// The same with TLS: a certificate and its key, as PEM.
pub fn start_postgres_with(certificate: Option<(&str, &str)>) -> Server {
    let account = account();
    let folder = new_folder("postgres", account);
    let output = command(&find("initdb"), account)
        .args(["--username=corio", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
        .arg("--pgdata")
        .arg(folder.join("data"))
        .current_dir("/")
        .output()
        .expect("initdb starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb fails:\n{complaint}");
    if let Some((certificate, key)) = certificate {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = folder.join("data").join(name);
            fs::write(&path, text).expect("the folder is there");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
            if let Some(account) = account {
                chown(&path, Some(account.user), Some(account.group)).expect("root may");
            }
        }
    }
    let arguments = |folder: &Path, port: u16| {
        let has_tls = folder.join("data/server.crt").exists();
        let folder = folder.display();
        let mut arguments = vec![find("postgres").display().to_string()];
        arguments.extend(["-D".to_owned(), format!("{folder}/data")]);
        for setting in [
            &*format!("port={port}"),
            &*format!("unix_socket_directories={folder}"),
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "synchronous_commit=off",
            "shared_buffers=16MB",
            "max_connections=60",
            "autovacuum=off",
            "jit=off",
            if has_tls { "ssl=on" } else { "ssl=off" },
        ] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        arguments
    };
    let ready = "database system is ready to accept connections";
    let signal = "QUIT";
    Server { account, signal, ready, folder, port: 0, arguments, running: None }.start()
}

/// Redis without a password, which writes nothing down.
pub fn start_redis() -> Server {
    let account = account();
    let folder = new_folder("redis", account);
    let arguments = |folder: &Path, port: u16| {
        let folder = folder.display();
        let text = format!(
            "{} --port {port} --bind 127.0.0.1 --unixsocket {folder}/redis.sock --dir {folder} \
             --appendonly no --databases 16 --save",
            find("redis-server").display()
        );
        let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        arguments.push(String::new());
        arguments
    };
    let ready = "Ready to accept connections";
    let signal = "KILL";
    Server { account, signal, ready, folder, port: 0, arguments, running: None }.start()
}

impl Server {
    /// The URL of a PostgreSQL server, by TCP.
    pub fn postgres_url(&self) -> String {
        format!("postgres://corio@127.0.0.1:{}/postgres", self.port)
    }

    /// The same by its Unix socket.
    pub fn postgres_socket(&self) -> String {
        format!("host={} port={} user=corio dbname=postgres", self.folder.display(), self.port)
    }

    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn redis_socket(&self) -> String {
        format!("redis+unix://{}/redis.sock", self.folder.display())
    }
}

/// The PostgreSQL that the tests of one binary share.
pub fn postgres() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start_postgres)
}

/// The Redis that the tests of one binary share.
pub fn redis() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start_redis)
}
