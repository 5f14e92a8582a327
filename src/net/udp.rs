//! UDP: sockets of datagrams with Internet addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::rc::Rc;

use super::Address;
use super::datagrams::{Datagrams, LIMIT_DEFAULT};
use crate::driver::{self, Chunk, DatagramOption, Received, SocketOption};
use crate::executor::operation::core_for;

/// One datagram, without a copy: from [`UdpSocket::recv_datagram`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Datagram<A = SocketAddr> {
    /// What it says.
    pub bytes: Chunk,
    /// Who sent it.
    pub from: A,
    /// It was longer than what could be received, and its end is lost.
    pub is_truncated: bool,
    /// It is several datagrams of this many bytes, the last one maybe shorter: see
    /// [`UdpOptions::join`].
    pub segment_size: Option<usize>,
}

/// Settings for a [`UdpSocket`].
///
/// ```
/// # corio::run(async {
/// let socket = corio::net::UdpOptions::new().broadcast(true).bind("127.0.0.1:0").await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct UdpOptions {
    inbox_limit: usize,
    sockets: Vec<SocketOption>,
    datagrams: Vec<DatagramOption>,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions::new()
    }
}

impl UdpOptions {
    /// The kernel's defaults, and an inbox of 1024 datagrams.
    pub fn new() -> UdpOptions {
        UdpOptions { inbox_limit: LIMIT_DEFAULT, sockets: Vec::new(), datagrams: Vec::new() }
    }

    /// How many datagrams may wait for a `recv`, at least 1; one turn of the loop may bring some
    /// more. Beyond that the kernel keeps what fits into its buffer, and drops and counts the rest.
    pub fn inbox_limit(mut self, count: usize) -> UdpOptions {
        self.inbox_limit = count.max(1);
        self
    }

    /// Whether several sockets may share the address, and the kernel spreads the senders.
    pub fn reuse_port(self, on: bool) -> UdpOptions {
        self.option(SocketOption::ReusePort(on))
    }

    /// Whether the address may be bound by several sockets, as members of one multicast group do.
    pub fn reuse_address(self, on: bool) -> UdpOptions {
        self.option(SocketOption::ReuseAddress(on))
    }

    /// The kernel's receive buffer, in bytes.
    pub fn receive_buffer(self, bytes: usize) -> UdpOptions {
        self.option(SocketOption::ReceiveBuffer(bytes))
    }

    /// The kernel's send buffer, in bytes.
    pub fn send_buffer(self, bytes: usize) -> UdpOptions {
        self.option(SocketOption::SendBuffer(bytes))
    }

    /// Whether it may send to broadcast addresses.
    #[doc(alias = "allow_broadcast")]
    pub fn broadcast(self, on: bool) -> UdpOptions {
        self.datagram(DatagramOption::Broadcast(on))
    }

    /// Whether a socket of `[::]` leaves IPv4 to others.
    pub fn only_v6(self, on: bool) -> UdpOptions {
        self.datagram(DatagramOption::OnlyV6(on))
    }

    /// Whether the kernel joins datagrams of one sender and one length on their way in:
    /// `UDP_GRO`, see [`Datagram::segment_size`].
    #[doc(alias = "gro")]
    pub fn join(self, on: bool) -> UdpOptions {
        self.datagram(DatagramOption::Join(on))
    }

    fn option(mut self, option: SocketOption) -> UdpOptions {
        self.sockets.push(option);
        self
    }

    fn datagram(mut self, option: DatagramOption) -> UdpOptions {
        self.datagrams.push(option);
        self
    }

    /// Makes a socket with this address; port 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `AddrInUse`; `InvalidInput` for a text that is no address.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn bind(&self, address: impl Address) -> impl Future<Output = io::Result<UdpSocket>> {
        self.clone().bind_from(Location::caller(), address)
    }

    async fn bind_from(
        self,
        called_at: &'static Location<'static>,
        address: impl Address,
    ) -> io::Result<UdpSocket> {
        let (core, address) = (core_for(called_at), address.to_socket_addr()?);
        let raw = core.driver.borrow_mut().open_datagram(&address)?;
        let fd = core.fd(raw);
        {
            let mut driver = core.driver.borrow_mut();
            for option in self.sockets {
                driver.set_option(raw, option)?;
            }
            for option in self.datagrams {
                driver.set_datagram_option(raw, address.is_ipv6(), option)?;
            }
            driver.bind(raw, &address)?;
        }
        let datagrams = Datagrams::new(&core, fd, self.inbox_limit);
        Ok(UdpSocket { datagrams, is_v6: address.is_ipv6() })
    }
}

