//! PostgreSQL: feature `postgres`.
//!
//! [tokio-postgres] speaks the protocol, on corio's streams; what is here is the life of a
//! connection. [`ConnectOptions`] connects, [`Pool`] keeps connections, and dropping a
//! [`Connection`] cancels on the server what it still does for nobody.
//!
//! ```no_run
//! use std::time::Duration;
//! use corio::postgres::{ConnectOptions, Pool};
//!
//! # corio::run(async {
//! let options: ConnectOptions = "postgres://me@localhost/shop".parse()?;
//! let pool = Pool::builder(options).size(4).build();
//!
//! let answer = corio::timeout(Duration::from_secs(1), async {
//!     let mut connection = pool.acquire().await?;
//!     let transaction = connection.transaction().await?;
//!     transaction.execute("UPDATE stock SET count = count - 1 WHERE id = $1", &[&7]).await?;
//!     transaction.commit().await?; // Dropped without, it is rolled back.
//!     Ok::<_, corio::postgres::Error>(())
//! });
//! match answer.await {
//!     Ok(outcome) => outcome?,
//!     Err(_) => println!("too slow, and the server has stopped working on it"),
//! }
//! # Ok::<(), corio::postgres::Error>(())
//! # }).unwrap();
//! ```
//!
//! All of the library is here as [`tokio_postgres`], in the version that fits. What it says under
//! its feature `runtime` is replaced by [`ConnectOptions`].
//!
//! # Cancellation
//!
//! A query's future that is dropped takes no answer of another: the library counts answers. What
//! the server does meanwhile goes on until the *connection* is dropped or told to
//! [`cancel`](Connection::cancel). See [`Connection`].
//!
//! [tokio-postgres]: https://docs.rs/tokio-postgres

mod connection;
mod error;
mod link;
mod options;
mod pool;
#[cfg(feature = "tls")]
mod tls;
mod traffic;
mod transport;

pub use ::tokio_postgres;
pub use ::tokio_postgres::{
    Client, Config, IsolationLevel, Notification, Row, Statement, Transaction, types,
};

pub use connection::Connection;
pub use error::Error;
pub use options::ConnectOptions;
pub use pool::{Pool, PoolBuilder};
