//! Making connections, and the one that is shared.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, RedisResult,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Subscriber;
use crate::compat::OnItsCore;
use crate::net::{self, UnixStream};
use crate::sync::Mutex;
use crate::task::spawn;
use crate::time::timeout;

const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// A Redis server, and the connection to it that the tasks of this core share. Its clones are the
/// same client.
#[derive(Clone)]
pub struct Client {
    shared: Rc<Shared>,
}

struct Shared {
    info: ConnectionInfo,
    connect_timeout: Cell<Duration>,
    current: RefCell<Option<Current>>,
    /// Held by whoever connects; with what the last attempt failed.
    connecting: Mutex<Option<RedisError>>,
    attempts: Cell<u64>,
}

/// A connection, and whether the task that drives it has ended.
struct Current {
    connection: MultiplexedConnection,
    has_ended: Rc<Cell<bool>>,
}

impl Client {
    /// A client of the server that the URL, or the library's `ConnectionInfo`, names:
    /// `redis://[user:password@]host[:port][/database]`, `redis+unix:///path`. Nothing is connected
    /// yet.
    ///
    /// # Errors
    ///
    /// If it names none.
    pub fn new(info: impl IntoConnectionInfo) -> RedisResult<Client> {
        let shared = Shared {
            info: info.into_connection_info()?,
            connect_timeout: Cell::new(CONNECT_TIMEOUT_DEFAULT),
            current: RefCell::new(None),
            connecting: Mutex::new(None),
            attempts: Cell::new(0),
        };
        Ok(Client { shared: Rc::new(shared) })
    }

    /// How long connecting may take, the library's first commands included: 5 s by default.
    pub fn set_connect_timeout(&self, limit: Duration) {
        self.shared.connect_timeout.set(limit);
    }

    /// The shared connection; it is made if there is none, or the last one has ended.
    ///
    /// Commands that block on the server (`BLPOP`, `WAIT`) block everybody's; give them a
    /// connection of their own by [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// Why it cannot be made. Everybody who waited for that attempt gets its error; who comes later
    /// starts another.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a connection that is being made is closed, and the next in line makes one.
    pub async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = self.shared.sound() {
            return Ok(connection);
        }
        let attempts = self.shared.attempts.get();
        let mut failure = self.shared.connecting.lock().await;
        if let Some(connection) = self.shared.sound() {
            return Ok(connection);
        }
        if self.shared.attempts.get() != attempts
            && let Some(error) = &*failure
        {
            return Err(error.clone());
        }
        let made = self.shared.connect(plain_config(), self.shared.info.clone()).await;
        self.shared.attempts.set(self.shared.attempts.get() + 1);
        match made {
            Ok(current) => {
                *failure = None;
                let connection = current.connection.clone();
                let old = self.shared.current.borrow_mut().replace(current);
                drop(old);
                Ok(connection)
            }
            Err(error) => {
                *failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// A connection of one's own. It ends when it and its clones are dropped.
    ///
    /// # Errors
    ///
    /// The network's, or what the server says to the library's first commands.
    ///
    /// # Panics
    ///
    /// As [`connection`](Self::connection).
    ///
    /// # Cancellation
    ///
    /// **Weak**: a session may have begun by the time it is dropped; then it is closed.
    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let made = self.shared.connect(plain_config(), self.shared.info.clone()).await?;
        Ok(made.connection)
    }

    /// A connection that subscribes to channels: needs Redis 6 or later, since it speaks `RESP3`.
    /// At most `capacity` messages wait to be received.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    ///
    /// As [`connection`](Self::connection), and if `capacity` is zero.
    ///
    /// # Cancellation
    ///
    /// **Weak**, as [`connect`](Self::connect).
    pub async fn subscriber(&self, capacity: usize) -> RedisResult<Subscriber> {
        let settings = self.shared.info.redis_settings().clone();
        let info = (self.shared.info.clone())
            .set_redis_settings(settings.set_protocol(redis::ProtocolVersion::RESP3));
        let (push, inbox) = Subscriber::inbox(capacity);
        let config = plain_config().set_push_sender(push);
        let made = self.shared.connect(config, info).await?;
        Ok(Subscriber::new(made.connection, inbox))
    }

    /// Gives the shared connection up: the next [`connection`](Self::connection) is a new one. What
    /// is on its way on the old one is still answered to whoever holds it.
    pub fn disconnect(&self) {
        let current = self.shared.current.borrow_mut().take();
        drop(current);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("is_connected", &self.shared.sound().is_some()).finish()
    }
}

/// Without the library's time limits, which ask for a tokio runtime.
fn plain_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None)
}

impl Shared {
    fn sound(&self) -> Option<MultiplexedConnection> {
        let current = self.current.borrow();
        let sound = current.as_ref().filter(|current| !current.has_ended.get());
        sound.map(|current| current.connection.clone())
    }

    async fn connect(
        &self,
        config: AsyncConnectionConfig,
        info: ConnectionInfo,
    ) -> RedisResult<Current> {
        let limit = self.connect_timeout.get();
        match timeout(limit, open(config, &info)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RedisError::from(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no session with Redis at {} within {limit:?}", info.addr()),
            ))),
        }
    }
}

async fn open(config: AsyncConnectionConfig, info: &ConnectionInfo) -> RedisResult<Current> {
    let explain = |error: io::Error| {
        let text = format!("no session with Redis at {}: {error}", info.addr());
        RedisError::from(io::Error::new(error.kind(), text))
    };
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = net::connect(host, *port).await.map_err(explain)?;
            start(config, info, stream).await
        }
        ConnectionAddr::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(explain)?;
            start(config, info, stream).await
        }
        other => Err(RedisError::from((
            ErrorKind::InvalidClientConfig,
            "this kind of address is not supported",
            other.to_string(),
        ))),
    }
}

async fn start<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    config: AsyncConnectionConfig,
    info: &ConnectionInfo,
    stream: S,
) -> RedisResult<Current> {
    // The library asks for `Send`; the task that has the stream stays here.
    let stream = OnItsCore::new(stream);
    let settings = info.redis_settings();
    let made = MultiplexedConnection::new_with_config(settings, stream, config).await;
    let (connection, driver) = made?;
    let has_ended = Rc::new(Cell::new(false));
    let end = End(Rc::clone(&has_ended));
    drop(spawn(async move {
        let _end = end;
        driver.await;
    }));
    Ok(Current { connection, has_ended })
}

/// Tells the end of a connection's task, also if the task is dropped.
struct End(Rc<Cell<bool>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.set(true);
    }
}
