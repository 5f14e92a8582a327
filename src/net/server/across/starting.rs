//! Starting a server over many cores: its sockets, then its parts, and all of it or nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Common, CoresServer, Registered, look, part};
use crate::cores::{CoreHandle, RemoteHandle};
use crate::driver::{CpuSet, handing};
use crate::executor::Core;
use crate::executor::operation::core_for;
use crate::net::places::Places;
use crate::net::server::policy::{AcceptPolicy, Loads};
use crate::net::{Address, ListeningSocket, ServeOptions, TcpStream};
use crate::task::TaskOutput;

/// Servers of this process, so that each has a number of its own.
static SERVERS: AtomicU64 = AtomicU64::new(0);

impl ServeOptions {
    /// Serves on several cores, from any of them: `make` is called on each and makes the handler
    /// there, which need not be `Send`. The limit of
    /// [`max_connections`](Self::max_connections) is one for all, and exact.
    ///
    /// ```
    /// use corio::cores::Cores;
    /// use corio::net::{AcceptPolicy, ServeOptions, TcpStream};
    /// use std::time::Duration;
    ///
    /// Cores::available()?.count(2).on_start(|_| {}).block_on(|core| async move {
    ///     let server = ServeOptions::new()
    ///         .accept(AcceptPolicy::LeastConnections)
    ///         .max_connections(1000)
    ///         .serve_on(core.handles(), "127.0.0.1:0", || {
    ///             async |mut stream: TcpStream| {
    ///                 let line = stream.read_line(100).await?;
    ///                 stream.write(&line).await
    ///             }
    ///         })
    ///         .await?;
    ///     let mut client = TcpStream::connect(server.local_addrs()[0]).await?;
    ///     client.write(b"hello\n").await?;
    ///     assert_eq!(client.read_line(100).await?, b"hello\n");
    ///     drop(client);
    ///     let report = server.shutdown(Duration::from_secs(1)).await;
    ///     assert!(report.is_complete());
    ///     std::io::Result::Ok(())
    /// })?
    /// # ; std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ListenOptions::bind`](crate::net::ListenOptions::bind); `NotConnected` if one of the
    /// cores has ended; `InvalidInput` if
    /// there are none, or connections are to be steered by CPU and the cores are not pinned. Then
    /// it serves on none.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped serves nowhere.
    #[doc(alias = "start_server")]
    #[track_caller]
    pub fn serve_on<A, M, H, F>(
        self,
        cores: &[CoreHandle],
        address: A,
        make: M,
    ) -> impl Future<Output = io::Result<CoresServer>> + use<A, M, H, F>
    where
        A: Address,
        M: FnOnce() -> H + Clone + Send + 'static,
        H: Fn(TcpStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let (called_at, cores) = (Location::caller(), Arc::from(cores));
        async move {
            let core = core_for(called_at);
            let mut addresses = vec![address.to_socket_addr()?];
            addresses.extend(&self.more_addresses);
            let per_core = match self.policy {
                AcceptPolicy::ReusePort => true,
                AcceptPolicy::RoundRobin | AcceptPolicy::LeastConnections => false,
            };
            let count = if per_core { cores_count(&cores)? } else { 1 };
            let mut sockets = Vec::new();
            for address in addresses {
                sockets.extend(self.open_several(&core, address, count)?);
            }
            self.start(cores, sockets, false, make).await
        }
    }

    /// As [`serve_on`](Self::serve_on), from sockets that listen already: those that a service
    /// manager or a predecessor passed. They go on listening when this server closes, for as long
    /// as anybody has them.
    ///
    /// With [`AcceptPolicy::ReusePort`] the sockets are shared out over the cores; where there are
    /// fewer, the policy asks for more on the same addresses.
    ///
    /// # Errors
    ///
    /// As [`serve_on`](Self::serve_on); with `ReusePort` also where there are fewer sockets than
    /// cores, and theirs do not share their ports (`ReusePort=true` in a unit of systemd).
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: one that is dropped serves nowhere.
    #[track_caller]
    pub fn serve_sockets_on<M, H, F>(
        self,
        cores: &[CoreHandle],
        sockets: Vec<ListeningSocket>,
        make: M,
    ) -> impl Future<Output = io::Result<CoresServer>> + use<M, H, F>
    where
        M: FnOnce() -> H + Clone + Send + 'static,
        H: Fn(TcpStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let (called_at, cores) = (Location::caller(), Arc::<[CoreHandle]>::from(cores));
        async move {
            let core = core_for(called_at);
            let mut sockets = sockets;
            if sockets.is_empty() {
                return Err(invalid("there are no sockets to serve"));
            }
            if self.policy == AcceptPolicy::ReusePort {
                self.complete(&core, &mut sockets, cores_count(&cores)?)?;
            }
            self.start(cores, sockets, true, make).await
        }
    }

