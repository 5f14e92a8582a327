//! TCP: streams, listeners, and servers that keep their connections' tasks together.

mod address;
mod connect;
mod detached;
#[macro_use]
mod methods;
mod halves;
mod listener;
mod names;
mod options;
mod places;
mod server;
mod tcp;

pub use address::Address;
pub use connect::{Connect, connect, connect_any};
pub use detached::DetachedTcpStream;
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use listener::{Incoming, TcpListener};
pub use names::lookup_host;
pub use options::ListenOptions;
pub use server::{ConnectionEnd, ServeOptions, Server, ShutdownReport, Stage, serve};
pub use tcp::TcpStream;
