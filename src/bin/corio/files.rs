//! The work of `bench file`: reads of 4 KiB at random places of one file, so many at a time as
//! there are tasks.
//!
//! Every block of the file says where it is, and every read is looked at. The yardstick is the
//! same work by pread(2), which is all that one read at a time can be: there the tasks take turns
//! to block their thread.

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corio::fs::{DirectFile, File as CoreFile};
use corio::time::Instant;
use nix::fcntl::OFlag;

use crate::traffic::Tally;

pub(crate) const BLOCK_BYTES: usize = 4096;
const BLOCKS_PER_MEGABYTE: u64 = (1 << 20) / BLOCK_BYTES as u64;

/// Reads by plain system calls between two turns of the loop, which looks at its clock meanwhile.
const READS_PER_TURN: u64 = 64;

/// What open(2) calls O_DIRECT on the machines that corio runs on.
const O_DIRECT: i32 = OFlag::O_DIRECT.bits();

/// What is read, and how.
#[derive(Clone)]
pub(crate) struct Reads {
    pub(crate) path: PathBuf,
    pub(crate) megabytes: u64,
    /// Past the page cache.
    pub(crate) is_direct: bool,
    /// By pread(2) instead of corio.
    pub(crate) is_plain: bool,
}

/// A file for the time of a benchmark, in which every block says where it is.
pub(crate) struct Made(pub(crate) PathBuf);

impl Made {
    pub(crate) fn new(folder: &Path, megabytes: u64) -> io::Result<Made> {
        let path = folder.join(format!("corio-bench-{}", std::process::id()));
        let file = StdFile::create_new(&path)?;
        let made = Made(path);
        for part in 0..megabytes {
            let blocks = part * BLOCKS_PER_MEGABYTE..(part + 1) * BLOCKS_PER_MEGABYTE;
            let bytes: Vec<u8> = blocks.flat_map(block).collect();
            file.write_all_at(&bytes, part << 20)?;
        }
        file.sync_all()?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Who has removed it already has done this work.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn block(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(BLOCK_BYTES / 8)
}

/// Whether a block is the one that was written there: looked at where it begins and ends.
fn check(result: io::Result<usize>, block: &[u8], number: u64) -> Result<(), String> {
    let count = result.map_err(|error| format!("a read failed: {error}"))?;
    let due = number.to_le_bytes();
    let ends = (block.first_chunk(), block[..count.min(block.len())].last_chunk());
    if count == BLOCK_BYTES && ends == (Some(&due), Some(&due)) {
        return Ok(());
    }
    Err(format!("block {number} is not what was written there ({count} bytes)"))
}

/// The file, as it is read.
pub(crate) enum Source {
    Cached(CoreFile),
    Direct(DirectFile),
    Plain(StdFile),
}

impl Source {
    pub(crate) async fn open(reads: &Reads) -> Result<Rc<Source>, String> {
        let path = &reads.path;
        let opened = match (reads.is_plain, reads.is_direct) {
            (false, false) => CoreFile::open(path).await.map(Source::Cached),
            (false, true) => DirectFile::open(path).await.map(Source::Direct),
            (true, is_direct) => {
                let flags = if is_direct { O_DIRECT } else { 0 };
                let options = StdFile::options().read(true).custom_flags(flags).open(path);
                options.map(Source::Plain)
            }
        };
        opened.map(Rc::new).map_err(|error| {
            let cause = match reads.is_direct {
                true => {
                    "; likely cause: its file system has no reads past the page cache; choose \
                         another --dir, or leave out --direct"
                }
                false => "",
            };
            format!("cannot open {}: {error}{cause}", path.display())
        })
    }
}

/// One task: reads at random places, one read after the other.
pub(crate) async fn run(index: usize, reads: Reads, source: Rc<Source>, tally: Rc<Tally>) {
    let blocks = reads.megabytes * BLOCKS_PER_MEGABYTE;
    let mut reader = Reader { index, blocks, state: index as u64, tally: Rc::clone(&tally) };
    let ended = match &*source {
        Source::Cached(file) => reader.read_cached(file).await,
        Source::Direct(file) => reader.read_direct(file).await,
        Source::Plain(file) => reader.read_plainly(file).await,
    };
    tally.ended(ended.err());
}

struct Reader {
    index: usize,
    blocks: u64,
    state: u64,
    tally: Rc<Tally>,
}

impl Reader {
    /// The number of the next block, in an order of its own.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % self.blocks
    }

    fn arrived(&self, begun_at: Instant) {
        self.tally.arrived(self.index, 1, begun_at.elapsed().as_nanos() as u64);
    }

    async fn read_cached(&mut self, file: &CoreFile) -> Result<(), String> {
        let mut memory = vec![0; BLOCK_BYTES];
        while !self.tally.is_ending() {
            let (number, begun_at) = (self.next(), Instant::now());
            let (result, back) = file.read_at_into(number * BLOCK_BYTES as u64, memory).await;
            check(result, &back, number)?;
            memory = back;
            self.arrived(begun_at);
        }
        Ok(())
    }

    async fn read_direct(&mut self, file: &DirectFile) -> Result<(), String> {
        while !self.tally.is_ending() {
            let (number, begun_at) = (self.next(), Instant::now());
            let position = number * BLOCK_BYTES as u64;
            let (result, back) = file.read_at(position, file.buffer(BLOCK_BYTES)).await;
            check(result, &back, number)?;
            self.arrived(begun_at);
        }
        Ok(())
    }

    async fn read_plainly(&mut self, file: &StdFile) -> Result<(), String> {
        // O_DIRECT asks for memory that lies as blocks do.
        let mut memory = vec![0; 2 * BLOCK_BYTES];
        let begin = memory.as_ptr().align_offset(BLOCK_BYTES);
        let memory = &mut memory[begin..begin + BLOCK_BYTES];
        while !self.tally.is_ending() {
            for _ in 0..READS_PER_TURN {
                let (number, begun_at) = (self.next(), Instant::now());
                let result = file.read_at(memory, number * BLOCK_BYTES as u64);
                check(result, memory, number)?;
                self.arrived(begun_at);
            }
            corio::yield_now().await;
        }
        Ok(())
    }
}
