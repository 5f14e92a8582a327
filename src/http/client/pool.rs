//! The connections of a client, host by host.
//!
//! ```text
//!            a place is free, first come, first served
//!   request ───────────────────────────────────────────▶ an idle connection, or a new one
//!                                                             │ in use: a `Lease`
//!      idle again ◀── the answer was read to its end ─────────┤
//!      closed     ◀── dropped before, or the server ended it ─┘
//! ```
//!
//! A place is a permit of the host's semaphore. A request holds one while it uses a connection of
//! HTTP/1.1, from before it has one to its end, and a connection is opened only by a request that
//! finds none idle. So there are never more connections than places, and nobody overtakes.
//!
//! **No answer reaches another request**: a connection is idle again only when hyper has read the
//! answer to its end and is ready for the next request. A lease that is dropped earlier ends the
//! task of its connection, and the place is free when that task is gone.
//!
//! A connection of HTTP/2 is shared by all requests to its host and holds no place. While a host
//! may turn out to speak it, one request at a time connects.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures_util::future::select;
use hyper::client::conn::{http1, http2};

use super::body::Outgoing;
use super::lease::Lease;
use crate::sync::{Mutex, MutexGuard, OwnedPermit, Semaphore};
use crate::task::{self, TaskRef};
use crate::time::{Instant, sleep_until};

/// How much of what a client may have.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) connections_max: usize,
    pub(super) idle_max: usize,
    pub(super) idle_timeout: Duration,
}

/// Where connections that may be exchanged for one another lead to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub(super) is_secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Through which proxy, if any.
    pub(super) proxy: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match &self.proxy {
            Some(proxy) => write!(f, " through the proxy {proxy}"),
            None => Ok(()),
        }
    }
}

/// What a client's connections are doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections that are open, of both versions.
    pub connections: usize,
    /// Those of HTTP/1.1 that wait for a request.
    pub idle: usize,
    /// Hosts that have a connection, or a request for one.
    pub hosts: usize,
}

pub(super) struct Pool {
    hosts: RefCell<BTreeMap<Key, Weak<Host>>>,
    limits: Limits,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Rc<Pool> {
        Rc::new(Pool { hosts: RefCell::default(), limits })
    }

