//! glommio: buffered files, and files past the cache with memory of its own.

use std::rc::Rc;

use glommio::io::{BufferedFile, DmaFile};

use crate::work::{BLOCK, Done, Job, Meter, PIECE, Positions, Work};

pub fn run(job: &Job) -> Option<Done> {
    glommio::LocalExecutor::default().run(async {
        match job.work {
            Work::Random { depth, is_direct: false } => Some(cached(job, depth).await),
            Work::Random { depth, is_direct: true } => Some(direct(job, depth).await),
            Work::Sequential => Some(sequential(job).await),
            // Its stream of a file goes past the cache.
            Work::Stream => None,
            Work::Opens => Some(opens(job).await),
        }
    })
}

/// The same reads of both kinds of files, which have no name in common.
macro_rules! random {
    ($name:ident, $file:ty, $read:ident) => {
        async fn $name(job: &Job, depth: usize) -> Done {
            let file = Rc::new(<$file>::open(&job.path).await.expect("opens"));
            let (bytes, share, meter) = (job.bytes, job.share(depth), Meter::start());
            let tasks: Vec<_> = (0..depth)
                .map(|seed| {
                    let file = Rc::clone(&file);
                    glommio::spawn_local(async move {
                        let (mut positions, mut sum) = (Positions::new(bytes, seed), 0);
                        for _ in 0..share {
                            let read = file.$read(positions.next(), BLOCK).await.expect("reads");
                            assert_eq!(read.len(), BLOCK);
                            sum += u64::from(read[0]);
                        }
                        sum
                    })
                })
                .collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await;
            }
            let done = meter.done((share * depth) as f64, sum);
            let file = Rc::into_inner(file).expect("the tasks are over");
            file.close().await.expect("closes");
            done
        }
    };
}

random!(cached, BufferedFile, read_at);
random!(direct, DmaFile, read_at_aligned);

async fn sequential(job: &Job) -> Done {
    let file = BufferedFile::open(&job.path).await.expect("opens");
    let (mut total, mut sum) = (0, 0);
    let meter = Meter::start();
    loop {
        let read = file.read_at(total, PIECE).await.expect("reads");
        if read.is_empty() {
            break;
        }
        total += read.len() as u64;
        sum += u64::from(read[0]);
    }
    let done = meter.done_bytes(total, sum);
    file.close().await.expect("closes");
    done
}

async fn opens(job: &Job) -> Done {
    let (mut sum, meter) = (0, Meter::start());
    for _ in 0..job.count {
        let file = BufferedFile::open(&job.path).await.expect("opens");
        sum += file.file_size().await.expect("has a status");
        file.close().await.expect("closes");
    }
    meter.done(job.count as f64, sum)
}
