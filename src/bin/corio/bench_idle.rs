//! `corio bench idle`: memory for connections that do nothing.

use clap::Args;

use crate::Failure;
use crate::arguments;
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::load::Work;

/// A client has some 28,000 ports towards one address.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

const WHAT: &str = "\
What is measured:
  --connections are opened, and each echoes one message. `memory per connection` is how much the
  server's own memory (heap, stacks, buffers: RssAnon and RssShmem in /proc) has grown since it
  listened, divided by their number; what the kernel holds for a socket is not in it. During the
  measured time nothing is sent, and at its end each connection echoes once more, all as quickly
  as they can: these are the `requests`.

  More than 28,000 connections need more than one address, since a client has no more ports
  towards each: corio's server then listens on 127.0.0.1, 127.0.0.2 and so on. Each connection
  takes a descriptor in both processes; the limit of open files is lifted as far as this user may.
";

/// Measure the memory of idle connections
///
/// Starts corio's own echo server on one CPU and opens connections from another, or drives a server
/// that runs already (--target, with --pid to read its memory).
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// Bytes in the messages that show that a connection is alive
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = arguments::size)]
    size: usize,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    if options.bench.rate.is_some() {
        return Err(Failure::usage("idle connections send nothing; leave out --rate"));
    }
    let work = Work::Idle { size: options.size };
    let mut campaign = Campaign::new(&options.bench, work, 10_000)?;
    let most = campaign.connections.iter().copied().max().unwrap_or(0);
    campaign.addresses = most.div_ceil(CONNECTIONS_PER_ADDRESS) as u32;
    campaign.run("echo")
}
