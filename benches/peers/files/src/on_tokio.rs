//! tokio: every operation on a thread of its pool.

use std::io::SeekFrom;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use crate::plain::open;
use crate::work::{Blocks, Done, Job, Meter, PIECE, Positions, Work};

/// It is slower, and has fewer to do.
const PART: usize = 4;

pub fn run(job: &Job) -> Option<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("tokio starts");
    Some(runtime.block_on(async {
        match job.work {
            Work::Random { depth, is_direct } => random(job, depth, is_direct).await,
            Work::Sequential => sequential(job).await,
            Work::Stream => stream(job).await,
            Work::Opens => opens(job).await,
        }
    }))
}

async fn random(job: &Job, depth: usize, is_direct: bool) -> Done {
    let (bytes, share) = (job.bytes, job.share(depth).div_ceil(PART));
    let meter = Meter::start();
    let tasks: Vec<_> = (0..depth)
        .map(|seed| {
            let (path, positions) = (job.path.clone(), Positions::new(bytes, seed));
            match is_direct {
                true => tokio::spawn(direct(path, positions, share)),
                false => tokio::spawn(cached(path, positions, share)),
            }
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("it ends well");
    }
    meter.done((share * depth) as f64, sum)
}

async fn cached(path: PathBuf, mut positions: Positions, share: usize) -> u64 {
    let (mut sum, mut blocks) = (0, Blocks::new(1));
    let mut file = File::open(&path).await.expect("opens");
    for _ in 0..share {
        file.seek(SeekFrom::Start(positions.next())).await.expect("seeks");
        file.read_exact(blocks.block(0)).await.expect("reads");
        sum += u64::from(blocks.block(0)[0]);
    }
    sum
}

/// Its `File` reads into memory of its own, which is not aligned.
async fn direct(path: PathBuf, mut positions: Positions, share: usize) -> u64 {
    let (mut sum, mut blocks) = (0, Blocks::new(1));
    let file = Arc::new(open(&path, true));
    for _ in 0..share {
        let (file, position) = (file.clone(), positions.next());
        let read = move || {
            file.read_exact_at(blocks.block(0), position).expect("reads");
            blocks
        };
        blocks = tokio::task::spawn_blocking(read).await.expect("it ends well");
        sum += u64::from(blocks.block(0)[0]);
    }
    sum
}

async fn sequential(job: &Job) -> Done {
    let mut file = File::open(&job.path).await.expect("opens");
    let (mut total, mut sum, mut buffer) = (0, 0, vec![0; PIECE]);
    let meter = Meter::start();
    loop {
        match file.read(&mut buffer).await.expect("reads") {
            0 => return meter.done_bytes(total, sum),
            count => total += count as u64,
        }
        sum += u64::from(buffer[0]);
    }
}

async fn stream(job: &Job) -> Done {
    let file = File::open(&job.path).await.expect("opens");
    let mut file = BufReader::with_capacity(PIECE, file);
    let (mut total, mut sum) = (0, 0);
    let meter = Meter::start();
    loop {
        let shown = file.fill_buf().await.expect("reads");
        let count = shown.len();
        if count == 0 {
            return meter.done_bytes(total, sum);
        }
        total += count as u64;
        sum += u64::from(shown[0]);
        file.consume(count);
    }
}

async fn opens(job: &Job) -> Done {
    let (count, mut sum, meter) = (job.count.div_ceil(PART), 0, Meter::start());
    for _ in 0..count {
        let file = File::open(&job.path).await.expect("opens");
        sum += file.metadata().await.expect("has a status").len();
    }
    meter.done(count as f64, sum)
}
