//! Models of the ring and of the waiters, through the channel that is built of them.

use std::task::Waker;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::channel::mpsc::{Sender, mpsc};
use crate::{explore, explore_looking};

/// A value whose drop is counted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The receiver's mark against the publishing: a value that is there and a receiver that sleeps
/// would be a deadlock, which loom reports.
#[test]
fn a_receiver_that_waits_is_woken() {
    explore_looking(|| {
        let (sender, mut receiver) = mpsc(2);
        let thread = thread::spawn(move || {
            sender.try_send(1).unwrap();
            sender.try_send(2).unwrap();
        });
        assert_eq!(block_on(receiver.recv()), Some(1));
        assert_eq!(block_on(receiver.recv()), Some(2));
        assert_eq!(block_on(receiver.recv()), None);
        thread.join().unwrap();
    });
}

/// The count of what was taken against the wish for a permit; and a place that is written again.
#[test]
fn a_sender_that_waits_gets_the_place_and_its_memory() {
    explore_looking(|| {
        let (sender, mut receiver) = mpsc(1);
        let thread = thread::spawn(move || {
            block_on(async {
                for number in 0..3 {
                    sender.send(Box::new(number)).await.unwrap();
                }
            });
        });
        for number in 0..3 {
            assert_eq!(block_on(receiver.recv()), Some(Box::new(number)));
        }
        thread.join().unwrap();
    });
}

fn sending(sender: Sender<Box<usize>>, number: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || block_on(sender.send(Box::new(number))).unwrap())
}

/// One place, two senders that wait for it, and the end of both.
#[test]
fn two_senders_share_one_place() {
    explore(|| {
        let (sender, mut receiver) = mpsc(1);
        let threads = [sending(sender.clone(), 1), sending(sender, 2)];
        let mut sum = 0;
        while let Some(number) = block_on(receiver.recv()) {
            sum += *number;
        }
        assert_eq!(sum, 3);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A permit that is used a lap after it was granted: its position's cell was emptied meanwhile, by
/// a take that only the claims of others tell of.
#[test]
fn a_permit_is_used_late() {
    explore(|| {
        let (sender, mut receiver) = mpsc(2);
        let other = sender.clone();
        let early = thread::spawn(move || {
            let permit = sender.try_reserve().ok();
            permit.map(|permit| permit.send(Box::new(1)).unwrap()).is_some()
        });
        let twice = thread::spawn(move || {
            let sent = [2, 3].map(|number| other.try_send(Box::new(number)).is_ok());
            sent.iter().filter(|sent| **sent).count()
        });
        let mut count = 0;
        while block_on(receiver.recv()).is_some() {
            count += 1;
        }
        assert_eq!(count, usize::from(early.join().unwrap()) + twice.join().unwrap());
    });
}

/// A wait that is dropped while it is being granted: the next in line must not sleep for ever.
#[test]
fn a_dropped_wait_passes_its_grant_on() {
    explore_looking(|| {
        let (sender, mut receiver) = mpsc(1);
        sender.try_send(Box::new(1)).unwrap();
        let (quitter, other) = (sender.clone(), sending(sender, 2));
        let quitting = thread::spawn(move || {
            let mut wait = Box::pin(quitter.reserve());
            let mut context = std::task::Context::from_waker(Waker::noop());
            let _ = wait.as_mut().poll(&mut context);
            drop(wait);
        });
        assert_eq!(block_on(receiver.recv()), Some(Box::new(1)));
        assert_eq!(block_on(receiver.recv()), Some(Box::new(2)));
        quitting.join().unwrap();
        other.join().unwrap();
    });
}

/// A receiver that goes between a claim and its publishing: the value is dropped once, by one of
/// the two.
#[test]
fn a_receiver_that_goes_leaves_no_value() {
    explore(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = mpsc(2);
        let value = Counted(Arc::clone(&drops));
        let thread = thread::spawn(move || drop(sender.try_send(value)));
        drop(receiver);
        thread.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// A close against a sender that joins the line, and against a permit that comes back.
#[test]
fn a_close_is_heard_by_all() {
    explore(|| {
        let (sender, mut receiver) = mpsc::<usize>(1);
        let permit_holder = sender.clone();
        let holding = thread::spawn(move || drop(permit_holder.try_reserve()));
        let waiting = thread::spawn(move || {
            let _ = block_on(sender.send(1));
            let _ = block_on(sender.send(2));
        });
        receiver.close();
        while block_on(receiver.recv()).is_some() {}
        holding.join().unwrap();
        waiting.join().unwrap();
    });
}
