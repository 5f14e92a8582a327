//! The options that all benchmarks have in common, and where the two sides run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use corio::Driver;
use corio::net::AcceptPolicy;

use crate::Failure;
use crate::arguments::{self, BusyPoll, Cpu};
use crate::contender::{Contender, Settings};
use crate::machine;

pub(crate) const NOTES: &str = "\
How to read it:
  Each server runs in a process of its own on one CPU, the load generator on another. In a closed
  loop the servers of a round run at once and take turns of 25 ms or more (A B A B), otherwise one
  follows the other. A figure is the median of the rounds, and `±` says how far the farthest round
  was from it. A round in which the machine was busy elsewhere is measured again. Servers are
  compared round by round: one is called better only if it was in every round, and by 5 % or more
  in the median of the ratios.

  Without --rate each connection sends as soon as it was answered (closed loop): that measures
  how much a server can do. With --rate messages have intended times (open loop) and latency
  counts from these, whether the server was ready or not: that measures how long clients wait.
  Latency under a closed loop only says how many connections there were.

  Whatever is lost, wrong, doubled or never answered is an error, and ends the program with exit
  code 1. docs/BENCH.md tells more.";

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// How corio's server talks to the kernel: `uring` or `epoll` [default: `uring` where it
    /// starts]
    #[arg(long, value_name = "DRIVER", value_parser = arguments::driver, conflicts_with = "target")]
    pub(crate) driver: Option<Driver>,
    /// Number of connections; several, as in `1,64,1000`, are measured one after the other
    /// [default: 64; `accept`: 16; `idle`, `timer`: 10000]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        value_parser = arguments::connections,
        hide_default_value = true
    )]
    pub(crate) connections: Vec<usize>,
    /// Time to measure in each round
    #[arg(long, value_name = "S", default_value = "1", value_parser = arguments::seconds)]
    pub(crate) seconds: Duration,
    /// Time under load before a round is measured
    #[arg(long, value_name = "S", default_value = "0.3", value_parser = arguments::warmup)]
    pub(crate) warmup: Duration,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = arguments::rounds)]
    pub(crate) rounds: usize,
    /// Messages per second that all connections together send (open loop)
    #[arg(long, value_name = "N", value_parser = arguments::rate)]
    pub(crate) rate: Option<f64>,
    /// Print JSON instead of the table: one object, on one line, for each server and number of
    /// connections
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a page with charts as well
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// CPU of the load generator [default: the first but the server's]
    #[arg(long, value_name = "C")]
    pub(crate) core: Option<Cpu>,
    /// CPU of the servers [default: the first one]
    #[arg(long, value_name = "C", conflicts_with = "target")]
    pub(crate) server_core: Option<Cpu>,
    /// Serve on so many cores, and tell what each did; the kernel places them
    #[arg(
        long,
        value_name = "N",
        value_parser = arguments::cores,
        conflicts_with_all = ["target", "server_core"]
    )]
    pub(crate) cores: Option<usize>,
    /// Which core gets a connection: `reuse-port`, `round-robin` or `least-connections` [default:
    /// `reuse-port`]
    #[arg(long, value_name = "POLICY", value_parser = arguments::policy, requires = "cores")]
    pub(crate) accept: Option<AcceptPolicy>,
    /// How long corio's server polls before sleeping: `adaptive`, `off`, or microseconds
    #[arg(long, value_name = "HOW", conflicts_with = "target")]
    pub(crate) busy_poll: Option<BusyPoll>,
    /// The same for the load generator [default: adaptive on a CPU of its own]
    #[arg(long, value_name = "HOW")]
    pub(crate) load_busy_poll: Option<BusyPoll>,
    /// Upper limit of the receive buffers that the connections of corio's server share
    #[arg(long, value_name = "N", value_parser = arguments::buffers, conflicts_with = "target")]
    pub(crate) buffers_max: Option<u16>,
    /// Drive the server at this address instead of starting one; the only way to leave this machine
    #[arg(
        long,
        visible_alias = "connect",
        value_name = "ADDRESS",
        value_parser = arguments::address
    )]
    pub(crate) target: Option<SocketAddr>,
    /// Process of that server, to measure its CPU time
    #[arg(long, value_name = "PID", requires = "target")]
    pub(crate) pid: Option<u32>,
    /// Compare with another server: a command for the shell that listens on 127.0.0.1 and the port
    /// given as `{port}`; may be given several times
    #[arg(long, value_name = "CMD", value_parser = arguments::command)]
    pub(crate) against: Vec<String>,
}

