//! `corio bench file`: random reads of a file, at several depths, buffered and past the page cache.
//!
//! The yardstick is a thread that does nothing but pread(2), which is all that one read at a time
//! can be: both take turns, round by round. A hand-written ring loop and tokio are measured by
//! `benches/peers` (`files`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use corio::fs::{DirectFile, File as CoreFile};

use crate::statistics::Spread;
use crate::{Failure, arguments, print_line};

const WHAT: &str = "\
What is measured:
  So many tasks as the depth read 4 KiB each at random positions of a file that is made for this,
  in --dir. `cached` reads what was just written, so it measures what a read costs the CPU. `direct`
  goes past the page cache (O_DIRECT) and measures the disk, where the file system has it. `pread`
  is one thread with nothing but system calls. Each byte that comes is the one that was written, or
  the exit code is 1.
";

/// Measure random reads of a file
#[derive(Args)]
#[command(after_long_help = WHAT, after_help = "`--help` also says what is measured.")]
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
    /// Time to measure in each round
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = arguments::seconds)]
    seconds: Duration,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = arguments::rounds)]
    rounds: usize,
    /// Print JSON instead of the table: one object, on one line, for each row
    #[arg(long)]
    json: bool,
}

const BLOCK_BYTES: usize = 4096;

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let folder = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let path = folder.join(format!("corio-bench-{}", std::process::id()));
    let outcome = make(&path, options.megabytes)
        .map_err(|error| Failure::work(format!("cannot make {}: {error}", path.display())))
        .and_then(|()| measure(options, &path));
    // What could not be made cannot be removed.
    let _ = std::fs::remove_file(&path);
    outcome
}

/// Every block says where it is.
fn make(path: &Path, megabytes: u64) -> std::io::Result<()> {
    let file = File::create_new(path)?;
    for part in 0..megabytes {
        let blocks = (0..256).map(|block| part * 256 + block);
        let bytes: Vec<u8> = blocks.flat_map(block_of).collect();
        file.write_all_at(&bytes, part << 20)?;
    }
    file.sync_all()
}

fn block_of(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(BLOCK_BYTES / 8)
}

/// Whether a block is the one that was written there: looked at where it begins and ends.
fn is_right(block: &[u8], number: u64) -> bool {
    let due = number.to_le_bytes();
    block.len() == BLOCK_BYTES && block[..8] == due && block[BLOCK_BYTES - 8..] == due
}

/// One row of the table.
struct Row {
    how: &'static str,
    depth: u32,
    reads_per_second: Vec<f64>,
    plain_per_second: Vec<f64>,
}

fn measure(options: &Options, path: &Path) -> Result<(), Failure> {
    let blocks = options.megabytes * 256;
    if !options.json {
        print_line("reads of 4 KiB      depth        corio/s       ±      pread/s   ratio");
    }
    for is_direct in [false, true] {
        for &depth in &options.depth {
            let how = if is_direct { "direct" } else { "cached" };
            let mut row =
                Row { how, depth, reads_per_second: Vec::new(), plain_per_second: Vec::new() };
            for round in 0..options.rounds {
                let Some(rate) = read_with_corio(options, path, blocks, depth, is_direct)? else {
                    print_no_direct(options);
                    return Ok(());
                };
                row.reads_per_second.push(rate);
                if !is_direct {
                    row.plain_per_second.push(read_plainly(options, path, blocks, round)?);
                }
            }
            print_row(&row, options.json);
        }
    }
    Ok(())
}

fn print_no_direct(options: &Options) {
    if !options.json {
        print_line("direct: this file system does not read past the page cache; see --dir");
    }
}

fn print_row(row: &Row, json: bool) {
    let (Some(ours), plain) = (
        Spread::of(row.reads_per_second.iter().copied()),
        Spread::of(row.plain_per_second.iter().copied()),
    ) else {
        return;
    };
    let ratio = plain.map(|plain| ours.median / plain.median);
    if json {
        let object = serde_json::json!({
            "bench": "file",
            "how": row.how,
            "depth": row.depth,
            "reads_per_second": ours.median,
            "spread": ours.relative(),
            "pread_per_second": plain.map(|plain| plain.median),
            "ratio": ratio,
            "errors": 0,
        });
        return print_line(&object.to_string());
    }
    let text = |value: Option<f64>, places| value.map_or("-".into(), |it| format!("{it:.places$}"));
    print_line(&format!(
        "{:<18} {:>6} {:>14.0} {:>6.0}% {:>12} {:>7}",
        row.how,
        row.depth,
        ours.median,
        ours.relative() * 100.0,
        text(plain.map(|plain| plain.median), 0),
        text(ratio, 2),
    ));
}

/// Numbers of blocks in an order of their own.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

fn wrong(number: u64) -> Failure {
    Failure::work(format!("block {number} is not what was written there"))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::work(format!("a read failed: {error}"))
}

/// Reads with nothing but system calls, one at a time.
fn read_plainly(options: &Options, path: &Path, blocks: u64, seed: usize) -> Result<f64, Failure> {
    let file = File::open(path).map_err(failed)?;
    let (mut numbers, mut block) = (Numbers(seed as u64 + 1), vec![0; BLOCK_BYTES]);
    let (start, mut count) = (Instant::now(), 0u64);
    while count % 64 != 0 || start.elapsed() < options.seconds {
        let number = numbers.below(blocks);
        file.read_exact_at(&mut block, number * BLOCK_BYTES as u64).map_err(failed)?;
        if !is_right(&block, number) {
            return Err(wrong(number));
        }
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Reads a second of so many tasks; none if the file system has no reads past the cache.
fn read_with_corio(
    options: &Options,
    path: &Path,
    blocks: u64,
    depth: u32,
    is_direct: bool,
) -> Result<Option<f64>, Failure> {
    corio::run(async {
        let file = match is_direct {
            false => Reader::Cached(CoreFile::open(path).await.map_err(failed)?),
            true => match DirectFile::open(path).await {
                Ok(file) => Reader::Direct(file),
                Err(_no_direct) => return Ok(None),
            },
        };
        let (file, seconds) = (Rc::new(file), options.seconds);
        let start = Instant::now();
        let tasks: Vec<_> = (0..depth)
            .map(|seed| {
                let (file, numbers) = (Rc::clone(&file), Numbers(u64::from(seed) + 1));
                corio::spawn(async move { file.read_on(numbers, blocks, start, seconds).await })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.map_err(failed)??;
        }
        Ok(Some(count as f64 / start.elapsed().as_secs_f64()))
    })
}

/// The file, as it is read.
enum Reader {
    Cached(CoreFile),
    Direct(DirectFile),
}

impl Reader {
    /// One task: reads until the time is over, and says how often.
    async fn read_on(
        &self,
        mut numbers: Numbers,
        blocks: u64,
        start: Instant,
        seconds: Duration,
    ) -> Result<u64, Failure> {
        let mut count = 0;
        let mut memory = vec![0; BLOCK_BYTES];
        while count % 16 != 0 || start.elapsed() < seconds {
            let number = numbers.below(blocks);
            let position = number * BLOCK_BYTES as u64;
            let is_right = match self {
                Reader::Cached(file) => {
                    let (result, back) = file.read_at_into(position, memory).await;
                    memory = back;
                    result.map(|_| is_right(&memory, number))
                }
                Reader::Direct(file) => {
                    let (result, back) = file.read_at(position, file.buffer(BLOCK_BYTES)).await;
                    result.map(|_| is_right(&back, number))
                }
            };
            if !is_right.map_err(failed)? {
                return Err(wrong(number));
            }
            count += 1;
        }
        Ok(count)
    }
}