/// A UDP socket, with an inbox of datagrams.
///
/// The first `recv` starts receiving; from then on datagrams are received as they come and wait in
/// the inbox, so a `timeout` around `recv_from` in a loop loses none. All methods take `&self`:
/// several tasks may wait, and are served first come, first served.
///
/// No datagram is cut silently: one that does not fit into the caller's buffer is an error, and
/// stays the first.
///
/// ```
/// use corio::net::UdpSocket;
/// # corio::run(async {
/// let server = UdpSocket::bind("127.0.0.1:0").await?;
/// let client = UdpSocket::bind("127.0.0.1:0").await?;
/// client.send_to(b"hello", server.local_addr()?).await?;
/// let mut buffer = [0; 1500];
/// let (length, sender) = server.recv_from(&mut buffer).await?;
/// assert_eq!(&buffer[..length], b"hello");
/// assert_eq!(sender, client.local_addr()?);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "create_datagram_endpoint")]
#[doc(alias = "DatagramTransport")]
#[doc(alias = "DatagramProtocol")]
pub struct UdpSocket {
    datagrams: Rc<Datagrams>,
    is_v6: bool,
}

impl UdpSocket {
    /// Makes a socket with the default [`UdpOptions`].
    ///
    /// # Errors
    ///
    /// As [`UdpOptions::bind`].
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it does not wait.
    #[track_caller]
    pub fn bind(address: impl Address) -> impl Future<Output = io::Result<UdpSocket>> {
        UdpOptions::new().bind_from(Location::caller(), address)
    }

    /// Names the one peer: [`send`](Self::send) sends to it, and only its datagrams are received
    /// from now on. Those that others sent before stay in the inbox.
    ///
    /// # Errors
    ///
    /// The kernel's; `InvalidInput` for a text that is no address.
    pub fn connect(&self, address: impl Address) -> io::Result<()> {
        let address = driver::Address::from(&address.to_socket_addr()?);
        let mut driver = self.datagrams.core.driver.borrow_mut();
        driver.connect_datagram(self.datagrams.fd.raw(), &address)
    }

    /// The next datagram, copied into `buffer`, and who sent it.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the datagram is longer than `buffer`: it stays, and the text says its
    /// length. The kernel's: after [`connect`](Self::connect) `ConnectionRefused` if the peer was
    /// not there for something that was sent.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a datagram stays in the inbox until a `recv` returns it.
    #[doc(alias = "datagram_received")]
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.datagrams
            .next(|received| {
                let from = received.address.to_socket_addr();
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

    /// The next datagram with all that is known of it, without a copy.
    ///
    /// # Errors
    ///
    /// The kernel's, as [`recv_from`](Self::recv_from).
    ///
    /// # Cancellation
    ///
    /// **Strict**: a datagram stays in the inbox until a `recv` returns it.
    pub async fn recv_datagram(&self) -> io::Result<Datagram> {
        let received = self.datagrams.next(|received| (received, None)).await?;
        let from = received.address.to_socket_addr()?;
        Ok(Datagram {
            bytes: received.chunk,
            from,
            is_truncated: received.is_cut,
            segment_size: received.segment_bytes,
        })
    }

    /// Sends one datagram. It waits only while the kernel's buffer is full.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `EMSGSIZE` for more than 65,507 bytes (of IPv4); `InvalidInput` for a
    /// text that is no address.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has sent nothing.
    #[doc(alias = "sendto")]
    pub async fn send_to(&self, bytes: &[u8], address: impl Address) -> io::Result<()> {
        let address = driver::Address::from(&address.to_socket_addr()?);
        self.datagrams.send(bytes, Some(&address), None, true).await
    }

    /// Sends one datagram to the peer that [`connect`](Self::connect) named.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `ConnectionRefused` if the peer was not there for an earlier
    /// one.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has sent nothing.
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.datagrams.send(bytes, None, None, true).await
    }

    /// Sends `bytes` as datagrams of `segment_size` bytes each, the last one maybe shorter, in one
    /// call: `UDP_SEGMENT`, see udp(7). At most 64 of them, and 65,507 bytes.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); `InvalidInput` for a size of 0.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped while it waits has sent nothing.
    #[doc(alias = "gso")]
    pub async fn send_segments_to(
        &self,
        bytes: &[u8],
        segment_size: u16,
        address: impl Address,
    ) -> io::Result<()> {
        if segment_size == 0 {
            let text = "datagrams of 0 bytes each never come to an end";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let address = driver::Address::from(&address.to_socket_addr()?);
        self.datagrams.send(bytes, Some(&address), Some(segment_size), true).await
    }

    /// How many datagrams wait in the inbox.
    pub fn waiting(&self) -> usize {
        self.datagrams.waiting_count()
    }

    /// How many datagrams the kernel has thrown away so far, since the inbox and the kernel's
    /// buffer were full.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn dropped(&self) -> io::Result<u32> {
        let fd = self.datagrams.fd.raw();
        self.datagrams.core.driver.borrow_mut().dropped_datagrams(fd)
    }

    /// The address of this socket.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[doc(alias = "sockname")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.datagrams.core.driver.borrow_mut().local_address(self.datagrams.fd.raw())
    }

