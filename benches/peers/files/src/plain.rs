//! The yardsticks, which have no runtime: a ring by hand for random reads, and loops of system
//! calls for the rest.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

use crate::work::{BLOCK, Blocks, Done, Job, Meter, O_DIRECT, PIECE, Positions, Work};

pub fn run(job: &Job) -> Option<Done> {
    Some(match job.work {
        Work::Random { depth, is_direct } => random(job, depth, is_direct),
        Work::Sequential => sequential(job),
        // Pieces of a stream have no size of their own: that all came is what is compared.
        Work::Stream => Done { sum: job.bytes, ..sequential(job) },
        Work::Opens => opens(job),
    })
}

pub fn open(path: &Path, is_direct: bool) -> File {
    let flags = if is_direct { O_DIRECT } else { 0 };
    File::options().read(true).custom_flags(flags).open(path).expect("opens")
}

/// A ring with nothing around it: as many reads in flight as the depth, each in its own block, no
/// task, no waker.
fn random(job: &Job, depth: usize, is_direct: bool) -> Done {
    let file = open(&job.path, is_direct);
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(128)
        .expect("the ring starts");
    let mut blocks = Blocks::new(depth);
    let mut positions: Vec<_> = (0..depth).map(|at| Positions::new(job.bytes, at)).collect();
    let mut left = vec![job.share(depth); depth];
    let mut sum = 0;
    let meter = Meter::start();
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
    meter.done((job.share(depth) * depth) as f64, sum)
}

fn sequential(job: &Job) -> Done {
    let file = open(&job.path, false);
    let (mut total, mut sum, mut buffer) = (0, 0, vec![0; PIECE]);
    let meter = Meter::start();
    loop {
        match file.read_at(&mut buffer, total).expect("reads") {
            0 => return meter.done_bytes(total, sum),
            count => total += count as u64,
        }
        sum += u64::from(buffer[0]);
    }
}

fn opens(job: &Job) -> Done {
    let (mut sum, meter) = (0, Meter::start());
    for _ in 0..job.count {
        sum += open(&job.path, false).metadata().expect("has a status").len();
    }
    meter.done(job.count as f64, sum)
}
