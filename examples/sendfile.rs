//! A folder served to whoever asks: no path leads out of it, and no byte of a file comes through
//! this process. Give it a folder to serve that, or let it try itself.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use corio::fs::Dir;
use corio::net::{TcpStream, serve};

const LINE_LENGTH_MAX: usize = 8_000;

/// The path of `GET /path HTTP/1.1`, without its slash.
fn path_of(line: &[u8]) -> Option<PathBuf> {
    let line = std::str::from_utf8(line).ok()?;
    let path = line.strip_prefix("GET /")?.split(' ').next()?;
    Some(PathBuf::from(if path.is_empty() { "index.html" } else { path }))
}

async fn answer(site: &Dir, mut stream: TcpStream) -> io::Result<()> {
    let line = stream.read_line(LINE_LENGTH_MAX).await?;
    while !stream.read_line(LINE_LENGTH_MAX).await?.trim_ascii().is_empty() {}
    let Some(path) = path_of(&line) else {
        return stream.write(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
    };
    let Ok(file) = site.open_file(&path).await else {
        return stream.write(b"HTTP/1.0 404 Not Found\r\n\r\n").await;
    };
    let length = file.metadata().await?.len();
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n");
    stream.write(head.as_bytes()).await?;
    stream.sendfile(&file, ..length).await?;
    stream.close().await.map(drop)
}

async fn ask(address: std::net::SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[corio::main]
async fn main() -> io::Result<()> {
    let folder = corio::fs::TemporaryFolder::new().await?;
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let site = Rc::new(Dir::open(given.as_deref().unwrap_or(folder.path())).await?);
    let server = serve("127.0.0.1:0", move |stream| {
        let site = Rc::clone(&site);
        async move { answer(&site, stream).await }
    })
    .await?;
    let address = server.local_addrs()[0];
    println!("serving on http://{address}/");
    if given.is_some() {
        corio::signal::ctrl_c().await?;
        return Ok(());
    }

    let page = "<p>hello".repeat(100_000);
    corio::fs::write(folder.path().join("index.html"), page.clone()).await?;
    let found = ask(address, "/").await?;
    assert!(found.ends_with(page.as_bytes()) && found.starts_with(b"HTTP/1.0 200 OK"));
    for path in ["/nothing", "/../../etc/passwd", "//etc/passwd"] {
        assert!(ask(address, path).await?.starts_with(b"HTTP/1.0 404"), "{path}");
    }
    folder.remove().await
}
