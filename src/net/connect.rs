//! Connecting to a host by name: happy eyeballs, RFC 8305.
//!
//! The addresses are tried in an order in which the families take turns, beginning with the one
//! that the resolver prefers (section 4). An attempt begins when the one before has failed, or has
//! taken longer than the delay (section 5). The first that connects wins; the others are dropped,
//! which closes their sockets.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::time::Duration;

use super::{TcpStream, lookup_host};
use crate::task::race_staggered;

/// How long an attempt has before the next one begins, by default: RFC 8305, section 8.
const DELAY_DEFAULT: Duration = Duration::from_millis(250);

/// Connects to a host by name or address, trying its addresses one after the other.
///
/// ```
/// # corio::run(async {
/// let server = corio::net::serve("127.0.0.1:0", async |_stream| {}).await?;
/// let port = server.local_addrs()[0].port();
/// let stream = corio::net::connect("localhost", port).await?;
/// assert_eq!(stream.peer_addr()?.port(), port);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "open_connection")]
#[doc(alias = "create_connection")]
#[track_caller]
pub fn connect(host: &str, port: u16) -> Connect<'_> {
    Connect::to(Target::Host(host, port))
}

/// Connects to the first of these addresses that answers: see [`connect`].
#[track_caller]
pub fn connect_any(addresses: impl IntoIterator<Item = SocketAddr>) -> Connect<'static> {
    Connect::to(Target::Addresses(addresses.into_iter().collect()))
}

enum Target<'a> {
    Host(&'a str, u16),
    Addresses(Vec<SocketAddr>),
}

/// What [`connect`] and [`connect_any`] return: await it.
///
/// # Errors
///
/// If no address connects: the kind is that of the first one's failure, the text lists all. Also
/// the resolver's.
///
/// # Cancellation
///
/// **Weak**: a connection may have been made by the time it is dropped; then it is closed.
#[must_use = "it connects when it is awaited"]
pub struct Connect<'a> {
    target: Target<'a>,
    local: Option<SocketAddr>,
    delay: Duration,
    called_at: &'static Location<'static>,
}

impl<'a> Connect<'a> {
    #[track_caller]
    fn to(target: Target<'a>) -> Connect<'a> {
        Connect { target, local: None, delay: DELAY_DEFAULT, called_at: Location::caller() }
    }
}

impl Connect<'_> {
    /// The address to connect from; port 0 leaves the port to the kernel. Addresses of the other
    /// family are not tried.
    pub fn local_addr(mut self, address: SocketAddr) -> Self {
        self.local = Some(address);
        self
    }

    /// How long an attempt has before the next one begins beside it: 250 ms by default. Zero begins
    /// all at once.
    #[doc(alias = "happy_eyeballs_delay")]
    pub fn happy_eyeballs(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> io::Result<TcpStream> {
        let addresses = match self.target {
            Target::Host(host, port) => lookup_host(host, port).await?,
            Target::Addresses(addresses) => addresses,
        };
        let (local, called_at) = (self.local, self.called_at);
        let is_reachable =
            |to: &SocketAddr| local.is_none_or(|from| from.is_ipv6() == to.is_ipv6());
        let addresses = take_turns(addresses.into_iter().filter(is_reachable).collect());
        let connect = |address: &SocketAddr| TcpStream::connect_from(called_at, *address, local);
        let attempts = addresses.iter().map(connect);
        match race_staggered(self.delay, attempts).await {
            Ok((stream, _)) => Ok(stream),
            Err(errors) => Err(failure(&addresses, &errors)),
        }
    }
}

impl<'a> IntoFuture for Connect<'a> {
    type Output = io::Result<TcpStream>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// What to say if no address connects, each with the error beside it.
fn failure(addresses: &[SocketAddr], errors: &[io::Error]) -> io::Error {
    let Some(first) = errors.first() else {
        let text = "there is no address to connect to";
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    };
    let list = |(address, error): (&SocketAddr, &io::Error)| format!("{address}: {error}");
    let all: Vec<_> = addresses.iter().zip(errors).map(list).collect();
    io::Error::new(first.kind(), format!("no address connects: {}", all.join("; ")))
}

/// The addresses with their families in turns, beginning with that of the first.
fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_family = addresses.first().map(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|it| Some(it.is_ipv6()) == first_family);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let before = order.len();
        order.extend(first.next());
        order.extend(second.next());
        if order.len() == before {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_beginning_with_the_preferred_one() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let order: Vec<_> = take_turns(addresses.into()).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert!(take_turns(Vec::new()).is_empty());
    }
}