    pub(super) fn host(self: &Rc<Pool>, key: Key) -> Rc<Host> {
        let found = self.hosts.borrow().get(&key).and_then(Weak::upgrade);
        if let Some(host) = found {
            return host;
        }
        let host = Rc::new(Host {
            places: Rc::new(Semaphore::new(self.limits.connections_max)),
            pool: Rc::downgrade(self),
            limits: self.limits.clone(),
            key: key.clone(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: Mutex::new(()),
            may_share: Cell::new(true),
            is_closed: Cell::new(false),
            connections: Cell::new(0),
        });
        self.hosts.borrow_mut().insert(key, Rc::downgrade(&host));
        host
    }

    pub(super) fn stats(&self) -> PoolStats {
        let hosts: Vec<_> = self.hosts.borrow().values().filter_map(Weak::upgrade).collect();
        PoolStats {
            connections: hosts.iter().map(|host| host.connections.get()).sum(),
            idle: hosts.iter().map(|host| host.idle.borrow().len()).sum(),
            hosts: hosts.len(),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for host in self.hosts.take().into_values().filter_map(|host| host.upgrade()) {
            host.is_closed.set(true);
            drop((host.idle.take(), host.shared.take()));
        }
    }
}

/// A host's connections. It lives as long as one of them, or a request for one.
pub(super) struct Host {
    places: Rc<Semaphore>,
    pool: Weak<Pool>,
    limits: Limits,
    key: Key,
    /// The one that was used last is taken first.
    idle: RefCell<Vec<(http1::SendRequest<Outgoing>, Rc<Life>)>>,
    shared: RefCell<Option<(http2::SendRequest<Outgoing>, Rc<Life>)>>,
    connecting: Mutex<()>,
    /// Whether its next connection may be one of HTTP/2.
    may_share: Cell<bool>,
    is_closed: Cell<bool>,
    connections: Cell<usize>,
}

impl Host {
    /// A connection for one request, or the right to make one; a `fresh` one is wanted after one
    /// that was idle has failed.
    pub(super) async fn acquire(self: &Rc<Host>, is_fresh: bool) -> Acquired<'_> {
        if let Some(lease) = self.shared() {
            return Acquired::Lease(lease);
        }
        let turn = if self.may_share.get() { Some(self.connecting.lock().await) } else { None };
        if let Some(lease) = self.shared() {
            return Acquired::Lease(lease);
        }
        let turn = turn.filter(|_| self.may_share.get());
        let permit = Rc::clone(&self.places).acquire_owned().await;
        let permit = permit.expect("nobody closes the line for a place");
        while let Some((sender, life)) = self.take_idle() {
            if is_fresh || sender.is_closed() {
                // It may be as dead as the one before, and its successor needs its place.
                continue;
            }
            life.permit.set(Some(permit));
            return Acquired::Lease(Lease::new(self, Sender::One(sender), life, true));
        }
        Acquired::Place(Place { host: self, permit, _turn: turn })
    }

    fn take_idle(&self) -> Option<(http1::SendRequest<Outgoing>, Rc<Life>)> {
        self.idle.borrow_mut().pop()
    }

    fn shared(self: &Rc<Host>) -> Option<Lease> {
        let (sender, life) = self.shared.borrow().clone()?;
        if sender.is_closed() {
            self.forget(&life);
            return None;
        }
        Some(Lease::new(self, Sender::Two(sender), life, true))
    }

    /// Gives up sharing a connection that takes no more requests.
    pub(super) fn forget(&self, life: &Rc<Life>) {
        let is_it = |shared: &mut (_, Rc<Life>)| Rc::ptr_eq(&shared.1, life);
        let old = self.shared.borrow_mut().take_if(is_it);
        drop(old);
    }

    /// Whether connections may be shared is known to be otherwise, from outside.
    pub(super) fn expect_http1(&self) {
        self.may_share.set(false);
    }

    /// Takes a connection at rest back, and frees its place; false if it is of no more use.
    pub(super) fn keep(&self, sender: http1::SendRequest<Outgoing>, life: &Rc<Life>) -> bool {
        let is_full = self.idle.borrow().len() >= self.limits.idle_max;
        if sender.is_closed() || self.is_closed.get() || is_full {
            return false;
        }
        let permit = life.permit.take();
        self.idle.borrow_mut().push((sender, Rc::clone(life)));
        drop(permit);
        true
    }

    /// Runs a connection until it ends, or has been of no use for the idle timeout.
    async fn drive(self: Rc<Host>, life: Rc<Life>, connection: impl Future) {
        let counted = Counted::new(&self);
        let of_no_use = async {
            let mut then = Instant::now() + self.limits.idle_timeout;
            loop {
                sleep_until(then).await;
                let now = Instant::now();
                let since = if life.users.get() > 0 { now } else { life.idle_since.get() };
                then = since + self.limits.idle_timeout;
                if then <= now {
                    return;
                }
            }
        };
        // Both are gone behind this, and whoever could send on it learns so.
        drop(select(Box::pin(connection), pin!(of_no_use)).await);
        drop(counted);
        self.forget(&life);
        let is_closed = |idle: &mut (http1::SendRequest<_>, _)| idle.0.is_closed();
        let closed: Vec<_> = self.idle.borrow_mut().extract_if(.., is_closed).collect();
        drop(closed);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut hosts = pool.hosts.borrow_mut();
            // Another one of this name may have come.
            if hosts.get(&self.key).is_some_and(|host| host.strong_count() == 0) {
                hosts.remove(&self.key);
            }
        }
    }
}

struct Counted<'a>(&'a Host);

impl<'a> Counted<'a> {
    fn new(host: &'a Host) -> Counted<'a> {
        host.connections.set(host.connections.get() + 1);
        Counted(host)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// What a connection's task and its users know of each other.
pub(super) struct Life {
    /// The place of the request that uses it. Its task holds this as well, so that the place of a
    /// connection that is ended early is free when the task is gone.
    permit: Cell<Option<OwnedPermit>>,
    task: OnceCell<TaskRef>,
    users: Cell<usize>,
    idle_since: Cell<Instant>,
}

impl Life {
    pub(super) fn begin_use(&self) {
        self.users.set(self.users.get() + 1);
    }

    pub(super) fn end_use(&self) {
        self.users.set(self.users.get() - 1);
        self.idle_since.set(Instant::now());
    }

    /// Ends the connection, whatever it is doing.
    pub(super) fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

pub(super) enum Acquired<'a> {
    Lease(Lease),
    Place(Place<'a>),
}

/// The right to make a connection.
pub(super) struct Place<'a> {
    host: &'a Rc<Host>,
    permit: OwnedPermit,
    /// While the host may speak HTTP/2.
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Place<'_> {
    /// Starts a connection's task, and uses it.
    pub(super) fn open(self, sender: Sender, connection: impl Future + 'static) -> Lease {
        let life = Rc::new(Life {
            permit: Cell::default(),
            task: OnceCell::new(),
            users: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        });
        match &sender {
            Sender::One(_) => {
                self.host.may_share.set(false);
                life.permit.set(Some(self.permit));
            }
            Sender::Two(sender) => {
                let shared = (sender.clone(), Rc::clone(&life));
                drop(self.host.shared.replace(Some(shared)));
            }
        }
        let lease = Lease::new(self.host, sender, Rc::clone(&life), false);
        let driven = Rc::clone(self.host).drive(Rc::clone(&life), connection);
        let task = task::Builder::new().name("HTTP connection").spawn(driven).task();
        assert!(life.task.set(task).is_ok(), "a connection has one task");
        lease
    }
}

/// How requests reach a connection.
pub(super) enum Sender {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}
