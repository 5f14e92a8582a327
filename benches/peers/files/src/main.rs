//! Files on corio, on a hand-written ring loop and on tokio, in one run and in turns.
//!
//! Random reads of 4 KiB at several depths, buffered and past the cache; one file from front to
//! back; opens with a status and a close. The hand-written loop holds nothing that costs: fixed
//! memory, no task, no waker. Each round runs all of them, and medians of the rounds are compared.
//! A sum over the bytes shows that all have read the same.

use std::fmt::Write as _;
use std::fs::File;
use std::io::SeekFrom;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const BLOCK: usize = 4096;
const O_DIRECT: i32 = 0o40000;

/// What a program did: operations in a second, and the sum of what it read.
type Done = (f64, u64);

struct Settings {
    folder: PathBuf,
    bytes: u64,
    reads: usize,
    rounds: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let number = |text: Option<String>, or| text.and_then(|it| it.parse().ok()).unwrap_or(or);
    let megabytes = number(arguments.next(), 256);
    let reads = number(arguments.next(), 50_000) as usize;
    let rounds = number(arguments.next(), 5) as usize;
    let settings = Settings { folder, bytes: megabytes << 20, reads, rounds };
    let path = settings.folder.join(format!("corio-files-{}", std::process::id()));
    make(&path, settings.bytes);
    let outcome = std::panic::catch_unwind(|| measure(&settings, &path));
    std::fs::remove_file(&path).expect("the file was made here");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn measure(settings: &Settings, path: &Path) {
    let mut table = String::from(
        "work                        corio/s    ring loop/s      tokio/s   to ring  to tokio\n",
    );
    for is_direct in [false, true] {
        for depth in [1, 8, 64] {
            // Past the cache each read waits for the disk.
            let reads = if is_direct { settings.reads / 10 } else { settings.reads }.max(depth);
            // It is slower, and has fewer to do.
            let tokio_reads = reads.div_ceil(4).max(depth);
            let name = format!("{} at depth {depth}", if is_direct { "direct" } else { "cached" });
            row(
                &mut table,
                settings,
                &name,
                &mut [
                    &mut || corio_random(path, settings.bytes, reads, depth, is_direct),
                    &mut || ring_random(path, settings.bytes, reads, depth, is_direct),
                    &mut || tokio_random(path, settings.bytes, tokio_reads, depth, is_direct),
                ],
            );
        }
    }
    row(
        &mut table,
        settings,
        "front to back, MB/s",
        &mut [&mut || corio_sequential(path), &mut || plain_sequential(path), &mut || {
            tokio_sequential(path)
        }],
    );
    row(
        &mut table,
        settings,
        "fill_buf (corio), MB/s",
        &mut [&mut || corio_cursor(path), &mut || plain_sequential(path), &mut || {
            tokio_sequential(path)
        }],
    );
    let opens = (settings.reads / 5).max(1);
    row(
        &mut table,
        settings,
        "open, status, close",
        &mut [&mut || corio_opens(path, opens), &mut || plain_opens(path, opens), &mut || {
            tokio_opens(path, opens)
        }],
    );
    print!("{table}");
    println!("The second column of the last three is a plain loop of system calls.");
}

/// Measures what is in one row, in turns.
fn row(
    table: &mut String,
    settings: &Settings,
    name: &str,
    programs: &mut [&mut dyn FnMut() -> Done; 3],
) {
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..settings.rounds {
        for (program, figures) in programs.iter_mut().zip(&mut figures) {
            let (rate, sum) = program();
            assert!(sum > 0, "{name}: nothing was read");
            figures.push(rate);
        }
    }
    let [corio, ring, tokio] = figures.map(median);
    writeln!(
        table,
        "{name:<24} {corio:>11.0} {ring:>13.0} {tokio:>12.0} {:>9.2} {:>9.2}",
        corio / ring,
        corio / tokio
    )
    .expect("a String takes everything");
}

fn median(mut batch: Vec<f64>) -> f64 {
    batch.sort_by(f64::total_cmp);
    batch[batch.len() / 2]
}

fn make(path: &Path, bytes: u64) {
    let file = File::create(path).expect("the folder can be written to");
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 7) as u8 | 1).collect();
    for at in (0..bytes).step_by(1 << 20) {
        file.write_all_at(&block, at).expect("there is room on the disk");
    }
    file.sync_all().expect("the disk takes it");
}

/// The positions of reads: the same for all.
struct Positions(u64, u64);

