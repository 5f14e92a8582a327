//! The servers on tokio's current-thread runtime: what a user of Rust would write today.
//!
//! They are started and stopped as the other servers of `benches/echo`: the address on standard
//! error, the end at SIGTERM, and then a line of JSON on standard output. tokio does not count its
//! system calls, so that line has no numbers.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use program::{Conversation, Kind, Orders};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Lean, Kind::Http])?;
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let served = match orders.kind {
        // Its connections share a buffer, so they may not leave the thread.
        Kind::Lean => LocalSet::new().block_on(&runtime, serve(orders)),
        _ => runtime.block_on(serve(orders)),
    };
    served.map_err(|error| error.to_string())?;
    println!("{{}}");
    Ok(())
}

async fn serve(orders: Orders) -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", orders.port)).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let accepting = async move {
        let shared = Rc::new(RefCell::new(vec![0; orders.buffer_bytes]));
        while let Ok((stream, _)) = listener.accept().await {
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            // A connection that fails just ends: its client sees it.
            match orders.kind {
                Kind::Echo => drop(tokio::spawn(echo(stream, orders.buffer_bytes))),
                Kind::Http => drop(tokio::spawn(http(stream, orders.buffer_bytes))),
                Kind::Lean => drop(spawn_local(echo_lean(stream, Rc::clone(&shared)))),
            }
        }
    };
    tokio::select! {
        _ = end.recv() => {}
        () = accepting => {}
    }
    Ok(())
}

async fn echo(mut stream: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer_bytes];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

/// Takes the one buffer only while there is something in it; what the socket does not take at once
/// is copied.
async fn echo_lean(mut stream: TcpStream, shared: Rc<RefCell<Vec<u8>>>) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let mut rest = Vec::new();
        {
            let mut buffer = shared.borrow_mut();
            let length = match stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let sent = match stream.try_write(&buffer[..length]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            rest.extend_from_slice(&buffer[sent..length]);
        }
        stream.write_all(&rest).await?;
    }
}

async fn http(mut stream: TcpStream, buffer_bytes: usize) -> io::Result<()> {
    let (mut buffer, mut output) = (vec![0; buffer_bytes], Vec::new());
    let mut conversation = Conversation::new();
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
