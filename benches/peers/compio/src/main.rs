//! The servers on compio: a completion runtime that takes buffers by value, on io_uring.

use std::io;

use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use program::{Conversation, Kind, Orders};

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Http])?;
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(serve(orders)).map_err(|error| error.to_string())
}

async fn serve(orders: Orders) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", orders.port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(orders.buffer_bytes);
        // A connection that fails just ends: its client sees it.
        match orders.kind {
            Kind::Http => compio::runtime::spawn(http(stream, buffer)).detach(),
            _ => compio::runtime::spawn(echo(stream, buffer)).detach(),
        }
    }
}

async fn echo(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    loop {
        let BufResult(received, filled) = stream.read(buffer).await;
        let length = received?;
        if length == 0 {
            return Ok(());
        }
        let BufResult(sent, slice) = stream.write_all(filled.slice(..length)).await;
        sent?;
        buffer = slice.into_inner();
        buffer.clear();
    }
}

async fn http(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let (mut conversation, mut output) = (Conversation::new(), Vec::new());
    while !conversation.is_over() {
        let BufResult(received, filled) = stream.read(buffer).await;
        if received? == 0 {
            break;
        }
        conversation.answer(&filled, &mut output);
        buffer = filled;
        buffer.clear();
        if !output.is_empty() {
            let BufResult(sent, written) = stream.write_all(output).await;
            sent?;
            output = written;
            output.clear();
        }
    }
    Ok(())
}
