//! `corio bench timer`: how late timers fire, and what each costs.

use clap::Args;

use crate::Failure;
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::load::Work;

const WHAT: &str = "\
What is measured:
  --connections tasks on one core sleep for 1 to 100 ms, each for another time again and again.
  A `request` is a sleep that has ended, its latency is how long after the deadline the task ran,
  and `server CPU per request` is the CPU time of the thread for each. One that ends too early is
  an error. There is no server and no second CPU: the thread runs on --core.
";

/// Measure how late timers fire, and what each costs
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let bench = &options.bench;
    bench.refuse_servers("timers")?;
    Campaign::new(bench, Work::Timer, 10_000)?.run("timer")
}
