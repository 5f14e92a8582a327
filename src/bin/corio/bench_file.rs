//! `corio bench file`: random reads of a file, at several depths, buffered or past the page cache.
//!
//! A hand-written ring loop and other runtimes are measured by `benches/peers` (`files`).

use std::path::PathBuf;

use clap::Args;

use crate::Failure;
use crate::bench_options::{BenchOptions, NOTES};
use crate::campaign::Campaign;
use crate::files::{Made, Reads};
use crate::load::Work;

const WHAT: &str = "\
What is measured:
  So many tasks as the depth read 4 KiB each at random positions of a file that is made for this,
  in --dir. The file was just written, so without --direct a read costs the CPU and no disk. With
  it, reads go past the page cache (O_DIRECT) and measure the disk, where the file system has
  that. `pread` is the same by plain system calls, one at a time, and takes turns with corio.

  A `request` is a read, `connections` is the depth, and `server CPU per request` the CPU time of
  all threads of this process, with the kernel's for them. Each block that comes is the one that
  was written, or the exit code is 1. The thread runs on --core.
";

/// Measure random reads of a file
#[derive(Args)]
#[command(
    after_long_help = format!("{WHAT}\n{NOTES}"),
    after_help = "`--help` also says what is measured."
)]
pub(crate) struct Options {
    /// Folder for the file, which is removed again [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Length of the file in MiB
    #[arg(
        long,
        value_name = "N",
        default_value = "256",
        value_parser = clap::value_parser!(u64).range(1..=1 << 20)
    )]
    megabytes: u64,
    /// Reads in flight; several, as in `1,8,64`, are measured one after the other
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,8,64",
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    depth: Vec<u32>,
    /// Read past the page cache (O_DIRECT)
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    bench: BenchOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let bench = &options.bench;
    if !bench.connections.is_empty() {
        return Err(Failure::usage("files have no connections; say --depth instead"));
    }
    bench.refuse_servers("files")?;
    let folder = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let made = Made::new(&folder, options.megabytes).map_err(|error| {
        let folder = folder.display();
        Failure::work(format!("cannot make a file in {folder}: {error}; choose another --dir"))
    })?;
    let reads = Reads {
        path: made.0.clone(),
        megabytes: options.megabytes,
        is_direct: options.direct,
        is_plain: false,
    };
    let mut campaign = Campaign::new(bench, Work::File(reads), 1)?;
    campaign.connections = options.depth.iter().map(|&depth| depth as usize).collect();
    campaign.run("file")
}
