//! An echo server with TLS, and a client that checks it.
//!
//! ```text
//! cargo run --features tls --example tls_echo      # checks itself with a client, and ends
//! cargo run --features tls --example tls_echo -- 127.0.0.1:7777 server.pem server.key
//!     # serves until Ctrl-C: try `openssl s_client -connect 127.0.0.1:7777`
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::tls::{Acceptor, Connector};

#[corio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [address, certificate, key] = &arguments[..] {
        let (certificate, key) = (corio::fs::read(certificate).await?, corio::fs::read(key).await?);
        let acceptor = Acceptor::builder().certificate(certificate, key).build()?;
        corio::spawn(serve(TcpListener::bind(address).await?, acceptor));
        return corio::signal::ctrl_c().await;
    }
    // A certificate for this run, which its client trusts.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let acceptor = Acceptor::builder().certificate(&certificate, key).build()?;
    let connector = Connector::builder().root_certificates(certificate).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = corio::spawn(serve(listener, acceptor));
    check(address, &connector).await?;
    check(address, &connector).await?;
    server.cancel();
    Ok(())
}

async fn serve(listener: TcpListener, acceptor: Acceptor) -> io::Result<()> {
    loop {
        let (stream, acceptor) = (listener.accept().await?, acceptor.clone());
        corio::spawn(async move {
            if let Err(error) = echo(stream, acceptor).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

/// Everything the client sends goes back, until the client ends.
async fn echo(stream: TcpStream, acceptor: Acceptor) -> io::Result<()> {
    // A client that does not finish its handshake holds nothing up for long.
    let mut stream = corio::timeout(Duration::from_secs(10), acceptor.accept(stream)).await??;
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            count => stream.write(&buffer[..count]).await?,
        }
    }
}

/// A client: sends lines, and compares what comes back.
async fn check(server: SocketAddr, connector: &Connector) -> io::Result<()> {
    let mut stream = connector.connect("localhost", TcpStream::connect(server).await?).await?;
    println!("{:?}, resumed: {}", stream.protocol_version(), stream.is_resumed());
    let mut echoed = Vec::new();
    for line in ["first\n", "second, a little longer\n", "last\n"] {
        stream.write(line.as_bytes()).await?;
        echoed.clear();
        while echoed.len() < line.len() {
            let bytes = stream.fill_buf().await?;
            echoed.extend_from_slice(bytes);
            let count = bytes.len();
            stream.consume(count);
        }
        print!("echoed: {}", String::from_utf8_lossy(&echoed));
        assert_eq!(echoed, line.as_bytes());
    }
    // After our end the server ends its side too, and nothing more comes.
    stream.shutdown().await?;
    assert_eq!(stream.read(&mut [0]).await?, 0);
    Ok(())
}
