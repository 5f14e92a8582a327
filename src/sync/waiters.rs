//! Who waits, and for whose turn it is: the one mechanism under every lock and every queue.
//!
//! A waiting future holds its place in the line in itself: a node, pinned with it, in a doubly
//! linked list. So waiting allocates nothing, and joining, leaving and granting cost the same
//! however long the line is. The node is made by the poll that has to wait; a future that is served
//! at once has room for one, and pays nothing for it.
//!
//! The list decides, the future obeys: whoever frees something takes the first node out and
//! *grants* it what was freed there and then. Nobody can overtake between the wake and the poll,
//! since nothing is free any more.
//!
//! ```text
//!            1 link                    3 grant
//!    Idle ──────────▶ Waiting ───────────────────────▶ Granted ──┐
//!     │                │    │ 2 move      3 grant        ▲       │ 5 poll
//!     │                │    └─────▶ Moved ───────────────┘       ├───────▶ Done
//!     │                │ 4 refuse                                │
//!     │                └─────────────────────────────▶ Refused ──┘
//!     └── 6 nothing to wait for ─────────────────────────────────────────▶ Done
//! ```
//!
//! 1. `Waiter::poll`, when its primitive cannot serve it at once. The node is the last in line.
//! 2. `Waiters::move_front_to`: the condition notified it, now it is in line for the lock.
//! 3. `Waiters::grant_front`, by whoever freed what the node waits for. It is the node's from here
//!    on; if the future is dropped instead of polled, its primitive passes the grant on, for which
//!    it asks `Waiter::leave`.
//! 4. `Waiters::refuse_front`: what it waits for will not come.
//! 5. `Waiter::poll`, which says `Granted` or `Refused` once.
//! 6. `Waiter::poll`, when its primitive serves it at once.
//!
//! Granting and waking are two steps, since a wake runs foreign code, which may poll, drop, grant
//! or link any node, and use the primitive. First all that is to be granted is granted, which moves
//! the nodes into a second chain, `woken`; then `Waiters::wake` takes one after the other out of
//! that chain and wakes it, and looks at nothing but the chain's new front afterwards. Wakers are
//! cloned before a primitive is asked for the last time, and dropped after the node is in order.
//!
//! `[linked-waiter-is-live]`: a chain points only at nodes that are pinned and were not dropped.
//! A node is linked through `Pin<&Waiter>`, so its memory is not used for anything else before it
//! was dropped, and its drop takes it out of its chain. A future that is leaked keeps its node's
//! memory for ever, so the chain may go on pointing there.
//!
//! `[waiter-borrows-its-list]`: a node reaches the chain that it is in only on behalf of its own
//! future, which borrows the list. So the list is there, where it was when the node was linked: it
//! can be moved or dropped only after the future is gone, or leaked, and then nobody asks the node.
#![allow(unsafe_code)] // Nodes point at one another, and at the chain that they are in.

use std::cell::{Cell, OnceCell};
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use crate::executor::wake;

/// Where a waiter is in its life; see the drawing on top of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Not polled yet.
    Idle,
    /// In line.
    Waiting,
    /// In line for the second list.
    Moved,
    /// What it waited for is its own.
    Granted,
    /// What it waited for will not come.
    Refused,
    /// It said so, or left.
    Done,
}

/// What a primitive says to a waiter that asks for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There it is: it has been taken.
    Granted,
    /// It will never come.
    Refused,
    /// It has to wait.
    Wait,
}

/// What a waiter heard in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Granted,
    Refused,
}

/// A node's address. Held by chains, by linked nodes, and by locals while no foreign code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(NonNull<Node>);

impl Link {
    fn node(&self) -> &Node {
        // SAFETY: [linked-waiter-is-live] see above for who holds a link. A node is only ever
        // shared, all of it that changes is in cells, and it is `!Unpin`, so a `&mut` to the future
        // around it claims nothing about it.
        unsafe { self.0.as_ref() }
    }
}

struct Node {
    previous: Cell<Option<Link>>,
    next: Cell<Option<Link>>,
    /// The chain that the node is in.
    chain: Cell<Option<NonNull<Chain>>>,
    stage: Cell<Stage>,
    waker: Cell<Option<Waker>>,
    /// A number for the primitive: how many permits, which index.
    note: Cell<usize>,
}

