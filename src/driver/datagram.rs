//! Sockets of datagrams: calls that never block, as plain system calls.
//!
//! A datagram is sent by a call of its own: unlike a stream's bytes, two of them cannot be joined,
//! and one that does not fit into the kernel's buffer is waited for by a poll.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;

use super::message::cutting;
use super::socket::{check, set};
use super::{Address, AnyDriver};

/// An option of a socket of datagrams, in the kernel's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DatagramOption {
    Broadcast(bool),
    TimeToLive(u32),
    /// Whether what is sent to a group comes back to this machine.
    MulticastLoop(bool),
    MulticastTimeToLive(u32),
    /// The kernel joins datagrams of one sender: UDP_GRO.
    Join(bool),
    OnlyV6(bool),
}

impl AnyDriver {
    /// A socket of datagrams for this address, closed on exec.
    pub(crate) fn open_datagram(&mut self, address: &SocketAddr) -> io::Result<RawFd> {
        let family = match address {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
    }

    /// Names the one peer of a socket of datagrams.
    pub(crate) fn connect_datagram(&mut self, fd: RawFd, address: &Address) -> io::Result<()> {
        // SAFETY: [plain-call] the address is valid for its length.
        check(unsafe { libc::connect(fd, address.as_ptr(), address.length()) }).map(drop)
    }

    /// Sends a datagram if there is room for it; with `segment_bytes`, several that lie behind each
    /// other.
    pub(crate) fn send_datagram(
        &mut self,
        fd: RawFd,
        bytes: &[u8],
        address: Option<&Address>,
        segment_bytes: Option<u16>,
    ) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let Some(segment_bytes) = segment_bytes else {
            // Without a header, which the kernel would have to copy in.
            let (name, length) =
                address.map_or((std::ptr::null(), 0), |it| (it.as_ptr(), it.length()));
            let (first, count) = (bytes.as_ptr().cast(), bytes.len());
            // SAFETY: [plain-call] bytes and address are valid for their lengths.
            let sent = unsafe { libc::sendto(fd, first, count, flags, name, length) };
            return check(sent as i32).map(drop);
        };
        // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        let mut piece =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        (header.msg_iov, header.msg_iovlen) = (&raw mut piece, 1);
        if let Some(address) = address {
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.length();
        }
        let mut control = cutting(segment_bytes);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        // SAFETY: [plain-call] the header points to memory that is valid through the call.
        check(unsafe { libc::sendmsg(fd, &raw const header, flags) } as i32).map(drop)
    }

    /// How many datagrams the kernel has thrown away, since nobody took them.
    pub(crate) fn dropped_datagrams(&mut self, fd: RawFd) -> io::Result<u32> {
        let mut counts = [0u32; 9];
        let mut length = mem::size_of_val(&counts) as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        // SAFETY: [plain-call] the value is valid for the length that is passed with it.
        check(unsafe {
            libc::getsockopt(fd, level, name, (&raw mut counts).cast(), &raw mut length)
        })?;
        // SK_MEMINFO_DROPS is the last.
        Ok(counts[8])
    }

    pub(crate) fn set_datagram_option(
        &mut self,
        fd: RawFd,
        is_v6: bool,
        option: DatagramOption,
    ) -> io::Result<()> {
        let (level, name, value) = match option {
            DatagramOption::Broadcast(on) => (libc::SOL_SOCKET, libc::SO_BROADCAST, i32::from(on)),
            DatagramOption::TimeToLive(hops) if is_v6 => {
                (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, hops as i32)
            }
            DatagramOption::TimeToLive(hops) => (libc::IPPROTO_IP, libc::IP_TTL, hops as i32),
            DatagramOption::MulticastLoop(on) if is_v6 => {
                (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, i32::from(on))
            }
            DatagramOption::MulticastLoop(on) => {
                (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, i32::from(on))
            }
            DatagramOption::MulticastTimeToLive(hops) if is_v6 => {
                (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, hops as i32)
            }
            DatagramOption::MulticastTimeToLive(hops) => {
                (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, hops as i32)
            }
            DatagramOption::Join(on) => (libc::SOL_UDP, libc::UDP_GRO, i32::from(on)),
            DatagramOption::OnlyV6(on) => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(on)),
        };
        set(fd, level, name, &value)
    }

    /// Joins a multicast group, or leaves it. The interface is named by an address of it, or for
    /// IPv6 by its number.
    pub(crate) fn set_membership(
        &mut self,
        fd: RawFd,
        group: IpAddr,
        interface: (Ipv4Addr, u32),
        joins: bool,
    ) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => {
                let request = libc::ip_mreq {
                    imr_multiaddr: libc::in_addr { s_addr: u32::from(group).to_be() },
                    imr_interface: libc::in_addr { s_addr: u32::from(interface.0).to_be() },
                };
                let name = if joins { libc::IP_ADD_MEMBERSHIP } else { libc::IP_DROP_MEMBERSHIP };
                set(fd, libc::IPPROTO_IP, name, &request)
            }
            IpAddr::V6(group) => {
                let request = libc::ipv6_mreq {
                    ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
                    ipv6mr_interface: interface.1,
                };
                let name =
                    if joins { libc::IPV6_ADD_MEMBERSHIP } else { libc::IPV6_DROP_MEMBERSHIP };
                set(fd, libc::IPPROTO_IPV6, name, &request)
            }
        }
    }
}
