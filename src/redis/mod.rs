//! Redis: feature `redis`.
//!
//! The [redis] crate speaks the protocol, on corio's streams; what is here is how its connections
//! are made, and what happens when one breaks. [`Client::connection`] gives a connection that all
//! tasks of the core share: commands are pipelined, and each future gets its own answer.
//!
//! ```no_run
//! use corio::redis::{Client, redis::AsyncCommands};
//!
//! # corio::run(async {
//! let client = Client::new("redis://localhost/")?;
//! let mut connection = client.connection().await?;
//! connection.set::<_, _, ()>("answer", 42).await?;
//! assert_eq!(connection.get::<_, Option<i64>>("answer").await?, Some(42));
//! # corio::redis::redis::RedisResult::Ok(())
//! # }).unwrap();
//! ```
//!
//! All of the library is here as [`redis`](mod@redis), in the version that fits.
//!
//! # When a connection breaks
//!
//! Whatever was asked on it fails, and **nothing is asked again**: a command whose answer is
//! missing may have been executed. The next [`Client::connection`] connects anew, once for all who
//! wait for it, and fails if that fails. So ask for the connection where it is used; it costs no
//! more than a clone while the last one is sound.
//!
//! # Time limits
//!
//! By [`timeout`](crate::timeout()) around a command, not by the library's `set_response_timeout`,
//! which asks for a tokio runtime and panics without one. After a limit on a connection that may
//! have been cut silently, [`Client::disconnect`] has the next one made anew.
//!
//! # Cancellation
//!
//! A command's future that is dropped after its first poll only gives its answer up: the server
//! executes the command, and no other future gets its answer.
//!
//! [redis]: https://docs.rs/redis

mod client;
mod subscriber;

pub use ::redis;
pub use ::redis::aio::MultiplexedConnection;

pub use client::Client;
pub use subscriber::Subscriber;
