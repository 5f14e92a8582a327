//! `corio bench echo`: messages that come back as they were sent.

use clap::Args;

use crate::Failure;
use crate::arguments::{self, BATCH_BYTES_MAX};
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::load::Work;

const WHAT: &str = "\
What is measured:
  Each connection sends a message, waits for its echo, compares every byte, and sends the next.
  With --pipeline N it sends N messages in one write and reads N replies before the next N; a
  message's latency counts from that write.

  `server CPU per request` is the CPU time of the server's process during the measured time, the
  kernel's TCP work included, divided by the requests of that time. `server enters per request`
  is how often the server called the kernel. `least-served connection` shows whether all
  connections got their share.
";

/// Measure an echo server: requests, latency and CPU per request
///
/// Starts corio's own echo server (`corio serve echo`) on one CPU and drives it from another, or
/// drives a server that runs already (--target). Other servers can be compared with (--against).
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// Bytes in a message, up to 67108864 (64 MiB)
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = arguments::size)]
    size: usize,
    /// Messages in flight on each connection, sent in batches of N
    #[arg(long, value_name = "N", default_value = "1", value_parser = arguments::pipeline)]
    pipeline: usize,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    if options.size.saturating_mul(options.pipeline) > BATCH_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} messages of {} bytes are sent as one batch, and a batch holds at most \
             {BATCH_BYTES_MAX} bytes (64 MiB); choose a smaller --pipeline or --size",
            options.pipeline, options.size
        )));
    }
    let work = Work::Echo { size: options.size, pipeline: options.pipeline };
    Campaign::new(&options.bench, work, 64)?.run("echo")
}
