//! Models of a core's inbox, and of how a sleeping core is woken.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::executor::inbox::{Inbox, MustRing, TicketRing};
use crate::explore;

/// Stands for the eventfd: a ring is remembered until the next wait.
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Core {
    inbox: Inbox<2>,
    bell: Bell,
    /// What the wakes are about; a task looks here when it is woken.
    words: [AtomicUsize; 3],
}

impl Core {
    fn new() -> Arc<Core> {
        let bell = Bell { rung: Mutex::new(false), changed: Condvar::new() };
        let words = std::array::from_fn(|_| AtomicUsize::new(0));
        Arc::new(Core { inbox: Inbox::new(), bell, words })
    }

    /// Says a word, and wakes who waits for it.
    fn post(&self, ticket: usize) {
        self.words[ticket].store(1, Ordering::Relaxed);
        if self.inbox.post(ticket as u64) == MustRing::Yes {
            self.bell.ring();
        }
    }

    /// A core that waits until every word that it was woken for was said: a lost wake is a
    /// deadlock, and a word that is not visible after its wake is one, too.
    fn run(&self, count: usize) {
        let mut heard = [false; 3];
        while heard.iter().filter(|heard| **heard).count() < count {
            while let Some(ticket) = self.inbox.pop() {
                let ticket = ticket as usize;
                assert_eq!(self.words[ticket].load(Ordering::Relaxed), 1, "woken too early");
                heard[ticket] = true;
            }
            if self.inbox.take_wake_all() {
                for (heard, word) in heard.iter_mut().zip(&self.words) {
                    *heard |= word.load(Ordering::Relaxed) == 1;
                }
            }
            if heard.iter().filter(|heard| **heard).count() < count && self.inbox.announce_sleep() {
                self.bell.wait();
                self.inbox.awake();
            }
        }
    }
}

/// The announcement of sleep against the knock: c1 to c3 and p1 to p3 in every order.
#[test]
fn a_core_that_falls_asleep_is_woken_by_one_producer() {
    explore(|| {
        let core = Core::new();
        let producer = Arc::clone(&core);
        let thread = thread::spawn(move || {
            producer.post(0);
            producer.post(1);
        });
        core.run(2);
        thread.join().unwrap();
    });
}

/// Two producers, of which one takes the word and the other relies on its bell.
#[test]
fn a_core_that_falls_asleep_is_woken_by_either_of_two() {
    explore(|| {
        let core = Core::new();
        let threads = [0, 1].map(|ticket| {
            let producer = Arc::clone(&core);
            thread::spawn(move || producer.post(ticket))
        });
        core.run(2);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Three tickets for two places: the flag takes over.
#[test]
fn a_full_ring_wakes_everybody() {
    explore(|| {
        let core = Core::new();
        let producer = Arc::clone(&core);
        let thread = thread::spawn(move || (0..3).for_each(|ticket| producer.post(ticket)));
        core.run(3);
        thread.join().unwrap();
    });
}

/// The ring alone: nothing is lost, doubled or out of its producer's order, over more than a lap.
#[test]
fn tickets_come_once_and_in_order() {
    explore(|| {
        let ring = Arc::new(TicketRing::<2>::new());
        let threads = [10, 20].map(|first| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (0..2).filter(|more| ring.push(first + more)).count())
        });
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.extend(ring.pop());
        }
        let pushed: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
        taken.extend(std::iter::from_fn(|| ring.pop()));
        assert_eq!(taken.len(), pushed);
        for first in [10, 20] {
            let own: Vec<_> = taken.iter().filter(|ticket| **ticket / 10 == first / 10).collect();
            assert!(own.is_sorted(), "{taken:?}");
        }
    });
}
