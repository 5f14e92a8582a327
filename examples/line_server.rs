//! A server of lines with a limit: each line is answered, and one that is too long ends the
//! connection with a word.

use std::io;

use corio::io::{Framed, LinesCodec};
use corio::net::{TcpStream, serve};
use futures_util::{SinkExt, StreamExt};

const LINE_LENGTH_MAX: usize = 80;

async fn answer(stream: TcpStream) -> io::Result<()> {
    let mut lines = Framed::new(stream, LinesCodec::new(LINE_LENGTH_MAX));
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                let reversed: String = line.chars().rev().collect();
                lines.send(reversed).await?;
            }
            Err(error) => return lines.send(format!("no: {error}")).await,
        }
    }
    Ok(())
}

#[corio::main]
async fn main() -> io::Result<()> {
    let server = serve("127.0.0.1:0", answer).await?;
    let address = server.local_addrs()[0];
    println!("answering lines on {address}");

    let stream = TcpStream::connect(address).await?;
    let mut client = Framed::new(stream, LinesCodec::new(LINE_LENGTH_MAX));
    for word in ["corio", "", "été"] {
        client.send(word).await?;
        let answer = client.next().await.expect("the server answers")?;
        assert_eq!(answer, word.chars().rev().collect::<String>());
    }
    assert!(client.send("x".repeat(81)).await.is_err(), "it is not even sent");

    let mut rude = TcpStream::connect(address).await?;
    rude.write(&[b'x'; 1000]).await?;
    let answer = rude.read_line(100).await?;
    assert_eq!(answer, b"no: a line is longer than 80 bytes\n");
    Ok(())
}
