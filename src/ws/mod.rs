//! WebSockets, RFC 6455, of clients and servers: feature `ws`.
//!
//! [`connect`] opens one, [`accept`] accepts one on any stream, also one of TLS (with the feature
//! `tls`, `Client::connect_tls` opens those), and with the feature `http` [`upgrade`] makes one of
//! a request. A [`WebSocket`] sends and receives messages; it answers pings and closes by itself,
//! and pings a peer that is silent.
//!
//! tungstenite's protocol core frames and checks; corio's streams carry. What is here is glue:
//! waiting, giving up, back-pressure, and the handshakes' surroundings.
//!
//! ```
//! use corio::net::TcpStream;
//! use corio::ws::{self, CloseCode};
//!
//! # corio::run(async {
//! let server = corio::net::serve("127.0.0.1:0", async |stream: TcpStream| {
//!     let mut socket = ws::accept(stream).await?;
//!     socket.send("welcome").await?;
//!     socket.close(CloseCode::Away, "that was all").await
//! })
//! .await?;
//!
//! let mut socket = ws::connect(&format!("ws://{}/", server.local_addrs()[0])).await?;
//! while let Some(message) = socket.recv().await? {
//!     assert_eq!(message.as_bytes(), b"welcome");
//! }
//! assert_eq!(socket.close_frame().unwrap().reason, "that was all");
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! # Memory
//!
//! A WebSocket keeps a buffer to read into ([`Options::read_buffer`], 8 KiB), also while it is
//! idle. A message that is received is bounded by [`Options::message_limit`]. What is sent waits
//! while the peer does not read: one message beyond [`Options::write_limit`], and the 64 KiB that a
//! stream queues. The core's two buffers grow to the longest frame that came and the longest that
//! went, and stay so.
//!
//! # What it does not do
//!
//! Compression (permessage-deflate): the protocol core has none. An offer of it is declined, as the
//! RFC provides. WebSockets over HTTP/2 (RFC 8441): browsers use HTTP/1.1 where a server does not
//! say that it has them. A text is checked for UTF-8 frame by frame: a bad one fails with the frame
//! that holds it, without waiting for the rest of the message.

mod client;
mod halves;
mod message;
mod options;
mod patience;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod socket;
#[cfg(feature = "http")]
mod upgrade;
mod wire;

pub use client::{Client, Refused, connect};
pub use halves::{Receiver, Sender};
pub use message::Message;
pub use options::Options;
pub use server::{Server, accept};
pub use socket::WebSocket;
pub use tungstenite::protocol::frame::coding::CloseCode;
pub use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
#[cfg(feature = "http")]
pub use upgrade::{Upgraded, upgrade};
