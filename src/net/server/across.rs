//! A server over many cores: a part on each, one limit, one report, one end.
//!
//! ```text
//!   ReusePort                            RoundRobin, LeastConnections
//!   kernel ─┬─▶ core 0: accepts, serves  kernel ──▶ core 0: accepts ─┬─▶ core 0: serves
//!           ├─▶ core 1: accepts, serves                              ├─▶ core 1: serves
//!           └─▶ core 2: accepts, serves                              └─▶ core 2: serves
//! ```
//!
//! A part is what a server on one core is (`shared.rs`), with a number by which calls from other
//! cores find it on its thread. Shared between cores are two counters: the places of the limit, and
//! each core's load. A connection holds its seat (one of each) from its accept to the end of its
//! handler, wherever it is, so whatever drops it counts it out.
//!
//! Calls from one core to another keep their order. So the core that accepts hands over its last
//! connection, then says that no more come; and a part that has heard that, and has no connection
//! left, is over.

mod starting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ends::{CoreEnd, CoresReport};
use super::policy::{AcceptPolicy, Loads};
use super::shared::{Accepting, Listening, Seat, Shared};
use super::{ENDING, Stage, until_second};
use crate::cores::{CoreHandle, RemoteHandle};
use crate::executor::Core;
use crate::net::places::Places;
use crate::net::{DetachedTcpStream, ListenOptions, ListeningSocket, TcpStream};
use crate::signal::Signals;
use crate::task::TaskOutput;
use crate::time::{deadline_after, timeout_at};

/// How long after the grace a core has to answer; it resets its last connections before that.
const ANSWER_LIMIT: Duration = Duration::from_millis(450);

thread_local! {
    /// The parts on this thread, by their servers' numbers.
    static PARTS: RefCell<BTreeMap<u64, Rc<Part>>> = const { RefCell::new(BTreeMap::new()) };
}

/// What serves on one core.
struct Part {
    shared: Rc<Shared>,
    start: Box<dyn Fn(TcpStream, Seat)>,
}

fn part(server: u64) -> Option<Rc<Part>> {
    PARTS.try_with(|parts| parts.borrow().get(&server).cloned()).ok().flatten()
}

/// Takes a part off its thread when it is over, or its core ends.
struct Registered(u64);

impl Drop for Registered {
    fn drop(&mut self) {
        let part = PARTS.try_with(|parts| parts.borrow_mut().remove(&self.0));
        drop(part);
    }
}

/// A place has become free.
fn look(server: u64) {
    if let Some(part) = part(server) {
        part.shared.accept_more();
    }
}

/// What all parts have in common.
struct Common {
    server: u64,
    cores: Arc<[CoreHandle]>,
    policy: AcceptPolicy,
    loads: Arc<Loads>,
    places: Option<Arc<Places>>,
    listen: ListenOptions,
    /// Somebody else may have the sockets.
    is_kept: bool,
}

/// A connection on its way to the core that serves it. Whoever drops it resets it, as a listener
/// does with what nobody accepts.
struct Handed(Option<(DetachedTcpStream, Seat)>);

impl Handed {
    fn serve(mut self, server: u64) {
        let Some(part) = part(server) else { return };
        if let Some((stream, seat)) = self.0.take() {
            (part.start)(stream.attach(), seat);
        }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some((stream, seat)) = self.0.take() {
            stream.reset();
            drop(seat);
        }
    }
}

impl Common {
    fn index_of_this_core(&self) -> Option<usize> {
        self.cores.iter().position(CoreHandle::is_current)
    }