/// A doubly linked list of nodes.
struct Chain {
    first: Cell<Option<Link>>,
    last: Cell<Option<Link>>,
    length: Cell<usize>,
}

impl Chain {
    const fn new() -> Chain {
        Chain { first: Cell::new(None), last: Cell::new(None), length: Cell::new(0) }
    }

    /// The node must be in no chain.
    fn push_back(&self, link: Link) {
        let node = link.node();
        let last = self.last.replace(Some(link));
        node.previous.set(last);
        node.next.set(None);
        node.chain.set(Some(NonNull::from(self)));
        match &last {
            Some(last) => last.node().next.set(Some(link)),
            None => self.first.set(Some(link)),
        }
        self.length.set(self.length.get() + 1);
    }

    /// The node must be in this chain.
    fn remove(&self, node: &Node) {
        let (previous, next) = (node.previous.take(), node.next.take());
        match &previous {
            Some(previous) => previous.node().next.set(next),
            None => self.first.set(next),
        }
        match &next {
            Some(next) => next.node().previous.set(previous),
            None => self.last.set(previous),
        }
        node.chain.set(None);
        self.length.set(self.length.get() - 1);
    }
}

/// A line of waiters, first come, first served.
pub(crate) struct Waiters {
    waiting: Chain,
    /// Who has been granted or refused and is still to be woken.
    woken: Chain,
}

impl Waiters {
    pub(crate) const fn new() -> Waiters {
        Waiters { waiting: Chain::new(), woken: Chain::new() }
    }

    /// Whether nobody is in line. Who has been granted is in line no more.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.first.get().is_none()
    }

    /// How many are in line.
    pub(crate) fn len(&self) -> usize {
        self.waiting.length.get()
    }

    /// The first waiter's note.
    pub(crate) fn front(&self) -> Option<usize> {
        self.waiting.first.get().map(|first| first.node().note.get())
    }

    /// Grants the first waiter what it waits for; false if nobody waits. `wake` has to follow.
    pub(crate) fn grant_front(&self) -> bool {
        self.settle_front(Stage::Granted, None)
    }

    /// As `grant_front`, and leaves the waiter a note.
    pub(crate) fn grant_front_noting(&self, note: usize) -> bool {
        self.settle_front(Stage::Granted, Some(note))
    }

    /// Tells the first waiter that it waits in vain; false if nobody waits. `wake` has to follow.
    pub(crate) fn refuse_front(&self) -> bool {
        self.settle_front(Stage::Refused, None)
    }

    /// Grants everybody in line. `wake` has to follow.
    pub(crate) fn grant_all(&self) {
        while self.grant_front() {}
    }

    /// Refuses everybody in line. `wake` has to follow.
    pub(crate) fn refuse_all(&self) {
        while self.refuse_front() {}
    }

    fn settle_front(&self, stage: Stage, note: Option<usize>) -> bool {
        let Some(first) = self.waiting.first.get() else { return false };
        let node = first.node();
        self.waiting.remove(node);
        self.woken.push_back(first);
        node.stage.set(stage);
        if let Some(note) = note {
            node.note.set(note);
        }
        true
    }

    /// Puts the first waiter that named `other` as its second list at the end of that one; false if
    /// there is none.
    pub(crate) fn move_front_to(&self, other: &Waiters) -> bool {
        let mut candidate = self.waiting.first.get();
        while let Some(link) = candidate {
            let node = link.node();
            // The note of such a waiter is the address of its second list, which its future
            // borrows; if that was leaked, the address may have become another list's, and
            // nobody asks the node any more.
            if node.note.get() == other.address() {
                self.waiting.remove(node);
                other.waiting.push_back(link);
                node.stage.set(Stage::Moved);
                return true;
            }
            candidate = node.next.get();
        }
        false
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Wakes who has been granted or refused, in that order. It runs foreign code: everything has
    /// to be in order before.
    #[inline]
    pub(crate) fn wake(&self) {
        while let Some(first) = self.woken.first.get() {
            let node = first.node();
            self.woken.remove(node);
            if let Some(waker) = node.waker.take() {
                wake(waker);
            }
        }
    }
}

/// A place in a line of waiters, to be pinned in a future.
pub(crate) struct Waiter<'a> {
    list: &'a Waiters,
    /// The note, and the stage, of a waiter that never had to wait.
    note: usize,
    stage: Cell<Stage>,
    /// Made by the poll that has to wait.
    node: OnceCell<Node>,
    _pinned: PhantomPinned,
}

