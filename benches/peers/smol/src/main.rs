//! The servers on smol: a `LocalExecutor` on this thread, `block_on` drives its reactor.

use std::io;

use program::{Conversation, Kind, Orders};
use smol::LocalExecutor;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Http])?;
    let executor = LocalExecutor::new();
    let served = smol::block_on(executor.run(serve(&executor, orders)));
    served.map_err(|error| error.to_string())
}

async fn serve(executor: &LocalExecutor<'_>, orders: Orders) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", orders.port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; orders.buffer_bytes];
        // A connection that fails just ends: its client sees it.
        match orders.kind {
            Kind::Http => executor.spawn(http(stream, buffer)).detach(),
            _ => executor.spawn(echo(stream, buffer)).detach(),
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
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}
