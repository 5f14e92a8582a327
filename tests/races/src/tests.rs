//! Threads that send, receive, wake, give up and go, all at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::channel::mpsc::mpsc;
use crate::executor::inbox::{Inbox, MustRing};

/// Polls until the future is ready, and yields in between. A waker's only duty here is to be
/// cloned, moved between threads, and called.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
            // What its count orders, the sanitizer would not see.
            std::mem::forget(self);
        }
    }
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    std::mem::forget(Arc::clone(&flag));
    let waker = Waker::from(Arc::clone(&flag));
    let mut future = pin!(future);
    loop {
        while !flag.0.swap(false, Ordering::Acquire) {
            thread::yield_now();
        }
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
}

/// Polls once or twice, and gives up.
fn give_up<F: Future>(future: F) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let _ = future.as_mut().poll(&mut context).is_pending()
        && future.as_mut().poll(&mut context).is_pending();
}

#[test]
fn values_cross() {
    const COUNT: u64 = 3_000;
    for capacity in [1, 2, 5, 64] {
        let (sender, mut receiver) = mpsc::<Box<u64>>(capacity);
        // The channel's memory is given back by nobody: its count is the standard library's.
        std::mem::forget(sender.clone());
        thread::scope(|scope| {
            for _ in 0..3 {
                let sender = sender.clone();
                scope.spawn(move || {
                    for number in 0..COUNT {
                        if number % 11 == 0 {
                            give_up(sender.reserve());
                        }
                        if number % 13 != 0 || sender.try_send(Box::new(number)).is_err() {
                            block_on(sender.send(Box::new(number))).unwrap();
                        }
                    }
                    std::mem::forget(sender);
                });
            }
            let (mut sum, mut taken, mut values) = (0, 0, Vec::new());
            while taken < 3 * COUNT {
                give_up(receiver.recv_many(&mut values, 0));
                sum += block_on(receiver.recv()).map_or(0, |number| *number);
                taken += 1;
                if taken + 4 <= 3 * COUNT {
                    taken += block_on(receiver.recv_many(&mut values, 4)) as u64;
                    sum += values.drain(..).map(|number| *number).sum::<u64>();
                }
            }
            assert_eq!(sum, 3 * COUNT * (COUNT - 1) / 2);
        });
        std::mem::forget(sender);
    }
}

#[test]
fn a_receiver_goes_at_any_moment() {
    for round in 0..300 {
        let (sender, mut receiver) = mpsc::<Box<u64>>(3);
        std::mem::forget(sender.clone());
        thread::scope(|scope| {
            for _ in 0..2 {
                let sender = sender.clone();
                scope.spawn(move || {
                    while block_on(sender.send(Box::new(1))).is_ok() {}
                    std::mem::forget(sender);
                });
            }
            for _ in 0..round % 7 {
                block_on(receiver.recv());
            }
            drop(receiver);
        });
        std::mem::forget(sender);
    }
}

#[test]
fn wakes_get_in_and_find_a_sleeper() {
    const COUNT: u64 = 20_000;
    let inbox: Inbox<8> = Inbox::new();
    let (bell, said) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for ticket in 0..COUNT {
                    said.fetch_add(1, Ordering::Relaxed);
                    if inbox.post(ticket) == MustRing::Yes {
                        bell.store(true, Ordering::Release);
                    }
                }
            });
        }
        while said.load(Ordering::Relaxed) < 3 * COUNT {
            while inbox.pop().is_some() {}
            inbox.take_wake_all();
            if said.load(Ordering::Relaxed) < 3 * COUNT && inbox.announce_sleep() {
                while !bell.swap(false, Ordering::Acquire)
                    && said.load(Ordering::Relaxed) < 3 * COUNT
                {
                    thread::yield_now();
                }
                inbox.awake();
            }
        }
    });
}
