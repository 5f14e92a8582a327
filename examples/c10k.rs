//! Ten thousand connections on one thread: most wait, a hundred talk, and the memory is counted.
//!
//! Fewer, if the limit of descriptors is lower: each connection takes two here, client and server.

use std::io;
use std::net::SocketAddr;

use corio::net::{ListenOptions, ServeOptions, TcpStream};

const CONNECTIONS: usize = 10_000;

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_owned(chunk).await?;
    }
    Ok(())
}

/// Memory of this process that is in use, in bytes: see proc_pid_statm(5).
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn descriptors_max() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(1024)
}

#[corio::main]
async fn main() -> io::Result<()> {
    let count = CONNECTIONS.min((descriptors_max().saturating_sub(100)) / 2);
    let listen = ListenOptions::new().backlog(4096).inbox_limit(8192);
    let server = ServeOptions::new().listen(listen).serve("127.0.0.1:0", echo).await?;
    let port = server.local_addrs()[0].port();

    let before = resident_bytes();
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?);
    }
    while server.connection_count() < count {
        corio::yield_now().await;
    }
    let each = resident_bytes().saturating_sub(before) / (2 * count);
    println!("{count} connections, {each} bytes for each end with its task");
    assert!(each < 4096, "an idle connection holds no buffer");

    for client in clients.iter_mut().step_by(count / 100 + 1) {
        client.write(b"are you there?").await?;
        let mut reply = [0; 14];
        client.read_exact(&mut reply).await?;
        assert_eq!(&reply, b"are you there?");
    }
    println!("and those that talk are answered");
    Ok(())
}
