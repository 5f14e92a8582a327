//! Wakes from other threads, at random moments: of cores that are awake, falling asleep, asleep,
//! ending and starting. Each is awaited by who sent it, so one that is lost stops the test.
//!
//! `CORIO_WAKES` is the number of wakes of each test; what a million of them takes is in
//! `docs/CORES.md`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use corio::timeout;

use super::support::Random;
use super::{PATIENCE, cores};

fn wakes() -> u64 {
    std::env::var("CORIO_WAKES").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

/// A number that is waited for: its writer wakes its reader, whom no channel helps.
#[derive(Default)]
struct Word {
    said: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Word {
    fn say(&self, number: u64) {
        self.said.store(number, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn hear(&self, number: u64) {
        poll_fn(|context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            match self.said.load(Ordering::Relaxed) >= number {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// A question and its answer.
#[derive(Clone, Default)]
struct Line(Arc<(Word, Word)>);

const LAST: u64 = u64::MAX;

impl Line {
    /// Answers until the other side hangs up.
    async fn answer(&self) {
        let Line(words) = self;
        for number in 1.. {
            timeout(PATIENCE, words.0.hear(number)).await.expect("a wake was lost");
            if words.0.said.load(Ordering::Relaxed) == LAST {
                return;
            }
            words.1.say(number);
        }
    }

    /// Asks so often, with pauses in which the other side looks on, or falls asleep.
    async fn ask(&self, count: u64, random: &mut Random) {
        let Line(words) = self;
        for number in 1..=count {
            match random.below(64) {
                0 => thread::yield_now(),
                1..=40 => (0..random.below(400)).for_each(|_| std::hint::spin_loop()),
                _ => {}
            }
            words.0.say(number);
            words.1.hear(number).await;
        }
    }

    fn hang_up(&self) {
        self.0.0.say(LAST);
    }
}

/// Asks from a thread that runs no core.
fn ask_from_here(line: &Line, count: u64, seed: u64) {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut random = Random::new(seed);
    let mut asking = pin!(line.ask(count, &mut random));
    while asking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let start = Instant::now();
        thread::park_timeout(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "a wake was lost");
    }
}

#[corio::test]
fn no_wake_is_lost_among_many_more_loops_than_cpus_and_foreign_threads() {
    const LOOPS: usize = 64;
    // Two wakes for each question, and foreign threads ask as often as cores.
    let count = wakes() / 4 / LOOPS as u64;
    let lines: Arc<[[Line; 2]]> = (0..LOOPS).map(|_| Default::default()).collect();
    thread::scope(|scope| {
        for part in 0..2 {
            let lines = &lines;
            scope.spawn(move || {
                for (number, [_, foreign]) in lines.iter().enumerate().filter(|it| it.0 % 2 == part)
                {
                    ask_from_here(foreign, count, number as u64 + 1);
                    foreign.hang_up();
                }
            });
        }
        let lines = Arc::clone(&lines);
        let results = cores(LOOPS).run(move |core| {
            let lines = Arc::clone(&lines);
            async move {
                let [own, foreign] = lines[core.index()].clone();
                let answering = corio::spawn(async move { own.answer().await });
                let foreign = corio::spawn(async move { foreign.answer().await });
                let [other, _] = &lines[(core.index() + 1) % LOOPS];
                let mut random = Random::new(core.index() as u64 + 1);
                timeout(PATIENCE * 60, other.ask(count, &mut random)).await.expect("an answer");
                other.hang_up();
                answering.await.unwrap();
                foreign.await.unwrap();
            }
        });
        assert!(results.unwrap().into_iter().all(|result| result.is_ok()));
    });
}

#[corio::test]
fn no_wake_is_lost_while_cores_start_and_stop() {
    const THREADS: u64 = 4;
    let share = wakes() / 2 / THREADS;
    let is_over = AtomicBool::new(false);
    // Wakers of tasks that are gone, most with their cores: whatever they reach must not mind.
    let graveyard: [Mutex<Option<Waker>>; 8] = Default::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(99);
            while !is_over.load(Ordering::Relaxed) {
                let waker = graveyard[random.below(8)].lock().unwrap().clone();
                waker.into_iter().for_each(Waker::wake);
                thread::park_timeout(Duration::from_micros(20));
            }
        });
        let life = |seed: u64| {
            let mut random = Random::new(seed);
            let mut left = share;
            while left > 0 {
                let count = (random.below(400) as u64 + 1).min(left);
                left -= count;
                let line = Line::default();
                thread::scope(|scope| {
                    let asking = scope.spawn(|| ask_from_here(&line, count, left + 1));
                    corio::run(async {
                        let other = line.clone();
                        let answering = corio::spawn(async move { other.answer().await });
                        while !asking.is_finished() {
                            corio::sleep(Duration::from_micros(300)).await;
                        }
                        line.hang_up();
                        answering.await.unwrap();
                    });
                });
                let waker = line.0.0.waker.lock().unwrap().take();
                *graveyard[random.below(8)].lock().unwrap() = waker;
            }
        };
        let lives: Vec<_> = (1..=THREADS).map(|seed| scope.spawn(move || life(seed))).collect();
        for life in lives {
            life.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
