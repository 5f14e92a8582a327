//! A chat: each line of a client goes to all others. One thread, so the list of clients is an `Rc`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use corio::net::{OwnedWriteHalf, TcpStream, serve};
use corio::time::Duration;

const LINE_LENGTH_MAX: usize = 400;

type Clients = Rc<RefCell<BTreeMap<SocketAddr, Rc<OwnedWriteHalf>>>>;

async fn chat(stream: TcpStream, clients: Clients) -> io::Result<()> {
    let name = stream.peer_addr()?;
    let (mut reader, writer) = stream.into_split();
    clients.borrow_mut().insert(name, Rc::new(writer));
    let result = relay(&mut reader, name, &clients).await;
    clients.borrow_mut().remove(&name);
    result
}

async fn relay(
    reader: &mut corio::net::OwnedReadHalf,
    name: SocketAddr,
    clients: &Clients,
) -> io::Result<()> {
    loop {
        let line = reader.read_line(LINE_LENGTH_MAX).await?;
        if line.is_empty() {
            return Ok(());
        }
        let others = clients.borrow().clone().into_iter().filter(|(other, _)| *other != name);
        for (_, other) in others {
            // One that does not read holds up the others for a second at most.
            let _ = corio::timeout(Duration::from_secs(1), other.write(&line)).await;
        }
    }
}

#[corio::main]
async fn main() -> io::Result<()> {
    let clients = Clients::default();
    let shared = Rc::clone(&clients);
    let handler = move |stream| chat(stream, Rc::clone(&shared));
    let server = serve("127.0.0.1:0", handler).await?;
    println!("chatting on {}", server.local_addrs()[0]);

    let mut guests = Vec::new();
    for _ in 0..3 {
        guests.push(TcpStream::connect(server.local_addrs()[0]).await?);
    }
    while clients.borrow().len() < guests.len() {
        corio::sleep(Duration::from_millis(1)).await;
    }
    guests[0].write(b"hello, all\n").await?;
    for guest in &mut guests[1..] {
        let line = guest.read_line(LINE_LENGTH_MAX).await?;
        assert_eq!(line, b"hello, all\n");
    }
    assert!(corio::timeout(Duration::from_millis(20), guests[0].read_line(80)).await.is_err());
    println!("both others have read it, and the one who said it has not");
    drop(guests);
    let report = server.shutdown(Duration::from_secs(1)).await;
    assert_eq!(report.aborted(), 0);
    Ok(())
}
