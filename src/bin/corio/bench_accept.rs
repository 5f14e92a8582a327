//! `corio bench accept`: connections per second.

use clap::Args;

use crate::Failure;
use crate::arguments;
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::load::Work;

const WHAT: &str = "\
What is measured:
  Each of --connections clients connects, sends one message, compares its echo, resets the
  connection (so that no port stays unusable), and connects again. A `request` is one such visit,
  and its latency lasts from the connect to the echo.
";

/// Measure how quickly a server takes connections
///
/// Starts corio's own echo server on one CPU and drives it from another, or drives a server that
/// runs already (--target).
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// Bytes in the one message of a connection
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = arguments::size)]
    size: usize,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let work = Work::Accept { size: options.size };
    Campaign::new(&options.bench, work, 16)?.run("echo")
}