impl Positions {
    fn new(bytes: u64, seed: usize) -> Positions {
        Positions(bytes / BLOCK as u64, (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.1 ^= self.1 >> 12;
        self.1 ^= self.1 << 25;
        self.1 ^= self.1 >> 27;
        self.1.wrapping_mul(0x2545_f491_4f6c_dd1d) % self.0 * BLOCK as u64
    }
}

fn rate(start: Instant, count: usize) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}

fn corio_random(path: &Path, bytes: u64, reads: usize, depth: usize, is_direct: bool) -> Done {
    corio::run(async {
        let (cached, direct) = match is_direct {
            false => (Some(Rc::new(corio::fs::File::open(path).await.expect("opens"))), None),
            true => (None, Some(Rc::new(corio::fs::DirectFile::open(path).await.expect("opens")))),
        };
        let start = Instant::now();
        let tasks = (0..depth).map(|seed| {
            let (cached, direct) = (cached.clone(), direct.clone());
            corio::spawn(async move {
                let (mut positions, mut sum) = (Positions::new(bytes, seed + 1), 0);
                if let Some(file) = cached {
                    let mut buffer = vec![0; BLOCK];
                    for _ in 0..reads / depth {
                        let (count, back) = file.read_at_into(positions.next(), buffer).await;
                        assert_eq!(count.expect("reads"), BLOCK);
                        sum += u64::from(back[0]);
                        buffer = back;
                    }
                } else if let Some(file) = direct {
                    let mut buffer = file.buffer(BLOCK);
                    for _ in 0..reads / depth {
                        let (count, back) = file.read_at(positions.next(), buffer).await;
                        assert_eq!(count.expect("reads"), BLOCK);
                        sum += u64::from(back[0]);
                        buffer = back;
                    }
                }
                sum
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("it ends well");
        }
        (rate(start, reads / depth * depth), sum)
    })
}

/// Memory at a multiple of 4096, as a part of a larger vector.
struct Blocks {
    memory: Vec<u8>,
    first: usize,
}

impl Blocks {
    fn new(count: usize) -> Blocks {
        let memory = vec![0; (count + 1) * BLOCK];
        let first = memory.as_ptr().align_offset(BLOCK);
        Blocks { memory, first }
    }

    fn block(&mut self, at: usize) -> &mut [u8] {
        &mut self.memory[self.first + at * BLOCK..][..BLOCK]
    }
}

fn open(path: &Path, is_direct: bool) -> File {
    let flags = if is_direct { O_DIRECT } else { 0 };
    File::options().read(true).custom_flags(flags).open(path).expect("opens")
}

/// A ring with nothing around it: as many reads in flight as the depth, each in its own block.
fn ring_random(path: &Path, bytes: u64, reads: usize, depth: usize, is_direct: bool) -> Done {
    let file = open(path, is_direct);
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(128)
        .expect("the ring starts");
    let mut blocks = Blocks::new(depth);
    let mut positions: Vec<_> = (0..depth).map(|at| Positions::new(bytes, at + 1)).collect();
    let mut left = vec![reads / depth; depth];
    let mut sum = 0;
    let start = Instant::now();
    let mut push = |ring: &mut IoUring, blocks: &mut Blocks, at: usize| {
        let block = blocks.block(at);
        let read = opcode::Read::new(Fd(file.as_raw_fd()), block.as_mut_ptr(), BLOCK as u32)
            .offset(positions[at].next())
            .build()
            .user_data(at as u64);
        // SAFETY: [plain-call] the block is this read's alone until its completion, and outlives
        // the ring's last completion.
        unsafe { ring.submission().push(&read) }.expect("there is room for all reads");
    };
    for at in 0..depth {
        push(&mut ring, &mut blocks, at);
    }
    let mut in_flight = depth;
    let mut done = Vec::with_capacity(depth);
    while in_flight > 0 {
        ring.submit_and_wait(1).expect("the kernel takes it");
        done.extend(ring.completion().map(|it| (it.user_data() as usize, it.result())));
        for (at, result) in done.drain(..) {
            assert_eq!(result, BLOCK as i32);
            sum += u64::from(blocks.block(at)[0]);
            left[at] -= 1;
            if left[at] > 0 {
                push(&mut ring, &mut blocks, at);
            } else {
                in_flight -= 1;
            }
        }
    }
    (rate(start, reads / depth * depth), sum)
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("tokio starts")
}

fn tokio_random(path: &Path, bytes: u64, reads: usize, depth: usize, is_direct: bool) -> Done {
    tokio_runtime().block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..depth)
            .map(|seed| {
                let path = path.to_owned();
                tokio::spawn(async move {
                    let (mut positions, mut sum) = (Positions::new(bytes, seed + 1), 0);
                    let mut blocks = Blocks::new(1);
                    if is_direct {
                        // Its `File` reads into memory of its own, which is not aligned.
                        let file = std::sync::Arc::new(open(&path, true));
                        for _ in 0..reads / depth {
                            let (file, position) = (file.clone(), positions.next());
                            blocks = tokio::task::spawn_blocking(move || {
                                let block = blocks.block(0);
                                file.read_exact_at(block, position).expect("reads");
                                blocks
                            })
                            .await
                            .expect("it ends well");
                            sum += u64::from(blocks.block(0)[0]);
                        }
                        return sum;
                    }
                    let mut file = tokio::fs::File::open(&path).await.expect("opens");
                    for _ in 0..reads / depth {
                        file.seek(SeekFrom::Start(positions.next())).await.expect("seeks");
                        file.read_exact(blocks.block(0)).await.expect("reads");
                        sum += u64::from(blocks.block(0)[0]);
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.expect("it ends well");
        }
        (rate(start, reads / depth * depth), sum)
    })
}

const PIECE: usize = 256 << 10;

fn megabytes(start: Instant, count: usize) -> f64 {
    rate(start, count) / 1e6
}

fn corio_sequential(path: &Path) -> Done {
    corio::run(async {
        let file = corio::fs::File::open(path).await.expect("opens");
        let (mut total, mut sum, mut buffer) = (0, 0, Vec::with_capacity(PIECE));
        let start = Instant::now();
        loop {
            let (count, back) = file.read_at_into(total as u64, buffer).await;
            match count.expect("reads") {
                0 => return (megabytes(start, total), sum),
                count => total += count,
            }
            sum += u64::from(back[0]);
            buffer = back;
        }
    })
}

fn corio_cursor(path: &Path) -> Done {
    use futures_util::{AsyncBufRead as _, AsyncBufReadExt as _, future::poll_fn};
    corio::run(async {
        let mut cursor = corio::fs::File::open(path).await.expect("opens").cursor(0);
        let (mut total, mut sum) = (0, 0);
        let start = Instant::now();
        loop {
            let count = poll_fn(|context| {
                std::pin::Pin::new(&mut cursor)
                    .poll_fill_buf(context)
                    .map_ok(|shown| (shown.len(), shown.first().copied().unwrap_or(0)))
            })
            .await
            .expect("reads");
            if count.0 == 0 {
                return (megabytes(start, total), sum);
            }
            total += count.0;
            sum += u64::from(count.1);
            cursor.consume_unpin(count.0);
        }
    })
}

fn plain_sequential(path: &Path) -> Done {
    let file = open(path, false);
    let (mut total, mut sum, mut buffer) = (0, 0, vec![0; PIECE]);
    let start = Instant::now();
    loop {
        match file.read_at(&mut buffer, total as u64).expect("reads") {
            0 => return (megabytes(start, total), sum),
            count => total += count,
        }
        sum += u64::from(buffer[0]);
    }
}

fn tokio_sequential(path: &Path) -> Done {
    tokio_runtime().block_on(async {
        let mut file = tokio::fs::File::open(path).await.expect("opens");
        let (mut total, mut sum, mut buffer) = (0, 0, vec![0; PIECE]);
        let start = Instant::now();
        loop {
            match file.read(&mut buffer).await.expect("reads") {
                0 => return (megabytes(start, total), sum),
                count => total += count,
            }
            sum += u64::from(buffer[0]);
        }
    })
}

fn corio_opens(path: &Path, count: usize) -> Done {
    corio::run(async {
        let (mut sum, start) = (0, Instant::now());
        for _ in 0..count {
            let file = corio::fs::File::open(path).await.expect("opens");
            sum += file.metadata().await.expect("has a status").len();
        }
        (rate(start, count), sum)
    })
}

fn plain_opens(path: &Path, count: usize) -> Done {
    let (mut sum, start) = (0, Instant::now());
    for _ in 0..count {
        sum += open(path, false).metadata().expect("has a status").len();
    }
    (rate(start, count), sum)
}

fn tokio_opens(path: &Path, count: usize) -> Done {
    tokio_runtime().block_on(async {
        let (mut sum, start) = (0, Instant::now());
        for _ in 0..count {
            let file = tokio::fs::File::open(path).await.expect("opens");
            sum += file.metadata().await.expect("has a status").len();
        }
        (rate(start, count), sum)
    })
}
