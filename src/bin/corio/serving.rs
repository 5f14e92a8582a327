//! What all servers of this program have in common: options, the runtime, listening, the end.
//!
//! A server is one core and one task for each connection; `serving_cores.rs` has those of several.
//! It ends in order on SIGINT and SIGTERM, a connection that fails takes nothing else with it, and
//! at the end it can print what the runtime has counted.
//!
//! As the server of a benchmark it runs as a child (`--child`, hidden): it tells its address on
//! standard output instead of standard error, and it ends when its standard input does. The kernel
//! closes that pipe however the parent dies, so no server outlives its benchmark.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use clap::Args;
use corio::net::{AcceptPolicy, ListenOptions, TcpListener, TcpStream};
use corio::signal::{Signal, Signals};

use corio::Driver;

use crate::arguments::{self, BusyPoll, Cpu};
use crate::report::json_object;
use crate::{Failure, print_line, serving_cores};

/// How long an accept that failed is left alone, so that it neither spins nor sleeps for long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The options of every server.
#[derive(Args)]
pub(crate) struct ServeOptions {
    /// Port to listen on; 0 lets the kernel choose a free one
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub(crate) port: u16,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// CPU to run on; without it the kernel places the server
    #[arg(long, value_name = "C")]
    core: Option<Cpu>,
    /// How corio talks to the kernel: `uring` or `epoll` [default: `uring` where it starts]
    #[arg(long, value_name = "DRIVER", value_parser = arguments::driver)]
    pub(crate) driver: Option<Driver>,
    /// How long to poll in user space before sleeping: `adaptive`, `off`, or microseconds
    ///
    /// Polling shortens the round trip of a lone connection and costs CPU while it lasts. Without
    /// this option a server with --core polls adaptively, any other sleeps at once.
    #[arg(long, value_name = "HOW")]
    pub(crate) busy_poll: Option<BusyPoll>,
    /// Print the runtime's counters at the end, as one JSON object on standard output
    ///
    /// `requests` are answered requests of HTTP. A server of bytes knows no borders of messages: it
    /// counts the pieces that it received and echoed.
    #[arg(long)]
    pub(crate) stats: bool,
    /// Upper limit of the receive buffers that all connections share
    #[arg(long, value_name = "N", value_parser = arguments::buffers)]
    pub(crate) buffers_max: Option<u16>,
    /// Serve on so many cores, each with its own loop [default: one]
    #[arg(long, value_name = "N", value_parser = arguments::cores, conflicts_with = "core")]
    pub(crate) cores: Option<usize>,
    /// Which core gets a connection: `reuse-port`, `round-robin` or `least-connections`
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = arguments::policy,
        requires = "cores",
        default_value = "reuse-port"
    )]
    pub(crate) accept: AcceptPolicy,
    /// Be the server of a benchmark: see the top of serving.rs
    #[arg(long, hide = true)]
    pub(crate) child: bool,
    /// Listen on so many addresses in a row, from --host on: a benchmark's client has some 28,000
    /// ports towards each
    #[arg(long, hide = true, value_name = "N", default_value_t = 1)]
    pub(crate) addresses: u32,
}

/// What the connections' tasks count.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connections: Cell<u64>,
    pub(crate) failed_connections: Cell<u64>,
    pub(crate) unsent_writes: Cell<u64>,
    pub(crate) requests: Cell<u64>,
}

impl Counters {
    #[inline]
    pub(crate) fn requested(&self, count: u64) {
        self.requests.set(self.requests.get() + count);
    }
}

/// Serves with what `make` makes as each connection's task, until a signal. A client may reset its
/// connection at any time: that is counted, and it ends its task alone.
pub(crate) fn main<M, S, F>(options: &ServeOptions, make: M) -> Result<(), Failure>
where
    M: FnOnce() -> S + Clone + Send + 'static,
    S: Fn(TcpStream, Rc<Counters>) -> F + 'static,
    F: Future<Output = io::Result<()>> + 'static,
{
    if let Some(count) = options.cores {
        return serving_cores::main(options, count, make);
    }
    let serve_one = make();
    let counters = Rc::new(Counters::default());
    let runtime = runtime_for(options, Rc::clone(&counters))
        .map_err(|error| Failure::work(error.to_string()))?;
    let accept = Accept { serve_one, counters };
    let stats = runtime.block_on(serve(options, Rc::new(accept))).map_err(Failure::work)?;
    runtime.close();
    if options.stats {
        print_line(&stats);
    }
    Ok(())
}

fn runtime_for(options: &ServeOptions, counters: Rc<Counters>) -> io::Result<corio::Runtime> {
    let mut builder = corio::Runtime::builder().on_unhandled(move |unhandled| match unhandled {
        // A client that leaves before it has read its answer: no news, and there may be thousands.
        corio::Unhandled::WriteFailed { .. } => increment(&counters.unsent_writes),
        _ => eprintln!("corio: {unhandled}"),
    });
    if let Some(driver) = options.driver {
        builder = builder.driver(driver);
    }
    if let Some(Cpu(core)) = options.core {
        builder = builder.pin(core);
    }
    if let Some(busy_poll) = options.busy_poll {
        builder = builder.busy_poll(busy_poll.setting());
    }
    if let Some(buffers_max) = options.buffers_max {
        builder = builder.buffers_max(buffers_max);
    }
    builder.build()
}

