//! A timeout around `accept` loses nobody: the listener owns the wait, not the future.
//!
//! Where the kernel accepts on behalf of a future, a client that arrives just when the timeout ends
//! is accepted and then dropped with the future. Here it waits in the listener for the next
//! `accept`. So a server may look after something else every few milliseconds, as this one does.

use std::io;
use std::net::SocketAddr;

use corio::net::{TcpListener, TcpStream};
use corio::time::Duration;

const CLIENTS: u32 = 500;

#[corio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let clients = corio::spawn(visit_one_after_another(listener.local_addr()?));

    let mut served = 0;
    let mut timeouts = 0;
    while !clients.is_finished() {
        // Shorter and longer than the time between two clients, so that the two often meet.
        let patience = Duration::from_micros(u64::from(50 + served * 7 % 400));
        match corio::timeout(patience, listener.accept()).await {
            Ok(stream) => {
                serve(stream?).await?;
                served += 1;
            }
            Err(_elapsed) => timeouts += 1,
        }
    }

    let answered = clients.await.expect("no client panics")?;
    println!("{served} clients served, {answered} got their answer, {timeouts} timeouts between");
    assert_eq!((served, answered), (CLIENTS, CLIENTS));
    assert!(timeouts > 0, "the timeouts never struck, so nothing was shown");
    Ok(())
}

/// Sends each client's number back to it.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut number = [0; 4];
    stream.read_exact(&mut number).await?;
    stream.write(&number).await?;
    stream.close().await?;
    Ok(())
}

/// Connects again and again; every single visit has to be answered.
async fn visit_one_after_another(server: SocketAddr) -> io::Result<u32> {
    for client in 0..CLIENTS {
        visit(server, client).await?;
        corio::sleep(Duration::from_micros(u64::from(client % 10) * 50)).await;
    }
    Ok(CLIENTS)
}

async fn visit(server: SocketAddr, client: u32) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write(&client.to_le_bytes()).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, client.to_le_bytes());
    Ok(())
}
