//! What is sent arrives once, in each sender's order, and never more than there are places.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use corio::channel::mpsc::{Receiver, Sender};
use corio::channel::{TryRecvError, TrySendError, mpsc};
use futures_util::StreamExt;

use crate::Count;
use crate::support::{Random, bounded, poll_once};

const SENDERS: usize = 4;
const EACH: usize = 3_000;

/// The numbers of each sender are due in order.
struct Due([usize; SENDERS]);

impl Due {
    fn take(&mut self, seed: u64, (sender, number): (usize, usize)) {
        assert_eq!(number, self.0[sender], "seed {seed}: lost, doubled or overtaken");
        self.0[sender] += 1;
    }
}

/// Sends numbers in every way there is, and gives up some of the waits.
async fn send_numbers(seed: u64, name: usize, sender: Sender<(usize, usize)>) {
    let mut random = Random::new(seed * 31 + name as u64);
    for number in 0..EACH {
        match random.below(4) {
            0 => {
                while let Err(TrySendError::Full(_)) = sender.try_send((name, number)) {
                    corio::yield_now().await;
                }
            }
            1 => {
                // Polled once or twice and dropped; if it got through, the number is sent.
                let permit = loop {
                    let wait = pin!(sender.reserve());
                    if let Some(permit) = give_up(wait, 1 + random.below(2)).await {
                        break permit.unwrap();
                    }
                };
                permit.send((name, number)).unwrap();
            }
            2 => {
                drop(sender.reserve().await.unwrap());
                sender.send((name, number)).await.unwrap();
            }
            _ => sender.send((name, number)).await.unwrap(),
        }
    }
}

/// Polls so many times, a turn of the loop apart, and drops.
async fn give_up<F: Future + Unpin>(mut future: F, polls: usize) -> Option<F::Output> {
    for _ in 0..polls {
        let once = poll_fn(|context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(output) = once.await {
            return Some(output);
        }
        corio::yield_now().await;
    }
    None
}

async fn receive_numbers(seed: u64, capacity: usize, mut receiver: Receiver<(usize, usize)>) {
    let mut random = Random::new(seed);
    let mut due = Due([0; SENDERS]);
    let mut many = Vec::new();
    loop {
        assert!(receiver.len() <= capacity, "seed {seed}: more than there are places");
        match random.below(3) {
            0 => match give_up(Box::pin(receiver.recv()), 2).await {
                Some(Some(number)) => due.take(seed, number),
                Some(None) => break,
                None => {}
            },
            1 => {
                let count = receiver.recv_many(&mut many, 1 + random.below(8)).await;
                assert_eq!(many.len(), count);
                many.drain(..).for_each(|number| due.take(seed, number));
            }
            _ => match receiver.next().await {
                Some(number) => due.take(seed, number),
                None => break,
            },
        }
    }
    assert_eq!(due.0, [EACH; SENDERS], "seed {seed}");
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[corio::test]
fn numbers_cross_cores_once_and_in_order_whatever_is_dropped() {
    for (seed, capacity) in [(1, 1), (2, 2), (3, 7), (4, 64)] {
        let (sender, receiver) = mpsc(capacity);
        thread::scope(|scope| {
            for name in 0..SENDERS {
                let sender = sender.clone();
                scope.spawn(move || corio::run(bounded(send_numbers(seed, name, sender))));
            }
            drop(sender);
            scope.spawn(move || corio::run(bounded(receive_numbers(seed, capacity, receiver))));
        });
    }
}

#[corio::test]
fn foreign_threads_and_foreign_executors_send_and_receive() {
    let (sender, mut receiver) = mpsc(3);
    thread::scope(|scope| {
        let other = sender.clone();
        scope.spawn(move || (0..EACH).for_each(|n| other.blocking_send((0, n)).unwrap()));
        let other = sender.clone();
        scope.spawn(move || {
            futures_util_block_on(async move {
                for number in 0..EACH {
                    other.send((1, number)).await.unwrap();
                }
            });
        });
        drop(sender);
        let mut due = Due([0; SENDERS]);
        while let Some(number) = receiver.blocking_recv() {
            due.take(0, number);
        }
        assert_eq!(due.0[..2], [EACH; 2]);
    });
}

fn futures_util_block_on<F: Future>(future: F) -> F::Output {
    // `futures` drives its executor through wakers of its own.
    let mut tasks = futures_util::stream::FuturesUnordered::new();
    tasks.push(future);
    let thread = thread::current();
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread)).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match tasks.poll_next_unpin(&mut context) {
            Poll::Ready(output) => return output.expect("there is a future"),
            Poll::Pending => thread::park(),
        }
    }
}

