//! The loop. One turn, always in this order:
//!
//! ```text
//!  1 inbox     wakes and calls from other threads
//!  2 timers    those due when the completion queue was last seen empty
//!  3 polls     ready tasks: at most 64, or 100 us
//!  4 flushes   outboxes; then receives are armed, first come, first armed
//!  5 enter     submit and wait in one system call (before: poll in user space, within a budget)
//!  6 reap      copy completions out, then deliver them
//! ```
//!
//! Timers and foreign wakes are served every turn, also under load. A timer fires only up to the
//! moment at which nothing was left to reap, so what arrived before a deadline is delivered before
//! the deadline is told; under a load that never leaves the queue empty that moment is at most
//! [`STALE_TURNS_MAX`] turns ago.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::ready::Next;
use super::slots::{Delivery, Done};
use super::{Core, Errand, TurnEnd, count};
use crate::driver::{Completion, Driver, Feature, Features, Wait, ticks, ticks_per_micro};

/// Polls in one turn.
const POLLS_MAX: usize = 64;

/// How long a turn may poll, in microseconds; a poll that ends later is the turn's last.
const POLLING_MICROS_MAX: u64 = 100;

/// Reading the counter of ticks costs more than an empty poll. While polls are short it is read
/// once in so many; after a span that took longer than [`LONG_SPAN_MICROS`], after each poll.
const POLLS_A_LOOK: u32 = 8;
const LONG_SPAN_MICROS: u64 = 12;

/// Foreign wakes taken in one turn: a full inbox.
pub(super) const WAKES_MAX: usize = 1024;

/// After so many turns that left completions behind, timers go by the clock.
const STALE_TURNS_MAX: u32 = 8;

/// A deadline this far ahead of the last reading of the clock needs no new one.
const FAR_AHEAD_NS: u64 = 10_000_000;

/// While polling in user space, the clock is looked at once in so many looks at the ring.
const LOOKS_A_CLOCK: u32 = 16;

/// Whether a loop with nothing to do polls in user space before it sleeps.
///
/// A sleeping thread is woken in about 15 µs; one that polls sees its event at once, and uses its
/// CPU meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BusyPoll {
    /// For at most this long, and only while events come sooner than that on average: an idle
    /// process uses no CPU.
    Adaptive(Duration),
    /// For this long, each time.
    For(Duration),
    /// Not at all.
    Off,
}

/// How long something may be looked for before its waiter sleeps: see [`BusyPoll`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    pub(crate) ticks: u64,
    /// Only while it is found sooner than that on average.
    pub(crate) adaptive: bool,
}

/// What a turn remembers of the turns before it.
pub(super) struct Pace {
    adaptive: bool,
    budget_ticks: u64,
    turn_ticks_max: u64,
    long_span_ticks: u64,
    /// How many polls go by until the ticks are looked at: 1, or [`POLLS_A_LOOK`].
    polls_a_look: Cell<u32>,
    /// Running mean of the time between running out of work and the next event.
    mean_gap_ticks: Cell<u64>,
    /// The clock at the last reap, or 0 if there were no timers then.
    read_ns: Cell<u64>,
    /// The clock when nothing was left to reap.
    seen_empty_ns: Cell<u64>,
    stale_turns: Cell<u32>,
}

impl Pace {
    pub(super) fn new(busy_poll: BusyPoll, features: &Features) -> Pace {
        let (adaptive, budget) = match busy_poll {
            BusyPoll::Adaptive(budget) => (true, budget),
            BusyPoll::For(budget) => (false, budget),
            BusyPoll::Off => (false, Duration::ZERO),
        };
        // Without the flag, deferred work cannot be seen from user space.
        let can_see = features.has(Feature::TaskrunFlag) || features.driver() == Driver::Epoll;
        let budget = if can_see { budget } else { Duration::ZERO };
        let micros = budget.as_micros().min(1_000_000) as u64;
        Pace {
            adaptive,
            budget_ticks: micros * ticks_per_micro(),
            turn_ticks_max: POLLING_MICROS_MAX * ticks_per_micro(),
            long_span_ticks: LONG_SPAN_MICROS * ticks_per_micro(),
            polls_a_look: Cell::new(1),
            mean_gap_ticks: Cell::new(0),
            read_ns: Cell::new(0),
            seen_empty_ns: Cell::new(0),
            stale_turns: Cell::new(0),
        }
    }

    fn wants_busy_poll(&self) -> bool {
        let pays = !self.adaptive || self.mean_gap_ticks.get() <= self.budget_ticks;
        self.budget_ticks > 0 && pays
    }

