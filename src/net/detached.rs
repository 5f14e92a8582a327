//! A connection between two cores: it belongs to none, so any thread may carry it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::panic::Location;

use super::TcpStream;
use crate::driver::handing;
use crate::executor::operation::core_for;
use crate::executor::{Core, Life};
use crate::io::{Luggage, Stream};

/// A connection that was taken out of its [`TcpStream`] by [`detach`](TcpStream::detach), with its
/// unread and its unsent bytes. It is `Send`: [`attach`](Self::attach) it on any core.
///
/// Nothing is sent and nothing received meanwhile; the peer's bytes wait in the kernel.
///
/// One that is dropped where a core runs closes as a dropped `TcpStream` does: what is unsent is
/// sent, then FIN. Elsewhere nobody can send: with unsent bytes the connection is reset, so that
/// the peer does not take a part for the whole; without any it is closed.
#[must_use = "dropping it closes the connection"]
pub struct DetachedTcpStream {
    luggage: Option<Luggage>,
}

impl DetachedTcpStream {
    pub(super) fn new(luggage: Luggage) -> DetachedTcpStream {
        DetachedTcpStream { luggage: Some(luggage) }
    }

    /// The connection as a stream of the core that runs on this thread. It reads what was unread
    /// first, and sends what was unsent.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn attach(mut self) -> TcpStream {
        let core = core_for(Location::caller());
        let luggage = self.luggage.take().expect("only `attach` and `drop` take it");
        TcpStream::from_stream(Stream::unpack(core, luggage))
    }

    fn luggage(&self) -> &Luggage {
        self.luggage.as_ref().expect("only `attach` and `drop` take it")
    }

    /// What was received and not read.
    pub fn unread(&self) -> &[u8] {
        &self.luggage().unread
    }

    /// How many bytes were written and not sent.
    pub fn unsent_bytes(&self) -> usize {
        self.luggage().unsent.iter().map(|bytes| bytes.len()).sum()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[doc(alias = "sockname")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        handing::local_address(&self.luggage().fd)
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the peer is gone already.
    #[doc(alias = "peername")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        handing::peer_address(&self.luggage().fd)
    }
}

/// A connection that the standard library made. It must not be shared with anybody: of a duplicate
/// (`try_clone`) both would read the same bytes.
impl From<StdTcpStream> for DetachedTcpStream {
    fn from(stream: StdTcpStream) -> DetachedTcpStream {
        DetachedTcpStream::new(Luggage::empty(stream.into()))
    }
}

impl Drop for DetachedTcpStream {
    fn drop(&mut self) {
        let Some(luggage) = self.luggage.take() else { return };
        match Core::try_current().filter(|core| core.life() < Life::Draining) {
            Some(core) => drop(TcpStream::from_stream(Stream::unpack(core, luggage))),
            None if luggage.unsent.is_empty() => {}
            None => handing::close_by_reset(luggage.fd),
        }
    }
}

impl fmt::Debug for DetachedTcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedTcpStream")
            .field("local", &self.local_addr().ok())
            .field("peer", &self.peer_addr().ok())
            .field("unread_bytes", &self.unread().len())
            .field("unsent_bytes", &self.unsent_bytes())
            .finish()
    }
}
