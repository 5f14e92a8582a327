//! TCP: streams, listeners, and servers that keep their connections' tasks together.

mod address;
#[macro_use]
mod methods;
mod halves;
mod listener;
mod options;
mod places;
mod server;
mod tcp;

pub use address::Address;
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use listener::{Incoming, TcpListener};
pub use options::ListenOptions;
pub use server::{ConnectionEnd, ServeOptions, Server, ShutdownReport, Stage, serve};
pub use tcp::TcpStream;
