//! Many tasks under many seeds, polled and dropped in any order: no wake is lost, what there is of
//! something never changes, and nobody overtakes.

use std::cell::{Cell, RefCell};

use corio::sync::{Barrier, Condition, Mutex, Notify, RwLock, Semaphore};

use crate::hand::{Crowd, Line, pause};

const SEEDS: u64 = 300;

#[corio::test]
fn a_mutex_has_one_holder_and_its_line_is_kept() {
    for seed in 0..SEEDS {
        let (mutex, line, inside) = (Mutex::new(()), Line::default(), Cell::new(0));
        let mut crowd = Crowd::new(seed);
        for _ in 0..8 {
            crowd.add(async {
                for _ in 0..3 {
                    let place = line.join();
                    let guard = mutex.lock().await;
                    assert!(place.is_first(), "seed {seed}: overtaken");
                    drop(place);
                    inside.set(inside.get() + 1);
                    let leaving = at_end(|| inside.set(inside.get() - 1));
                    assert_eq!(inside.get(), 1, "seed {seed}: two holders");
                    pause().await;
                    drop(leaving);
                    drop(guard);
                    pause().await;
                }
            });
        }
        crowd.jostle(60, 12);
        crowd.finish();
        drop(crowd);
        assert!(!mutex.is_locked(), "seed {seed}");
    }
}

#[corio::test]
fn a_semaphore_neither_gains_nor_loses_permits() {
    for seed in 0..SEEDS {
        let (semaphore, taken) = (Semaphore::bounded(4), Cell::new(0));
        let mut crowd = Crowd::new(seed);
        for member in 0..8 {
            let (semaphore, taken) = (&semaphore, &taken);
            crowd.add(async move {
                for round in 0..3 {
                    let count = 1 + (member + round) % 4;
                    let permit = semaphore.acquire_many(count).await.unwrap();
                    taken.set(taken.get() + count);
                    let leaving = at_end(|| taken.set(taken.get() - count));
                    assert!(taken.get() <= 4, "seed {seed}: more than there are");
                    pause().await;
                    drop((leaving, permit));
                }
            });
        }
        crowd.jostle(80, 12);
        crowd.finish();
        drop(crowd);
        assert_eq!(semaphore.available(), 4, "seed {seed}");
    }
}

#[corio::test]
fn readers_and_writers_never_meet() {
    for seed in 0..SEEDS {
        let (lock, readers, writers) = (RwLock::new(0), Cell::new(0), Cell::new(0));
        let mut crowd = Crowd::new(seed);
        for member in 0..8 {
            let (lock, readers, writers) = (&lock, &readers, &writers);
            crowd.add(async move {
                for _ in 0..3 {
                    if member % 3 == 0 {
                        let mut guard = lock.write().await;
                        writers.set(writers.get() + 1);
                        let leaving = at_end(|| writers.set(writers.get() - 1));
                        assert_eq!((readers.get(), writers.get()), (0, 1), "seed {seed}");
                        *guard += 1;
                        pause().await;
                        drop(leaving);
                    } else {
                        let guard = lock.read().await;
                        readers.set(readers.get() + 1);
                        let leaving = at_end(|| readers.set(readers.get() - 1));
                        assert_eq!(writers.get(), 0, "seed {seed}");
                        pause().await;
                        drop((leaving, guard));
                    }
                }
            });
        }
        crowd.jostle(80, 12);
        crowd.finish();
        drop(crowd);
        assert!(lock.try_write().is_ok(), "seed {seed}");
    }
}

#[corio::test]
fn a_condition_loses_no_notification() {
    for seed in 0..SEEDS {
        let (items, condition) = (Mutex::new(0_usize), Condition::new());
        let (made, eaten) = (Cell::new(0), Cell::new(0));
        let mut crowd = Crowd::new(seed);
        // As many items are made as tasks are there to eat them, each with one notification: if
        // some eaters are dropped, the others have enough.
        for _ in 0..6 {
            crowd.add(async {
                let mut items = condition.wait_for(items.lock().await, |items| *items > 0).await;
                *items -= 1;
                eaten.set(eaten.get() + 1);
            });
        }
        crowd.jostle(30, 6);
        for _ in 0..6 {
            crowd.add(async {
                let mut items = items.lock().await;
                *items += 1;
                made.set(made.get() + 1);
                condition.notify_one(&items);
            });
        }
        crowd.finish();
        drop(crowd);
        let left = *items.try_lock().expect("nobody has it");
        assert_eq!((made.get(), eaten.get() + left), (6, 6), "seed {seed}");
    }
}

#[corio::test]
fn a_notification_is_heard_once_or_kept() {
    for seed in 0..SEEDS {
        let (notify, heard) = (Notify::new(), Cell::new(0));
        let mut crowd = Crowd::new(seed);
        for _ in 0..8 {
            crowd.add(async {
                notify.notified().await;
                heard.set(heard.get() + 1);
                // Passes it on, so that one notification releases everybody.
                notify.notify_one();
            });
        }
        crowd.jostle(20, 4);
        notify.notify_one();
        crowd.jostle(10, 4);
        crowd.finish();
        drop(crowd);
        let mut last = Crowd::new(seed);
        last.add(notify.notified());
        last.finish();
    }
}

#[corio::test]
fn a_barrier_meets_in_whole_groups() {
    for seed in 0..SEEDS {
        let (barrier, turns) = (Barrier::new(3), RefCell::new(Vec::new()));
        let mut crowd = Crowd::new(seed);
        for _ in 0..9 {
            crowd.add(async {
                pause().await;
                let turn = barrier.wait().await.unwrap();
                turns.borrow_mut().push((turn.index(), turn.is_leader()));
            });
        }
        crowd.jostle(40, 1_000_000);
        crowd.finish();
        let mut turns = turns.take();
        turns.sort_unstable();
        let group = [(0, false), (1, false), (2, true)];
        let three: Vec<_> = group.iter().flat_map(|turn| [*turn; 3]).collect();
        assert_eq!(turns, three, "seed {seed}");
    }
}

/// Runs the closure when it is dropped.
fn at_end<F: FnMut()>(end: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}
