//! `corio bench echo`, from its options to its exit code: place server and load generator, start
//! the server, run the load, end the server, print.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use corio::Driver;

use crate::arguments::{self, BATCH_BYTES_MAX, BusyPoll, Cpu};
use crate::load::{self, Outcome, Plan};
use crate::machine;
use crate::report::Report;
use crate::server_child::{ServerChild, Settings};
use crate::{Failure, print_line};

const NOTES: &str = "\
What is measured:
  The server runs in a process of its own on one CPU, the load generator on another. Each
  connection sends a message, waits for its echo, compares every byte, and sends the next.
  With --pipeline N it sends N messages in one write and reads N replies before the next N;
  a message's latency counts from that write.

  `server CPU per request` is the CPU time of the server's process during the measured time,
  the kernel's TCP work included, divided by the requests of that time. `server enters per
  request` is how often the server called the kernel. `least-served connection` shows whether
  all connections got their share.

  A byte that is lost or wrong, a reset, a connection that stays silent: all count as errors,
  and the program ends with exit code 1.";

/// Measure an echo server: requests, latency and CPU per request
///
/// Starts corio's own echo server (`corio serve echo`) on one CPU and drives it from another, or
/// drives a server that runs already (--connect).
#[derive(Args)]
#[command(after_long_help = NOTES, after_help = "`--help` also says what is measured.")]
pub(crate) struct Options {
    /// How the server talks to the kernel: `uring` or `epoll` [default: `uring` where it starts]
    #[arg(
        long,
        value_name = "DRIVER",
        value_parser = arguments::driver,
        conflicts_with = "connect"
    )]
    driver: Option<Driver>,
    /// Number of connections, all busy all the time
    #[arg(long, value_name = "N", default_value = "64", value_parser = arguments::connections)]
    connections: usize,
    /// Bytes in a message, up to 67108864 (64 MiB)
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = arguments::size)]
    size: usize,
    /// Messages in flight on each connection, sent in batches of N
    #[arg(long, value_name = "N", default_value = "1", value_parser = arguments::pipeline)]
    pipeline: usize,
    /// Time to measure
    #[arg(long, value_name = "S", default_value = "5", value_parser = arguments::seconds)]
    seconds: Duration,
    /// Time under load before the measurement begins
    #[arg(long, value_name = "S", default_value = "0.3", value_parser = arguments::warmup)]
    warmup: Duration,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// CPU of the load generator [default: the first but the server's]
    #[arg(long, value_name = "C")]
    core: Option<Cpu>,
    /// CPU of the server [default: the first one]
    #[arg(long, value_name = "C", conflicts_with = "connect")]
    server_core: Option<Cpu>,
    /// How long the server polls before sleeping: `adaptive`, `off`, or microseconds
    #[arg(long, value_name = "HOW", conflicts_with = "connect")]
    busy_poll: Option<BusyPoll>,
    /// The same for the load generator [default: adaptive on a CPU of its own]
    #[arg(long, value_name = "HOW")]
    load_busy_poll: Option<BusyPoll>,
    /// Upper limit of the receive buffers that the server's connections share
    #[arg(long, value_name = "N", value_parser = arguments::buffers, conflicts_with = "connect")]
    buffers_max: Option<u16>,
    /// Drive the server at this address instead of starting one
    #[arg(long, value_name = "ADDRESS", value_parser = arguments::address)]
    connect: Option<SocketAddr>,
    /// Process of that server, to measure its CPU time
    #[arg(long, value_name = "PID", requires = "connect")]
    pid: Option<u32>,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    check(options)?;
    let placement = Placement::of(options);
    if let Some(warning) = placement.warning() {
        eprintln!("warning: {warning}");
    }
    match options.connect {
        Some(address) => bench_outside(options, &placement, address),
        None => bench_child(options, &placement),
    }
}

/// Refuses what makes no sense as a whole, before anything is started.
fn check(options: &Options) -> Result<(), Failure> {
    if options.size.saturating_mul(options.pipeline) > BATCH_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} messages of {} bytes are sent as one batch, and a batch holds at most \
             {BATCH_BYTES_MAX} bytes (64 MiB); choose a smaller --pipeline or --size",
            options.pipeline, options.size
        )));
    }
    if let Some(pid) = options.pid
        && let Err(error) = machine::process_cpu_ns(pid)
    {
        return Err(Failure::usage(format!(
            "the CPU time of process {pid} cannot be read: {error}; check --pid, or leave it out \
             to measure without CPU time"
        )));
    }
    Ok(())
}

/// Where the two sides run.
struct Placement {
    /// `None` for a server that was not started here.
    server: Option<Cpu>,
    load: Option<Cpu>,
}

impl Placement {
    fn of(options: &Options) -> Placement {
        let allowed: Vec<Cpu> = machine::allowed_cpus().into_iter().map(Cpu).collect();
        let first_but = |taken: Option<Cpu>| {
            let free = allowed.iter().find(|&&cpu| Some(cpu) != taken);
            free.or(allowed.first()).copied()
        };
        let server = options.server_core.or_else(|| first_but(options.core));
        let load = options.core.or_else(|| first_but(server));
        Placement { server: server.filter(|_| options.connect.is_none()), load }
    }

    fn is_shared(&self) -> bool {
        self.server.is_some() && self.server == self.load
    }

    fn warning(&self) -> Option<String> {
        let Cpu(cpu) = self.server.filter(|_| self.is_shared())?;
        Some(format!(
            "server and load generator share CPU {cpu}, so each waits for the other and the \
             latency is that of both; give this process a second CPU, or choose two with \
             --server-core and --core"
        ))
    }

    fn describe(&self) -> String {
        let name = |cpu: Option<Cpu>| match cpu {
            Some(Cpu(cpu)) => format!("on CPU {cpu}"),
            None => "not placed".to_owned(),
        };
        format!("server {}, load generator {}", name(self.server), name(self.load))
    }
}

fn bench_child(options: &Options, placement: &Placement) -> Result<(), Failure> {
    let shared_off = placement.is_shared().then_some(BusyPoll::Off);
    let server = ServerChild::start(&Settings {
        driver: options.driver,
        core: placement.server,
        busy_poll: options.busy_poll.or(shared_off),
        buffers_max: options.buffers_max,
    })
    .map_err(Failure::work)?;

    let plan = plan(options, server.address(), Some(server.process_id()));
    let mut outcome = run_load(&plan, placement, options.load_busy_poll)?;
    let enters = match server.finish() {
        Ok(counters) => counters["enters"].as_u64(),
        Err(failure) => {
            outcome.error_count += 1;
            outcome.first_error.get_or_insert(failure);
            None
        }
    };
    report(options, placement, &plan, &outcome, enters)
}

fn bench_outside(
    options: &Options,
    placement: &Placement,
    address: SocketAddr,
) -> Result<(), Failure> {
    let plan = plan(options, address, options.pid);
    let outcome = run_load(&plan, placement, options.load_busy_poll)?;
    report(options, placement, &plan, &outcome, None)
}

fn plan(options: &Options, address: SocketAddr, server_process: Option<u32>) -> Plan {
    Plan {
        address,
        connections: options.connections,
        size: options.size,
        pipeline: options.pipeline,
        warmup: options.warmup,
        duration: options.seconds,
        server_process,
        progress: !options.json && io::stderr().is_terminal(),
    }
}

/// The driver that the server has chosen: the environment's, the one asked for, or what starts.
fn driver_name(wanted: Option<Driver>) -> &'static str {
    let mut builder = corio::Runtime::builder();
    if let Some(driver) = wanted {
        builder = builder.driver(driver);
    }
    builder.build().map_or("none", |runtime| runtime.features().driver().name())
}

/// Runs the load generator on its own CPU, on a runtime like any other.
fn run_load(
    plan: &Plan,
    placement: &Placement,
    busy_poll: Option<BusyPoll>,
) -> Result<Outcome, Failure> {
    let mut builder = corio::Runtime::builder();
    if let Some(Cpu(cpu)) = placement.load {
        builder = builder.pin(cpu);
    }
    if placement.is_shared() {
        builder = builder.busy_poll(corio::BusyPoll::Off);
    }
    if let Some(busy_poll) = busy_poll {
        builder = builder.busy_poll(busy_poll.setting());
    }
    let runtime = builder.build().map_err(|error| Failure::work(error.to_string()))?;
    let outcome = runtime.block_on(load::run(plan.clone())).map_err(Failure::work)?;
    outcome.ok_or_else(Failure::interrupted)
}

fn report(
    options: &Options,
    placement: &Placement,
    plan: &Plan,
    outcome: &Outcome,
    server_enters: Option<u64>,
) -> Result<(), Failure> {
    let driver = if options.connect.is_some() { "outside" } else { driver_name(options.driver) };
    let placement = placement.describe();
    let report = Report { plan, outcome, driver, placement: &placement, server_enters };
    print_line(&if options.json { report.json() } else { report.table() });

    if let Some(first) = &outcome.first_error {
        let count = outcome.error_count;
        return Err(Failure::work(format!("errors: {count}; the first: {first}")));
    }
    let unserved = outcome.messages.iter().filter(|&&count| count == 0).count();
    if unserved == outcome.messages.len() {
        return Err(Failure::work(format!(
            "nothing was measured: no message came back within {:?}; the messages are too large \
             for that time, or the server stands still; measure longer with --seconds",
            plan.duration
        )));
    }
    if unserved > 0 {
        eprintln!(
            "warning: {unserved} of {} connections got no answer within the measured time, only \
             later; measure longer with --seconds, or look into the server (its limit of open \
             files may be reached)",
            plan.connections
        );
    }
    Ok(())
}
