//! A server of the files beneath a folder: ranges, If-Modified-Since, HEAD; nothing outside of it.
//!
//! ```text
//! cargo run --features http --example static_files                            # checks itself
//! cargo run --features http --example static_files -- 127.0.0.1:8080 FOLDER   # until Ctrl-C
//! ```

use std::{io, path::PathBuf, time::Duration, time::SystemTime};

use corio::fs::{self, File};
use corio::http::header::{self, HeaderMap, HeaderName};
use corio::http::{Body, Method, Request, Response, StatusCode, service_fn};
use futures_util::stream::{LocalBoxStream, StreamExt, try_unfold};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};

type Answer = Response<StreamBody<LocalBoxStream<'static, io::Result<Frame<Bytes>>>>>;

const PIECE_BYTES: u64 = 64 << 10;

/// The file, from one position to before another, piece by piece as it is sent.
fn answer(
    status: StatusCode,
    fields: &[(HeaderName, String)],
    file: Option<(File, u64, u64)>,
) -> Answer {
    let pieces = try_unfold(file, async |file| {
        let Some((file, from, to)) = file.filter(|(_, from, to)| from < to) else {
            return Ok(None);
        };
        let piece = file.read_at(from, PIECE_BYTES.min(to - from) as usize).await?;
        if piece.is_empty() {
            return Err(io::Error::other("the file became shorter while it was sent"));
        }
        let (bytes, from) = (Bytes::copy_from_slice(&piece), from + piece.len() as u64);
        Ok(Some((Frame::data(bytes), Some((file, from, to)))))
    });
    let mut response = Response::new(StreamBody::new(pieces.boxed_local()));
    *response.status_mut() = status;
    for (name, value) in fields {
        response.headers_mut().insert(name, value.parse().expect("made of digits and words"));
    }
    response
}

/// Whether a client's copy is as new as the file; times are told in whole seconds.
fn is_known(headers: &HeaderMap, modified: SystemTime) -> bool {
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
    let since = since.and_then(|since| httpdate::parse_http_date(since).ok());
    since.is_some_and(|since| modified < since + Duration::from_secs(1))
}

/// Answers one request with what is beneath the folder.
pub async fn serve(root: PathBuf, request: Request<Body>) -> io::Result<Answer> {
    let refuse = |status| Ok(answer(status, &[(header::CONTENT_LENGTH, "0".into())], None));
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy();
    // The true path, without `..` and links. Whoever may write in the folder could exchange it
    // before it is opened.
    let path = fs::canonicalize(root.join(path.trim_start_matches('/'))).await;
    let Some(path) = path.ok().filter(|path| path.starts_with(&root)) else {
        return refuse(StatusCode::NOT_FOUND);
    };
    let Ok(file) = File::open(path).await else { return refuse(StatusCode::NOT_FOUND) };
    let metadata = file.metadata().await?;
    let (length, modified) = (metadata.len(), SystemTime::from(metadata.modified()?));
    if !metadata.is_file() {
        return refuse(StatusCode::NOT_FOUND);
    }
    let mut fields = vec![(header::LAST_MODIFIED, httpdate::fmt_http_date(modified))];
    if is_known(request.headers(), modified) {
        return Ok(answer(StatusCode::NOT_MODIFIED, &fields, None));
    }
    let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let ranges = range.and_then(|range| http_range_header::parse_range_header(range).ok());
    // Whoever asks for several gets the whole, as RFC 9110 allows in section 14.2.
    let (status, from, to) = match ranges.map(|ranges| ranges.validate(length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (from, last) = (*ranges[0].start(), *ranges[0].end());
            fields.push((header::CONTENT_RANGE, format!("bytes {from}-{last}/{length}")));
            (StatusCode::PARTIAL_CONTENT, from, last + 1)
        }
        Some(Err(_)) => {
            fields.push((header::CONTENT_RANGE, format!("bytes */{length}")));
            (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0)
        }
        _ => (StatusCode::OK, 0, length),
    };
    fields.push((header::ACCEPT_RANGES, "bytes".into()));
    fields.push((header::CONTENT_LENGTH, (to - from).to_string()));
    Ok(answer(status, &fields, Some((file, from, to))))
}

#[corio::main]
async fn main() -> io::Result<()> {
    let (mut arguments, scratch) = (std::env::args().skip(1), fs::TemporaryFolder::new().await?);
    let (address, folder) = (arguments.next(), arguments.next().map(PathBuf::from));
    let root = fs::canonicalize(folder.as_deref().unwrap_or(scratch.path())).await?;
    let at = (root.clone(), address.as_deref().unwrap_or("127.0.0.1:0"));
    let files = service_fn(move |request| serve(at.0.clone(), request));
    let server = corio::http::serve(at.1, files).await?;
    println!("listening on {}", server.local_addrs()[0]);
    if address.is_some() {
        return server.serve_until_signal(Duration::from_secs(10)).await.map(drop);
    }
    fs::write(root.join("digits"), "0123456789").await?;
    let mut client = corio::net::TcpStream::connect(server.local_addrs()[0]).await?;
    client.write(b"GET /digits HTTP/1.0\r\nrange: bytes=3-6\r\n\r\n").await?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.0 206") && answer.ends_with(b"\r\n\r\n3456"));
    Ok(())
}
