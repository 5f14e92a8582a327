//! The other shapes across threads: one value, the last value, every value, and asyncio's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use corio::channel::{
    Queue, RecvError, Shutdown, TryGetError, TryPutError, TryRecvError, broadcast, oneshot, watch,
};

use crate::support::{Random, bounded, poll_once};
use crate::{Count, Counted};

#[corio::test]
fn one_value_crosses_or_its_absence_does() {
    for round in 0..300 {
        let (sender, receiver) = oneshot();
        let (silent, never) = oneshot::<u8>();
        thread::scope(|scope| {
            scope.spawn(move || sender.send(round).unwrap());
            scope.spawn(move || drop(silent));
            corio::run(bounded(async {
                assert_eq!(receiver.await, Ok(round));
                assert_eq!(never.await, Err(RecvError::Closed));
            }));
        });
    }
}

#[corio::test]
fn a_value_that_nobody_takes_comes_back_or_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let (sender, receiver) = oneshot();
        thread::scope(|scope| {
            let value = Counted(Arc::clone(&drops));
            scope.spawn(move || drop(sender.send(value)));
            scope.spawn(move || drop(receiver));
        });
    }
    assert_eq!(drops.load(Ordering::SeqCst), 200);
    let (mut sender, mut receiver) = oneshot::<u8>();
    assert_eq!(poll_once(sender.closed()), None);
    receiver.close();
    assert_eq!(poll_once(sender.closed()), Some(()));
    assert_eq!(sender.send(1).unwrap_err().0, 1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[corio::test]
fn watchers_see_the_last_value_and_never_an_older_one_again() {
    const LAST: usize = 5_000;
    let (sender, receiver) = watch(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut receiver = receiver.clone();
            scope.spawn(move || {
                corio::run(bounded(async move {
                    let mut seen = 0;
                    while receiver.changed().await.is_ok() {
                        let value = *receiver.borrow_and_update();
                        assert!(value >= seen, "went back");
                        seen = value;
                    }
                    assert_eq!(seen, LAST);
                }));
            });
        }
        (1..=LAST).for_each(|value| sender.send(value).unwrap());
        drop(sender);
    });
}

#[corio::test]
fn a_watched_value_changes_only_if_the_closure_says_so() {
    let (mut sender, mut receiver) = watch(vec![1]);
    let old = receiver.borrow();
    assert!(!sender.send_if_modified(|_| false));
    assert_eq!(receiver.has_changed(), Ok(false));
    assert!(poll_once(receiver.changed()).is_none());
    let panic = std::panic::AssertUnwindSafe(|| {
        sender.send_if_modified(|value| {
            value.push(9);
            panic!("in the middle")
        })
    });
    assert!(std::panic::catch_unwind(panic).is_err());
    assert_eq!(receiver.has_changed(), Ok(false));
    sender.send_modify(|value| value.push(2));
    assert_eq!((&*old, &*receiver.borrow()), (&vec![1], &vec![1, 2]));
    assert_eq!(poll_once(receiver.changed()), Some(Ok(())));
    assert!(poll_once(receiver.wait_for(|value| value.len() > 2)).is_none());
    sender.send_modify(|value| value.push(3));
    assert_eq!(*poll_once(receiver.wait_for(|value| value.len() > 2)).unwrap().unwrap(), [1, 2, 3]);
    drop(receiver);
    assert!(sender.send(vec![]).is_err());
}

#[corio::test]
fn every_receiver_gets_every_value_or_the_number_that_it_missed() {
    const VALUES: usize = 4_000;
    for seed in 0..3 {
        let (sender, first) = broadcast(8);
        thread::scope(|scope| {
            let receivers = [first.resubscribe(), first.resubscribe(), first];
            for (name, mut receiver) in receivers.into_iter().enumerate() {
                scope.spawn(move || {
                    let mut random = Random::new(seed * 7 + name as u64);
                    corio::run(bounded(async move {
                        let mut due = 0;
                        loop {
                            match receiver.recv().await {
                                Ok(value) => {
                                    assert_eq!(value, due, "seed {seed}");
                                    due += 1;
                                }
                                Err(RecvError::Lagged(count)) => due += count as usize,
                                Err(RecvError::Closed) => break,
                            }
                            if random.below(3) == 0 {
                                corio::yield_now().await;
                            }
                        }
                        assert_eq!(due, VALUES, "seed {seed}");
                    }));
                });
            }
            for value in 0..VALUES {
                assert_eq!(sender.send(value).ok(), Some(3));
                assert!(sender.len() <= 8, "exactly as many as asked for");
            }
            drop(sender);
        });
    }
}

