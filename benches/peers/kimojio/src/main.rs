//! The servers on kimojio: one runtime on this thread, operations on plain descriptors.

use kimojio::configuration::{BusyPoll, Configuration};
use kimojio::operations::{self, AddressFamily, SocketType, ipproto};
use kimojio::{Errno, OwnedFd, Runtime};
use program::{Conversation, Kind, Orders};

/// Enough for every client of the largest cell to connect at the same moment.
const BACKLOG: i32 = 4096;

fn main() -> Result<(), String> {
    let orders = Orders::read(&[Kind::Echo, Kind::Http])?;
    let mut configuration = Configuration::new();
    if let Some(spin) = orders.spin {
        configuration = configuration.set_busy_poll(BusyPoll::Until(spin));
    }
    let mut runtime = Runtime::new(0, configuration);
    let served = runtime.block_on(serve(orders));
    match served {
        Some(Ok(Err(error))) => Err(error.to_string()),
        Some(Ok(Ok(()))) => Ok(()),
        _ => Err("the runtime ended".to_owned()),
    }
}

async fn serve(orders: Orders) -> Result<(), Errno> {
    let tcp = Some(ipproto::TCP);
    let listener = operations::socket(AddressFamily::INET, SocketType::STREAM, tcp).await?;
    operations::bind(&listener, &([127, 0, 0, 1], orders.port).into())?;
    operations::listen(&listener, BACKLOG)?;
    loop {
        let stream = operations::accept(&listener).await?;
        kimojio::socket_helpers::update_accept_socket(&stream)?;
        let buffer = vec![0; orders.buffer_bytes];
        // A connection that fails just ends: its client sees it.
        match orders.kind {
            Kind::Http => drop(operations::spawn_task(http(stream, buffer))),
            _ => drop(operations::spawn_task(echo(stream, buffer))),
        }
    }
}

async fn echo(stream: OwnedFd, mut buffer: Vec<u8>) -> Result<(), Errno> {
    loop {
        let length = operations::read(&stream, &mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        write_all(&stream, &buffer[..length]).await?;
    }
}

async fn write_all(stream: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let sent = operations::write(stream, bytes).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn http(stream: OwnedFd, mut buffer: Vec<u8>) -> Result<(), Errno> {
    let (mut conversation, mut output) = (Conversation::new(), Vec::new());
    while !conversation.is_over() {
        let length = operations::read(&stream, &mut buffer).await?;
        if length == 0 {
            break;
        }
        conversation.answer(&buffer[..length], &mut output);
        write_all(&stream, &output).await?;
        output.clear();
    }
    Ok(())
}
