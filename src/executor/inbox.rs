//! The inbox of one core: how a wake from another thread gets in, and how it finds a sleeper.
//!
//! A wake from elsewhere is a ticket, a number that names core, slot and generation. Any thread
//! may post one at any moment: from the middle of someone's lock, from a signal handler, after the
//! core has ended. So `post` never allocates, never blocks, never waits for another thread, and
//! never fails. What makes the last two possible together is that a wake may always be spurious:
//! when the ring of tickets is full, a flag asks for *every* task of the core to be woken, which
//! says more than the tickets would have said, in one bit.
//!
//! Nothing here is `unsafe`. All memory is atomic, so even a misuse (two consumers) can only lose
//! or repeat tickets. An inbox is all zeroes when new: a static table of inboxes lies in pages that
//! no one pays for before a core uses them. It is never freed, so a late producer writes into an
//! inbox that nobody reads, or that a later core reads and finds stale.
//!
//! # The ring
//!
//! Places are numbered 0, 1, 2, ... for ever; place `p` lives in cell `p % CAPACITY`, on lap
//! `p / CAPACITY`. Each cell has a stamp that says which place it serves and how far that is:
//!
//! ```text
//!            1 claim (push)             2 publish (push)            3 take (pop)
//!  ┌──────┐  tail: p → p + 1  ┌───────┐  stamp := 2 lap + 1  ┌──────┐  stamp := 2 lap + 2
//!  │ free ├──────────────────▶│claimed├─────────────────────▶│filled├────────────▶ free for
//!  └──────┘                   └───────┘                      └──────┘              p + CAPACITY
//!   2 lap                      2 lap                          2 lap + 1
//! ```
//!
//! 1. *Claim* is the one step that producers contend for: a compare-and-exchange on `tail`, made
//!    only after the stamp said that the cell is free for this lap. `Acquire` on the stamp pairs
//!    with the `Release` of step 3: the consumer has read the old ticket before we overwrite it.
//!    A failed exchange means that another producer went ahead, and the number of attempts is
//!    bounded: a producer that always loses calls the ring full, which is allowed.
//! 2. *Publish* stores ticket and stamp, the stamp with `Release`.
//! 3. *Take* reads the stamp with `Acquire`: what the producer did before its wake happened before
//!    the poll that follows. `head` belongs to the consumer alone.
//!
//! A producer that is preempted between 1 and 2 leaves a claimed place. The consumer sees it as
//! empty and does not look beyond it, so tickets behind it wait as well; it may even go to sleep.
//! None of them is lost: the preempted producer looks at `asleep` *after* it publishes, as all do,
//! and rings. What is behind it is late by its time off the processor. If the ring fills up
//! meanwhile, the flag takes over, for the flag waits for nobody.
//!
//! # Sleeping
//!
//! A bell costs a system call on both sides, so it is rung only for a core that sleeps. `asleep` is
//! a word of two values:
//!
//! ```text
//!              1 announce_sleep
//!         ┌────────────────────────▶┐
//!   0 awake                     1 asleep ── the consumer may block in the kernel
//!         └◀────────────────────────┘
//!           2 announce_sleep found something after all, and withdraws
//!           3 awake: the consumer is back, for whatever reason
//!           4 knock: one producer took the word from 1 to 0, and owes the bell
//! ```
//!
//! Exactly one producer takes step 4 for one announcement, so a sleeper hears one bell however many
//! tickets come. A producer that took the word but has not rung yet owes the bell still; the
//! others rely on it. A bell may also reach a consumer that is awake (2 or 3 raced with 4): then
//! one wait returns at once with nothing to do.
//!
//! **Why no wake is lost.** Both sides write first and look afterwards, with a fence between:
//!
//! ```text
//!   consumer, announce_sleep                producer, post
//!   c1  asleep := 1                         p1  stamp := filled   (or wake_all := true)
//!   c2  fence(SeqCst)                       p2  fence(SeqCst)
//!   c3  look at the stamp and wake_all      p3  look at asleep
//! ```
//!
//! All `SeqCst` fences lie in one order, the same for everyone.
//! * If c2 comes before p2, then p3 sees c1 or something later. If it sees 1, the producer takes
//!   the word and rings. If it sees 0, then either another producer took it, and that one rings, or
//!   the consumer itself came back after c1: it will look again before it sleeps again, and the
//!   argument starts anew with that look.
//! * If p2 comes before c2, then c3 sees p1, and the consumer does not sleep.
//!
//! Without the fences each side's look could overtake its own write (x86 does this, too: the store
//! waits in the store buffer), both would see the old values, and the core would sleep on a full
//! inbox. Since the fences carry the argument, the accesses around them can be `Relaxed`; the
//! `Release` and `Acquire` that are there serve the ring. The bell need not order anything.
//!
//! `wake_all` is set by an exchange and not by a store: all exchanges form one release sequence,
//! so the consumer that takes the flag has synchronised with *every* producer that set it. After
//! plain stores it would have met only the last. Nor may a producer skip the write because it sees
//! the flag set: what it sees may have been taken already.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// How often a producer tries to claim a place before it calls the ring full. Each failed attempt
/// is another thread's success, so only a storm of wakes comes near this bound.
const CLAIM_ATTEMPTS_MAX: usize = 64;