    /// How long a task may look for something by itself before it asks to be woken: as long as the
    /// loop would.
    pub(super) fn allowance(&self) -> Allowance {
        Allowance { ticks: self.budget_ticks, adaptive: self.adaptive }
    }

    /// Whether a deadline lies well beyond the clock's last reading, which is a turn old.
    pub(super) fn is_far_ahead(&self, deadline_ns: u64) -> bool {
        let read_ns = self.read_ns.get();
        read_ns != 0 && deadline_ns > read_ns.saturating_add(FAR_AHEAD_NS)
    }

    fn judge_span(&self, span_ticks: u64) {
        let is_long = span_ticks > self.long_span_ticks;
        self.polls_a_look.set(if is_long { 1 } else { POLLS_A_LOOK });
    }

    /// Takes a gap into the mean. Long ones count as four budgets, so that a peer that comes back
    /// after a pause is soon polled for again.
    fn note_gap(&self, gap_ticks: u64) {
        let gap_ticks = gap_ticks.min(self.budget_ticks * 4);
        self.mean_gap_ticks.set((self.mean_gap_ticks.get() * 7 + gap_ticks) / 8);
    }
}

impl Core {
    /// One turn of the loop. `poll_root` polls the future of `block_on`, and says whether it is
    /// over: then the turn does not wait.
    pub(crate) fn turn(self: &Rc<Core>, poll_root: &mut dyn FnMut() -> bool, deadline_ns: u64) {
        count(&self.counters.turns);
        self.take_inbox();
        self.take_calls();
        // Behind the wakes: a worker leaves its news before it posts one.
        self.report_job_panics();
        self.fire_timers();
        let root_is_over = self.poll_ready(poll_root);
        self.flush();
        if root_is_over {
            self.enter_with(Wait::No);
        } else {
            self.enter_driver(deadline_ns);
        }
        self.reap();
    }

    fn take_inbox(&self) {
        let inbox = &self.claim.cell.inbox;
        if inbox.take_wake_all() {
            self.tasks.borrow_mut().wake_all();
        }
        // No more than were there, so that a storm of wakes does not keep the turn from going on.
        for _ in 0..WAKES_MAX {
            let Some(bits) = inbox.pop() else { return };
            count(&self.counters.foreign_wakes);
            let ticket = super::ticket::Ticket::from_bits(bits);
            if ticket.home() == self.claim.home {
                self.tasks.borrow_mut().wake(ticket);
            }
        }
    }

    fn fire_timers(&self) {
        if self.timers.borrow().len() == 0 {
            return;
        }
        let horizon_ns = match self.pace.stale_turns.get() {
            0 => self.pace.seen_empty_ns.get(),
            turns if turns < STALE_TURNS_MAX => self.pace.seen_empty_ns.get(),
            _ => self.now_ns(),
        };
        // A foreign waker may set a timer that is due at once: those wait for the next turn.
        let timers_count = self.timers.borrow().len();
        for _ in 0..timers_count {
            let due = self.timers.borrow_mut().pop_due(horizon_ns);
            match due {
                Some(waker) => self.wake(waker),
                None => return,
            }
        }
    }

    fn poll_ready(self: &Rc<Core>, poll_root: &mut dyn FnMut() -> bool) -> bool {
        let start = ticks();
        let (mut span_start, mut polls_in_span) = (start, 0);
        for _ in 0..POLLS_MAX {
            let next = self.tasks.borrow_mut().pop();
            match next {
                Some(Next::Task(task)) => self.run_task(task),
                Some(Next::Root) => {
                    if poll_root() {
                        return true;
                    }
                }
                None => return false,
            }
            polls_in_span += 1;
            if polls_in_span >= self.pace.polls_a_look.get() {
                let now = ticks();
                self.pace.judge_span(now.wrapping_sub(span_start));
                if now.wrapping_sub(start) > self.pace.turn_ticks_max {
                    return false;
                }
                (span_start, polls_in_span) = (now, 0);
            }
        }
        false
    }

    fn flush(self: &Rc<Core>) {
        // Failing at once may dirty another outbox or wake a task; the next turn sees to both.
        let mut flushes = self.flushes.take();
        // On epoll a send is a plain call in any case: at once it needs no slot and no completion.
        let is_epoll = self.features().driver() == Driver::Epoll;
        let alone = is_epoll || flushes.len() == 1 && !self.tasks.borrow().has_ready();
        for flush in flushes.drain(..) {
            self.run_errand(flush, Errand::Flush { alone });
        }
        self.keep_allocation(flushes);
        let armings = self.armings.borrow().len();
        for _ in 0..armings {
            let arming = self.armings.borrow_mut().pop_front();
            if let Some(arming) = arming {
                self.run_errand(arming, Errand::Arm);
            }
        }
    }

