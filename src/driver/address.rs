//! Socket addresses as the kernel reads them.
#![allow(unsafe_code)] // Reading a sockaddr that the kernel filled in.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net as unix;

/// Where the name of a Unix socket begins: behind the family.
const NAME_OFFSET: usize = mem::size_of::<libc::sa_family_t>();

/// A `sockaddr` of any family with its length. Lives in a slot's payload during a connect.
pub(crate) struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    /// An empty one, for the kernel to fill in.
    pub(super) fn empty() -> Address {
        // SAFETY: [plain-data] sockaddr_storage is integers only; all zeroes is a value of it.
        let storage = unsafe { mem::zeroed() };
        Address { storage, length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    pub(super) fn length(&self) -> libc::socklen_t {
        self.length
    }

    pub(super) fn length_mut(&mut self) -> &mut libc::socklen_t {
        &mut self.length
    }

    /// As far as the kernel filled it.
    pub(super) fn as_bytes(&self) -> &[u8] {
        let length = (self.length as usize).min(mem::size_of::<libc::sockaddr_storage>());
        // SAFETY: [plain-data] the storage is integers without padding, all of it initialised.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), length) }
    }

    /// An address that lies in these bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Address {
        let mut made = Address::empty();
        let length = bytes.len().min(mem::size_of::<libc::sockaddr_storage>());
        let place = (&raw mut made.storage).cast::<u8>();
        // SAFETY: [plain-data] the storage is integers, has the room, and overlaps no borrow.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, length) };
        made.length = length as libc::socklen_t;
        made
    }

    /// The name of a Unix socket in it.
    pub(crate) fn to_unix_addr(&self) -> io::Result<unix::SocketAddr> {
        let name = self.as_bytes().get(NAME_OFFSET..).unwrap_or_default();
        match name {
            [] => unix::SocketAddr::from_pathname(""),
            [0, name @ ..] => unix::SocketAddr::from_abstract_name(name),
            name => {
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                unix::SocketAddr::from_pathname(OsStr::from_bytes(&name[..end]))
            }
        }
    }

    pub(super) fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// The Internet address in it.
    pub(crate) fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: [plain-data] the family says that a sockaddr_in is stored, which is
                // smaller than the storage and has no stricter alignment.
                let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: [plain-data] as above, for a sockaddr_in6.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                let address = SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id);
                Ok(SocketAddr::V6(address))
            }
            family => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the socket's address is of family {family}, not an Internet address"),
            )),
        }
    }
}

/// The names of a host and of a service for an address, as the system's resolver knows them; it may
/// ask others, and block.
pub(crate) fn name_of(address: &SocketAddr) -> io::Result<(String, String)> {
    let address = Address::from(address);
    let (mut host, mut service) = ([0u8; 1025], [0u8; 32]);
    // SAFETY: [plain-call] the address and both rooms are valid for the lengths passed with them.
    let failed = unsafe {
        libc::getnameinfo(
            address.as_ptr(),
            address.length(),
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            service.as_mut_ptr().cast(),
            service.len() as libc::socklen_t,
            libc::NI_NAMEREQD,
        )
    };
    if failed != 0 {
        let kind =
            if failed == libc::EAI_NONAME { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
        return Err(io::Error::new(kind, format!("the resolver has no name (error {failed})")));
    }
    let text = |room: &[u8]| {
        let end = room.iter().position(|byte| *byte == 0).unwrap_or(room.len());
        String::from_utf8_lossy(&room[..end]).into_owned()
    };
    Ok((text(&host), text(&service)))
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_bytes()).finish()
    }
}

impl From<&unix::SocketAddr> for Address {
    fn from(address: &unix::SocketAddr) -> Address {
        let mut bytes = vec![0; NAME_OFFSET];
        let family = libc::AF_UNIX as libc::sa_family_t;
        bytes[..NAME_OFFSET].copy_from_slice(&family.to_ne_bytes());
        if let Some(path) = address.as_pathname() {
            bytes.extend(path.as_os_str().as_bytes());
            bytes.push(0);
        } else if let Some(name) = address.as_abstract_name() {
            bytes.push(0);
            bytes.extend(name);
        }
        Address::from_bytes(&bytes)
    }
}

impl From<&SocketAddr> for Address {
    fn from(address: &SocketAddr) -> Address {
        let mut made = Address::empty();
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: [plain-data] the storage is larger than a sockaddr_in and aligned.
                let raw = unsafe { &mut *(&raw mut made.storage).cast::<libc::sockaddr_in>() };
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = v4.port().to_be();
                raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
                made.length = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                // SAFETY: [plain-data] as above, for a sockaddr_in6.
                let raw = unsafe { &mut *(&raw mut made.storage).cast::<libc::sockaddr_in6>() };
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = v6.port().to_be();
                raw.sin6_flowinfo = v6.flowinfo();
                raw.sin6_addr.s6_addr = v6.ip().octets();
                raw.sin6_scope_id = v6.scope_id();
                made.length = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_unix_sockets_come_back_as_they_were() {
        let path = unix::SocketAddr::from_pathname("/tmp/some name").unwrap();
        let back = Address::from(&path).to_unix_addr().unwrap();
        assert_eq!(back.as_pathname(), path.as_pathname());
        let name = unix::SocketAddr::from_abstract_name(b"a\0b").unwrap();
        let back = Address::from(&name).to_unix_addr().unwrap();
        assert_eq!(back.as_abstract_name(), Some(&b"a\0b"[..]));
        let none = Address::from_bytes(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert!(none.to_unix_addr().unwrap().is_unnamed());
    }
}