#[corio::test]
fn a_broadcast_keeps_nothing_that_nobody_will_take() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (sender, slow) = broadcast(3);
    let mut quick = sender.subscribe();
    for _ in 0..5 {
        assert!(sender.send(Arc::new(Counted(Arc::clone(&drops)))).is_ok());
    }
    assert_eq!((drops.load(Ordering::SeqCst), sender.len()), (2, 3));
    assert!(matches!(quick.try_recv(), Err(TryRecvError::Lagged(2))));
    drop(quick.try_recv().unwrap());
    drop(slow);
    assert_eq!((drops.load(Ordering::SeqCst), sender.len()), (3, 2));
    drop(quick);
    assert_eq!((drops.load(Ordering::SeqCst), sender.len()), (5, 0));
    assert!(sender.send(Arc::new(Counted(Arc::clone(&drops)))).is_err());
    assert_eq!(sender.subscribe().len(), 0);
}

#[corio::test]
fn a_queue_gives_every_item_to_one_worker_and_joins_when_all_are_done() {
    const ITEMS: usize = 2_000;
    for maxsize in [1, 3] {
        let queue = Queue::new(maxsize);
        let sums: Vec<usize> = thread::scope(|scope| {
            let worker = |_| {
                let queue = queue.clone();
                scope.spawn(move || {
                    corio::run(bounded(async move {
                        let mut sum = 0;
                        while let Ok(item) = queue.get_tracked().await {
                            sum += *item;
                            // Another get, given up after one poll.
                            if let Some(Ok(more)) = poll_once(queue.get()) {
                                sum += more;
                                queue.task_done().unwrap();
                            }
                        }
                        sum
                    }))
                })
            };
            let workers: Vec<_> = (0..3).map(worker).collect();
            let foreign = queue.clone();
            let putter = scope
                .spawn(move || (0..ITEMS).for_each(|item| foreign.blocking_put(item).unwrap()));
            corio::run(bounded(async {
                for item in 0..ITEMS {
                    queue.put(item).await.unwrap();
                }
            }));
            putter.join().unwrap();
            corio::run(bounded(queue.join()));
            queue.shutdown(Shutdown::Graceful);
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(sums.iter().sum::<usize>(), ITEMS * (ITEMS - 1));
        assert!(queue.task_done().is_err());
    }
}

#[corio::test]
fn a_dropped_getter_passes_its_item_on_and_a_dropped_putter_its_place() {
    let queue = Queue::new(1);
    let count = Arc::new(Count::default());
    let waker = count.waker();
    let mut context = Context::from_waker(&waker);
    let (mut one, mut two) = (Box::pin(queue.get()), Box::pin(queue.get()));
    assert!(one.as_mut().poll(&mut context).is_pending());
    assert!(two.as_mut().poll(&mut context).is_pending());
    queue.try_put(1).unwrap();
    assert_eq!(queue.try_get(), Err(TryGetError::Empty), "it is promised");
    drop(one);
    assert_eq!((count.get(), two.as_mut().poll(&mut context)), (2, Poll::Ready(Ok(1))));
    queue.try_put(2).unwrap();
    let (mut three, mut four) = (Box::pin(queue.put(3)), Box::pin(queue.put(4)));
    assert!(three.as_mut().poll(&mut context).is_pending());
    assert!(four.as_mut().poll(&mut context).is_pending());
    assert_eq!(queue.try_get(), Ok(2));
    assert_eq!(queue.try_put(5), Err(TryPutError::Full(5)), "the place is promised");
    drop(three);
    assert!(four.as_mut().poll(&mut context).is_ready());
    assert_eq!(queue.try_get(), Ok(4));
}

#[corio::test]
fn an_immediate_shutdown_drops_the_items_and_ends_every_wait() {
    let drops = Arc::new(AtomicUsize::new(0));
    let queue = Queue::new(2);
    for _ in 0..2 {
        assert!(queue.try_put(Counted(Arc::clone(&drops))).is_ok());
    }
    let count = Arc::new(Count::default());
    let waker = count.waker();
    let mut context = Context::from_waker(&waker);
    let mut put = Box::pin(queue.put(Counted(Arc::clone(&drops))));
    let mut join = Box::pin(queue.join());
    assert!(put.as_mut().poll(&mut context).is_pending());
    assert!(join.as_mut().poll(&mut context).is_pending());
    queue.shutdown(Shutdown::Immediate);
    assert_eq!((count.get(), drops.load(Ordering::SeqCst)), (2, 2));
    assert!(matches!(put.as_mut().poll(&mut context), Poll::Ready(Err(_))));
    assert!(join.as_mut().poll(&mut context).is_ready());
    assert!(poll_once(queue.get()).unwrap().is_err());
}
