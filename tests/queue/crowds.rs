//! Many putters and getters under many seeds, polled and dropped in any order.

use std::cell::{Cell, RefCell};

use corio::queue::{Queue, Shutdown};

use crate::hand::{Crowd, Line, Random, pause};

const SEEDS: u64 = 300;

/// Tells of an item that was dropped or got, once for each.
struct Counted<'a>(&'a Cell<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[corio::test]
fn no_item_is_lost_or_doubled_whoever_is_dropped() {
    for seed in 0..SEEDS {
        let ended = Cell::new(0);
        let (put, got) = (Cell::new(0), Cell::new(0));
        let queue = Queue::new(seed as usize % 4);
        let mut random = Random::new(seed);
        let mut crowd = Crowd::new(seed);
        for member in 0..12 {
            let (queue, ended, put, got) = (&queue, &ended, &put, &got);
            let reserves = random.below(2) == 0;
            crowd.add(async move {
                for _ in 0..4 {
                    if member % 2 == 0 {
                        drop(queue.get().await);
                        got.set(got.get() + 1);
                    } else if reserves {
                        let slot = queue.reserve().await.unwrap();
                        pause().await;
                        slot.put(Counted(ended)).unwrap();
                        put.set(put.get() + 1);
                    } else {
                        queue.put(Counted(ended)).await.unwrap();
                        put.set(put.get() + 1);
                    }
                }
            });
        }
        crowd.jostle(120, 16);
        // Who is left gets what it waits for, in the end by the shutdown.
        for _ in 0..48 {
            while queue.try_get().is_ok() {
                got.set(got.get() + 1);
            }
            let _ = queue.try_put(Counted(&ended)).map(|()| put.set(put.get() + 1));
            crowd.jostle(10, 1_000_000);
        }
        drop(crowd);
        assert_eq!(put.get(), got.get() + queue.len(), "seed {seed}");
        assert!(queue.maxsize() == 0 || queue.len() <= queue.maxsize(), "seed {seed}");
        let mut last = Crowd::new(seed);
        last.add(async {
            for _ in 0..queue.len() {
                drop(
                    queue
                        .try_get()
                        .unwrap_or_else(|_| panic!("seed {seed}: promised to one who is gone")),
                );
            }
        });
        last.finish();
    }
}

#[corio::test]
fn getters_finish_in_their_order_and_none_is_left() {
    for seed in 0..SEEDS {
        let (queue, line) = (Queue::new(0), Line::default());
        let mut crowd = Crowd::new(seed);
        for _ in 0..8 {
            crowd.add(async {
                let place = line.join();
                let number = queue.get().await.unwrap();
                assert!(place.is_first(), "seed {seed}: overtaken");
                drop(place);
                pause().await;
                // One item goes round; so there is one promise at a time.
                queue.try_put(number + 1).unwrap();
            });
        }
        crowd.jostle(30, 10);
        queue.try_put(0).unwrap();
        crowd.jostle(30, 1_000_000);
        crowd.finish();
        drop(crowd);
        assert_eq!(queue.len(), 1, "seed {seed}");
    }
}

#[corio::test]
fn a_shutdown_at_any_moment_leaves_nobody_waiting() {
    for seed in 0..SEEDS {
        let queue = Queue::new(2);
        let log = RefCell::new(Vec::new());
        let mut crowd = Crowd::new(seed);
        for member in 0..12 {
            let (queue, log) = (&queue, &log);
            crowd.add(async move {
                for round in 0..4 {
                    match member % 3 {
                        0 => drop(queue.put(round).await),
                        1 => drop(queue.get_tracked().await),
                        _ => queue.join().await,
                    }
                }
                log.borrow_mut().push(member);
            });
        }
        crowd.jostle(seed as usize % 90, 20);
        queue.shutdown(if seed % 2 == 0 { Shutdown::Graceful } else { Shutdown::Immediate });
        // What nobody gets is got here, so that each `join` ends.
        while queue.try_get().is_ok() {
            queue.task_done().unwrap();
        }
        crowd.finish();
    }
}
