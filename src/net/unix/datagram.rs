//! Unix sockets of datagrams: the inbox of `net/datagrams.rs` with names for addresses.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use super::{SocketAddr, UnixName};
use crate::driver::{self, LocalKind};
use crate::executor::Core;
use crate::net::Datagram;
use crate::net::datagrams::{Datagrams, LIMIT_DEFAULT};
use crate::net::udp::copy_out;

/// A Unix socket of datagrams, with an inbox: what a [`UdpSocket`](crate::net::UdpSocket) is, and
/// nothing gets lost or comes in another order. A sender waits while its receiver has no room.
///
/// Descriptors that come with a datagram are closed.
///
/// ```
/// use corio::net::UnixDatagram;
/// # corio::run(async {
/// let (a, b) = UnixDatagram::pair()?;
/// a.send(b"hello").await?;
/// let mut buffer = [0; 100];
/// assert_eq!(b.recv(&mut buffer).await?, 5);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct UnixDatagram {
    datagrams: Rc<Datagrams>,
}

impl UnixDatagram {
    /// Makes a socket of this name.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `AddrInUse`; `InvalidInput` for what is no name.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn bind(name: impl UnixName) -> io::Result<UnixDatagram> {
        let name = name.to_unix_addr()?;
        let socket = UnixDatagram::unbound()?;
        let fd = socket.datagrams.fd.raw();
        socket.datagrams.core.driver.borrow_mut().bind_local(fd, &name)?;
        Ok(socket)
    }

    /// Makes a socket without a name, which nobody can answer.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn unbound() -> io::Result<UnixDatagram> {
        let core = Core::current();
        let raw = core.driver.borrow_mut().open_local(LocalKind::Datagram)?;
        Ok(UnixDatagram::over(&core, raw))
    }

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[doc(alias = "socketpair")]
    #[track_caller]
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let core = Core::current();
        let (a, b) = core.driver.borrow_mut().local_pair(LocalKind::Datagram)?;
        Ok((UnixDatagram::over(&core, a), UnixDatagram::over(&core, b)))
    }

    fn over(core: &Rc<Core>, raw: i32) -> UnixDatagram {
        UnixDatagram { datagrams: Datagrams::new(core, core.fd(raw), LIMIT_DEFAULT) }
    }

    /// Names the one peer: [`send`](Self::send) sends to it, and only it may send to this one.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `NotFound`; `InvalidInput` for what is no name.
    pub fn connect(&self, name: impl UnixName) -> io::Result<()> {
        let address = driver::Address::from(&name.to_unix_addr()?);
        let mut driver = self.datagrams.core.driver.borrow_mut();
        driver.connect_datagram(self.datagrams.fd.raw(), &address)
    }

    /// The next datagram, copied into `buffer`, and who sent it.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the datagram is longer than `buffer`: it stays, and the text says its
    /// length. The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a datagram stays in the inbox until a `recv` returns it.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.datagrams
            .next(|received| {
                let from = received.address.to_unix_addr();
                let (length, given_back) = copy_out(received, buffer);
                (from.and_then(|from| Ok((length?, from))), given_back)
            })
            .await?
    }

    /// As [`recv_from`](Self::recv_from), without the sender.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a datagram stays in the inbox until a `recv` returns it.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.datagrams.next(|received| copy_out(received, buffer)).await?
    }

    /// The next datagram with all that is known of it, without a copy. One of more than 64 KiB has
    /// lost its end, and says so.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a datagram stays in the inbox until a `recv` returns it.
    pub async fn recv_datagram(&self) -> io::Result<Datagram<SocketAddr>> {
        let received = self.datagrams.next(|received| (received, None)).await?;
        let from = received.address.to_unix_addr()?;
        Ok(Datagram {
            bytes: received.chunk,
            from,
            is_truncated: received.is_cut,
            segment_size: None,
        })
    }

    /// Sends one datagram, and waits while its receiver has no room for it.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `ConnectionRefused` if nobody has that name any more; `InvalidInput`
    /// for what is no name.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has sent nothing.
    #[doc(alias = "sendto")]
    pub async fn send_to(&self, bytes: &[u8], name: impl UnixName) -> io::Result<()> {
        let address = driver::Address::from(&name.to_unix_addr()?);
        // The kernel tells of room only who is connected.
        self.datagrams.send(bytes, Some(&address), None, false).await
    }

    /// Sends one datagram to the peer that [`connect`](Self::connect) named.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `NotConnected` if there is no peer.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has sent nothing.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.datagrams.send(bytes, None, None, true).await
    }

    /// How many datagrams wait in the inbox.
    pub fn waiting(&self) -> usize {
        self.datagrams.waiting_count()
    }

    /// The name of this socket; unnamed if it was not bound.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.datagrams.core.driver.borrow_mut().local_name(self.datagrams.fd.raw())
    }

    /// The name of the peer that [`connect`](Self::connect) named.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.datagrams.core.driver.borrow_mut().local_peer_name(self.datagrams.fd.raw())
    }
}

impl Drop for UnixDatagram {
    fn drop(&mut self) {
        self.datagrams.end();
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.datagrams.fd.as_fd()
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixDatagram").field("local", &self.local_addr().ok()).finish()
    }
}
