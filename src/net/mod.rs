//! TCP: listeners and streams.

mod address;
#[macro_use]
mod methods;
mod halves;
mod listener;
mod options;
mod tcp;

pub use address::Address;
pub use halves::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use listener::{Incoming, TcpListener};
pub use options::ListenOptions;
pub use tcp::TcpStream;
