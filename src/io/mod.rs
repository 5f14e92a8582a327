//! Streams of bytes: what a connection's inbox and outbox are, whatever the socket.
//!
//! ```text
//!  peer ─▶ kernel ─▶ standing receive ─▶ inbox  ─▶ read, read_chunk, fill_buf, ...
//!  peer ◀─ kernel ◀─ one send at a time ◀─ outbox ◀─ write, write_owned, ...
//! ```
//!
//! The stream owns the operations and what they bring; a future only waits for it. So dropping a
//! wait loses nothing. `net` puts names of sockets on top of this.

mod async_fd;
mod close;
mod copy;
mod error;
mod framed;
mod inbox;
mod lines;
#[macro_use]
mod methods;
mod moving;
mod outbox;
mod pipe;
mod queue;
mod reading;
mod sendfile;
mod separators;
mod source;
pub(crate) mod stream;
mod to_file;
mod wide_pipe;
mod writing;

pub use crate::driver::{Chunk, Segment};
pub use async_fd::{AsyncFd, ReadyGuard, TryIoError};
pub use close::Closed;
pub use copy::copy_bidirectional;
pub use error::{IncompleteRead, LimitOverrun};
pub use framed::{Decoder, Encoder, Framed, LengthCodec, LinesCodec};
pub use lines::Lines;
pub(crate) use moving::{Detach, Luggage};
pub use pipe::{PipeReader, PipeWriter, pipe, stderr, stdin, stdout};
pub(crate) use reading::Reader;
pub use sendfile::Sendfile;
pub use separators::Separators;
pub(crate) use source::Source;
pub(crate) use stream::Stream;
pub use to_file::ReadToFile;
