//! The same echo server on tokio's current-thread runtime: what a user of Rust would write today.
//!
//! One task a connection reads into a buffer of its own and writes back what came. It is started
//! and stopped as the other servers of the comparison: the address on standard error, the end at
//! SIGTERM, and then a line of JSON on standard output. tokio does not count its system calls, so
//! that line has no numbers.

use std::env;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// As much as corio receives at once.
const BUFFER_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let port = argument("--port")?.unwrap_or(0);
    if let Some(core) = argument("--core")? {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let core = cores.into_iter().find(|it| it.id == usize::from(core));
        if !core.is_some_and(core_affinity::set_for_current) {
            return Err(io::Error::other("the core to pin to is not one of this process"));
        }
    }
    Builder::new_current_thread().enable_io().build()?.block_on(serve(port))?;
    println!("{{}}");
    Ok(())
}

/// The number behind an argument of this name.
fn argument(name: &str) -> io::Result<Option<u16>> {
    let Some(text) = env::args().skip_while(|argument| argument != name).nth(1) else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| io::Error::other(format!("{name} takes a number")))?;
    Ok(Some(number))
}

async fn serve(port: u16) -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    end.recv().await;
    accepting.abort();
    Ok(())
}

/// A connection that fails just ends: its client sees it.
async fn echo(mut stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
