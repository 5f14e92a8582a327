//! `corio bench http`: requests of HTTP/1.1 on connections that are kept.

use clap::Args;

use crate::Failure;
use crate::arguments;
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::load::Work;

const WHAT: &str = "\
What is measured:
  Each connection sends `GET PATH`, reads the reply, checks its status, its length and its body,
  and sends the next. The body of /plaintext has to be `Hello, World!`, that of /json the object
  {\"message\":\"Hello, World!\"}; that of another path has to be the same in every reply. With
  --pipeline N it sends N requests in one write and reads N replies before the next N.
";

/// Measure an HTTP/1.1 server: requests, latency and CPU per request
///
/// Starts corio's own server (`corio serve http`) on one CPU and drives it from another, or drives
/// a server that runs already (--target). Other servers can be compared with (--against).
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// What is asked for; corio's own server has /plaintext and /json
    #[arg(long, value_name = "PATH", default_value = "/plaintext", value_parser = arguments::path)]
    path: String,
    /// Requests in flight on each connection, sent in batches of N
    #[arg(long, value_name = "N", default_value = "1", value_parser = arguments::pipeline)]
    pipeline: usize,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let work = Work::Http { path: options.path.clone(), pipeline: options.pipeline };
    Campaign::new(&options.bench, work, 64)?.run("http")
}
