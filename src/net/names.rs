//! Names of hosts, resolved off the loop.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::blocking::spawn_blocking;
use crate::driver::name_of;

/// The addresses of a host, in the order in which the system's resolver prefers them.
///
/// A numeric address is returned at once. Names go to `getaddrinfo(3)` on a worker thread, so the
/// loop goes on meanwhile.
///
/// ```
/// # corio::run(async {
/// let addresses = corio::net::lookup_host("127.0.0.1", 80).await?;
/// assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The resolver's, with the name of the host.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: the resolver cannot be interrupted; its answer is thrown away.
#[doc(alias = "getaddrinfo")]
pub async fn lookup_host(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let numeric = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = numeric.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let resolve = move || Ok((name.as_str(), port).to_socket_addrs()?.collect());
    let resolved: io::Result<Vec<_>> = spawn_blocking(resolve)
        .await
        .map_err(|error| io::Error::other(error.to_string()))
        .flatten();
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot resolve the host `{host}`: {error}"))
    };
    match resolved {
        Ok(addresses) if addresses.is_empty() => {
            Err(named(io::Error::new(io::ErrorKind::NotFound, "it has no address")))
        }
        resolved => resolved.map_err(named),
    }
}

/// The names of a host and of a service for an address: `("localhost", "http")` for
/// `127.0.0.1:80`.
///
/// `getnameinfo(3)` is asked on a worker thread, so the loop goes on meanwhile.
///
/// ```
/// # corio::run(async {
/// let (host, service) = corio::net::reverse_lookup("127.0.0.1:80".parse().unwrap()).await?;
/// println!("{host} {service}");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// `NotFound` if the host has no name; otherwise the resolver's.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: the resolver cannot be interrupted; its answer is thrown away.
#[doc(alias = "getnameinfo")]
pub async fn reverse_lookup(address: SocketAddr) -> io::Result<(String, String)> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot name the address {address}: {error}"))
    };
    spawn_blocking(move || name_of(&address))
        .await
        .map_err(|error| io::Error::other(error.to_string()))
        .flatten()
        .map_err(named)
}
