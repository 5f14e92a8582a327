//! An echo server on every core that this process may use, which ends in good order: on Ctrl-C or
//! SIGTERM it stops accepting, lets handlers finish, and says how far each connection came.
//!
//! ```text
//! cargo run --example multi_core_echo                     # checks itself, and ends
//! cargo run --example multi_core_echo -- 127.0.0.1:7777   # serves until Ctrl-C
//! ```

use std::io;
use std::time::Duration;

use corio::cores::{Core, Cores};
use corio::net::{AcceptPolicy, ServeOptions, TcpStream};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_owned(chunk).await?;
    }
    Ok(())
}

async fn serve(core: Core, address: Option<String>) -> io::Result<()> {
    let server = ServeOptions::new()
        .accept(AcceptPolicy::LeastConnections)
        .max_connections(10_000)
        .serve_on(core.handles(), address.as_deref().unwrap_or("127.0.0.1:0"), || echo)
        .await?;
    println!("listening on {}", server.local_addrs()[0]);
    let report = match address {
        Some(_) => server.serve_until_signal(Duration::from_secs(10)).await?,
        None => {
            let mut clients = Vec::new();
            for _ in 0..2 * core.count() {
                let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
                client.write(b"hello\n").await?;
                assert_eq!(client.read_line(10).await?, b"hello\n");
                clients.push(client);
            }
            assert!(server.connection_counts().iter().all(|count| *count == 2), "evenly spread");
            server.shutdown(Duration::from_millis(10)).await
        }
    };
    println!("{} finished, {} cancelled", report.finished(), report.cancelled());
    assert!(report.is_complete(), "each core has answered");
    Ok(())
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    Cores::available()?.block_on(|core| serve(core, address))?
}
