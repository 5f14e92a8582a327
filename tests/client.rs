//! Hazards of an HTTP client: an answer that reaches another request, a connection that leaks, a
//! server that lies about its answer, a request that is sent twice.

#[path = "support/child.rs"]
mod child;
mod support;

#[path = "client/aiohttp.rs"]
mod aiohttp;
#[path = "client/answers.rs"]
mod answers;
#[allow(dead_code)] // The tests of TLS use all of it.
#[path = "tls/authority.rs"]
mod authority;
#[path = "client/cancelling.rs"]
mod cancelling;
#[path = "client/closing.rs"]
mod closing;
#[path = "client/decoding.rs"]
mod decoding;
#[path = "client/http2.rs"]
mod http2;
#[path = "client/limits.rs"]
mod limits;
#[path = "client/pool.rs"]
mod pool;
#[path = "client/proxies.rs"]
mod proxies;
#[path = "client/redirects.rs"]
mod redirects;
#[path = "client/secure.rs"]
mod secure;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use corio::http::Client;
use corio::http::client::{ClientBuilder, Error, RequestBuilder};
use corio::net::{TcpListener, TcpStream};

use support::bounded;

/// Settings that no environment changes.
fn builder() -> ClientBuilder {
    Client::builder().no_proxy()
}

fn client() -> Client {
    builder().build().unwrap()
}

/// A server whose connections do what a script says, byte by byte.
struct Scripted {
    url: String,
    /// Connections so far.
    count: Rc<Cell<usize>>,
    /// The heads of all requests, with the number of their connection.
    heads: Rc<RefCell<Vec<(usize, String)>>>,
}

impl Scripted {
    /// The script is called with the number of the connection, from 0 on.
    async fn new<F, R>(script: F) -> Scripted
    where
        F: Fn(usize, Peer) -> R + 'static,
        R: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (count, heads) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
        let (counted, noted) = (Rc::clone(&count), Rc::clone(&heads));
        corio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let number = counted.replace(counted.get() + 1);
                corio::spawn(script(number, Peer { stream, number, heads: Rc::clone(&noted) }));
            }
        });
        Scripted { url, count, heads }
    }

    /// Answers every request of every connection with these bytes.
    async fn answering(bytes: impl AsRef<[u8]> + 'static) -> Scripted {
        let bytes = Rc::new(bytes);
        Scripted::new(move |_, mut peer| {
            let bytes = Rc::clone(&bytes);
            async move {
                while peer.head().await.is_some() {
                    peer.say((*bytes).as_ref()).await;
                }
            }
        })
        .await
    }

    /// Answers the first request of each connection with these bytes, and ends.
    async fn ending(bytes: impl AsRef<[u8]> + 'static) -> Scripted {
        let bytes = Rc::new(bytes);
        Scripted::new(move |_, mut peer| {
            let bytes = Rc::clone(&bytes);
            async move {
                peer.head().await;
                peer.say((*bytes).as_ref()).await;
                peer.end().await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// The server's side of a connection.
struct Peer {
    stream: TcpStream,
    number: usize,
    heads: Rc<RefCell<Vec<(usize, String)>>>,
}

impl Peer {
    /// The head of the next request; `None` if there is none.
    async fn head(&mut self) -> Option<String> {
        let head = self.stream.read_until(b"\r\n\r\n", 64 << 10).await.ok()?;
        let head = String::from_utf8(head.to_vec()).ok().filter(|head| !head.is_empty())?;
        self.heads.borrow_mut().push((self.number, head.clone()));
        Some(head)
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // A client may be gone by then.
        let _ = self.stream.write(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Ends in good order, and waits for the client's end.
    async fn end(self) {
        let _ = self.stream.close().await;
    }

    /// Waits until the client has ended.
    async fn gone(&mut self) {
        while let Ok(Some(_)) = self.stream.read_chunk().await {}
    }
}

/// Sends, and reads the whole answer: its status and its text.
async fn text(request: RequestBuilder) -> Result<(u16, String), Error> {
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// As [`text`], of what has to work.
async fn ask(request: RequestBuilder) -> (u16, String) {
    bounded(text(request)).await.unwrap_or_else(|error| panic!("{error}"))
}
