//! A restart that refuses nobody: the running server passes its listening sockets on, stops
//! accepting and finishes what it has; clients wait in the sockets until the successor, another
//! process, accepts them.
//!
//! ```text
//! cargo run --example restart             # restarts three times under load, and checks itself
//! ```
//!
//! The sockets go over a unix socket, which is the successor's standard input. A service manager
//! can hold them as well: `ListeningSocket::from_service_manager()` takes what systemd passed.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use corio::cores::{Core, Cores};
use corio::net::{AcceptPolicy, CoresServer, ListeningSocket, ServeOptions, TcpStream};
use corio::time::Duration;

const GRACE: Duration = Duration::from_secs(10);

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_owned(chunk).await?;
    }
    Ok(())
}

async fn serve(core: &Core, sockets: Vec<ListeningSocket>) -> io::Result<CoresServer> {
    let options = ServeOptions::new().accept(AcceptPolicy::LeastConnections);
    options.serve_sockets_on(core.handles(), sockets, || echo).await
}

/// The successor: takes the sockets, says that it serves, and passes them on when it is asked to.
async fn succeed(core: Core) -> io::Result<()> {
    let mut parent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let server = serve(&core, ListeningSocket::receive(&parent)?).await?;
    parent.write_all(b"!")?;
    let asked = corio::to_thread(move || parent.read(&mut [0]).map(|count| (count, parent))).await;
    let (count, parent) = asked.expect("no panic")?;
    if count > 0 {
        ListeningSocket::send(&server.sockets().await?, &parent)?;
    }
    server.shutdown(GRACE).await;
    Ok(())
}

/// Starts a successor and gives it the sockets; returns when it serves.
fn start(sockets: &[ListeningSocket]) -> io::Result<(UnixStream, std::process::Child)> {
    let (mut here, there) = UnixStream::pair()?;
    let mut command = Command::new(env::current_exe()?);
    let child = command.arg("successor").stdin(Stdio::from(OwnedFd::from(there))).spawn()?;
    ListeningSocket::send(sockets, &here)?;
    here.read_exact(&mut [0])?;
    Ok((here, child))
}

/// Clients, one after the other, until it is over; how many. One that is refused or reset panics.
fn load(address: std::net::SocketAddr, is_over: &AtomicBool) -> usize {
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        let mut stream = std::net::TcpStream::connect(address).expect("nobody is refused");
        stream.write_all(b"ping").expect("nobody is reset");
        stream.read_exact(&mut [0; 4]).expect("nobody is reset");
        count += 1;
    }
    count
}

fn main() -> io::Result<()> {
    if env::args().nth(1).as_deref() == Some("successor") {
        return Cores::available()?.count(2).on_start(|_| {}).block_on(succeed)?;
    }
    let mut sockets = vec![ListeningSocket::from(std::net::TcpListener::bind("127.0.0.1:0")?)];
    let address = sockets[0].local_addr()?;
    let (mut link, mut child) = start(&sockets)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let client = |_| {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || load(address, &is_over))
    };
    let clients: Vec<_> = (0..4).map(client).collect();
    for _ in 0..3 {
        link.write_all(b"!")?;
        sockets = ListeningSocket::receive(&link)?;
        let (next_link, next_child) = start(&sockets)?;
        assert!(child.wait()?.success(), "the predecessor has finished in order");
        (link, child) = (next_link, next_child);
    }
    is_over.store(true, Ordering::SeqCst);
    let served: usize = clients.into_iter().map(|it| it.join().expect("nobody is refused")).sum();
    println!("{served} clients, 3 restarts, nobody refused or reset");
    drop((link, sockets));
    assert!(served > 0 && child.wait()?.success());
    Ok(())
}
