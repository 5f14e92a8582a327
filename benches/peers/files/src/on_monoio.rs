//! monoio, on its ring.

use std::rc::Rc;

use monoio::buf::{IoBufMut as _, SliceMut};
use monoio::fs::File;

use crate::plain::open;
use crate::work::{BLOCK, Blocks, Done, Job, Meter, PIECE, Positions, Work};

pub fn run(job: &Job) -> Option<Done> {
    let builder = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new();
    let mut runtime = builder.build().expect("monoio starts");
    runtime.block_on(async {
        match job.work {
            Work::Random { depth, is_direct } => Some(random(job, depth, is_direct).await),
            Work::Sequential => Some(sequential(job).await),
            // It has no reader for files.
            Work::Stream => None,
            Work::Opens => Some(opens(job).await),
        }
    })
}

async fn random(job: &Job, depth: usize, is_direct: bool) -> Done {
    let file = File::from_std(open(&job.path, is_direct)).expect("takes it");
    let file = Rc::new(file);
    let (bytes, share, meter) = (job.bytes, job.share(depth), Meter::start());
    let tasks: Vec<_> = (0..depth)
        .map(|seed| {
            let file = Rc::clone(&file);
            monoio::spawn(async move {
                let (mut positions, mut sum) = (Positions::new(bytes, seed), 0);
                let (mut memory, first) = Blocks::new(1).into_parts();
                for _ in 0..share {
                    let block: SliceMut<_> = memory.slice_mut(first..first + BLOCK);
                    let (count, back) = file.read_at(block, positions.next()).await;
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
        sum += task.await;
    }
    meter.done((share * depth) as f64, sum)
}

async fn sequential(job: &Job) -> Done {
    let file = File::open(&job.path).await.expect("opens");
    let (mut total, mut sum, mut buffer) = (0, 0, Vec::with_capacity(PIECE));
    let meter = Meter::start();
    loop {
        let (count, back) = file.read_at(buffer, total).await;
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
