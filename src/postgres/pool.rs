//! A pool of connections of one core: a semaphore for the places, and a queue for what rests.
//!
//! A place is taken from before a connection is made until after it has come back quiet
//! (`link.rs`), so the server never sees more sessions in use than the pool has places. The
//! one that rested least is taken first: the others grow old, and are replaced when they are taken
//! after their lifetime.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::connection::Connection;
use super::link::Link;
use super::{Client, ConnectOptions, Error};
use crate::queue::LifoQueue;
use crate::sync::OwnedPermit;
use crate::sync::{Notify, Semaphore};
use crate::time::{Instant, timeout};

/// The settings of a [`Pool`].
#[derive(Clone, Debug)]
#[must_use = "`build` makes the pool"]
pub struct PoolBuilder {
    options: ConnectOptions,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    size: usize,
    wait_timeout: Duration,
    max_lifetime: Duration,
    check_after: Duration,
    quiet_limit: Duration,
}

impl PoolBuilder {
    /// How many connections there are at most: 10 by default.
    pub fn size(mut self, count: usize) -> PoolBuilder {
        self.settings.size = count;
        self
    }

    /// How long [`acquire`](Pool::acquire) waits, connecting included: 30 s by default.
    pub fn wait_timeout(mut self, limit: Duration) -> PoolBuilder {
        self.settings.wait_timeout = limit;
        self
    }

    /// How old a connection may be when it is taken or comes back: 30 min by default. An older one
    /// is closed.
    pub fn max_lifetime(mut self, limit: Duration) -> PoolBuilder {
        self.settings.max_lifetime = limit;
        self
    }

    /// How long a connection may have rested to be taken without asking whether the server still
    /// answers: 30 s by default. One whose end is known is never taken; this finds those of which
    /// the network did not tell.
    pub fn check_after(mut self, rest: Duration) -> PoolBuilder {
        self.settings.check_after = rest;
        self
    }

    /// How long a connection that comes back with something on its way has to become quiet: 5 s by
    /// default. Then it is cut off.
    pub fn quiet_limit(mut self, limit: Duration) -> PoolBuilder {
        self.settings.quiet_limit = limit;
        self
    }

    /// Makes the pool. Nothing is connected yet.
    ///
    /// # Panics
    ///
    /// If its size is zero.
    #[track_caller]
    pub fn build(self) -> Pool {
        assert!(self.settings.size > 0, "a pool without places serves nobody");
        let shared = Shared {
            permits: Rc::new(Semaphore::new(self.settings.size)),
            resting: LifoQueue::new(0),
            places_taken: Cell::new(0),
            place_freed: Notify::new(),
            options: self.options,
            settings: self.settings,
        };
        Pool { shared: Rc::new(shared) }
    }
}

/// A pool of connections to one server, for the tasks of one core. Its clones are the same pool.
///
/// ```no_run
/// use corio::postgres::{ConnectOptions, Pool};
/// # corio::run(async {
/// let pool = Pool::builder(ConnectOptions::from_env()?).size(8).build();
/// let connection = pool.acquire().await?;
/// let row = connection.query_one("SELECT count(*) FROM pg_stat_activity", &[]).await?;
/// println!("{} sessions", row.get::<_, i64>(0));
/// drop(connection); // It goes back.
/// pool.close().await;
/// # Ok::<(), corio::postgres::Error>(())
/// # }).unwrap();
/// ```
///
/// What a session was told stays with it: `SET`, `LISTEN`, advisory locks and temporary tables of
/// one holder are there for the next.
#[derive(Clone)]
pub struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    options: ConnectOptions,
    settings: Settings,
    permits: Rc<Semaphore>,
    resting: LifoQueue<Resting>,
    places_taken: Cell<usize>,
    place_freed: Notify,
}

struct Resting {
    client: Client,
    link: Rc<Link>,
    made: Instant,
    since: Instant,
}

