//! corio.

use std::pin::Pin;
use std::rc::Rc;

use corio::fs::{DirectFile, File};
use futures_util::{AsyncBufRead as _, AsyncBufReadExt as _, future::poll_fn};

use crate::work::{BLOCK, Done, Job, Meter, PIECE, Positions, Work};

pub fn run(job: &Job) -> Option<Done> {
    Some(corio::run(async {
        match job.work {
            Work::Random { depth, is_direct: false } => cached(job, depth).await,
            Work::Random { depth, is_direct: true } => direct(job, depth).await,
            Work::Sequential => sequential(job).await,
            Work::Stream => stream(job).await,
            Work::Opens => opens(job).await,
        }
    }))
}

async fn sum_of(tasks: Vec<corio::JoinHandle<u64>>) -> u64 {
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("it ends well");
    }
    sum
}

async fn cached(job: &Job, depth: usize) -> Done {
    let file = Rc::new(File::open(&job.path).await.expect("opens"));
    let (bytes, share, meter) = (job.bytes, job.share(depth), Meter::start());
    let tasks = (0..depth).map(|seed| {
        let file = Rc::clone(&file);
        corio::spawn(async move {
            let (mut positions, mut sum) = (Positions::new(bytes, seed), 0);
            let mut buffer = vec![0; BLOCK];
            for _ in 0..share {
                let (count, back) = file.read_at_into(positions.next(), buffer).await;
                assert_eq!(count.expect("reads"), BLOCK);
                sum += u64::from(back[0]);
                buffer = back;
            }
            sum
        })
    });
    let sum = sum_of(tasks.collect()).await;
    meter.done((share * depth) as f64, sum)
}

async fn direct(job: &Job, depth: usize) -> Done {
    let file = Rc::new(DirectFile::open(&job.path).await.expect("opens"));
    let (bytes, share, meter) = (job.bytes, job.share(depth), Meter::start());
    let tasks = (0..depth).map(|seed| {
        let file = Rc::clone(&file);
        corio::spawn(async move {
            let (mut positions, mut sum) = (Positions::new(bytes, seed), 0);
            let mut buffer = file.buffer(BLOCK);
            for _ in 0..share {
                let (count, back) = file.read_at(positions.next(), buffer).await;
                assert_eq!(count.expect("reads"), BLOCK);
                sum += u64::from(back[0]);
                buffer = back;
            }
            sum
        })
    });
    let sum = sum_of(tasks.collect()).await;
    meter.done((share * depth) as f64, sum)
}

async fn sequential(job: &Job) -> Done {
    let file = File::open(&job.path).await.expect("opens");
    let (mut total, mut sum, mut buffer) = (0, 0, Vec::with_capacity(PIECE));
    let meter = Meter::start();
    loop {
        let (count, back) = file.read_at_into(total, buffer).await;
        match count.expect("reads") {
            0 => return meter.done_bytes(total, sum),
            count => total += count as u64,
        }
        sum += u64::from(back[0]);
        buffer = back;
    }
}

async fn stream(job: &Job) -> Done {
    let mut cursor = File::open(&job.path).await.expect("opens").cursor(0);
    let (mut total, mut firsts) = (0, 0);
    let meter = Meter::start();
    loop {
        let (count, first) = poll_fn(|context| {
            let shown = Pin::new(&mut cursor).poll_fill_buf(context);
            shown.map_ok(|shown| (shown.len(), shown.first().copied().unwrap_or(0)))
        })
        .await
        .expect("reads");
        if count == 0 {
            assert!(firsts > 0);
            return meter.done_bytes(total, total);
        }
        total += count as u64;
        firsts += u64::from(first);
        cursor.consume_unpin(count);
    }
}

async fn opens(job: &Job) -> Done {
    let (mut sum, meter) = (0, Meter::start());
    for _ in 0..job.count {
        let file = File::open(&job.path).await.expect("opens");
        sum += file.metadata().await.expect("has a status").len();
    }
    meter.done(job.count as f64, sum)
}