    /// The peer that [`connect`](Self::connect) named.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is none.
    #[doc(alias = "peername")]
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.datagrams.core.driver.borrow_mut().peer_address(self.datagrams.fd.raw())
    }

    /// Joins a multicast group. The interface is that of the address for IPv4, that of the number
    /// for IPv6; zeroes let the kernel choose.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `NoDevice` where there is no interface for it.
    #[doc(alias = "IP_ADD_MEMBERSHIP")]
    pub fn join_multicast(&self, group: IpAddr, interface: (Ipv4Addr, u32)) -> io::Result<()> {
        let fd = self.datagrams.fd.raw();
        self.datagrams.core.driver.borrow_mut().set_membership(fd, group, interface, true)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `AddrNotAvailable` if it was not joined.
    pub fn leave_multicast(&self, group: IpAddr, interface: (Ipv4Addr, u32)) -> io::Result<()> {
        let fd = self.datagrams.fd.raw();
        self.datagrams.core.driver.borrow_mut().set_membership(fd, group, interface, false)
    }

    /// Whether what is sent to a multicast group comes back to this machine.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_loop(&self, on: bool) -> io::Result<()> {
        self.set(DatagramOption::MulticastLoop(on))
    }

    /// How many routers a datagram to a multicast group passes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_multicast_ttl(&self, hops: u32) -> io::Result<()> {
        self.set(DatagramOption::MulticastTimeToLive(hops))
    }

    /// How many routers a datagram passes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_ttl(&self, hops: u32) -> io::Result<()> {
        self.set(DatagramOption::TimeToLive(hops))
    }

    /// Whether it may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.set(DatagramOption::Broadcast(on))
    }

    fn set(&self, option: DatagramOption) -> io::Result<()> {
        let mut driver = self.datagrams.core.driver.borrow_mut();
        driver.set_datagram_option(self.datagrams.fd.raw(), self.is_v6, option)
    }
}

/// Copies a datagram out, or gives it back if it does not fit.
pub(super) fn copy_out(
    received: Received,
    buffer: &mut [u8],
) -> (io::Result<usize>, Option<Received>) {
    let length = received.chunk.len();
    if received.is_cut {
        let text = format!("a datagram of more than {length} bytes has lost its end");
        return (Err(io::Error::new(io::ErrorKind::InvalidData, text)), None);
    }
    let Some(place) = buffer.get_mut(..length) else {
        let text = format!(
            "the next datagram has {length} bytes, and the buffer {}; it stays, for a larger one",
            buffer.len()
        );
        return (Err(io::Error::new(io::ErrorKind::InvalidData, text)), Some(received));
    };
    place.copy_from_slice(&received.chunk);
    (Ok(length), None)
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.datagrams.end();
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.datagrams.fd.as_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local", &self.local_addr().ok()).finish()
    }
}
