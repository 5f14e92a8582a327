//! The end of a channel: at every moment, seen by all who wait, and no value is lost or leaked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use std::thread;

use corio::channel::{TryRecvError, TrySendError, mpsc};

use crate::support::{Random, bounded, poll_once};
use crate::{Count, Counted};

#[corio::test]
fn a_receiver_that_goes_at_any_moment_leaves_no_value_behind() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (capacity, taken) = (1 + random.below(4), random.below(40));
        let (sender, mut receiver) = mpsc(capacity);
        let (made, drops) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        thread::scope(|scope| {
            for _ in 0..3 {
                let (sender, made, drops) = (sender.clone(), &made, Arc::clone(&drops));
                scope.spawn(move || {
                    for _ in 0..20 {
                        made.fetch_add(1, Ordering::SeqCst);
                        if sender.blocking_send(Counted(Arc::clone(&drops))).is_err() {
                            assert!(sender.is_closed(), "seed {seed}");
                        }
                    }
                });
            }
            scope.spawn(move || {
                for _ in 0..taken {
                    receiver.blocking_recv();
                }
            });
        });
        let (made, drops) = (made.into_inner(), drops.load(Ordering::SeqCst));
        assert_eq!(made, drops, "seed {seed}: leaked or dropped twice");
    }
}

#[corio::test]
fn a_value_that_holds_its_own_sender_is_no_leak() {
    for seed in 0..100 {
        let (sender, receiver) = mpsc::<Box<dyn std::any::Any + Send>>(4);
        let drops = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            let (sender, value) = (sender.clone(), Counted(Arc::clone(&drops)));
            scope.spawn(move || {
                let value = Box::new((sender.clone(), value));
                let _ = sender.try_send(value);
            });
            scope.spawn(move || {
                for _ in 0..seed {
                    std::hint::spin_loop();
                }
                drop(receiver);
            });
        });
        assert_eq!(drops.load(Ordering::SeqCst), 1, "round {seed}");
    }
}

#[corio::test]
fn the_last_sender_that_goes_wakes_the_receiver() {
    for _ in 0..200 {
        let (sender, mut receiver) = mpsc::<u8>(1);
        thread::scope(|scope| {
            for _ in 0..3 {
                let sender = sender.clone();
                scope.spawn(move || drop(sender));
            }
            drop(sender);
            corio::run(bounded(async { assert_eq!(receiver.recv().await, None) }));
        });
    }
}

#[corio::test]
fn a_closed_channel_refuses_who_waits_and_still_delivers() {
    let (sender, mut receiver) = mpsc(1);
    sender.try_send(1).unwrap();
    let count = Arc::new(Count::default());
    let waker = count.waker();
    let mut context = Context::from_waker(&waker);
    let mut waits: Vec<_> = (2..5).map(|number| Box::pin(sender.send(number))).collect();
    let mut closed = Box::pin(sender.closed());
    for wait in &mut waits {
        assert!(wait.as_mut().poll(&mut context).is_pending());
    }
    assert!(closed.as_mut().poll(&mut context).is_pending());
    receiver.close();
    assert_eq!(count.get(), 4, "all hear of it at once");
    for (wait, number) in waits.iter_mut().zip(2..) {
        let poll = wait.as_mut().poll(&mut context);
        assert!(matches!(poll, std::task::Poll::Ready(Err(error)) if error.0 == number));
    }
    assert!(closed.as_mut().poll(&mut context).is_ready());
    assert_eq!(sender.try_send(9), Err(TrySendError::Closed(9)));
    assert_eq!(poll_once(receiver.recv()), Some(Some(1)));
    assert_eq!(poll_once(receiver.recv()), Some(None));
}

#[corio::test]
fn a_closed_receiver_waits_for_permits_that_are_out() {
    let (sender, mut receiver) = mpsc(2);
    let (one, other) = (sender.try_reserve().unwrap(), sender.try_reserve().unwrap());
    let count = Arc::new(Count::default());
    let waker = count.waker();
    let mut context = Context::from_waker(&waker);
    receiver.close();
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert!(receiver.poll_recv(&mut context).is_pending());
    one.send(1).unwrap();
    assert_eq!(count.get(), 1);
    assert_eq!(poll_once(receiver.recv()), Some(Some(1)));
    assert!(receiver.poll_recv(&mut context).is_pending());
    drop(other);
    assert_eq!(count.get(), 2, "the last permit ends the wait");
    assert_eq!(poll_once(receiver.recv()), Some(None));
}

#[corio::test]
fn a_permit_outlives_the_receiver_and_gives_the_value_back() {
    let (sender, receiver) = mpsc(1);
    let permit = sender.try_reserve().unwrap();
    drop(receiver);
    assert_eq!(permit.send(5).unwrap_err().0, 5);
}

#[corio::test]
fn a_value_that_panics_when_it_is_dropped_takes_no_other_with_it() {
    struct Rude(#[expect(dead_code)] Counted);
    impl Drop for Rude {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("a rude drop");
            }
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = mpsc(4);
    for _ in 0..4 {
        sender.try_send(Rude(Counted(Arc::clone(&drops)))).unwrap();
    }
    assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 4);
    let refused = sender.try_send(Rude(Counted(Arc::clone(&drops))));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(refused))).is_err());
}