impl Pool {
    /// The settings of a pool of connections made with these options.
    pub fn builder(options: ConnectOptions) -> PoolBuilder {
        let settings = Settings {
            size: 10,
            wait_timeout: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(30 * 60),
            check_after: Duration::from_secs(30),
            quiet_limit: Duration::from_secs(5),
        };
        PoolBuilder { options, settings }
    }

    /// Waits for a place, first come, first served, and takes a connection that rests or makes one.
    /// Dropping it gives it back.
    ///
    /// # Errors
    ///
    /// [`PoolTimeout`](Error::PoolTimeout), [`PoolClosed`](Error::PoolClosed), or why there is no
    /// connection.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the place goes to the next. A connection that is being made or asked is closed.
    pub async fn acquire(&self) -> Result<Connection, Error> {
        let limit = self.shared.settings.wait_timeout;
        match timeout(limit, self.shared.take()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::PoolTimeout(limit)),
        }
    }

    /// How many connections rest.
    pub fn idle(&self) -> usize {
        self.shared.resting.len()
    }

    /// How many places are free: those of connections that rest, and of none.
    pub fn available(&self) -> usize {
        self.shared.permits.available()
    }

    /// How many connections there may be.
    pub fn size(&self) -> usize {
        self.shared.settings.size
    }

    /// Closes the pool: who waits and who comes is refused, what rests is closed, and so is what
    /// comes back. Ready when everything has come back.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the pool stays closed; only the wait ends.
    pub async fn close(&self) {
        self.shared.permits.close();
        while self.shared.resting.try_get().is_ok() {}
        loop {
            let freed = self.shared.place_freed.notified();
            if self.shared.places_taken.get() == 0 {
                return;
            }
            freed.await;
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size())
            .field("available", &self.available())
            .field("idle", &self.idle())
            .finish()
    }
}

impl Shared {
    async fn take(self: &Rc<Shared>) -> Result<Connection, Error> {
        let permit = Rc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::PoolClosed)?;
        self.places_taken.set(self.places_taken.get() + 1);
        let mut home = Home { pool: Rc::clone(self), made: Instant::now(), permit: Some(permit) };
        while let Ok(resting) = self.resting.try_get() {
            let Resting { client, link, made, since } = resting;
            home.made = made;
            // Dropped without its home, it is closed.
            let connection = Connection::new(client, link, None);
            if connection.is_closed() || home.is_old() {
                continue;
            }
            if since.elapsed() < self.settings.check_after || self.answers(&connection).await {
                return Ok(connection.with_home(home));
            }
        }
        let (client, link) = self.options.open().await?;
        home.made = Instant::now();
        Ok(Connection::new(client, link, Some(home)))
    }

    async fn answers(&self, connection: &Connection) -> bool {
        let answer = timeout(self.settings.quiet_limit, connection.check_connection()).await;
        matches!(answer, Ok(Ok(())))
    }
}

/// A place in a pool, and the way back to it.
pub(super) struct Home {
    pool: Rc<Shared>,
    made: Instant,
    permit: Option<OwnedPermit>,
}

impl Home {
    pub(super) fn quiet_limit(&self) -> Duration {
        self.pool.settings.quiet_limit
    }

    fn is_old(&self) -> bool {
        self.made.elapsed() >= self.pool.settings.max_lifetime
    }

    /// Lets a quiet connection rest; then the place is free. One that is not wanted any more is
    /// closed by the client's drop.
    pub(super) fn take_back(self, client: Client, link: &Rc<Link>) {
        if client.is_closed() || self.is_old() || self.pool.permits.is_closed() {
            return;
        }
        let resting =
            Resting { client, link: Rc::clone(link), made: self.made, since: Instant::now() };
        // There is no limit to what rests but that of the places.
        let _ = self.pool.resting.try_put(resting);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.pool.places_taken.set(self.pool.places_taken.get() - 1);
        self.permit = None;
        self.pool.place_freed.notify_waiters();
    }
}
