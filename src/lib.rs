//! **corio** is asyncio for Linux servers, in Rust: one io_uring ring and one single-threaded loop
//! per core, with tasks, timers and streams in asyncio's vocabulary.
//!
//! ```
//! use corio::net::{TcpListener, TcpStream};
//!
//! async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
//!     let (mut reader, writer) = stream.split();
//!     while let Some(chunk) = reader.read_chunk().await? {
//!         writer.write_owned(chunk).await?;
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! corio::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?;
//!     corio::spawn(async move {
//!         while let Ok(stream) = listener.accept().await {
//!             corio::spawn(echo(stream));
//!         }
//!     });
//!
//!     let mut client = TcpStream::connect(address).await?;
//!     client.write(b"hello").await?;
//!     let mut reply = [0; 5];
//!     client.read_exact(&mut reply).await?;
//!     assert_eq!(&reply, b"hello");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Three things to know:
//!
//! * **Nothing is lost by cancelling.** The listener and the stream own what arrives; a future only
//!   waits for it. So `timeout(d, listener.accept())` in a loop loses no client, and
//!   `timeout(d, stream.read(..))` no byte. Every `async fn` says under *Cancellation* what
//!   dropping it does.
//! * **Everything stays on its core.** Futures, streams and handles are not `Send`, so `Rc` and
//!   `RefCell` serve where other runtimes ask for `Arc` and `Mutex`.
//! * **An idle connection holds no buffer.** Receive buffers belong to the core, and the kernel
//!   takes one when bytes arrive.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("corio is for 64-bit Linux: a waker is a 64-bit number, and the loop is io_uring");

// The macros name `::corio`, also in this crate's own tests.
extern crate self as corio;

// In reading order, from the kernel up.
mod driver;
mod executor;

pub mod blocking;
pub mod context;
pub mod task;
pub mod time;

pub mod sync;

pub mod queue;

pub mod fs;
#[macro_use]
pub mod io;
pub mod net;
pub mod process;
pub mod signal;

pub mod channel;
pub mod cores;

pub mod probe;
mod runtime;

#[cfg(any(feature = "tokio-io", feature = "hyper"))]
pub mod compat;
#[cfg(any(feature = "http", feature = "http-client"))]
pub mod http;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "ws")]
pub mod ws;

pub use blocking::{BlockingHandle, spawn_blocking, spawn_blocking as to_thread};
pub use driver::{Driver, Feature, FeatureState, Features};
pub use executor::{BusyPoll, CloseReport, Unhandled};
pub use runtime::{Builder, Runtime, Stats, run, stats};
pub use task::{
    JoinError, JoinHandle, TaskGroup, catch_cancel, gather, shield, spawn, task_group, yield_now,
};
pub use time::{interval, sleep, timeout, wait_for};

pub use corio_macros::{main, select, test};
pub use futures_util::{join, try_join};

/// What the macros expand to. No part of the API.
#[doc(hidden)]
pub mod __private;