    /// Sockets on one address, which share its port if there are several.
    fn open_several(
        &self,
        core: &Core,
        mut address: SocketAddr,
        count: usize,
    ) -> io::Result<Vec<ListeningSocket>> {
        let mut sockets = Vec::new();
        for _ in 0..count {
            let shares = count > 1 || self.steers || self.listen.shares_port();
            let socket = self.listen.open(core, &address, shares)?;
            address = socket.local_addr()?;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    /// Adds sockets until each core has one.
    fn complete(
        &self,
        core: &Core,
        sockets: &mut Vec<ListeningSocket>,
        count: usize,
    ) -> io::Result<()> {
        let given = sockets.len();
        for index in given..count {
            let like = &sockets[index % given];
            if !handing::shares_its_port(like.fd())? {
                return Err(invalid(
                    "there are fewer sockets than cores, and theirs do not share their ports; \
                     cure: `ReusePort=true` where they are made, or another accept policy",
                ));
            }
            let address = like.local_addr()?;
            sockets.push(self.listen.open(core, &address, true)?);
        }
        Ok(())
    }

    async fn start<M, H, F>(
        self,
        cores: Arc<[CoreHandle]>,
        sockets: Vec<ListeningSocket>,
        is_kept: bool,
        make: M,
    ) -> io::Result<CoresServer>
    where
        M: FnOnce() -> H + Clone + Send + 'static,
        H: Fn(TcpStream) -> F + 'static,
        F: Future + 'static,
        F::Output: TaskOutput + 'static,
    {
        let count = cores_count(&cores)?;
        if self.steers {
            steer(&cores, &sockets, self.policy).await?;
        }
        let mut addresses = Vec::new();
        for socket in &sockets {
            let address = socket.local_addr()?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let server = SERVERS.fetch_add(1, Ordering::Relaxed);
        let places = self.connections_max.map(|max| Places::across(max, &cores, server, look));
        let common = Arc::new(Common {
            server,
            cores: Arc::clone(&cores),
            policy: self.policy,
            loads: Arc::new(Loads::new(count)),
            places,
            listen: self.listen,
            is_kept,
        });
        let served = CoresServer { common: Arc::clone(&common), addresses };
        let mut undo = Undo(Some(&served));
        let mut shares: Vec<Vec<ListeningSocket>> = (0..count).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            let to = if self.policy == AcceptPolicy::ReusePort { index % count } else { 0 };
            shares[to].push(socket);
        }
        // Who accepts for all comes last.
        for (index, share) in shares.into_iter().enumerate().rev() {
            let started = start_part(cores[index], &common, share, make.clone());
            if started.await.is_err() {
                let text = format!("core {index} does not serve: it has ended, or `make` panicked");
                return Err(io::Error::new(io::ErrorKind::NotConnected, text));
            }
        }
        undo.0 = None;
        drop(undo);
        Ok(served)
    }
}

/// Starts a part; the handle tells when it has, or that it cannot.
fn start_part<M, H, F>(
    core: CoreHandle,
    common: &Arc<Common>,
    sockets: Vec<ListeningSocket>,
    make: M,
) -> RemoteHandle<()>
where
    M: FnOnce() -> H + Send + 'static,
    H: Fn(TcpStream) -> F + 'static,
    F: Future + 'static,
    F::Output: TaskOutput + 'static,
{
    let common = Arc::clone(common);
    core.spawn(move || {
        let (handler, registered) = (make(), Registered(common.server));
        common.build(sockets, handler);
        crate::task::spawn(async move {
            let Some(part) = part(registered.0) else { return };
            part.shared.closed.wait().await;
            part.shared.is_idle.wait().await;
            drop(registered);
        });
        std::future::ready(())
    })
}

/// Closes what was started, if the start fails or is dropped.
struct Undo<'a>(Option<&'a CoresServer>);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(server) = self.0 {
            server.close();
        }
    }
}

fn cores_count(cores: &[CoreHandle]) -> io::Result<usize> {
    match cores.len() {
        0 => Err(invalid("there are no cores to serve on")),
        count => Ok(count),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Has the kernel choose the socket of the core that runs where a connection comes in.
async fn steer(
    cores: &[CoreHandle],
    sockets: &[ListeningSocket],
    policy: AcceptPolicy,
) -> io::Result<()> {
    if policy != AcceptPolicy::ReusePort {
        return Err(invalid("only `AcceptPolicy::ReusePort` can steer connections by CPU"));
    }
    let mut cpus = Vec::new();
    for core in cores {
        let cpu = core.spawn(|| async { CpuSet::of_this_thread().ok().and_then(|it| it.only()) });
        let cpu = cpu.await.ok().flatten();
        cpus.push(cpu.ok_or_else(|| {
            invalid("a core is not pinned to one CPU, so no connection can be steered to it")
        })?);
    }
    // The sockets of one address follow one another, in the order of the cores.
    for group in sockets.chunks(cores.len()) {
        handing::steer_by_cpu(group[0].fd(), &cpus)?;
    }
    Ok(())
}
