//! `corio bench channel`: numbers that go to another core and come back.

use clap::Args;

use crate::Failure;
use crate::arguments::{self, BusyPoll};
use crate::bench_options::{BenchOptions, NOTES, Placement};
use crate::campaign::Campaign;
use crate::load::{Beside, Work};

const WHAT: &str = "\
What is measured:
  Each connection is a pair of channels between two cores of this process. A task on --core sends
  a number, waits until it is back from --server-core, and sends the next; with --pipeline N it
  sends N numbers and waits for them all. A `request` is a number that is back, its latency the
  round trip of its batch, and `server CPU per request` the time of the other core's thread for
  each. A number that is lost, doubled or out of order is an error.

  With one connection it is the round trip of a word between two cores. Whether they sleep between
  words is decided by --busy-poll and --load-busy-poll: `off` measures how a core is woken through
  the kernel, 1000000 how one that looks by itself is reached.
";

/// Measure channels between two cores: round trips, throughput and CPU per number
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// Numbers in flight in each pair of channels, sent in batches of N
    #[arg(long, value_name = "N", default_value = "1", value_parser = arguments::pipeline)]
    pipeline: usize,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let bench = &options.bench;
    bench.refuse_servers("channels")?;
    let placement = Placement::of(bench);
    let default = if placement.is_shared() { BusyPoll::Off } else { BusyPoll::Adaptive };
    let beside = Beside {
        cpu: placement.server.map(|cpu| cpu.0),
        busy_poll: bench.busy_poll.unwrap_or(default).setting(),
    };
    let work = Work::Channel { pipeline: options.pipeline, beside };
    Campaign::new(bench, work, 1)?.run("channel")
}
