//! Connecting to a host by name: happy eyeballs, RFC 8305.
//!
//! The addresses are tried in an order in which the families take turns, beginning with the one
//! that the resolver prefers (section 4). An attempt begins when the one before has failed, or has
//! taken longer than the delay (section 5). The first that connects wins; the others are dropped,
//! which closes their sockets.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{TcpStream, lookup_host};
use crate::time::sleep;

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
pub fn connect(host: &str, port: u16) -> Connect<'_> {
    Connect { target: Target::Host(host, port), delay: DELAY_DEFAULT }
}

/// Connects to the first of these addresses that answers: see [`connect`].
pub fn connect_any(addresses: impl IntoIterator<Item = SocketAddr>) -> Connect<'static> {
    let addresses = addresses.into_iter().collect();
    Connect { target: Target::Addresses(addresses), delay: DELAY_DEFAULT }
}

enum Target<'a> {
    Host(&'a str, u16),
    Addresses(Vec<SocketAddr>),
}

/// What [`connect`] and [`connect_any`] return: await it.
///
/// # Errors
///
/// If no address connects: the kind is that of the first failure, the text lists all of them. Also
/// the resolver's.
///
/// # Cancellation
///
/// **Weak**: a connection may have been made by the time it is dropped; then it is closed.
#[must_use = "it connects when it is awaited"]
pub struct Connect<'a> {
    target: Target<'a>,
    delay: Duration,
}

impl Connect<'_> {
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
        let mut race = Race { running: Vec::new(), failures: Vec::new() };
        for address in take_turns(addresses) {
            race.running.push((address, Box::pin(TcpStream::connect(address))));
            let mut patience = pin!(sleep(self.delay));
            let connected = poll_fn(|context| match race.poll(context) {
                Poll::Ready(connected) => Poll::Ready(connected),
                Poll::Pending => patience.as_mut().poll(context).map(|()| None),
            });
            if let Some(stream) = connected.await {
                return Ok(stream);
            }
        }
        while !race.running.is_empty() {
            if let Some(stream) = poll_fn(|context| race.poll(context)).await {
                return Ok(stream);
            }
        }
        Err(race.failure())
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

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// Attempts side by side.
struct Race {
    running: Vec<(SocketAddr, Attempt)>,
    failures: Vec<(SocketAddr, io::Error)>,
}

impl Race {
    /// Ready with a stream if one connected, with `None` if one failed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<TcpStream>> {
        for place in 0..self.running.len() {
            let (address, attempt) = &mut self.running[place];
            match attempt.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(stream)) => return Poll::Ready(Some(stream)),
                Poll::Ready(Err(error)) => {
                    self.failures.push((*address, error));
                    drop(self.running.remove(place));
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Pending
    }

    fn failure(self) -> io::Error {
        let Some((_, first)) = self.failures.first() else {
            let text = "there is no address to connect to";
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        };
        let kind = first.kind();
        let list = |(address, error): &(SocketAddr, io::Error)| format!("{address}: {error}");
        let all: Vec<_> = self.failures.iter().map(list).collect();
        io::Error::new(kind, format!("no address connects: {}", all.join("; ")))
    }
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
