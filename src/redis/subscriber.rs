//! Channels of Redis: what is published arrives without being asked for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Msg, PushInfo, PushKind, RedisResult, ToRedisArgs};

use crate::channel::TrySendError;
use crate::channel::mpsc::{Receiver, mpsc};

/// A connection that subscribes to channels, made by
/// [`Client::subscriber`](super::Client::subscriber).
///
/// ```no_run
/// # corio::run(async {
/// let client = corio::redis::Client::new("redis://localhost/")?;
/// let mut news = client.subscriber(1000).await?;
/// news.subscribe("news").await?;
/// while let Some(message) = news.next().await {
///     println!("{}: {}", message.get_channel_name(), message.get_payload::<String>()?);
/// }
/// # corio::redis::redis::RedisResult::Ok(())
/// # }).unwrap();
/// ```
pub struct Subscriber {
    connection: MultiplexedConnection,
    inbox: Inbox,
}

/// Where the library's task leaves messages.
pub(super) struct Inbox {
    messages: Receiver<Msg>,
    missed: Arc<AtomicU64>,
}

impl Subscriber {
    pub(super) fn new(connection: MultiplexedConnection, inbox: Inbox) -> Subscriber {
        Subscriber { connection, inbox }
    }

    /// An inbox, and what puts messages there. The library asks for a closure that any thread may
    /// call, hence the channel between threads.
    pub(super) fn inbox(
        capacity: usize,
    ) -> (impl Fn(PushInfo) -> Result<(), NobodyReceives> + Send + Sync + 'static, Inbox) {
        let (sender, messages) = mpsc(capacity);
        let missed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&missed);
        let push = move |info: PushInfo| {
            if !matches!(info.kind, PushKind::Message | PushKind::PMessage | PushKind::SMessage) {
                return Ok(());
            }
            let Some(message) = Msg::from_push_info(info) else { return Ok(()) };
            match sender.try_send(message) {
                Err(TrySendError::Full(_)) => {
                    counter.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Err(TrySendError::Closed(_)) => Err(NobodyReceives),
                Ok(()) => Ok(()),
            }
        };
        (push, Inbox { messages, missed })
    }

    /// Subscribes to a channel, or several.
    ///
    /// # Errors
    ///
    /// The server's, or that the connection has ended.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server may have subscribed already.
    pub async fn subscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.connection.subscribe(channels).await
    }

    /// Ends subscriptions.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server may have ended them already.
    pub async fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> RedisResult<()> {
        self.connection.unsubscribe(channels).await
    }

    /// Subscribes to all channels whose names match.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server may have subscribed already.
    pub async fn psubscribe(&mut self, patterns: impl ToRedisArgs) -> RedisResult<()> {
        self.connection.psubscribe(patterns).await
    }

    /// Receives the next message; `None` once the connection has ended and nothing is left. A new
    /// subscriber has to be made then, and what was published meanwhile is lost: Redis keeps
    /// nothing.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a wait that is dropped received nothing.
    pub async fn next(&mut self) -> Option<Msg> {
        self.inbox.messages.recv().await
    }

    /// How many messages found the inbox full, and are lost.
    pub fn missed(&self) -> u64 {
        self.inbox.missed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("missed", &self.missed()).finish()
    }
}

/// Nobody receives any more.
pub(super) struct NobodyReceives;