impl<'a> Waiter<'a> {
    #[inline]
    pub(crate) fn new(list: &'a Waiters, note: usize) -> Waiter<'a> {
        let (stage, node) = (Cell::new(Stage::Idle), OnceCell::new());
        Waiter { list, note, stage, node, _pinned: PhantomPinned }
    }

    /// A waiter that `move_front_to` can put into a second list.
    pub(crate) fn with_second(list: &'a Waiters, second: &'a Waiters) -> Waiter<'a> {
        Waiter::new(list, second.address())
    }

    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        self.node.get().map_or(&self.stage, |node| &node.stage).get()
    }

    pub(crate) fn note(&self) -> usize {
        self.node.get().map_or(self.note, |node| node.note.get())
    }

    /// Asks the primitive if this is the first poll, and otherwise what became of the wait. While
    /// it is pending, the next grant or refusal wakes the context.
    ///
    /// `decide` takes what it grants.
    #[inline]
    #[track_caller]
    pub(crate) fn poll(
        self: Pin<&Self>,
        context: &Context<'_>,
        decide: impl Fn() -> Verdict,
    ) -> Poll<Outcome> {
        if self.stage() == Stage::Idle {
            match decide() {
                Verdict::Granted => return self.finish(Outcome::Granted),
                Verdict::Refused => return self.finish(Outcome::Refused),
                Verdict::Wait => {}
            }
        }
        self.poll_in_line(context, decide)
    }

    #[track_caller]
    fn poll_in_line(
        self: Pin<&Self>,
        context: &Context<'_>,
        decide: impl Fn() -> Verdict,
    ) -> Poll<Outcome> {
        match self.stage() {
            Stage::Idle => self.join(context.waker().clone(), decide),
            Stage::Waiting | Stage::Moved => self.renew(context.waker()),
            Stage::Granted | Stage::Refused => {}
            Stage::Done => panic!("this future was polled after it had been ready"),
        }
        match self.stage() {
            Stage::Granted => self.finish(Outcome::Granted),
            Stage::Refused => self.finish(Outcome::Refused),
            _ => Poll::Pending,
        }
    }

    #[inline]
    fn finish(&self, outcome: Outcome) -> Poll<Outcome> {
        self.leave();
        Poll::Ready(outcome)
    }

    /// The clone of the waker ran foreign code, so the primitive is asked once more.
    fn join(self: Pin<&Self>, waker: Waker, decide: impl Fn() -> Verdict) {
        match decide() {
            Verdict::Wait => {
                let node = self.get_ref().node.get_or_init(|| Node {
                    previous: Cell::new(None),
                    next: Cell::new(None),
                    chain: Cell::new(None),
                    stage: Cell::new(Stage::Waiting),
                    waker: Cell::new(Some(waker)),
                    note: Cell::new(self.note),
                });
                self.list.waiting.push_back(Link(NonNull::from(node)));
            }
            // The stage is set before the waker's drop, which may panic: then the drop of the
            // future passes on what was taken.
            Verdict::Granted => self.stage.set(Stage::Granted),
            Verdict::Refused => self.stage.set(Stage::Refused),
        }
    }

    fn renew(&self, waker: &Waker) {
        let Some(node) = self.node.get() else { return };
        let known = node.waker.take();
        if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            node.waker.set(known);
            return;
        }
        // The clone may end the wait, and then the old waker has to be there to be woken.
        node.waker.set(known);
        let waker = waker.clone();
        if matches!(node.stage.get(), Stage::Waiting | Stage::Moved) {
            drop(node.waker.replace(Some(waker)));
        }
    }

    /// Takes the waiter out of its line, for good. Returns where it was.
    #[inline]
    pub(crate) fn leave(&self) -> Stage {
        match self.node.get() {
            Some(node) => self.leave_line(node),
            None => self.stage.replace(Stage::Done),
        }
    }

    fn leave_line(&self, node: &Node) -> Stage {
        if let Some(chain) = node.chain.get() {
            // SAFETY: [waiter-borrows-its-list] the chain is one of the list's that this waiter
            // borrows, or of the second one that its future borrows as long.
            let chain = unsafe { chain.as_ref() };
            chain.remove(node);
        }
        node.stage.replace(Stage::Done)
    }
}

impl Drop for Waiter<'_> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}
