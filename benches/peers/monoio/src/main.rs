//! The servers on monoio: a completion runtime that takes buffers by value, as its README shows
//! it, on its io_uring driver.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use program::{Conversation, Kind, Orders};

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Http])?;
    let runtime = RuntimeBuilder::<IoUringDriver>::new().build();
    let mut runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(orders)).map_err(|error| error.to_string())
}

async fn serve(orders: Orders) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", orders.port))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(orders.buffer_bytes);
        // A connection that fails just ends: its client sees it.
        match orders.kind {
            Kind::Http => drop(monoio::spawn(http(stream, buffer))),
            _ => drop(monoio::spawn(echo(stream, buffer))),
        }
    }
}

async fn echo(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let mut result;
    loop {
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        (result, buffer) = stream.write_all(buffer).await;
        result?;
        buffer.clear();
    }
}

async fn http(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let (mut conversation, mut output) = (Conversation::new(), Vec::new());
    let mut result;
    while !conversation.is_over() {
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            break;
        }
        conversation.answer(&buffer, &mut output);
        buffer.clear();
        if !output.is_empty() {
            (result, output) = stream.write_all(output).await;
            result?;
            output.clear();
        }
    }
    Ok(())
}