    /// Takes an accepted connection to the core that the policy says.
    fn hand_over(&self, stream: TcpStream) {
        let Some(stream) = stream.into_detached() else { return };
        let mut handed = Handed(Some((stream, Seat::of(self.places.clone(), None))));
        while let Some(index) = self.loads.choose(self.policy) {
            if let Some((_, seat)) = &mut handed.0 {
                seat.load = Some((Arc::clone(&self.loads), index));
            }
            if self.cores[index].is_current() {
                return handed.serve(self.server);
            }
            let server = self.server;
            let parcel = Arc::new(Mutex::new(Some(handed)));
            let take = |parcel: &Mutex<Option<Handed>>| {
                parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
            };
            let sent = Arc::clone(&parcel);
            let call = move || {
                if let Some(handed) = take(&sent) {
                    handed.serve(server);
                }
            };
            if self.cores[index].call_soon(call).is_ok() {
                return;
            }
            // That core has ended; another one serves it.
            self.loads.gone(index);
            let Some(mut back) = take(&parcel) else { return };
            if let Some((_, seat)) = &mut back.0 {
                seat.leave_core();
            }
            handed = back;
        }
    }

    /// Builds this core's part: runs there, when the call arrives.
    fn build<H, F>(self: &Arc<Self>, sockets: Vec<ListeningSocket>, handler: H)
    where
        H: Fn(TcpStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let core = Core::current();
        let mut listeners = Vec::new();
        for socket in sockets {
            let listener = self.listen.listener_of(Rc::clone(&core), socket);
            if self.is_kept {
                listener.shared().keep();
            }
            if let Some(places) = &self.places {
                listener.shared().share_places(places);
            }
            listeners.push(Listening::Tcp(listener));
        }
        let common = Arc::clone(self);
        let shared = Shared::new(listeners, Box::new(move || common.say_no_more_come()));
        let (serving, handler) = (Rc::downgrade(&shared), Rc::new(handler));
        let start = Box::new(move |stream, seat| {
            if let Some(shared) = serving.upgrade() {
                shared.start(stream, seat, &handler);
            }
        });
        let part = Rc::new(Part { shared: Rc::clone(&shared), start });
        let take = self.taker(Rc::downgrade(&part));
        for listener in &shared.listeners {
            let accepting = Accepting::new(&shared, listener);
            core.spawn(accepting.run(Rc::clone(&take)), Location::caller(), true);
        }
        let old = PARTS.with(|parts| parts.borrow_mut().insert(self.server, part));
        drop(old);
    }

    /// What is done with a connection that this core accepted.
    fn taker(self: &Arc<Self>, part: std::rc::Weak<Part>) -> Rc<dyn Fn(TcpStream)> {
        let common = Arc::clone(self);
        if self.policy != AcceptPolicy::ReusePort {
            return Rc::new(move |stream| common.hand_over(stream));
        }
        let index = self.index_of_this_core().unwrap_or(0);
        Rc::new(move |stream| {
            let Some(part) = part.upgrade() else { return };
            common.loads.add(index);
            let load = Some((Arc::clone(&common.loads), index));
            (part.start)(stream, Seat::of(common.places.clone(), load));
        })
    }

    /// The core that accepts for all has handed over its last connection.
    fn say_no_more_come(&self) {
        if self.policy == AcceptPolicy::ReusePort {
            return;
        }
        for core in self.cores.iter() {
            let server = self.server;
            // One that has ended need not know.
            let _ = core.call_soon(move || {
                if let Some(part) = part(server) {
                    part.shared.closed.set();
                }
            });
        }
    }
}

/// A server over many cores, from
/// [`ServeOptions::serve_on`](crate::net::ServeOptions::serve_on).
///
/// Dropping it leaves it serving until the cores end.
pub struct CoresServer {
    common: Arc<Common>,
    addresses: Vec<SocketAddr>,
}

impl CoresServer {
    /// The addresses it listens on, or has listened on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that are open, core by core, those included that are on their way to it.
    pub fn connection_counts(&self) -> Vec<usize> {
        self.common.loads.counts()
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.connection_counts().into_iter().sum()
    }

    /// Has each part do something; a core that has ended does nothing.
    fn tell(&self, what: fn(&Shared)) {
        for core in self.common.cores.iter() {
            let server = self.common.server;
            let _ = core.call_soon(move || {
                if let Some(part) = part(server) {
                    what(&part.shared);
                }
            });
        }
    }

