//! What can be connected or bound to: addresses that need no look-up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Something that names one socket address without asking anybody.
///
/// A text is `"127.0.0.1:80"`, `"[::1]:80"` or `"localhost:80"`. Other names would need a look-up,
/// which blocks; they are an error.
pub trait Address {
    /// The address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a text that is no numeric address with a port.
    fn to_socket_addr(&self) -> io::Result<SocketAddr>;
}

impl Address for SocketAddr {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(*self)
    }
}

impl Address for SocketAddrV4 {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::V4(*self))
    }
}

impl Address for SocketAddrV6 {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::V6(*self))
    }
}

impl Address for (IpAddr, u16) {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(*self))
    }
}

impl Address for (Ipv4Addr, u16) {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(*self))
    }
}

impl Address for (Ipv6Addr, u16) {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(*self))
    }
}

impl Address for (&str, u16) {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        let (host, port) = *self;
        if host == "localhost" {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(SocketAddr::from((ip, port))),
            Err(_) => Err(not_numeric(&format!("{host}:{port}"))),
        }
    }
}

impl Address for str {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        if let Ok(address) = self.parse() {
            return Ok(address);
        }
        match self.strip_prefix("localhost:").map(str::parse) {
            Some(Ok(port)) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            _ => Err(not_numeric(self)),
        }
    }
}

impl Address for String {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        self.as_str().to_socket_addr()
    }
}

impl<A: Address + ?Sized> Address for &A {
    fn to_socket_addr(&self) -> io::Result<SocketAddr> {
        (**self).to_socket_addr()
    }
}

fn not_numeric(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "`{text}` is no numeric address with a port, such as `127.0.0.1:80` or `[::1]:80`; a \
             name must be looked up first (`std::net::ToSocketAddrs` does, on a thread that may \
             block)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_a_cure_and_never_looked_up() {
        let error = "example.com:80".to_socket_addr().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("`example.com:80`"), "{error}");
        for bad in ["", "127.0.0.1", "localhost", "localhost:", "localhost:99999", ":80"] {
            assert!(bad.to_socket_addr().is_err(), "{bad}");
        }
    }

    #[test]
    fn numeric_texts_and_localhost_are_addresses() {
        assert_eq!("localhost:80".to_socket_addr().unwrap().to_string(), "127.0.0.1:80");
        assert_eq!("[::1]:80".to_socket_addr().unwrap().to_string(), "[::1]:80");
        assert_eq!(("10.0.0.1", 5).to_socket_addr().unwrap().to_string(), "10.0.0.1:5");
    }
}
