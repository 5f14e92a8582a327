//! HTTP/1.1 and HTTP/2 on hyper: servers, feature `http`, and a [`client`], feature `http-client`.
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
//! [`serve_on`] does the same on many cores, with a service of its own on each.
//!
//! # A service that asks for `Send`
//!
//! axum's handlers have to be `Send`. One that uses corio's streams, timers or channels is made so
//! by [`OnItsCore::future`](crate::compat::OnItsCore::future), which holds it to its core.
//!
//! [axum]: https://docs.rs/axum

#[cfg(feature = "http")]
mod activity;
#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http-client")]
pub mod client;
#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod options;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
mod service;
#[cfg(all(feature = "http", feature = "tls"))]
mod tls;
#[cfg(feature = "http")]
mod transport;

#[cfg(feature = "http")]
pub use body::Body;
#[cfg(feature = "http-client")]
pub use client::Client;
pub use hyper::{Method, Request, Response, StatusCode, Version, header};
#[cfg(feature = "http")]
pub use options::ServeOptions;
#[cfg(feature = "http")]
pub use server::{serve, serve_on};
#[cfg(feature = "http")]
pub use service::{HttpService, ServiceFn, service_fn};

/// What an error of a service or of a body can be.
#[cfg(feature = "http")]
type AnyError = Box<dyn std::error::Error + Send + Sync>;