    /// Asks each part, and returns what it answers, in the order of the cores.
    fn ask<T, F>(&self, what: impl Fn(Rc<Part>) -> F + Clone + Send + 'static) -> Answers<T>
    where
        F: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let server = self.common.server;
        let ask = |core: &CoreHandle| {
            let what = what.clone();
            core.spawn(move || async move {
                match part(server) {
                    Some(part) => Some(what(part).await),
                    None => None,
                }
            })
        };
        self.common.cores.iter().map(ask).collect()
    }

    /// Stops listening on all cores. Connections that are open go on, and their handlers may look at
    /// [`server_closing`](crate::net::server_closing); those that were accepted are served.
    pub fn close(&self) {
        self.tell(Shared::close);
    }

    /// Asks the handlers of all open connections to end.
    pub fn close_clients(&self) {
        self.tell(|shared| shared.end_clients(Stage::Cancelled));
    }

    /// Resets all open connections, and drops their handlers.
    pub fn abort_clients(&self) {
        self.tell(|shared| shared.end_clients(Stage::Aborted));
    }

    /// Waits until the server was closed and the last of its connections has ended, on each core
    /// that has not ended itself.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it only waits.
    pub async fn wait_closed(&self) {
        let answers = self.ask(|part| async move {
            part.shared.closed.wait().await;
            part.shared.is_idle.wait().await;
        });
        for answer in answers {
            let _ = answer.await;
        }
    }

    /// The sockets it listens on, to be passed to a successor. From now on they go on listening
    /// when this server is closed, for as long as anybody has them.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it was closed, or a core has ended; otherwise the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: sockets that were taken are kept listening all the same.
    pub async fn sockets(&self) -> io::Result<Vec<ListeningSocket>> {
        let mut sockets = Vec::new();
        let answers = self.ask(|part| async move {
            part.shared
                .listeners
                .iter()
                .map(|it| it.shared().socket())
                .collect::<io::Result<Vec<_>>>()
        });
        for answer in answers {
            let answer = answer.await.ok().flatten();
            sockets.extend(answer.ok_or(io::ErrorKind::NotConnected)??);
        }
        Ok(sockets)
    }

    /// Ends the server in good order, on all cores at once: stops accepting, gives handlers `grace`
    /// to finish, then asks those that are left to end, and resets those that still do not a
    /// quarter of a second later. It is over half a second after the grace at the latest, and
    /// tells what became of each core and how far each connection came.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server is closed, and each core goes on with its shutdown.
    pub async fn shutdown(&self, grace: Duration) -> CoresReport {
        let grace_end = deadline_after(grace);
        let answers = self.ask(move |part| async move { part.shared.shutdown(grace_end).await });
        let mut cores = Vec::with_capacity(answers.len());
        for mut answer in answers {
            cores.push(match timeout_at(grace_end + ANSWER_LIMIT, &mut answer).await {
                Ok(Ok(report)) => CoreEnd::Reported(report.unwrap_or_default()),
                Ok(Err(_)) => CoreEnd::Gone,
                Err(_) => CoreEnd::Stuck,
            });
        }
        CoresReport { cores }
    }

    /// Serves until SIGINT or SIGTERM, then [`shutdown`](Self::shutdown)s with this grace. A second
    /// signal ends the grace: what is open is reset at once. The signals are blocked on the
    /// server's cores; a thread that was there before may still be hit by them.
    ///
    /// # Errors
    ///
    /// If signals cannot be listened to.
    ///
    /// # Cancellation
    ///
    /// **Weak**: signals stay blocked (see [`signal`](crate::signal)); a shutdown that has begun
    /// goes on.
    pub async fn serve_until_signal(&self, grace: Duration) -> io::Result<CoresReport> {
        let signals = Signals::new(ENDING)?;
        // On each core, or its thread would be hit.
        let blocked = self.ask(|_| async { Signals::new(ENDING).map(drop) });
        for answer in blocked {
            if let Ok(Some(blocked)) = answer.await {
                blocked?;
            }
        }
        signals.recv().await?;
        until_second(&signals, self.shutdown(grace), || self.abort_clients()).await
    }
}

type Answers<T> = Vec<RemoteHandle<Option<T>>>;

impl fmt::Debug for CoresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoresServer")
            .field("local", &self.local_addrs())
            .field("connections", &self.connection_counts())
            .finish()
    }
}
