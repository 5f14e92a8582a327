//! A UDP echo: datagrams wait in the socket's inbox, and none is cut without a word.

use std::io;

use corio::net::UdpSocket;

async fn echo(socket: UdpSocket) -> io::Result<()> {
    loop {
        let datagram = socket.recv_datagram().await?;
        socket.send_to(&datagram.bytes, datagram.from).await?;
    }
}

#[corio::main]
async fn main() -> io::Result<()> {
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let address = server.local_addr()?;
    println!("echoing on {address}");
    let server = corio::spawn(echo(server));

    let client = UdpSocket::bind("127.0.0.1:0").await?;
    client.connect(address)?;
    for length in [1, 100, 1400, 60_000] {
        let sent = vec![length as u8; length];
        client.send(&sent).await?;
        let mut buffer = vec![0; length];
        let count = client.recv(&mut buffer).await?;
        assert_eq!((count, &buffer), (length, &sent));
    }
    let too_small = {
        client.send(b"five!").await?;
        client.recv(&mut [0; 4]).await
    };
    assert_eq!(too_small.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(client.recv(&mut [0; 5]).await?, 5, "it stayed");
    server.cancel();
    Ok(())
}
