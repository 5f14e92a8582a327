//! The task table and the queue of tasks to poll next.
//!
//! A table entry holds its task until it is finished, and knows whether it is queued, so a task is
//! queued at most once. The future of `block_on` has no entry: it is `ROOT_SLOT`, under a
//! generation of its own.

use std::collections::VecDeque;
use std::rc::Rc;

use super::task::AnyTask;
use super::ticket::{GENERATION_MASK, Home, ROOT_SLOT, Ticket};
use crate::driver::prefetch;

#[derive(Default)]
struct Entry {
    generation: u32,
    queued: bool,
    task: Option<Rc<dyn AnyTask>>,
}

/// All tasks of one core, and those that are ready.
pub(crate) struct Tasks {
    home: Home,
    entries: Vec<Entry>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    live_count: usize,
    root_generation: u32,
    root_queued: bool,
}

/// What is polled next.
pub(crate) enum Next {
    Root,
    Task(Rc<dyn AnyTask>),
}

impl Tasks {
    pub(crate) fn new(home: Home) -> Tasks {
        Tasks {
            home,
            entries: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            live_count: 0,
            root_generation: 0,
            root_queued: false,
        }
    }

    pub(crate) fn live_count(&self) -> usize {
        self.live_count
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Puts the task that `make` makes of its ticket into a place of its own, and into the queue.
    /// `None` when 2^28 tasks live.
    pub(crate) fn insert<T: AnyTask + 'static>(
        &mut self,
        make: impl FnOnce(Ticket) -> Rc<T>,
    ) -> Option<Rc<T>> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.entries.len() < ROOT_SLOT as usize => {
                self.entries.push(Entry::default());
                self.entries.len() as u32 - 1
            }
            None => return None,
        };
        let entry = &mut self.entries[slot as usize];
        let task = make(Ticket::new(self.home, slot, entry.generation));
        entry.task = Some(Rc::<T>::clone(&task));
        entry.queued = true;
        self.live_count += 1;
        self.ready.push_back(slot);
        Some(task)
    }

    /// Takes a finished task out; its tickets are stale from now on.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Rc<dyn AnyTask>> {
        let entry = &mut self.entries[ticket.slot() as usize];
        let task = entry.task.take();
        if task.is_some() {
            entry.generation = (entry.generation + 1) & GENERATION_MASK;
            self.live_count -= 1;
            if !entry.queued {
                self.free.push(ticket.slot());
            }
        }
        task
    }

    /// The live task of a ticket.
    pub(crate) fn find(&self, ticket: Ticket) -> Option<Rc<dyn AnyTask>> {
        let entry = self.entries.get(ticket.slot() as usize)?;
        entry.task.clone().filter(|_| entry.generation == ticket.generation())
    }

    /// Queues a ticket's task, unless it is queued or the ticket is stale.
    pub(crate) fn wake(&mut self, ticket: Ticket) {
        let slot = ticket.slot();
        if slot == ROOT_SLOT {
            if !self.root_queued && ticket.generation() == self.root_generation {
                self.root_queued = true;
                self.ready.push_back(ROOT_SLOT);
            }
            return;
        }
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        if !entry.queued
            && entry.generation == ticket.generation()
            && let Some(task) = &entry.task
        {
            entry.queued = true;
            prefetch(&**task);
            self.ready.push_back(slot);
        }
    }

    /// Takes the task that was inserted last out of the queue: it is polled at once instead.
    pub(crate) fn unqueue_newest(&mut self, ticket: Ticket) {
        if self.ready.back() == Some(&ticket.slot()) {
            self.ready.pop_back();
            self.entries[ticket.slot() as usize].queued = false;
        }
    }

    /// Queues everything: what a full inbox asks for.
    pub(crate) fn wake_all(&mut self) {
        self.wake(Ticket::new(self.home, ROOT_SLOT, self.root_generation));
        for slot in 0..self.entries.len() as u32 {
            let generation = self.entries[slot as usize].generation;
            self.wake(Ticket::new(self.home, slot, generation));
        }
    }

    /// The ticket of a new `block_on`, queued for its first poll.
    pub(crate) fn begin_root(&mut self) -> Ticket {
        self.root_generation = (self.root_generation + 1) & GENERATION_MASK;
        let ticket = Ticket::new(self.home, ROOT_SLOT, self.root_generation);
        self.wake(ticket);
        ticket
    }

    /// Makes the tickets of the `block_on` that ends stale.
    pub(crate) fn end_root(&mut self) {
        self.root_generation = (self.root_generation + 1) & GENERATION_MASK;
    }

    /// The next task to poll.
    pub(crate) fn pop(&mut self) -> Option<Next> {
        loop {
            let slot = self.ready.pop_front()?;
            if slot == ROOT_SLOT {
                self.root_queued = false;
                return Some(Next::Root);
            }
            let entry = &mut self.entries[slot as usize];
            entry.queued = false;
            match &entry.task {
                Some(task) => return Some(Next::Task(Rc::clone(task))),
                // It ended while it was queued; its place is free only now.
                None => self.free.push(slot),
            }
        }
    }

    /// All live tasks, for teardown.
    pub(crate) fn all(&self) -> Vec<Rc<dyn AnyTask>> {
        self.entries.iter().filter_map(|entry| entry.task.clone()).collect()
    }
}
