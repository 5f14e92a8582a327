//! A WebSocket server that echoes, and a client that checks it: text, bytes, a ping, a long
//! message, and a close with a reason. With an address as its argument it serves there for ever.

use std::io;

use corio::net::{TcpStream, serve};
use corio::ws::{self, Client, CloseCode, Message, Server};

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut socket = Server::new().subprotocols(["echo"]).accept(stream).await?;
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    let reason = socket.close_frame().map(ToString::to_string).unwrap_or_default();
    println!("a client has left: {reason}");
    Ok(())
}

#[corio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let server = serve(address.as_deref().unwrap_or("127.0.0.1:0"), echo).await?;
    let url = format!("ws://{}/", server.local_addrs()[0]);
    println!("echoing on {url}");
    if address.is_some() {
        server.wait_closed().await;
    }

    let mut socket = Client::new().subprotocols(["echo"])?.connect(&url).await?;
    assert_eq!(socket.subprotocol(), Some("echo"));
    let long = "all work and no play ".repeat(50_000);
    for message in [Message::from("hello"), Message::from(vec![0, 255]), Message::from(long)] {
        socket.ping().await?;
        socket.send(message.clone()).await?;
        assert_eq!(socket.recv().await?, Some(message));
    }
    println!("a ping took {:?}", socket.latency().expect("pings are answered"));
    socket.close(CloseCode::Normal, "that was all").await?;

    // It is closed: nothing comes and nothing goes any more.
    assert_eq!(socket.recv().await?, None);
    assert_eq!(socket.send("hello").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let nobody = ws::connect("ws://127.0.0.1:1/").await;
    assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    Ok(())
}
