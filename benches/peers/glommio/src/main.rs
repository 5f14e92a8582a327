//! The servers on glommio: one executor on this thread, streams without buffers of their own, as
//! its documents show it. The ring has more entries than by default, for many connections.

use std::io;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use program::{Conversation, Kind, Orders};

/// glommio's default is 128, made for files.
const RING_DEPTH: usize = 1024;

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Http])?;
    // The parent has pinned this thread.
    let mut builder = LocalExecutorBuilder::new(Placement::Unbound).ring_depth(RING_DEPTH);
    if let Some(spin) = orders.spin {
        builder = builder.spin_before_park(spin);
    }
    let executor = builder.make().map_err(|error| error.to_string())?;
    executor.run(serve(orders)).map_err(|error| error.to_string())
}

async fn serve(orders: Orders) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", orders.port))?;
    loop {
        let stream = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; orders.buffer_bytes];
        // A connection that fails just ends: its client sees it.
        match orders.kind {
            Kind::Http => drop(glommio::spawn_local(http(stream, buffer)).detach()),
            _ => drop(glommio::spawn_local(echo(stream, buffer)).detach()),
        }
    }
}

async fn echo(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn http(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let (mut conversation, mut output) = (Conversation::new(), Vec::new());
    while !conversation.is_over() {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        conversation.answer(&buffer[..length], &mut output);
        if !output.is_empty() {
            stream.write_all(&output).await?;
            output.clear();
        }
    }
    Ok(())
}
