//! Wakes from other threads: none is lost, whenever it comes, and none panics.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use corio::{BusyPoll, Runtime, spawn, timeout, yield_now};

use crate::PATIENCE;

/// Something that another thread says once.
#[derive(Default)]
struct Word {
    is_said: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Word {
    fn say(&self) {
        self.is_said.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for a word.
struct Hear(Arc<Word>);

impl Future for Hear {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.0.waker.lock().unwrap() = Some(context.waker().clone());
        match self.0.is_said.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// A thread that says each word after so long.
fn speaker() -> (mpsc::Sender<(Arc<Word>, Duration)>, thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel::<(Arc<Word>, Duration)>();
    let thread = thread::spawn(move || {
        for (word, delay) in receiver {
            let start = Instant::now();
            while start.elapsed() < delay {
                std::hint::spin_loop();
            }
            word.say();
        }
    });
    (sender, thread)
}

/// So many words, at moments from before the park to well after it.
fn hear_words(busy_poll: BusyPoll, count: u64) {
    let runtime = Runtime::builder().busy_poll(busy_poll).build().unwrap();
    let (sender, thread) = speaker();
    runtime.block_on(async {
        for round in 0..count {
            let word = Arc::new(Word::default());
            let delay = Duration::from_nanos(round * 7919 % 60_000);
            sender.send((Arc::clone(&word), delay)).unwrap();
            timeout(PATIENCE, Hear(word)).await.expect("no wake is lost");
        }
    });
    drop(sender);
    thread.join().expect("no panic");
}

#[corio::test]
fn a_parked_core_hears_a_thousand_wakes() {
    hear_words(BusyPoll::Off, 1000);
}

#[corio::test]
fn a_core_that_polls_in_user_space_hears_them_too() {
    hear_words(BusyPoll::Adaptive(Duration::from_micros(20)), 500);
    hear_words(BusyPoll::For(Duration::from_micros(50)), 500);
}

/// A waker that was noted, for other threads.
type Noted = Rc<RefCell<Option<Waker>>>;

/// Notes its waker and counts its polls.
fn noting(noted: &Noted, polls: &Arc<AtomicUsize>) -> impl Future<Output = ()> + use<> {
    let (noted, polls) = (Rc::clone(noted), Arc::clone(polls));
    poll_fn(move |context| {
        *noted.borrow_mut() = Some(context.waker().clone());
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    })
}

#[corio::test]
fn wakes_before_a_run_between_runs_and_after_the_end_are_taken() {
    let runtime = Runtime::new().unwrap();
    let (noted, polls) = (Noted::default(), Arc::new(AtomicUsize::new(0)));
    let task = runtime.block_on(async {
        let task = spawn(noting(&noted, &polls));
        yield_now().await;
        task
    });
    let waker = noted.take().unwrap();
    assert_eq!(polls.load(Ordering::SeqCst), 1);
    // Nobody turns the loop: the wake waits for the next run.
    wake_elsewhere(&waker);
    waker.wake_by_ref();
    runtime.block_on(yield_now());
    assert_eq!(polls.load(Ordering::SeqCst), 2, "both wakes are one poll");
    task.cancel();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    // The task is gone, then the runtime, then another one has taken its cell.
    wake_elsewhere(&waker);
    drop(runtime);
    wake_elsewhere(&waker);
    waker.wake_by_ref();
    corio::run(async {
        let task = spawn(noting(&noted, &polls));
        yield_now().await;
        wake_elsewhere(&waker);
        waker.wake_by_ref();
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!(polls.load(Ordering::SeqCst), 4, "cancelled, polled anew, no stale wake");
        task.cancel();
    });
}

fn wake_elsewhere(waker: &Waker) {
    let waker = waker.clone();
    thread::spawn(move || waker.wake()).join().expect("a wake does not panic");
}

#[corio::test]
fn wakes_race_with_the_end_of_the_runtime() {
    for round in 0..200u32 {
        let (sender, receiver) = mpsc::channel::<Waker>();
        let thread = thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            for _ in 0..50 + round {
                waker.wake_by_ref();
            }
        });
        corio::run(async {
            let polls = Arc::new(AtomicUsize::new(0));
            let noted = Noted::default();
            spawn(noting(&noted, &polls));
            yield_now().await;
            sender.send(noted.take().unwrap()).unwrap();
        });
        thread.join().expect("no panic");
    }
}

#[corio::test]
fn the_waker_of_an_ended_run_wakes_nobody_in_the_next() {
    let runtime = Runtime::new().unwrap();
    let noted = Noted::default();
    let notes = Rc::clone(&noted);
    runtime.block_on(poll_fn(move |context| {
        *notes.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    }));
    let old = noted.take().unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let root = noting(&noted, &polls);
        let mut root = std::pin::pin!(root);
        let ended = timeout(Duration::from_millis(20), async {
            wake_elsewhere(&old);
            old.wake_by_ref();
            (&mut root).await;
        });
        assert!(ended.await.is_err());
    });
    // Once when it began, and once for the timeout, unless that was over by then.
    assert!(polls.load(Ordering::SeqCst) <= 2);
}

#[corio::test]
fn more_wakes_than_the_inbox_holds_wake_everybody() {
    const TASKS: usize = 5000;
    let runtime = Runtime::new().unwrap();
    let words: Vec<Arc<Word>> = (0..TASKS).map(|_| Arc::default()).collect();
    let tasks: Vec<_> = runtime.block_on(async {
        let tasks = words.iter().map(|word| spawn(Hear(Arc::clone(word)))).collect();
        yield_now().await;
        tasks
    });
    runtime.block_on(yield_now());
    thread::spawn(move || words.iter().for_each(|word| word.say())).join().unwrap();
    runtime.block_on(async {
        for task in tasks {
            timeout(PATIENCE, task).await.expect("no wake is lost").unwrap();
        }
    });
}

#[corio::test]
fn a_storm_of_foreign_wakes_does_not_stop_the_loop() {
    let is_over = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::new().unwrap();
    let (noted, polls) = (Noted::default(), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        spawn(noting(&noted, &polls));
        yield_now().await;
        let waker = noted.take().unwrap();
        let stop = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                waker.wake_by_ref();
            }
        });
        timeout(PATIENCE, corio::sleep(Duration::from_millis(20))).await.expect("timers fire");
        is_over.store(true, Ordering::Relaxed);
        thread.join().unwrap();
    });
    assert!(polls.load(Ordering::SeqCst) > 1);
}
