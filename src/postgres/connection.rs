//! A connection as its holder sees it: the library's client, and what dropping it does.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tokio_postgres::Notification;

use super::link::{HandedBack, Link};
use super::pool::Home;
use super::{Client, Error};
use crate::sync::broadcast::Receiver;

/// How many notifications wait for a receiver that is behind.
const NOTIFICATIONS_KEPT: usize = 1024;

/// A connection to a server, of its own or of a [`Pool`](super::Pool). It is the library's
/// [`Client`], which has the queries.
///
/// Requests are pipelined: several futures may wait for their answers at once, and each gets its
/// own, in the order in which they were polled first.
///
/// # Dropping it
///
/// A connection of a pool goes back, another is closed. **What is still on its way is cancelled on
/// the server**, and a transaction that is open is rolled back, before anybody else has the
/// connection; one that does not become quiet in time is cut off. That happens in the background,
/// and as long as the runtime runs.
///
/// So the usual shape needs no care: `timeout` around a function that takes a connection and asks
/// something drops both, and the server stops working on it. A query future that is dropped while
/// its connection is kept is *not* cancelled, since the server is told the session only, and a
/// later request may be running by then; [`cancel`](Self::cancel) does it.
pub struct Connection {
    client: Option<Client>,
    link: Rc<Link>,
    home: Option<Home>,
}

impl Connection {
    pub(super) fn new(client: Client, link: Rc<Link>, home: Option<Home>) -> Connection {
        Connection { client: Some(client), link, home }
    }

    pub(super) fn with_home(mut self, home: Home) -> Connection {
        self.home = Some(home);
        self
    }

    /// Cancels what was asked on this connection and is not answered, and waits until the server
    /// has answered: with what it had, or with `57014`, query canceled.
    ///
    /// A transaction that is open stays so, in failure if a request of it was cancelled.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, has not answered after 5 s, or the connection has ended.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server may have been asked already.
    pub async fn cancel(&mut self) -> Result<(), Error> {
        self.link.quieten_in_time().await
    }

    /// What other sessions send to the channels that this one listens to: `LISTEN` and `NOTIFY`.
    /// They are received from the first call on; a receiver that is behind by more than 1,024 loses
    /// the oldest, and is told how many. The channel is closed when the connection has ended.
    ///
    /// Listening belongs to the session: use a connection of your own for it, not one of a pool.
    pub fn notifications(&self) -> Receiver<Notification> {
        self.link.listen(NOTIFICATIONS_KEPT)
    }

    /// Why the connection ended, once, if the server or the network ended it. Requests after that
    /// only say that it is closed.
    pub fn take_cause(&self) -> Option<Error> {
        self.link.take_cause().map(Error::Postgres)
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is taken by the drop only")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is taken by the drop only")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.link.hand_back(HandedBack { client, home: self.home.take() });
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("has_ended", &self.link.has_ended()).finish()
    }
}
