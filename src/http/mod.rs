//! HTTP/1.1 and HTTP/2 servers on hyper: feature `http`.
//!
//! [`serve`] takes any `tower` service: an [axum] router as it is, or [`service_fn`] of an async
//! function, whose future and captures need not be `Send`. hyper parses and frames, corio's
//! streams carry; what is here is the life of a connection: which limits it has, and how it ends.
//!
//! ```
//! use std::convert::Infallible;
//! use std::rc::Rc;
//! use corio::http::{Body, Request, Response, service_fn};
//! use corio::net::TcpStream;
//!
//! # corio::run(async {
//! let greeting = Rc::new("hello\n");
//! let hello = service_fn(move |_: Request<Body>| {
//!     let greeting = Rc::clone(&greeting);
//!     async move { Ok::<_, Infallible>(Response::new(greeting.to_string())) }
//! });
//! let server = corio::http::serve("127.0.0.1:0", hello).await?;
//!
//! let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
//! client.write(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let mut answer = Vec::new();
//! client.read_to_end(&mut answer).await?;
//! assert!(answer.ends_with(b"hello\n"));
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! # A service that asks for `Send`
//!
//! axum's handlers have to be `Send`. One that uses corio's streams, timers or channels is made so
//! by [`OnItsCore::future`](crate::compat::OnItsCore::future), which holds it to its core.
//!
//! [axum]: https://docs.rs/axum

mod activity;
mod body;
mod connection;
mod options;
mod server;
mod service;
#[cfg(feature = "tls")]
mod tls;
mod transport;

pub use body::Body;
pub use hyper::{Method, Request, Response, StatusCode, Version, header};
pub use options::ServeOptions;
pub use server::{serve, serve_on};
pub use service::{HttpService, ServiceFn, service_fn};

/// What an error of a service or of a body can be.
type AnyError = Box<dyn std::error::Error + Send + Sync>;
