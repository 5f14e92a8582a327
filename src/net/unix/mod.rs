//! Unix sockets: streams and listeners with a name in the file system or in the abstract
//! namespace, which pass descriptors and tell who is at the other end.
//!
//! A Unix stream is the same state machine as a TCP one, and a Unix listener the same as a TCP one.

mod datagram;
mod halves;
mod listener;
mod name;
mod stream;

pub use crate::driver::Credentials;
pub use datagram::UnixDatagram;
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use listener::{UnixListener, serve_unix};
pub use name::UnixName;
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;