/// What a producer must do after it has posted.
#[must_use = "a sleeping core that is not rung sleeps on"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MustRing {
    /// The core slept and this call took its word: the caller, and nobody else, rings its bell.
    Yes,
    /// The core is awake and will look, or another producer rings.
    No,
}

/// What other threads tell one core. Everyone may [`Inbox::post`]; the rest is for the core alone.
#[derive(Debug)]
pub(crate) struct Inbox<const CAPACITY: usize = 1024> {
    ring: TicketRing<CAPACITY>,
    /// The ring was full: every task of this core is to be woken.
    wake_all: AtomicBool,
    /// 1 while the core sleeps or is about to, and nobody has rung yet.
    asleep: AtomicU32,
}

impl<const CAPACITY: usize> Inbox<CAPACITY> {
    /// An empty inbox of a core that is awake: all zeroes.
    pub(crate) const fn new() -> Self {
        Inbox {
            ring: TicketRing::new(),
            wake_all: AtomicBool::new(false),
            asleep: AtomicU32::new(0),
        }
    }

    /// Leaves a ticket, or when there is no place for it asks for everything to be woken.
    pub(crate) fn post(&self, ticket: u64) -> MustRing {
        if !self.ring.push(ticket) {
            self.wake_all.swap(true, Ordering::Release);
        }
        self.knock()
    }

    /// The producer's half of the sleep protocol, p2 and p3. Also for what is published beside the
    /// tickets, provided that the consumer looks there after [`Inbox::announce_sleep`].
    pub(crate) fn knock(&self) -> MustRing {
        fence(Ordering::SeqCst);
        // The plain look comes first because the core is nearly always awake, and an exchange
        // would take the cache line away from it each time.
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return MustRing::No;
        }
        match self.asleep.compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => MustRing::Yes,
            Err(_) => MustRing::No,
        }
    }

    /// The next ticket, for the consumer.
    pub(crate) fn pop(&self) -> Option<u64> {
        self.ring.pop()
    }

    /// Whether every task is to be woken; asking resets the flag. For the consumer.
    pub(crate) fn take_wake_all(&self) -> bool {
        self.wake_all.load(Ordering::Relaxed) && self.wake_all.swap(false, Ordering::Acquire)
    }

    /// Whether nothing is here, as far as the consumer can see now.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty() && !self.wake_all.load(Ordering::Relaxed)
    }

    /// The consumer's half of the sleep protocol, c1 to c3. True: nothing is here, and whoever
    /// posts from now on rings. False: something is here, and the announcement is withdrawn.
    ///
    /// The fence is inside: whatever else can wake this core is looked at after this call, and if
    /// there is something, [`Inbox::awake`] withdraws.
    #[must_use = "a core sleeps only if its inbox is empty"]
    pub(crate) fn announce_sleep(&self) -> bool {
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let nothing = self.is_empty();
        if !nothing {
            self.awake();
        }
        nothing
    }

    /// The consumer is up again: no bells, please. It may come late or not at all; then a producer
    /// rings once for nothing.
    pub(crate) fn awake(&self) {
        self.asleep.store(0, Ordering::Relaxed);
    }
}

