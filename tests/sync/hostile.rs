//! Wakers are foreign code: they may drop, poll and use whatever they reach, and panic.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use corio::sync::{
    Barrier, Condition, Event, Mutex, Notify, RwLock, Semaphore, broadcast, oneshot, watch,
};

use crate::hand::{now, waiting};

type Action = Box<dyn FnMut()>;

thread_local! {
    static ACTIONS: RefCell<Vec<Option<Action>>> = const { RefCell::new(Vec::new()) };
}

/// What a waker does when it is woken. The actions are of one thread, the waker is of any.
struct Act(usize);

impl Wake for Act {
    fn wake(self: Arc<Self>) {
        let action = ACTIONS.with_borrow_mut(|actions| actions[self.0].take());
        if let Some(mut action) = action {
            action();
        }
    }
}

fn acting(action: impl FnMut() + 'static) -> Waker {
    let index = ACTIONS.with_borrow_mut(|actions| {
        actions.push(Some(Box::new(action)));
        actions.len() - 1
    });
    Waker::from(Arc::new(Act(index)))
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

fn poll(wait: &mut Wait, waker: &Waker) -> bool {
    wait.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
}

/// Waits of one kind, each with a waker that drops all of them, or polls all of them.
fn attack(make: impl Fn() -> Wait, release: impl Fn()) {
    type Waits = Rc<RefCell<Vec<Option<Wait>>>>;
    let take_all = |waits: &Waits| -> Vec<Wait> {
        waits.borrow_mut().iter_mut().filter_map(Option::take).collect()
    };
    for kind in 0..3 {
        let waits: Waits = Rc::new(RefCell::new((0..4).map(|_| Some(make())).collect()));
        for index in 0..4 {
            let reached = Rc::clone(&waits);
            let waker = acting(move || match kind {
                0 => drop(take_all(&reached)),
                1 => {
                    let mut all = take_all(&reached);
                    all.retain_mut(|wait| !poll(wait, Waker::noop()));
                    reached.borrow_mut().extend(all.into_iter().map(Some));
                }
                _ => panic!("a waker that panics"),
            });
            let mut wait = waits.borrow_mut()[index].take().unwrap();
            if !poll(&mut wait, &waker) {
                waits.borrow_mut()[index] = Some(wait);
            }
        }
        release();
        release();
        drop(take_all(&waits));
    }
}

#[corio::test]
fn a_waker_that_drops_or_polls_all_waits_or_panics_harms_no_primitive() {
    let mutex = Rc::new(Mutex::new(0));
    let lock = Rc::clone(&mutex);
    let held = RefCell::new(None);
    *held.borrow_mut() = Some(now(Rc::clone(&mutex).lock_owned()));
    let make = move || -> Wait {
        let lock = Rc::clone(&lock);
        Box::pin(async move { *lock.lock().await += 1 })
    };
    attack(make, || {
        drop(held.take());
        if let Ok(guard) = Rc::clone(&mutex).try_lock_owned() {
            held.replace(Some(guard));
        }
    });
    drop(held.take());
    assert!(!mutex.is_locked(), "nobody has it, nobody waits");

    let event = Rc::new(Event::new());
    let waited = Rc::clone(&event);
    let make = move || -> Wait {
        let event = Rc::clone(&waited);
        Box::pin(async move { event.wait().await })
    };
    attack(make, || {
        event.set();
        event.clear();
    });

    let notify = Rc::new(Notify::new());
    let waited = Rc::clone(&notify);
    let make = move || -> Wait {
        let notify = Rc::clone(&waited);
        Box::pin(async move { notify.notified().await })
    };
    attack(make, || {
        notify.notify_one();
        notify.notify_waiters();
    });

    let semaphore = Rc::new(Semaphore::new(0));
    let waited = Rc::clone(&semaphore);
    let make = move || -> Wait {
        let semaphore = Rc::clone(&waited);
        Box::pin(async move { drop(semaphore.acquire_many(2).await) })
    };
    attack(make, || semaphore.add_permits(1).unwrap());
    assert_eq!(semaphore.available(), 6, "all that was added came back");
}

#[corio::test]
fn a_waker_that_attacks_barriers_readers_and_conditions_harms_none() {
    let barrier = Rc::new(Barrier::new(6));
    let waited = Rc::clone(&barrier);
    let make = move || -> Wait {
        let barrier = Rc::clone(&waited);
        Box::pin(async move {
            let _ = barrier.wait().await;
        })
    };
    attack(make, || barrier.reset());
    assert_eq!(barrier.n_waiting(), 0);

    let lock = Rc::new(RwLock::new(0));
    let waited = Rc::clone(&lock);
    let make = move || -> Wait {
        let lock = Rc::clone(&waited);
        Box::pin(async move {
            drop(lock.read().await);
            *lock.write().await += 1;
        })
    };
    let writing = Box::leak(Box::new(Rc::clone(&lock))).try_write().unwrap();
    let writing = RefCell::new(Some(writing));
    attack(make, || drop(writing.take()));
    drop(lock.try_write().expect("nobody has it, nobody waits"));

    let pair = Rc::new((Mutex::new(0), Condition::new()));
    let waited = Rc::clone(&pair);
    let make = move || -> Wait {
        let pair = Rc::clone(&waited);
        Box::pin(async move { drop(pair.1.wait(pair.0.lock().await).await) })
    };
    attack(make, || {
        if let Ok(guard) = pair.0.try_lock() {
            pair.1.notify_all(&guard);
        }
    });
    assert!(!pair.0.is_locked(), "nobody has it, nobody waits");
}

#[corio::test]
fn a_waker_that_attacks_channels_harms_none() {
    let (told, first) = watch(0);
    let make = move || -> Wait {
        let mut receiver = first.clone();
        Box::pin(async move {
            let _ = receiver.changed().await;
        })
    };
    attack(make, || drop(told.send_replace(1)));
    assert_eq!(told.receiver_count(), 0, "every wait is gone, and its receiver");
    drop(told.send_replace(2));

    let (sender, first) = broadcast(2);
    let make = move || -> Wait {
        let mut receiver = first.resubscribe();
        Box::pin(async move {
            let _ = receiver.recv().await;
        })
    };
    attack(make, || {
        let _ = sender.send(1);
    });
    assert_eq!((sender.receiver_count(), sender.len()), (0, 0));

    let senders = Rc::new(RefCell::new(Vec::new()));
    let sending = Rc::clone(&senders);
    let make = move || -> Wait {
        let (sender, receiver) = oneshot();
        sending.borrow_mut().push(sender);
        Box::pin(async move {
            let _ = receiver.await;
        })
    };
    attack(make, || {
        let one = senders.borrow_mut().pop();
        let _ = one.map(|sender| sender.send(1));
        let all = senders.take();
        drop(all);
    });
    assert!(senders.borrow().is_empty());
}

#[corio::test]
fn a_waker_may_drop_the_channel_that_wakes_it() {
    let (sender, mut receiver) = broadcast(4);
    let mut other = sender.subscribe();
    let reached = Rc::new(RefCell::new(None));
    let taken = Rc::clone(&reached);
    let mut wait: Wait = Box::pin(async move {
        let _ = receiver.recv().await;
    });
    assert!(!poll(&mut wait, &acting(move || drop(taken.take()))));
    let mut late = waiting(other.recv());
    // The first waker drops its own wait, and with it its receiver, while values are sent.
    *reached.borrow_mut() = Some(wait);
    assert_eq!(sender.send(Rc::new(1)).ok(), Some(2));
    assert!(reached.borrow().is_none());
    assert_eq!(*late.woken().unwrap(), 1);
    drop(late);
    assert!(sender.is_empty());

    let (sender, mut receiver) = watch(0);
    let mut twin = receiver.clone();
    let reached = Rc::new(RefCell::new(None));
    let taken = Rc::clone(&reached);
    let mut wait: Wait = Box::pin(async move {
        let _ = receiver.changed().await;
    });
    assert!(!poll(&mut wait, &acting(move || drop(taken.take()))));
    let mut late = waiting(twin.changed());
    *reached.borrow_mut() = Some(wait);
    sender.send(1).unwrap();
    assert_eq!((late.woken(), sender.receiver_count()), (Ok(()), 1));
}

#[corio::test]
fn a_waker_that_panics_takes_no_wake_from_the_others() {
    let event = Rc::new(Event::new());
    let mut hostile = Box::pin(event.wait());
    let waker = acting(|| panic!("a waker that panics"));
    assert!(hostile.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut other = waiting(event.wait());
    event.set();
    other.woken();
}

#[corio::test]
fn a_waker_may_drop_the_last_handle_of_what_wakes_it() {
    let event = Rc::new(Event::new());
    let last = Rc::new(RefCell::new(Some(Rc::clone(&event))));
    let mut wait: Wait = {
        let event = Rc::clone(&event);
        Box::pin(async move { event.wait().await })
    };
    let reached = Rc::clone(&last);
    let waker = acting(move || drop(reached.take()));
    assert!(!poll(&mut wait, &waker));
    let weak = Rc::downgrade(&event);
    drop(wait);
    event.set();
    drop((event, last.take()));
    assert!(weak.upgrade().is_none());
}

/// A waker that does nothing when it is woken, and what `ON_DROP` says when its last clone is
/// dropped.
struct ActOnDrop;

impl Wake for ActOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for ActOnDrop {
    fn drop(&mut self) {
        if let Some(mut action) = ON_DROP.take() {
            action();
        }
    }
}

thread_local! {
    static ON_DROP: RefCell<Option<Action>> = const { RefCell::new(None) };
}

#[corio::test]
fn a_waker_whose_drop_ends_the_wait_loses_no_wake() {
    let mutex = Rc::new(Mutex::new(0));
    let held = Rc::new(RefCell::new(Some(now(Rc::clone(&mutex).lock_owned()))));
    let mut wait = Box::pin(mutex.lock());
    let waker = Waker::from(Arc::new(ActOnDrop));
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    ON_DROP.set(Some(Box::new(move || drop(held.take()))));
    // The poll replaces the waker; the old one's drop unlocks the mutex.
    match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(guard) => drop(guard),
        Poll::Pending => panic!("the lock was handed over during the poll"),
    }
    assert!(!mutex.is_locked());
}