/// Serves until it is told to end, then renders the counters.
async fn serve<S, F>(options: &ServeOptions, accept: Rc<Accept<S>>) -> Result<String, String>
where
    S: Fn(TcpStream, Rc<Counters>) -> F + 'static,
    F: Future<Output = io::Result<()>> + 'static,
{
    let signals = Signals::new([Signal::Interrupt, Signal::Terminate])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let listeners = listen_all(options).await?;
    let address = listeners[0].local_addr().map_err(|error| error.to_string())?;

    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| corio::spawn(Rc::clone(&accept).for_ever(listener)))
        .collect();
    if options.child {
        print_line(&format!("listening on {address}"));
        let end_of_input = EndOfInput::watch().map_err(|error| error.to_string())?;
        corio::select! {
            _ = signals.recv() => {}
            () = end_of_input.reached() => {}
        }
    } else {
        eprintln!("listening on {address}");
        signals.recv().await.map_err(|error| format!("cannot wait for signals: {error}"))?;
    }
    for task in accepting {
        task.cancel();
    }
    Ok(render(&accept.counters, &corio::stats()))
}

async fn listen_all(options: &ServeOptions) -> Result<Vec<TcpListener>, String> {
    let mut address = SocketAddr::new(options.host, options.port);
    let mut listeners = Vec::new();
    for index in 0..options.addresses.max(1) {
        if let IpAddr::V4(first) = options.host {
            address.set_ip(Ipv4Addr::from_bits(first.to_bits().wrapping_add(index)).into());
        }
        let listener = listen(address).await.map_err(|error| listen_failure(address, &error))?;
        address.set_port(listener.local_addr().map_err(|error| error.to_string())?.port());
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    ListenOptions::new().reuse_address(true).nodelay(true).backlog(4096).bind(address).await
}

pub(crate) fn listen_failure(address: SocketAddr, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; end it, or let the kernel choose a port with --port 0"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for root; choose a higher one, or --port 0"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address; try --host 127.0.0.1 or 0.0.0.0"
        }
        _ => "try another --host or --port",
    };
    format!("cannot listen on {address}: {error}; {cure}")
}

struct Accept<S> {
    serve_one: S,
    counters: Rc<Counters>,
}

impl<S, F> Accept<S>
where
    S: Fn(TcpStream, Rc<Counters>) -> F,
    F: Future<Output = io::Result<()>> + 'static,
{
    /// Accepts until it is dropped. Nothing that goes wrong with one client ends it.
    async fn for_ever(self: Rc<Self>, listener: TcpListener) {
        let mut reported = String::new();
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    increment(&self.counters.connections);
                    let counters = Rc::clone(&self.counters);
                    let serving = (self.serve_one)(stream, Rc::clone(&counters));
                    corio::spawn(async move {
                        if serving.await.is_err() {
                            increment(&counters.failed_connections);
                        }
                    });
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != reported {
                        eprintln!("cannot accept: {text}; still trying");
                        reported = text;
                    }
                    corio::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

pub(crate) fn increment(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

fn render(counters: &Counters, stats: &corio::Stats) -> String {
    json_object(&[
        ("enters", stats.enters.to_string()),
        ("requests", counters.requests.get().to_string()),
        ("turns", stats.turns.to_string()),
        ("polls", stats.polls.to_string()),
        ("submissions", stats.submissions.to_string()),
        ("completions", stats.completions.to_string()),
        ("foreign_completions", stats.foreign_completions.to_string()),
        ("lost_completions", stats.lost_completions.to_string()),
        ("foreign_wakes", stats.foreign_wakes.to_string()),
        ("busy_polls", stats.busy_polls.to_string()),
        ("no_buffers", stats.no_buffers.to_string()),
        ("own_receives", stats.own_receives.to_string()),
        ("buffers_total", stats.buffers_total.to_string()),
        ("connections", counters.connections.get().to_string()),
        ("failed_connections", counters.failed_connections.get().to_string()),
        ("unsent_writes", counters.unsent_writes.get().to_string()),
    ])
}

/// Tells when standard input has ended. A thread reads it, blocked without CPU, and wakes the
/// server's core from outside.
pub(crate) struct EndOfInput {
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl EndOfInput {
    /// Call this after the signals are being waited for: the thread inherits the signal mask, so
    /// that no signal finds a thread on which it still kills the process.
    pub(crate) fn watch() -> io::Result<Arc<EndOfInput>> {
        let end = Arc::new(EndOfInput { ended: AtomicBool::new(false), waker: Mutex::new(None) });
        let told = Arc::clone(&end);
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || told.read_to_end())?;
        Ok(end)
    }

    fn read_to_end(&self) {
        // An error means the same as the end: nobody is there to be heard any more.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        self.ended.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) async fn reached(&self) {
        poll_fn(|context| {
            let waker = Some(context.waker().clone());
            *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
            // The flag is read after the waker is in place, and set before the waker is taken: one
            // of the two sides sees the other.
            if self.ended.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