impl BenchOptions {
    /// Refuses what makes no sense as a whole, before anything is started.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let Some(pid) = self.pid
            && let Err(error) = machine::process_times(pid)
        {
            return Err(Failure::usage(format!(
                "the CPU time of process {pid} cannot be read: {error}; check --pid, or leave it \
                 out to measure without CPU time"
            )));
        }
        Ok(())
    }

    /// Refuses what only servers have, for what is measured without one.
    pub(crate) fn refuse_servers(&self, what: &str) -> Result<(), Failure> {
        if self.rate.is_some() || self.target.is_some() || !self.against.is_empty() {
            return Err(Failure::usage(format!(
                "{what} have no server; leave out --rate, --target and --against"
            )));
        }
        if self.cores.is_some() || self.buffers_max.is_some() {
            return Err(Failure::usage(format!(
                "{what} have no server; leave out --cores and --buffers-max"
            )));
        }
        Ok(())
    }

    pub(crate) fn connections_or(&self, default: usize) -> Vec<usize> {
        if self.connections.is_empty() { vec![default] } else { self.connections.clone() }
    }

    /// The servers that take part; the first is the one that the others are compared with.
    pub(crate) fn contenders(
        &self,
        kind: &'static str,
        placement: &Placement,
        addresses: u32,
    ) -> Vec<Contender> {
        let first = match self.target {
            Some(address) => Contender::Outside { address, process: self.pid },
            None => Contender::Own(Settings {
                kind,
                driver: self.driver,
                core: placement.server.filter(|_| self.cores.is_none()),
                cores: self.cores,
                accept: self.accept,
                busy_poll: self.busy_poll.or(placement.is_shared().then_some(BusyPoll::Off)),
                buffers_max: self.buffers_max,
                addresses,
            }),
        };
        let core = placement.server;
        let command = |text: &String| Contender::Command { text: text.clone(), core };
        let others = self.against.iter().map(command);
        std::iter::once(first).chain(others).collect()
    }
}

/// Where the two sides run.
pub(crate) struct Placement {
    /// `None` for a server that was not started here.
    pub(crate) server: Option<Cpu>,
    pub(crate) load: Option<Cpu>,
}

impl Placement {
    pub(crate) fn of(options: &BenchOptions) -> Placement {
        let allowed: Vec<Cpu> = machine::allowed_cpus().into_iter().map(Cpu).collect();
        let first_but = |taken: Option<Cpu>| {
            let free = allowed.iter().find(|&&cpu| Some(cpu) != taken);
            free.or(allowed.first()).copied()
        };
        let server = options.server_core.or_else(|| first_but(options.core));
        let load = options.core.or_else(|| first_but(server));
        let is_started_here = options.target.is_none() || !options.against.is_empty();
        Placement { server: server.filter(|_| is_started_here), load }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.server.is_some() && self.server == self.load
    }

    pub(crate) fn warning(&self) -> Option<String> {
        let Cpu(cpu) = self.server.filter(|_| self.is_shared())?;
        Some(format!(
            "server and load generator share CPU {cpu}, so each waits for the other and the \
             latency is that of both; give this process a second CPU, or choose two with \
             --server-core and --core"
        ))
    }

    pub(crate) fn describe(&self) -> String {
        let name = |cpu: Option<Cpu>| match cpu {
            Some(Cpu(cpu)) => format!("on CPU {cpu}"),
            None => "not placed".to_owned(),
        };
        format!("server {}, load generator {}", name(self.server), name(self.load))
    }

    /// The CPUs that are known to be used.
    pub(crate) fn cpus(&self) -> Vec<usize> {
        let mut cpus: Vec<usize> =
            [self.server, self.load].into_iter().flatten().map(|it| it.0).collect();
        cpus.dedup();
        cpus
    }
}
