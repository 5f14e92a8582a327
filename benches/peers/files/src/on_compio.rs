//! compio, on its ring.

use compio::buf::{IntoInner as _, IoBuf as _};
use compio::fs::{File, OpenOptions};
use compio::io::AsyncReadAt as _;

use crate::work::{BLOCK, Blocks, Done, Job, Meter, O_DIRECT, PIECE, Positions, Work};

pub fn run(job: &Job) -> Option<Done> {
    compio::runtime::Runtime::new().expect("compio starts").block_on(async {
        match job.work {
            Work::Random { depth, is_direct } => Some(random(job, depth, is_direct).await),
            Work::Sequential => Some(sequential(job).await),
            // Its buffered reader is the same read with a copy of its own.
            Work::Stream => None,
            Work::Opens => Some(opens(job).await),
        }
    })
}

async fn random(job: &Job, depth: usize, is_direct: bool) -> Done {
    let flags = if is_direct { O_DIRECT } else { 0 };
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags).open(&job.path).await.expect("opens");
    let (bytes, share, meter) = (job.bytes, job.share(depth), Meter::start());
    let tasks: Vec<_> = (0..depth)
        .map(|seed| {
            let file = file.clone();
            compio::runtime::spawn(async move {
                let (mut positions, mut sum) = (Positions::new(bytes, seed), 0);
                let (mut memory, first) = Blocks::new(1).into_parts();
                for _ in 0..share {
                    let block = memory.slice(first..first + BLOCK);
                    let (count, back) = file.read_at(block, positions.next()).await.into();
                    assert_eq!(count.expect("reads"), BLOCK);
                    memory = back.into_inner();
                    sum += u64::from(memory[first]);
                }
                sum
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("it ends well");
    }
    meter.done((share * depth) as f64, sum)
}

async fn sequential(job: &Job) -> Done {
    let file = File::open(&job.path).await.expect("opens");
    let (mut total, mut sum, mut buffer) = (0, 0, Vec::with_capacity(PIECE));
    let meter = Meter::start();
    loop {
        buffer.clear();
        let (count, back) = file.read_at(buffer, total).await.into();
        match count.expect("reads") {
            0 => return meter.done_bytes(total, sum),
            count => total += count as u64,
        }
        sum += u64::from(back[0]);
        buffer = back;
    }
}

async fn opens(job: &Job) -> Done {
    let (mut sum, meter) = (0, Meter::start());
    for _ in 0..job.count {
        let file = File::open(&job.path).await.expect("opens");
        sum += file.metadata().await.expect("has a status").len();
        file.close().await.expect("closes");
    }
    meter.done(job.count as f64, sum)
}
