//! Futures driven by hand: polled when the test says so, with wakers that count, in the order that
//! a seed gives. So a test decides what happens between a wake and the poll that follows it.
#![allow(dead_code)] // Each test binary uses its part of it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A waker that counts.
#[derive(Default)]
pub struct Count(AtomicUsize);

impl Count {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A future in a box, which the test polls, and drops or leaks when it likes.
pub struct Hand<F: Future> {
    future: Pin<Box<F>>,
    count: Arc<Count>,
}

/// A future that was not polled yet.
pub fn hand<F: Future>(future: F) -> Hand<F> {
    Hand { future: Box::pin(future), count: Arc::default() }
}

/// A future that was polled once, and has to wait.
#[track_caller]
pub fn waiting<F: Future>(future: F) -> Hand<F> {
    let mut hand = hand(future);
    hand.pending();
    hand
}

/// The value of a future that must not wait.
#[track_caller]
pub fn now<F: Future>(future: F) -> F::Output {
    hand(future).ready()
}

impl<F: Future> Hand<F> {
    pub fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.count));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub fn poll_with(&mut self, waker: &Waker) -> Poll<F::Output> {
        self.future.as_mut().poll(&mut Context::from_waker(waker))
    }

    /// Polls it; it has to wait.
    #[track_caller]
    pub fn pending(&mut self) {
        assert!(self.poll().is_pending(), "the future is ready");
    }

    /// Polls it; it has to be ready.
    #[track_caller]
    pub fn ready(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("the future is pending"),
        }
    }

    /// Polls it after exactly one wake; it has to be ready.
    #[track_caller]
    pub fn woken(&mut self) -> F::Output {
        assert_eq!(self.count.take(), 1, "wakes since the last look");
        self.ready()
    }

    /// How often it was woken since the last look.
    pub fn wakes(&self) -> usize {
        self.count.take()
    }

    /// Never drops the future, whose memory stays.
    pub fn leak(self) {
        std::mem::forget(self.future);
    }
}

/// A generator that gives the same numbers for the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as usize * bound) >> 32
    }
}

type Member<'a> = Option<(Pin<Box<dyn Future<Output = ()> + 'a>>, Arc<Count>)>;

/// Many futures under a seed: they are polled in any order, woken or not, with the old waker or a
/// new one, and some are dropped wherever they are.
pub struct Crowd<'a> {
    members: Vec<Member<'a>>,
    random: Random,
    seed: u64,
}

impl<'a> Crowd<'a> {
    pub fn new(seed: u64) -> Crowd<'a> {
        Crowd { members: Vec::new(), random: Random::new(seed), seed }
    }

    /// A member, due for its first poll.
    pub fn add(&mut self, future: impl Future<Output = ()> + 'a) {
        let count = Arc::new(Count::default());
        Wake::wake(Arc::clone(&count));
        self.members.push(Some((Box::pin(future), count)));
    }

    fn poll(&mut self, index: usize) {
        let Some((future, count)) = &mut self.members[index] else { return };
        count.take();
        let waker = Waker::from(Arc::clone(count));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.members[index] = None;
        }
    }

    fn change_waker(&mut self, index: usize) {
        let Some((future, count)) = &mut self.members[index] else { return };
        *count = Arc::default();
        let waker = Waker::from(Arc::clone(count));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.members[index] = None;
        }
    }

    /// A number of random steps; each `one_in`-th drops a member.
    pub fn jostle(&mut self, steps: usize, one_in: usize) {
        for _ in 0..steps {
            let index = self.random.below(self.members.len());
            if self.random.below(one_in) == 0 {
                self.members[index] = None;
            } else if self.random.below(8) == 0 {
                self.change_waker(index);
            } else {
                self.poll(index);
            }
        }
    }

    /// Polls who was woken, in random order, until nobody is. Nobody must be left.
    #[track_caller]
    pub fn finish(&mut self) {
        for _ in 0..100_000 {
            let is_woken = |index: &usize| {
                self.members[*index].as_ref().is_some_and(|(_, count)| count.get() > 0)
            };
            let woken: Vec<usize> = (0..self.members.len()).filter(is_woken).collect();
            if woken.is_empty() {
                let left = self.members.iter().flatten().count();
                assert_eq!(left, 0, "seed {}: some wait for a wake that was lost", self.seed);
                return;
            }
            let index = woken[self.random.below(woken.len())];
            self.poll(index);
        }
        panic!("seed {}: this does not end", self.seed);
    }
}

/// A place that is noted while it is held: who waits, by the order in which they came.
#[derive(Default)]
pub struct Line(RefCell<(usize, Vec<usize>)>);

impl Line {
    /// At the end of the line, until the return value is dropped.
    pub fn join(&self) -> Place<'_> {
        let (last, waiting) = &mut *self.0.borrow_mut();
        *last += 1;
        waiting.push(*last);
        Place { line: self, number: *last }
    }
}

pub struct Place<'a> {
    line: &'a Line,
    number: usize,
}

impl Place<'_> {
    pub fn is_first(&self) -> bool {
        self.line.0.borrow().1.first() == Some(&self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.0.borrow_mut().1.retain(|number| *number != self.number);
    }
}

/// Other tasks run meanwhile.
pub async fn pause() {
    let mut paused = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
