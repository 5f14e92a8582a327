//! A listener on the name of a Unix socket: the machine of `net/listener.rs` under it.

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::rc::Rc;

use super::{SocketAddr, UnixName, UnixStream};
use crate::driver::LocalKind;
use crate::executor::Core;
use crate::executor::operation::core_for;
use crate::net::accept::{Accept, Incoming};
use crate::net::listener::Listener;
use crate::net::{ListenOptions, ServeOptions, Server};
use crate::task::TaskOutput;

/// A listening Unix socket.
///
/// As with a [`TcpListener`](crate::net::TcpListener), connections wait in its inbox, so a
/// `timeout` around `accept` loses nobody. Dropping it leaves the name in the file system, as
/// everywhere; [`serve_unix`] cleans up.
///
/// ```
/// use corio::net::{UnixListener, UnixStream};
/// # corio::run(async {
/// let name = format!("@corio-doc-{}", std::process::id());
/// let listener = UnixListener::bind(&name)?;
/// let client = UnixStream::connect(&name).await?;
/// client.write(b"hello\n").await?;
/// let mut server = listener.accept().await?;
/// assert_eq!(server.read_line(10).await?, b"hello\n");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "start_unix_server")]
pub struct UnixListener {
    inner: Rc<Listener>,
    /// The name in the file system, to be removed in the end, with what it named.
    file: Option<(PathBuf, (u64, u64))>,
}

impl UnixListener {
    /// Listens on a name.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `AddrInUse` if the name is there, even if nobody listens on it;
    /// `InvalidInput` for what is no name.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn bind(name: impl UnixName) -> io::Result<UnixListener> {
        UnixListener::listen(&Core::current(), &name.to_unix_addr()?, &ListenOptions::new())
    }

    fn listen(
        core: &Rc<Core>,
        name: &SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<UnixListener> {
        let (backlog, inbox_limit) = options.limits();
        let raw = core.driver.borrow_mut().open_local(LocalKind::Stream)?;
        let fd = core.fd(raw);
        {
            let mut driver = core.driver.borrow_mut();
            driver.bind_local(raw, name)?;
            driver.listen(raw, backlog)?;
        }
        let inner = Listener::new(Rc::clone(core), fd, inbox_limit, backlog as usize);
        Ok(UnixListener { inner, file: None })
    }

    /// As asyncio's servers: a socket that nobody listens on any more is replaced, and the name is
    /// removed in the end.
    pub(in crate::net) fn serving(
        called_at: &'static Location<'static>,
        name: impl UnixName,
        options: &ListenOptions,
    ) -> io::Result<UnixListener> {
        let core = core_for(called_at);
        let name = name.to_unix_addr()?;
        let path = name.as_pathname();
        if let Some(path) = path {
            let mut driver = core.driver.borrow_mut();
            let found = driver.socket_file(path);
            if let Some(found) = found
                && driver.is_stale_socket(&name)
            {
                driver.remove_socket_file(path, found);
            }
        }
        let mut listener = UnixListener::listen(&core, &name, options)?;
        listener.file = path.and_then(|path| {
            let made = core.driver.borrow_mut().socket_file(path)?;
            Some((path.to_owned(), made))
        });
        Ok(listener)
    }

    /// What serves.
    pub(in crate::net) fn shared(&self) -> &Rc<Listener> {
        &self.inner
    }

    /// The next connection. Several tasks may wait; they are served first come, first served.
    ///
    /// # Errors
    ///
    /// After [`close`](Self::close), once the inbox is empty; or the kernel's. A lack of
    /// descriptors is no error: the listener pauses, reports it once, and goes on.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a connection stays in the listener's inbox until an `accept` returns it.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        Accept::new(&self.inner).await
    }

    /// The connections as a stream, which ends when the listener is closed.
    pub fn incoming(&self) -> Incoming<'_, UnixStream> {
        Incoming::new(Accept::new(&self.inner))
    }

    /// How many accepted connections wait in the inbox.
    pub fn waiting(&self) -> usize {
        self.inner.waiting_count()
    }

    /// The name it listens on.
    ///
    /// # Errors
    ///
    /// The kernel's; `NotConnected` after [`close`](Self::close).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let fd = self.inner.descriptor()?;
        self.inner.core.driver.borrow_mut().local_name(fd.raw())
    }

    /// Stops listening: accepts in flight are ended, and the socket is closed. What is in the inbox
    /// can still be accepted; after that, `accept` is an error.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the closing goes on.
    pub async fn close(&self) {
        self.inner.close().await;
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        if let Some((path, made)) = self.file.take() {
            self.inner.core.driver.borrow_mut().remove_socket_file(&path, made);
        }
        self.inner.end();
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixListener").field("local", &self.local_addr().ok()).finish()
    }
}

/// Listens on the name of a Unix socket and runs `handler` for each connection, as a task of its
/// own: [`serve`](crate::net::serve) for Unix sockets.
///
/// A name that a dead server left behind is replaced, as asyncio does it, and the name is removed
/// when the [`Server`] and its last connection are gone.
///
/// ```
/// use corio::net::{UnixStream, serve_unix};
/// # corio::run(async {
/// let path = std::env::temp_dir().join(format!("corio-doc-{}", std::process::id()));
/// let server = serve_unix(&path, async |mut stream: UnixStream| {
///     let line = stream.read_line(100).await?;
///     stream.write(&line).await
/// });
/// let server = server.await?;
/// let mut client = UnixStream::connect(&path).await?;
/// client.write(b"hello\n").await?;
/// assert_eq!(client.read_line(100).await?, b"hello\n");
/// drop(client);
/// server.shutdown(std::time::Duration::from_secs(1)).await;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// As [`UnixListener::bind`]; `AddrInUse` only if somebody listens on the name.
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Strict**: it does not wait.
#[doc(alias = "start_unix_server")]
#[doc(alias = "create_unix_server")]
#[track_caller]
pub fn serve_unix<H, F>(name: impl UnixName, handler: H) -> impl Future<Output = io::Result<Server>>
where
    H: Fn(UnixStream) -> F + 'static,
    F: Future + 'static,
    F::Output: TaskOutput + 'static,
{
    ServeOptions::new().serve_unix(name, handler)
}
