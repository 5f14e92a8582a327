//! The files beneath a folder, with ranges, If-Modified-Since and HEAD. Checks itself, or serves:
//! `cargo run --features http --example static_files -- 127.0.0.1:8080 FOLDER`

use std::{io, path::PathBuf, rc::Rc, time::Duration, time::SystemTime};

use corio::fs::{self, Dir, File, Metadata};
use corio::http::header::{self, HeaderMap, HeaderName};
use corio::http::{Body, Method, Request, Response, StatusCode, service_fn};
use futures_util::stream::{LocalBoxStream, StreamExt, try_unfold};
use http_body_util::StreamBody;
use httpdate::HttpDate;
use hyper::body::{Bytes, Frame};

type Pieces = StreamBody<LocalBoxStream<'static, io::Result<Frame<Bytes>>>>;

/// The file from one position to before another, piece by piece as it is sent.
fn pieces(file: Option<File>, from: u64, to: u64) -> Pieces {
    let pieces = try_unfold((file, from), move |(file, from)| async move {
        let Some(open) = file.as_ref().filter(|_| from < to) else { return Ok(None) };
        let piece = open.read_exact_at(from, (to - from).min(64 << 10) as usize).await?;
        let (bytes, next) = (Bytes::copy_from_slice(&piece), from + piece.len() as u64);
        Ok(Some((Frame::data(bytes), (file, next))))
    });
    StreamBody::new(pieces.boxed_local())
}

/// Opens a file beneath the folder: neither `..` nor a link leads out of it.
async fn open(root: &Dir, path: &str) -> Option<(File, Metadata)> {
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let file = root.open_file(path.trim_start_matches('/')).await.ok()?;
    let metadata = file.metadata().await.ok().filter(Metadata::is_file)?;
    Some((file, metadata))
}

fn field(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Answers one request.
pub async fn serve(root: Rc<Dir>, request: Request<Body>) -> hyper::http::Result<Response<Pieces>> {
    let (say, headers) = (|status| Response::builder().status(status), request.headers());
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return say(StatusCode::METHOD_NOT_ALLOWED).body(pieces(None, 0, 0));
    }
    let Some((file, metadata)) = open(&root, request.uri().path()).await else {
        return say(StatusCode::NOT_FOUND).body(pieces(None, 0, 0));
    };
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = field(headers, header::IF_MODIFIED_SINCE).and_then(|since| since.parse().ok());
    if since.is_some_and(|since: HttpDate| HttpDate::from(modified) <= since) {
        return say(StatusCode::NOT_MODIFIED).body(pieces(None, 0, 0));
    }
    let range = field(headers, header::RANGE);
    let ranges = range.and_then(|range| http_range_header::parse_range_header(range).ok());
    let length = metadata.len();
    // Whoever asks for several gets the whole, which RFC 9110 allows in section 14.2.
    let (answer, from, to) = match ranges.map(|ranges| ranges.validate(length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (from, last) = (*ranges[0].start(), *ranges[0].end());
            let part = format!("bytes {from}-{last}/{length}");
            let answer = say(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, part);
            (answer, from, last + 1)
        }
        Some(Err(_)) => {
            let answer = say(StatusCode::RANGE_NOT_SATISFIABLE);
            (answer.header(header::CONTENT_RANGE, format!("bytes */{length}")), 0, 0)
        }
        _ => (say(StatusCode::OK).header(header::ACCEPT_RANGES, "bytes"), 0, length),
    };
    answer
        .header(header::LAST_MODIFIED, httpdate::fmt_http_date(modified))
        .header(header::CONTENT_LENGTH, to - from)
        .body(pieces(Some(file), from, to))
}

#[corio::main]
async fn main() -> io::Result<()> {
    let (mut arguments, scratch) = (std::env::args().skip(1), fs::TemporaryFolder::new().await?);
    let (address, folder) = (arguments.next(), arguments.next().map(PathBuf::from));
    let root = Rc::new(Dir::open(folder.as_deref().unwrap_or(scratch.path())).await?);
    let at = address.as_deref().unwrap_or("127.0.0.1:0");
    let service = service_fn(move |request| serve(Rc::clone(&root), request));
    let server = corio::http::serve(at, service).await?;
    println!("listening on {}", server.local_addrs()[0]);
    if address.is_some() {
        return server.serve_until_signal(Duration::from_secs(10)).await.map(drop);
    }
    fs::write(scratch.path().join("digits"), "0123456789").await?;
    let mut client = corio::net::TcpStream::connect(server.local_addrs()[0]).await?;
    client.write(b"GET /digits HTTP/1.0\r\nrange: bytes=3-6\r\n\r\n").await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.0 206") && answer.ends_with(b"\r\n\r\n3456"));
    Ok(())
}
