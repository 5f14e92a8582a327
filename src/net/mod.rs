//! Sockets: TCP and Unix streams, listeners, servers that keep their connections' tasks together,
//! and datagrams.

mod accept;
mod address;
mod connect;
mod datagrams;
mod detached;
#[macro_use]
mod halves;
mod listener;
mod listening;
mod names;
mod options;
mod places;
mod server;
mod tcp;
mod udp;
pub mod unix;

pub use accept::Incoming;
pub use address::Address;
pub use connect::{Connect, connect, connect_any};
pub use detached::DetachedTcpStream;
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use listener::TcpListener;
pub use listening::ListeningSocket;
pub use names::{lookup_host, reverse_lookup};
pub use options::ListenOptions;
pub use server::{
    AcceptPolicy, ConnectionEnd, CoreEnd, CoresReport, CoresServer, ServeOptions, Server,
    ShutdownReport, Stage, serve, server_closing,
};
pub use tcp::TcpStream;
pub use udp::{Datagram, UdpOptions, UdpSocket};
pub use unix::{UnixDatagram, UnixListener, UnixStream, serve_unix};
