//! Every order of ends: a random program for each of many seeds, in which jobs are awaited, polled,
//! cancelled, dropped and detached while they wait, run and end. Each captured value and each
//! result has to be dropped exactly once, and each wait has to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use corio::{BlockingHandle, Runtime, spawn_blocking, yield_now};

use crate::support::{Random, bounded, poll_once};
use crate::{Counted, noting};

const SEEDS: u64 = 300;
const STEPS: usize = 60;

struct Program {
    random: Random,
    jobs: Vec<BlockingHandle<Counted>>,
    /// Drops of captured values and of results together.
    drops: Arc<AtomicUsize>,
    spawned: usize,
    /// Results that came into being: of jobs that ran.
    ran: Arc<AtomicUsize>,
}

fn spin(rounds: usize) {
    for _ in 0..rounds {
        std::hint::spin_loop();
    }
}

impl Program {
    fn spawn(&mut self) {
        let captured = Counted(Arc::clone(&self.drops));
        let (ran, drops) = (Arc::clone(&self.ran), Arc::clone(&self.drops));
        let rounds = [0, 20, 400, 4000][self.random.below(4)];
        let panics = self.random.below(8) == 0;
        self.spawned += 1;
        self.jobs.push(spawn_blocking(move || {
            let _captured = captured;
            spin(rounds);
            if panics {
                std::panic::resume_unwind(Box::new("a part of the program"));
            }
            ran.fetch_add(1, Ordering::SeqCst);
            Counted(drops)
        }));
    }

    fn pick(&mut self) -> Option<BlockingHandle<Counted>> {
        let count = self.jobs.len();
        (count > 0).then(|| self.jobs.swap_remove(self.random.below(count)))
    }

    async fn step(&mut self) {
        let choice = self.random.below(9);
        if choice < 3 {
            return self.spawn();
        }
        let Some(mut job) = self.pick() else { return };
        match choice {
            3 => drop(bounded(job).await),
            4 => drop(job),
            5 => job.detach(),
            6 => {
                job.cancel();
                self.jobs.push(job);
            }
            7 => {
                if poll_once(&mut job).is_none() {
                    self.jobs.push(job);
                }
            }
            _ => {
                // A waker of this task, then another's.
                let polled = futures_util::poll!(&mut job);
                if polled.is_pending() {
                    self.jobs.push(job);
                }
                spin(self.random.below(2000));
                yield_now().await;
            }
        }
    }
}

#[corio::test]
fn each_value_is_dropped_once_and_each_wait_ends_in_every_order() {
    for seed in 1..=SEEDS {
        let (builder, _reports) = noting();
        let drops = Arc::new(AtomicUsize::new(0));
        let ran = Arc::new(AtomicUsize::new(0));
        let random = Random::new(seed);
        let mut program = Program {
            random,
            jobs: Vec::new(),
            drops: Arc::clone(&drops),
            spawned: 0,
            ran: Arc::clone(&ran),
        };
        let threads = 1 + program.random.below(3);
        let runtime: Runtime = builder.blocking_threads(threads).build().unwrap();
        let spawned = runtime.block_on(async {
            for _ in 0..STEPS {
                program.step().await;
            }
            // The rest in one of three ways.
            match program.random.below(3) {
                0 => {
                    for job in program.jobs.drain(..) {
                        drop(bounded(job).await);
                    }
                }
                1 => program.jobs.clear(),
                _ => program.jobs.drain(..).for_each(BlockingHandle::detach),
            }
            program.spawned
        });
        let report = runtime.close();
        assert!(report.jobs_left_behind.is_empty(), "seed {seed}");
        let expected = spawned + ran.load(Ordering::SeqCst);
        assert_eq!(drops.load(Ordering::SeqCst), expected, "seed {seed}");
    }
}
