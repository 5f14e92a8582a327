//! An echo server: one task per connection, and no copy between what is read and what is written.
//!
//! ```text
//! cargo run --example tcp_echo                     # checks itself with a client, and ends
//! cargo run --example tcp_echo -- 127.0.0.1:7777   # serves until Ctrl-C: try `nc 127.0.0.1 7777`
//! ```

use std::io;
use std::net::SocketAddr;

use corio::net::{TcpListener, TcpStream};

#[corio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let local_address = listener.local_addr()?;
    println!("listening on {local_address}");

    let server = corio::spawn(serve(listener));
    if address.is_some() {
        return corio::signal::ctrl_c().await;
    }
    check(local_address).await?;
    server.cancel();
    Ok(())
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let stream = listener.accept().await?;
        // Dropping the handle leaves the task running.
        corio::spawn(async move {
            if let Err(error) = echo(stream).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

/// Everything the client sends goes back, until the client ends.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut reader, writer) = stream.split();
    while let Some(chunk) = reader.read_chunk().await? {
        writer.write_owned(chunk).await?;
    }
    Ok(())
}

/// A client: sends lines, and compares what comes back.
async fn check(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    for line in ["first\n", "second, a little longer\n", "last\n"] {
        stream.write(line.as_bytes()).await?;
        let echoed = stream.read_line(1024).await?;
        print!("echoed: {}", String::from_utf8_lossy(&echoed));
        assert_eq!(echoed, line.as_bytes());
    }
    // After our end the server ends its side too, and nothing more comes.
    stream.shutdown().await?;
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await?, 0);
    Ok(())
}
