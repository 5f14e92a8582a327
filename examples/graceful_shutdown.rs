//! A server that ends in good order: it stops accepting, lets requests finish, then cancels, then
//! resets, and says how far each connection came.

use std::io;

use corio::net::{ServeOptions, TcpStream};
use corio::time::Duration;
use corio::{catch_cancel, sleep};

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let request = stream.read_line(80).await?;
    let work = match &*request {
        b"quick\n" => sleep(Duration::from_millis(20)),
        _ => sleep(Duration::from_secs(60)),
    };
    let reply: &[u8] = match catch_cancel(work).await {
        Ok(()) => b"done\n",
        Err(_cancelled) => b"the server closes, try again\n",
    };
    stream.write(reply).await?;
    stream.close().await.map(drop)
}

async fn ask(address: std::net::SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write(request.as_bytes()).await?;
    let reply = stream.read_line(80).await?;
    Ok(String::from_utf8_lossy(&reply).trim().to_owned())
}

#[corio::main]
async fn main() -> io::Result<()> {
    let server = ServeOptions::new().max_connections(100).serve("127.0.0.1:0", answer).await?;
    let address = server.local_addrs()[0];
    let quick = corio::spawn(ask(address, "quick\n"));
    let slow = corio::spawn(ask(address, "slow\n"));
    while server.connection_count() < 2 {
        sleep(Duration::from_millis(1)).await;
    }

    // A real program would wait for `corio::signal::ctrl_c()` here.
    let report = server.shutdown(Duration::from_millis(200)).await;
    println!("{} finished, {} cancelled", report.finished(), report.cancelled());
    assert_eq!((report.finished(), report.cancelled(), report.aborted()), (1, 1, 0));
    assert_eq!(quick.await.expect("no panic")?, "done");
    assert_eq!(slow.await.expect("no panic")?, "the server closes, try again");
    assert!(ask(address, "late\n").await.is_err(), "nobody listens any more");
    Ok(())
}
