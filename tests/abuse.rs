//! Hazards of an HTTP server that is attacked: heads and bodies that never end, floods of frames,
//! clients that read nothing. Each time the memory of the server's thread is counted, others are
//! served meanwhile, and one line tells of it.

mod support;

#[path = "support/counted.rs"]
mod counted;
#[path = "abuse/half_open.rs"]
mod half_open;
#[path = "abuse/http_1.rs"]
mod http_1;
#[path = "abuse/http_2.rs"]
mod http_2;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use corio::http::{Body, Request, Response, ServeOptions, StatusCode, service_fn};
use corio::{Runtime, Unhandled, spawn_blocking};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};

use support::{bounded, until};

#[global_allocator]
static ALLOCATOR: counted::Counted = counted::Counted;

/// How long an attacker goes on at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// An attacker's view of the server.
struct Target {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
}

impl Target {
    /// A connection on which nothing blocks for ever.
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        stream
    }

    /// Returns once three requests of others were answered from now on.
    fn others_are_served(&self) {
        let (first, start) = (self.answered.load(Ordering::SeqCst), Instant::now());
        while self.answered.load(Ordering::SeqCst) < first + 3 {
            assert!(start.elapsed() < PATIENCE, "others are not served");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How an attack ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The server ended the connection.
    CutOff,
    /// The server took nothing more.
    Stalled,
    /// It took all.
    Taken,
}

/// Sends pieces until the server has had enough, or has taken so many bytes.
fn pour(stream: &mut TcpStream, bytes_max: usize, mut piece: impl FnMut() -> Vec<u8>) -> End {
    let mut sent = 0;
    while sent < bytes_max {
        let piece = piece();
        sent += piece.len();
        match stream.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return End::Stalled,
            Err(_) => return End::CutOff,
        }
    }
    End::Taken
}

/// Everything that comes up to the end of a connection, however it ends.
fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// What an attack did to its server.
struct Damage {
    /// How much more memory than before the server had at most.
    peak: isize,
    /// What was told.
    lines: Vec<String>,
}

impl Damage {
    #[track_caller]
    fn is_below(&self, bytes: isize) -> &Damage {
        eprintln!("{} bytes at most, {} lines", self.peak, self.lines.len());
        assert!(self.peak < bytes, "{} bytes of memory", self.peak);
        self
    }

    /// One line tells of it, and others only after a while.
    #[track_caller]
    fn was_told(&self, what: &str) {
        let texts = ["the client was cut off", what];
        let is_told = |line: &String| texts.iter().all(|text| line.contains(text));
        assert!(!self.lines.is_empty() && self.lines.iter().all(is_told), "{:?}", self.lines);
        assert!(self.lines.len() < 60, "{} lines", self.lines.len());
    }

    #[track_caller]
    fn was_not_told(&self) {
        assert!(self.lines.is_empty(), "{:?}", self.lines);
    }
}

/// Answers `/big` with 64 MiB in pieces of 16 KiB, made as they are sent; reads other bodies and
/// sends them back.
async fn answer(request: Request<Body>) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
    if request.uri().path() == "/big" {
        let piece = |_| Ok(Frame::data(Bytes::from(vec![b'x'; 16 << 10])));
        let pieces = futures_util::stream::iter((0..4096).map(piece));
        return Ok(Response::new(BodyExt::boxed(StreamBody::new(pieces))));
    }
    let (status, bytes) = match request.into_body().collect().await {
        Ok(body) => (StatusCode::OK, body.to_bytes()),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into()),
    };
    let body = Full::new(bytes).map_err(|never| match never {});
    let mut response = Response::new(BodyExt::boxed(body));
    *response.status_mut() = status;
    Ok(response)
}

/// Whether somebody else gets an answer.
async fn serves(address: SocketAddr) -> bool {
    let mut stream = corio::net::TcpStream::connect(address).await.unwrap();
    stream.write(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer.starts_with(b"HTTP/1.0 200")
}

/// Attacks a server, while others ask it all the time.
fn under_attack(options: ServeOptions, attack: impl FnOnce(&Target) + Send + 'static) -> Damage {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let hook = Rc::clone(&lines);
    let runtime = Runtime::builder()
        .on_unhandled(move |unhandled: &Unhandled| hook.borrow_mut().push(unhandled.to_string()))
        .build()
        .unwrap();
    let peak = runtime.block_on(async {
        let server = options.serve("127.0.0.1:0", service_fn(answer)).await.unwrap();
        let address = server.local_addrs()[0];
        assert!(bounded(serves(address)).await);
        let tasks = corio::stats().tasks;
        let (before, answered) = (counted::live(), Arc::new(AtomicUsize::new(0)));
        counted::peak_since();
        let target = Target { address, answered: Arc::clone(&answered) };
        let attacking = spawn_blocking(move || attack(&target));
        while !attacking.is_finished() {
            assert!(bounded(serves(address)).await);
            answered.fetch_add(1, Ordering::SeqCst);
        }
        attacking.await.unwrap();
        let peak = counted::peak_since() - before;
        until(|| server.connection_count() == 0 && corio::stats().tasks <= tasks).await;
        bounded(server.shutdown(PATIENCE)).await;
        peak
    });
    drop(runtime);
    Damage { peak, lines: lines.take() }
}