#[corio::test]
fn all_to_all_with_one_place_each_does_not_block() {
    const CORES: usize = 4;
    const ROUNDS: usize = 300;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..CORES).map(|_| mpsc::<usize>(1)).unzip();
    let senders = Arc::new(senders);
    thread::scope(|scope| {
        for mut receiver in receivers {
            let senders = Arc::clone(&senders);
            scope.spawn(move || {
                corio::run(bounded(async move {
                    let sending = corio::spawn(async move {
                        for round in 0..ROUNDS {
                            for sender in senders.iter() {
                                sender.send(round).await.unwrap();
                            }
                        }
                    });
                    let mut sum = 0;
                    for _ in 0..ROUNDS * CORES {
                        sum += receiver.recv().await.unwrap();
                    }
                    assert_eq!(sum, ROUNDS * (ROUNDS - 1) / 2 * CORES);
                    sending.await.unwrap();
                }));
            });
        }
    });
}

#[corio::test]
fn there_are_exactly_as_many_places_as_asked_for() {
    for capacity in [1, 2, 3, 5, 8, 100] {
        let (sender, mut receiver) = mpsc(capacity);
        for lap in 0..3 {
            for number in 0..capacity {
                sender.try_send(lap * 1000 + number).unwrap();
            }
            assert_eq!((sender.len(), receiver.len()), (capacity, capacity));
            assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
            assert!(sender.try_reserve().is_err());
            assert_eq!(receiver.try_recv(), Ok(lap * 1000));
            let permit = sender.try_reserve().unwrap();
            assert_eq!(sender.try_send(7), Err(TrySendError::Full(7)));
            drop(permit);
            sender.try_reserve().unwrap().send(lap * 1000 + capacity).unwrap();
            for number in 1..=capacity {
                assert_eq!(receiver.try_recv(), Ok(lap * 1000 + number));
            }
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        }
    }
}

#[corio::test]
fn senders_are_served_in_the_order_in_which_they_came() {
    let (sender, mut receiver) = mpsc(1);
    sender.try_send(0).unwrap();
    let count = Arc::new(Count::default());
    let waker = count.waker();
    let mut context = Context::from_waker(&waker);
    let mut waits: Vec<_> = (1..=5).map(|number| Box::pin(sender.send(number))).collect();
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut context).is_pending());
    }
    // The second leaves before its turn, the third after it was granted.
    drop(waits.remove(1));
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(count.get(), 1, "one place, one wake");
    assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)), "the place is promised");
    assert!(waits.remove(0).as_mut().poll(&mut context).is_ready());
    assert_eq!(receiver.try_recv(), Ok(1));
    drop(waits.remove(0));
    assert_eq!(count.get(), 3, "the grant of the dropped one is passed on");
    assert!(waits.remove(0).as_mut().poll(&mut context).is_ready());
    assert_eq!(receiver.try_recv(), Ok(4));
    std::mem::forget(waits);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[corio::test]
fn a_burst_wakes_the_receiver_once_and_nobody_else_does() {
    let (sender, mut receiver) = mpsc(8);
    let count = Arc::new(Count::default());
    let waker = count.waker();
    sender.try_send(0).unwrap();
    assert_eq!(poll_once(receiver.recv()), Some(Some(0)));
    assert!(receiver.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    for number in 0..8 {
        sender.try_send(number).unwrap();
    }
    assert_eq!(count.get(), 1);
    let mut values = Vec::new();
    assert_eq!(poll_once(receiver.recv_many(&mut values, 100)), Some(8));
    assert_eq!(count.get(), 1);
}

#[corio::test]
fn values_without_size_and_large_ones_cross() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (nothing, mut nothings) = mpsc(3);
    let (large, mut larges) = mpsc(2);
    thread::scope(|scope| {
        scope.spawn(move || (0..EACH).for_each(|_| nothing.blocking_send(()).unwrap()));
        scope.spawn(move || {
            for number in 0..500_u64 {
                large
                    .blocking_send(([number; 1024], drops.fetch_add(1, Ordering::Relaxed)))
                    .unwrap();
            }
        });
        assert_eq!(std::iter::from_fn(|| nothings.blocking_recv()).count(), EACH);
        for number in 0..500 {
            assert_eq!(larges.blocking_recv().unwrap().0, [number; 1024]);
        }
    });
}

#[corio::test]
fn a_blocking_call_on_a_core_is_refused() {
    let (sender, mut receiver) = mpsc(1);
    corio::run(async move {
        let panic =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sender.blocking_send(1)));
        assert!(panic.is_err());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty), "nothing was sent");
    });
}