/// A bounded queue of tickets with many producers and one consumer.
#[derive(Debug)]
pub(crate) struct TicketRing<const CAPACITY: usize = 1024> {
    /// The next place to claim: written by all producers.
    tail: Padded,
    /// The next place to take: written by the consumer only.
    head: Padded,
    cells: [Cell; CAPACITY],
}

/// A counter with a pair of cache lines to itself, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(AtomicU64);

#[derive(Debug)]
struct Cell {
    stamp: AtomicU64,
    ticket: AtomicU64,
}

impl<const CAPACITY: usize> TicketRing<CAPACITY> {
    /// An empty ring: all zeroes.
    pub(crate) const fn new() -> Self {
        const { assert!(CAPACITY.is_power_of_two(), "cells are found by a mask") };
        TicketRing {
            tail: Padded(AtomicU64::new(0)),
            head: Padded(AtomicU64::new(0)),
            cells: [const { Cell { stamp: AtomicU64::new(0), ticket: AtomicU64::new(0) } };
                CAPACITY],
        }
    }

    /// Appends a ticket. False means that there is no place, or that other producers took every
    /// place this one tried for.
    #[must_use = "a ticket that was refused must be made good for"]
    pub(crate) fn push(&self, ticket: u64) -> bool {
        let mut place = self.tail.0.load(Ordering::Relaxed);
        for _ in 0..CLAIM_ATTEMPTS_MAX {
            let (cell, free) = self.cell(place);
            let stamp = cell.stamp.load(Ordering::Acquire);
            if stamp < free {
                // The ticket of the lap before has not been taken yet.
                return false;
            }
            if stamp > free {
                // This place is gone, the tail we saw was an old one.
                place = self.tail.0.load(Ordering::Relaxed);
                continue;
            }
            match self.tail.0.compare_exchange_weak(
                place,
                place + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    cell.ticket.store(ticket, Ordering::Relaxed);
                    cell.stamp.store(free + 1, Ordering::Release);
                    return true;
                }
                Err(tail) => place = tail,
            }
        }
        false
    }

    /// Takes the oldest ticket, if it is published. One thread at a time calls this.
    pub(crate) fn pop(&self) -> Option<u64> {
        let place = self.head.0.load(Ordering::Relaxed);
        let (cell, free) = self.cell(place);
        if cell.stamp.load(Ordering::Acquire) != free + 1 {
            return None;
        }
        let ticket = cell.ticket.load(Ordering::Relaxed);
        cell.stamp.store(free + 2, Ordering::Release);
        self.head.0.store(place + 1, Ordering::Relaxed);
        Some(ticket)
    }

    /// Whether [`TicketRing::pop`] would find nothing, for the consumer's last look before it
    /// sleeps.
    pub(crate) fn is_empty(&self) -> bool {
        let (cell, free) = self.cell(self.head.0.load(Ordering::Relaxed));
        cell.stamp.load(Ordering::Relaxed) != free + 1
    }

    /// The cell of a place, and the stamp it bears while it is free for that place.
    fn cell(&self, place: u64) -> (&Cell, u64) {
        let capacity = CAPACITY as u64;
        (&self.cells[(place % capacity) as usize], place / capacity * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};
    use std::thread;
    use std::time::Duration;

    /// A new inbox has a constant for its value, so a static table can hold it.
    static INBOX: Inbox = Inbox::new();

    /// Stands for the eventfd: a ring is remembered until the next wait.
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn ring_if(&self, must_ring: MustRing) {
            if must_ring == MustRing::Yes {
                *self.rung.lock().unwrap() = true;
                self.changed.notify_one();
            }
        }

        /// Waits so long that only a lost wake can end it.
        fn wait(&self) {
            let rung = self.rung.lock().unwrap();
            let patience = Duration::from_secs(20);
            let (mut rung, timeout) =
                self.changed.wait_timeout_while(rung, patience, |rung| !*rung).unwrap();
            assert!(!timeout.timed_out(), "a wake was lost");
            *rung = false;
        }
    }

    /// One wake per ticket: the producer's word is what the wake is about.
    struct Stress<const CAPACITY: usize> {
        inbox: Inbox<CAPACITY>,
        bell: Bell,
        words: Vec<AtomicBool>,
    }

    impl<const CAPACITY: usize> Stress<CAPACITY> {
        fn new(ticket_count: usize) -> Self {
            let words = (0..ticket_count).map(|_| AtomicBool::new(false)).collect();
            Stress { inbox: Inbox::new(), bell: Bell::default(), words }
        }

        fn produce(&self, ticket: usize) {
            self.words[ticket].store(true, Ordering::Relaxed);
            self.bell.ring_if(self.inbox.post(ticket as u64));
        }

        /// One turn of the consumer: takes what is here, and returns the number of new words.
        fn consume(&self, seen: &mut [bool]) -> usize {
            let mut count = 0;
            while let Some(ticket) = self.inbox.pop() {
                let ticket = ticket as usize;
                assert!(self.words[ticket].load(Ordering::Relaxed), "the word came first");
                count += usize::from(!std::mem::replace(&mut seen[ticket], true));
            }
            if self.inbox.take_wake_all() {
                for (word, seen) in self.words.iter().zip(seen) {
                    if word.load(Ordering::Relaxed) {
                        count += usize::from(!std::mem::replace(seen, true));
                    }
                }
            }
            count
        }

        fn sleep(&self) {
            if self.inbox.announce_sleep() {
                self.bell.wait();
                self.inbox.awake();
            }
        }

        fn run(&self, producer_count: usize) {
            let share = self.words.len() / producer_count;
            thread::scope(|scope| {
                for producer in 0..producer_count {
                    scope.spawn(move || {
                        for ticket in producer * share..(producer + 1) * share {
                            self.produce(ticket);
                            if ticket % 7 == 0 {
                                thread::yield_now();
                            }
                        }
                    });
                }
                let mut seen = vec![false; self.words.len()];
                let mut seen_count = 0;
                while seen_count < producer_count * share {
                    seen_count += self.consume(&mut seen);
                    if seen_count < producer_count * share {
                        self.sleep();
                    }
                }
            });
        }
    }

    #[test]
    fn tickets_come_out_in_order_over_many_laps() {
        let ring: TicketRing<4> = TicketRing::new();
        for lap in 0..100 {
            for ticket in 0..3 {
                assert!(ring.push(lap * 3 + ticket));
            }
            for ticket in 0..3 {
                assert!(!ring.is_empty());
                assert_eq!(ring.pop(), Some(lap * 3 + ticket));
            }
            assert!(ring.is_empty());
            assert_eq!(ring.pop(), None);
        }
    }

    #[test]
    fn a_full_ring_refuses_and_recovers() {
        let ring: TicketRing<4> = TicketRing::new();
        for lap in 0..10 {
            assert!((0..4).all(|ticket| ring.push(lap + ticket)));
            assert!(!ring.push(99));
            assert_eq!(ring.pop(), Some(lap));
            assert!(ring.push(u64::MAX));
            assert!(!ring.push(99));
            let rest: Vec<u64> = std::iter::from_fn(|| ring.pop()).collect();
            assert_eq!(rest, [lap + 1, lap + 2, lap + 3, u64::MAX]);
        }
    }

    #[test]
    fn a_ring_of_one_place_works() {
        let ring: TicketRing<1> = TicketRing::new();
        for ticket in 0..10 {
            assert!(ring.push(ticket));
            assert!(!ring.push(99));
            assert_eq!(ring.pop(), Some(ticket));
            assert_eq!(ring.pop(), None);
        }
    }

    #[test]
    fn a_full_inbox_asks_for_everything_once() {
        let inbox: Inbox<2> = Inbox::new();
        for ticket in 0..2 {
            assert_eq!(inbox.post(ticket), MustRing::No);
        }
        assert!(!inbox.take_wake_all());
        assert_eq!(inbox.post(2), MustRing::No);
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop()), (Some(0), Some(1), None));
        assert!(!inbox.announce_sleep(), "the flag alone keeps the core awake");
        assert!(inbox.take_wake_all());
        assert!(!inbox.take_wake_all());
        assert!(inbox.announce_sleep());
    }

    #[test]
    fn one_announcement_is_rung_once() {
        assert!(INBOX.announce_sleep());
        assert_eq!(INBOX.post(1), MustRing::Yes);
        assert_eq!(INBOX.post(2), MustRing::No);
        assert!(!INBOX.announce_sleep());
        assert_eq!(INBOX.post(3), MustRing::No, "the announcement was withdrawn");
        assert_eq!((INBOX.pop(), INBOX.pop(), INBOX.pop()), (Some(1), Some(2), Some(3)));
        assert!(INBOX.announce_sleep());
        INBOX.awake();
        assert_eq!(INBOX.knock(), MustRing::No);
        assert!(INBOX.announce_sleep());
        assert_eq!(INBOX.knock(), MustRing::Yes);
    }

    #[test]
    fn a_claimed_place_looks_empty_until_its_producer_publishes_and_rings() {
        let inbox: Inbox<4> = Inbox::new();
        // The first producer is preempted right after its claim.
        let place = inbox.ring.tail.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(inbox.post(2), MustRing::No);
        assert_eq!(inbox.pop(), None);
        assert!(inbox.announce_sleep());
        // It goes on: publishes, looks, and rings for both.
        let (cell, free) = inbox.ring.cell(place);
        cell.ticket.store(1, Ordering::Relaxed);
        cell.stamp.store(free + 1, Ordering::Release);
        assert_eq!(inbox.knock(), MustRing::Yes);
        assert_eq!((inbox.pop(), inbox.pop(), inbox.pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn a_claimed_place_does_not_hold_up_the_flag() {
        let inbox: Inbox<4> = Inbox::new();
        inbox.ring.tail.0.fetch_add(1, Ordering::Relaxed);
        for ticket in 0..4 {
            assert_eq!(inbox.post(ticket), MustRing::No);
        }
        assert_eq!(inbox.pop(), None);
        assert!(inbox.take_wake_all());
    }

    #[test]
    fn no_wake_is_lost_under_a_storm() {
        Stress::<1024>::new(15_000).run(3);
    }

    #[test]
    fn no_wake_is_lost_when_the_ring_overflows() {
        Stress::<2>::new(1_500).run(3);
    }

    /// The producer waits for each answer, so each wake meets a consumer about to fall asleep.
    #[test]
    fn no_wake_is_lost_on_the_edge_of_sleep() {
        let rounds = 1_000;
        let stress: Stress<2> = Stress::new(rounds);
        let answered = Inbox::<2>::new();
        let answer_bell = Bell::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                for ticket in 0..rounds {
                    stress.produce(ticket);
                    while answered.pop().is_none() {
                        if answered.announce_sleep() {
                            answer_bell.wait();
                            answered.awake();
                        }
                    }
                }
            });
            let mut seen = vec![false; rounds];
            for _ in 0..rounds {
                while stress.consume(&mut seen) == 0 {
                    stress.sleep();
                }
                answer_bell.ring_if(answered.post(0));
            }
        });
    }
}
