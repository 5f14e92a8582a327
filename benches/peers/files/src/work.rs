//! What is done to the file, and what one turn at it gave: the same for all contenders.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The bytes of a random read.
pub const BLOCK: usize = 4096;

/// The bytes of a read from front to back.
pub const PIECE: usize = 256 << 10;

pub const O_DIRECT: i32 = 0o40000;

/// What a row of the table is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Reads of a block at random positions, so many at a time.
    Random { depth: usize, is_direct: bool },
    /// The whole file by reads of a piece.
    Sequential,
    /// The whole file as a buffered stream gives it.
    Stream,
    /// Open, ask for the status, close.
    Opens,
}

impl Work {
    pub const ALL: [Work; 9] = [
        Work::Random { depth: 1, is_direct: false },
        Work::Random { depth: 8, is_direct: false },
        Work::Random { depth: 64, is_direct: false },
        Work::Random { depth: 1, is_direct: true },
        Work::Random { depth: 8, is_direct: true },
        Work::Random { depth: 64, is_direct: true },
        Work::Sequential,
        Work::Stream,
        Work::Opens,
    ];

    pub fn name(self) -> String {
        match self {
            Work::Random { depth, is_direct: false } => format!("cached, {depth} at a time"),
            Work::Random { depth, is_direct: true } => format!("direct, {depth} at a time"),
            Work::Sequential => "front to back".to_owned(),
            Work::Stream => "as a stream".to_owned(),
            Work::Opens => "open, status, close".to_owned(),
        }
    }

    /// What is counted: operations, or megabytes.
    pub fn is_in_bytes(self) -> bool {
        matches!(self, Work::Sequential | Work::Stream)
    }
}

/// The file, and how much is done to it in a turn.
pub struct Job {
    pub path: PathBuf,
    pub bytes: u64,
    /// Random reads, and opens.
    pub count: usize,
    pub work: Work,
}

impl Job {
    /// How much each of the `depth` tasks does.
    pub fn share(&self, depth: usize) -> usize {
        (self.count / depth).max(1)
    }
}

/// What a turn gave.
pub struct Done {
    pub per_second: f64,
    /// CPU of all threads, in microseconds, for one of them.
    pub cpu_micros: f64,
    /// Of bytes that were read: shows that all have read the same.
    pub sum: u64,
}

/// Time and CPU since it was made.
pub struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    pub fn start() -> Meter {
        Meter { cpu: cpu(), start: Instant::now() }
    }

    pub fn done(&self, count: f64, sum: u64) -> Done {
        let time = self.start.elapsed();
        let used = cpu() - self.cpu;
        Done {
            per_second: count / time.as_secs_f64(),
            cpu_micros: used.as_secs_f64() * 1e6 / count,
            sum,
        }
    }

    /// Of so many bytes, by the megabyte.
    pub fn done_bytes(&self, bytes: u64, sum: u64) -> Done {
        self.done(bytes as f64 / 1e6, sum)
    }
}

/// CPU that the process has used, in user space and in the kernel.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The positions of one task's reads: the same for all contenders.
pub struct Positions(u64, u64);

impl Positions {
    pub fn new(bytes: u64, seed: usize) -> Positions {
        Positions(bytes / BLOCK as u64, (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.1 ^= self.1 >> 12;
        self.1 ^= self.1 << 25;
        self.1 ^= self.1 >> 27;
        self.1.wrapping_mul(0x2545_f491_4f6c_dd1d) % self.0 * BLOCK as u64
    }
}

/// Memory at a multiple of 4096, as a part of a larger vector.
pub struct Blocks {
    memory: Vec<u8>,
    first: usize,
}

impl Blocks {
    pub fn new(count: usize) -> Blocks {
        let memory = vec![0; (count + 1) * BLOCK];
        let first = memory.as_ptr().align_offset(BLOCK);
        Blocks { memory, first }
    }

    pub fn block(&mut self, at: usize) -> &mut [u8] {
        &mut self.memory[self.first + at * BLOCK..][..BLOCK]
    }

    /// The vector, and where its first block is.
    #[cfg(feature = "others")]
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.memory, self.first)
    }
}
