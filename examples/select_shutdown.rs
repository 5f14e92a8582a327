//! `select!` waits for several things and takes the first: here a client, Ctrl-C, or closing time.
//!
//! The branches that lose are dropped, and in corio that loses nothing: a client that arrived
//! together with Ctrl-C is still in the listener. `close` stops new ones and leaves those that have
//! arrived; then `accept` hands them out one by one, and ends with an error.

use std::io;
use std::net::SocketAddr;

use corio::net::{TcpListener, TcpStream};
use corio::time::{Duration, Instant};

const CLIENTS: usize = 20;

#[corio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let clients: Vec<_> = (0..CLIENTS).map(|_| corio::spawn(visit(address))).collect();

    let mut greeted = 0;
    let closing_time = Instant::now() + Duration::from_millis(300);
    let reason = loop {
        corio::select! {
            accepted = listener.accept() => {
                greet(accepted?).await?;
                greeted += 1;
            }
            interrupted = corio::signal::ctrl_c() => {
                interrupted?;
                break "Ctrl-C";
            }
            () = corio::time::sleep_until(closing_time) => break "closing time",
        }
    };

    listener.close().await;
    while let Ok(stream) = listener.accept().await {
        greet(stream).await?;
        greeted += 1;
    }
    println!("{reason}: {greeted} clients were greeted");

    for client in clients {
        assert_eq!(client.await.expect("no client panics")?, b"welcome\n");
    }
    assert_eq!(greeted, CLIENTS);
    Ok(())
}

async fn greet(stream: TcpStream) -> io::Result<()> {
    stream.write(b"welcome\n").await?;
    // Sends what is queued, then ends the connection in order.
    stream.close().await?;
    Ok(())
}

async fn visit(server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.read_line(100).await
}