    fn run_errand(self: &Rc<Core>, resource: Rc<dyn TurnEnd>, errand: Errand) {
        // The queue may be the last to hold the resource, and that a foreign waker.
        Rc::clone(&resource).turn_end(self, errand);
        self.drop_foreign(resource);
    }

    fn keep_allocation(&self, emptied: Vec<Rc<dyn super::TurnEnd>>) {
        let mut flushes = self.flushes.borrow_mut();
        if flushes.is_empty() {
            *flushes = emptied;
        }
    }

    fn has_work(&self) -> bool {
        self.tasks.borrow().has_ready()
            || !self.flushes.borrow().is_empty()
            || !self.armings.borrow().is_empty()
    }

    fn enter_driver(&self, deadline_ns: u64) {
        if self.has_work() {
            return self.enter_with(Wait::No);
        }
        let next_timer_ns = self.timers.borrow().next_deadline_ns().unwrap_or(u64::MAX);
        let deadline_ns = deadline_ns.min(next_timer_ns);
        if deadline_ns != u64::MAX && deadline_ns <= self.now_ns() {
            return self.enter_with(Wait::No);
        }
        let idle_since = ticks();
        if self.pace.wants_busy_poll() && self.busy_poll(idle_since, deadline_ns) {
            self.pace.note_gap(ticks().wrapping_sub(idle_since));
            return self.enter_with(Wait::No);
        }
        if !self.claim.cell.announce_sleep() {
            return self.enter_with(Wait::No);
        }
        self.enter_with(match deadline_ns {
            u64::MAX => Wait::Forever,
            deadline_ns => Wait::Until(deadline_ns),
        });
        self.claim.cell.inbox.awake();
        if self.pace.adaptive {
            self.pace.note_gap(ticks().wrapping_sub(idle_since));
        }
    }

    fn enter_with(&self, wait: Wait) {
        if let Err(error) = self.driver.borrow_mut().enter(wait) {
            panic!("the kernel refuses to be entered any more ({error}): the core cannot go on");
        }
    }

    /// Looks for an event in user space until the budget is used up; true if there is one.
    fn busy_poll(&self, since: u64, deadline_ns: u64) -> bool {
        count(&self.counters.busy_polls);
        let mut driver = self.driver.borrow_mut();
        if driver.has_unsubmitted() && driver.enter(Wait::No).is_err() {
            return true;
        }
        let mut looks = 0;
        loop {
            if driver.has_news() || !self.claim.cell.is_empty() {
                return true;
            }
            looks += 1;
            if looks % LOOKS_A_CLOCK == 0 && self.now_ns() >= deadline_ns {
                return true;
            }
            if ticks().wrapping_sub(since) > self.pace.budget_ticks {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    fn reap(self: &Rc<Core>) {
        // Before the look: what comes later than this moment may be missed, what came earlier not.
        let now_ns = if self.timers.borrow().len() == 0 { 0 } else { self.now_ns() };
        self.pace.read_ns.set(now_ns);
        let mut completions = self.completions.take();
        let saw_all = self.driver.borrow_mut().reap(&mut completions);
        if saw_all {
            self.pace.seen_empty_ns.set(now_ns);
            self.pace.stale_turns.set(0);
        } else {
            self.pace.stale_turns.set(self.pace.stale_turns.get() + 1);
        }
        self.slots.borrow_mut().prefetch_receivers(&completions);
        for completion in completions.drain(..) {
            self.deliver(completion);
        }
        self.completions.replace(completions);
    }

    fn deliver(self: &Rc<Core>, completion: Completion) {
        let Completion { token, result, more, .. } = completion;
        let delivery = {
            let mut driver = self.driver.borrow_mut();
            self.slots.borrow_mut().deliver(&mut driver, &completion)
        };
        let Some(Delivery { receiver, role, payload, owner, fd, span }) = delivery else {
            // Nobody here asked for it. Its chunk, if any, goes back to the pool here.
            count(&self.counters.foreign_completions);
            return;
        };
        span.completed(result);
        // The operation may be the last to hold its receiver, and that a foreign waker.
        let held = Rc::clone(&receiver);
        receiver
            .complete(self, Done { token, role, result, more, chunk: completion.chunk, payload });
        self.drop_foreign(held);
        drop(fd);
        if let Some(owner) = owner {
            self.operation_ended(&owner, token);
        }
    }
}
