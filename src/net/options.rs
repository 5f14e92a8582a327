//! How a listener is made.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use super::listener::Listener;
use super::{Address, ListeningSocket, TcpListener};
use crate::driver::{AnyDriver, SocketOption};
use crate::executor::Core;
use crate::executor::operation::core_for;

/// Settings for a [`TcpListener`]. Socket options of the listener hold for the streams it accepts,
/// see tcp(7).
///
/// ```
/// # corio::run(async {
/// let listener = corio::net::ListenOptions::new()
///     .backlog(512)
///     .nodelay(true)
///     .bind("127.0.0.1:0")
///     .await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    backlog: u32,
    inbox_limit: usize,
    reuse_port: bool,
    sockets: Vec<SocketOption>,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions::new()
    }
}

impl ListenOptions {
    /// The default settings: a backlog of 1024, an inbox of 4096, addresses are reused, and
    /// TCP_NODELAY is set, as asyncio sets it.
    pub fn new() -> ListenOptions {
        ListenOptions {
            backlog: 1024,
            inbox_limit: 4096,
            reuse_port: false,
            sockets: vec![SocketOption::ReuseAddress(true), SocketOption::NoDelay(true)],
        }
    }

    /// How many connections the kernel keeps that were not accepted yet; at most what
    /// `net.core.somaxconn` says.
    pub fn backlog(mut self, count: u32) -> ListenOptions {
        self.backlog = count.max(1);
        self
    }

    /// How many accepted connections may wait for an `accept`; at least 1. More wait in the
    /// backlog.
    pub fn inbox_limit(mut self, count: usize) -> ListenOptions {
        self.inbox_limit = count.max(1);
        self
    }

    /// Whether an address may be bound again right after its last listener ended: on by default.
    pub fn reuse_address(self, on: bool) -> ListenOptions {
        self.option(SocketOption::ReuseAddress(on))
    }

    /// Whether several listeners may share the address, and the kernel spreads connections.
    pub fn reuse_port(mut self, on: bool) -> ListenOptions {
        self.reuse_port = on;
        self
    }

    /// TCP_NODELAY for accepted streams: on by default.
    pub fn nodelay(self, on: bool) -> ListenOptions {
        self.option(SocketOption::NoDelay(on))
    }

    /// Probes accepted streams that were idle for so long; `None` turns it off.
    pub fn keepalive(self, after: Option<Duration>) -> ListenOptions {
        self.option(SocketOption::KeepAlive(after))
    }

    /// The kernel's receive buffer of accepted streams, in bytes.
    pub fn receive_buffer(self, bytes: usize) -> ListenOptions {
        self.option(SocketOption::ReceiveBuffer(bytes))
    }

    /// The kernel's send buffer of accepted streams, in bytes.
    pub fn send_buffer(self, bytes: usize) -> ListenOptions {
        self.option(SocketOption::SendBuffer(bytes))
    }

    fn option(mut self, option: SocketOption) -> ListenOptions {
        self.sockets.push(option);
        self
    }

    /// Binds to `address` and listens.
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
    pub fn bind(&self, address: impl Address) -> impl Future<Output = io::Result<TcpListener>> {
        self.clone().bind_from(Location::caller(), address)
    }

    /// Connections that the kernel keeps, and those that an inbox keeps.
    pub(super) fn limits(&self) -> (u32, usize) {
        (self.backlog, self.inbox_limit)
    }

    pub(super) async fn bind_from(
        self,
        called_at: &'static Location<'static>,
        address: impl Address,
    ) -> io::Result<TcpListener> {
        let core = core_for(called_at);
        let address = address.to_socket_addr()?;
        let socket = self.open(&core, &address, self.reuse_port)?;
        Ok(self.listener_of(core, socket))
    }

    pub(super) fn shares_port(&self) -> bool {
        self.reuse_port
    }

    /// A socket that listens on `address`.
    pub(super) fn open(
        &self,
        core: &Core,
        address: &SocketAddr,
        reuse_port: bool,
    ) -> io::Result<ListeningSocket> {
        let mut driver = core.driver.borrow_mut();
        let fd = driver.open_socket(address)?;
        let raw = fd.as_raw_fd();
        driver.set_option(raw, SocketOption::ReusePort(reuse_port))?;
        self.set_options(&mut driver, raw)?;
        driver.bind(raw, address)?;
        driver.listen(raw, self.backlog)?;
        Ok(ListeningSocket::new(fd))
    }

    fn set_options(&self, driver: &mut AnyDriver, raw: RawFd) -> io::Result<()> {
        self.sockets.iter().try_for_each(|option| driver.set_option(raw, *option))
    }

    /// A socket that listens already, as a listener with these settings; its address and its
    /// backlog stay as they are. It goes on listening when the listener is closed, if anybody else
    /// has it.
    ///
    /// # Errors
    ///
    /// The kernel's, for an option.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn listen_on(&self, socket: ListeningSocket) -> io::Result<TcpListener> {
        let core = core_for(Location::caller());
        self.set_options(&mut core.driver.borrow_mut(), socket.fd().as_raw_fd())?;
        let listener = self.listener_of(core, socket);
        listener.shared().keep();
        Ok(listener)
    }

    /// The listener of a socket that is open.
    pub(super) fn listener_of(&self, core: Rc<Core>, socket: ListeningSocket) -> TcpListener {
        let raw = core.driver.borrow_mut().adopt(socket.into_fd());
        let fd = core.fd(raw);
        let (limit, backlog) = (self.inbox_limit, self.backlog as usize);
        TcpListener::over(Listener::new(core, fd, limit, backlog))
    }
}
