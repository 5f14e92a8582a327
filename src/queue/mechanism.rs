//! How a queue works, whatever its order.
//!
//! ```text
//!              items                                     places
//!  put    ───▶ in the queue ───▶ promised to a getter    free ───▶ promised to a putter ───▶ put
//!                                which takes the next            which puts its item
//!                                when it runs                    when it runs
//! ```
//!
//! Items and places are both granted as soon as there are any (`settle`), but an item stays in the
//! queue, and a putter's item with its putter, until they run. So `len` says what asyncio's `qsize`
//! says, a dropped putter never put anything, a dropped getter never took anything, and their
//! promises go to the next in line. What nobody was promised while somebody waits does not exist:
//!
//! * `promised` ≤ `length`, and getters wait only if they are equal;
//! * putters wait only if `length + reserved` is `maxsize`, and the queue is open.
//!
//! An immediate shutdown drops the items, and with them what getters were promised: they hear of
//! the shutdown when they run. A graceful one takes the places from the putters only.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{Closed, Order, ShutDown, Shutdown, TaskDoneError, TryGetError, TryPutError};
use crate::sync::waiters::{Outcome, Stage, Verdict, Waiter, Waiters};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Life {
    Open,
    /// Nothing comes in.
    ShutDown,
    /// Nothing is in.
    Drained,
}

/// See the top of this file.
pub(super) struct Mechanism<O> {
    maxsize: usize,
    items: RefCell<O>,
    length: Cell<usize>,
    /// Items that belong to getters which were granted one and did not run yet.
    promised: Cell<usize>,
    /// Places that belong to putters which were granted one and did not run yet, and to slots.
    reserved: Cell<usize>,
    life: Cell<Life>,
    /// Items are being compared or moved: nothing is granted meanwhile.
    is_busy: Cell<bool>,
    getters: Waiters,
    putters: Waiters,
    unfinished: Rc<Unfinished>,
}

impl<O> Mechanism<O> {
    pub(super) fn len(&self) -> usize {
        self.length.get()
    }

    pub(super) fn maxsize(&self) -> usize {
        self.maxsize
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.life.get() != Life::Open
    }

    pub(super) fn unfinished(&self) -> &Rc<Unfinished> {
        &self.unfinished
    }

    pub(super) fn describe(&self, debug: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        debug
            .field("maxsize", &self.maxsize)
            .field("len", &self.len())
            .field("getters", &self.getters.len())
            .field("putters", &self.putters.len())
            .field("unfinished", &self.unfinished.count.get())
            .field("shut_down", &self.is_shut_down())
            .finish()
    }

    fn has_place(&self) -> bool {
        self.maxsize == 0 || self.length.get() + self.reserved.get() < self.maxsize
    }

    /// Promises a place, if there is one.
    #[inline]
    fn decide_put(&self) -> Verdict {
        if self.is_shut_down() {
            Verdict::Refused
        } else if self.has_place() && !self.is_busy.get() {
            self.reserved.set(self.reserved.get() + 1);
            Verdict::Granted
        } else {
            Verdict::Wait
        }
    }

    /// Promises an item, if there is one.
    #[inline]
    fn decide_get(&self) -> Verdict {
        if self.length.get() > self.promised.get() && !self.is_busy.get() {
            self.promised.set(self.promised.get() + 1);
            Verdict::Granted
        } else if self.is_shut_down() && self.length.get() == 0 {
            Verdict::Refused
        } else {
            Verdict::Wait
        }
    }

    fn give_up_place(&self) {
        self.reserved.set(self.reserved.get() - 1);
        self.settle();
    }

    fn give_up_item(&self) {
        // What was promised before the items were dropped is void.
        if self.life.get() != Life::Drained {
            self.promised.set(self.promised.get() - 1);
            self.settle();
        }
    }

    /// Grants what there is to who waits. Runs foreign code last.
    #[inline]
    fn settle(&self) {
        while self.length.get() > self.promised.get() && self.getters.grant_front() {
            self.promised.set(self.promised.get() + 1);
        }
        match self.life.get() {
            Life::Open => {
                while self.has_place() && self.putters.grant_front() {
                    self.reserved.set(self.reserved.get() + 1);
                }
            }
            _ if self.length.get() == 0 => self.getters.refuse_all(),
            _ => {}
        }
        self.getters.wake();
        self.putters.wake();
    }
}

impl<O: Order> Mechanism<O> {
    pub(super) fn new(maxsize: usize, order: O) -> Mechanism<O> {
        Mechanism {
            maxsize,
            items: RefCell::new(order),
            length: Cell::new(0),
            promised: Cell::new(0),
            reserved: Cell::new(0),
            life: Cell::new(Life::Open),
            is_busy: Cell::new(false),
            getters: Waiters::new(),
            putters: Waiters::new(),
            unfinished: Rc::new(Unfinished { count: Cell::new(0), joiners: Waiters::new() }),
        }
    }

    #[inline]
    pub(super) fn try_put(&self, item: O::Item) -> Result<(), TryPutError<O::Item>> {
        match self.decide_put() {
            Verdict::Granted => {
                self.put_reserved(item).map_err(|Closed(item)| TryPutError::ShutDown(item))
            }
            Verdict::Refused => Err(TryPutError::ShutDown(item)),
            Verdict::Wait => Err(TryPutError::Full(item)),
        }
    }

    #[inline]
    pub(super) fn try_get(&self) -> Result<O::Item, TryGetError> {
        match self.decide_get() {
            Verdict::Granted => self.get_promised().map_err(|ShutDown| TryGetError::ShutDown),
            Verdict::Refused => Err(TryGetError::ShutDown),
            Verdict::Wait => Err(TryGetError::Empty),
        }
    }

    /// Puts an item into a place that was promised.
    #[inline]
    fn put_reserved(&self, item: O::Item) -> Result<(), Closed<O::Item>> {
        self.reserved.set(self.reserved.get() - 1);
        if self.is_shut_down() {
            return Err(Closed(item));
        }
        self.length.set(self.length.get() + 1);
        self.unfinished.count.set(self.unfinished.count.get() + 1);
        // Also if the comparison of two items panics.
        let _settle = Settle(self);
        self.with_items(|items| items.push(item));
        Ok(())
    }

    /// Takes an item that was promised.
    #[inline]
    fn get_promised(&self) -> Result<O::Item, ShutDown> {
        if self.life.get() == Life::Drained {
            return Err(ShutDown);
        }
        self.promised.set(self.promised.get() - 1);
        self.length.set(self.length.get() - 1);
        let _settle = Settle(self);
        let item = self.with_items(|items| items.pop());
        Ok(item.expect("a promised item is in the queue"))
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        let mut dropped = Vec::new();
        match how {
            Shutdown::Graceful if self.is_shut_down() => {}
            Shutdown::Graceful => self.life.set(Life::ShutDown),
            Shutdown::Immediate => {
                self.life.set(Life::Drained);
                self.length.set(0);
                self.promised.set(0);
                // A comparison that shuts its own queue down leaves that to `with_items`.
                if !self.is_busy.get() {
                    dropped = self.items.borrow_mut().take();
                }
            }
        }
        self.putters.refuse_all();
        let unfinished = Rc::clone(&self.unfinished);
        let count = dropped.len().min(unfinished.count.get());
        self.settle();
        // Fewer may be unfinished than were dropped if `task_done` was called too early.
        let _ = unfinished.done(count);
        drop(dropped);
    }
}

impl<O: Order> Mechanism<O> {
    /// Runs a step that may compare items, which is foreign code, as is the drop of an item if a
    /// comparison panics. What that asks of the queue finds nothing free meanwhile, and waits.
    #[inline]
    fn with_items<T>(&self, step: impl FnOnce(&mut O) -> T) -> T {
        self.is_busy.set(true);
        let _busy = Busy(self);
        step(&mut self.items.borrow_mut())
    }
}

struct Busy<'a, O: Order>(&'a Mechanism<O>);

impl<O: Order> Drop for Busy<'_, O> {
    #[inline]
    fn drop(&mut self) {
        self.0.is_busy.set(false);
        if self.0.life.get() == Life::Drained {
            let left = self.0.items.borrow_mut().take();
            drop(left);
        }
    }
}

struct Settle<'a, O>(&'a Mechanism<O>);

impl<O> Drop for Settle<'_, O> {
    #[inline]
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// What a slot needs of its queue, whatever the order.
pub(super) trait Place<T> {
    fn put(&self, item: T) -> Result<(), Closed<T>>;
    fn give_up(&self);
}

impl<O: Order> Place<O::Item> for Mechanism<O> {
    fn put(&self, item: O::Item) -> Result<(), Closed<O::Item>> {
        self.put_reserved(item)
    }

    fn give_up(&self) {
        self.give_up_place();
    }
}

/// The items that were put and are not yet done.
pub(super) struct Unfinished {
    count: Cell<usize>,
    joiners: Waiters,
}

impl Unfinished {
    pub(super) fn done(&self, count: usize) -> Result<(), TaskDoneError> {
        let left = self.count.get().checked_sub(count).ok_or(TaskDoneError(()))?;
        self.count.set(left);
        if left == 0 {
            self.joiners.grant_all();
            self.joiners.wake();
        }
        Ok(())
    }

    pub(super) fn join(&self) -> Join<'_> {
        Join { unfinished: self, waiter: Waiter::new(&self.joiners, 0) }
    }
}

pin_project! {
    pub(super) struct Join<'a> {
        unfinished: &'a Unfinished,
        #[pin]
        waiter: Waiter<'a>,
    }
}

impl Future for Join<'_> {
    type Output = ();

    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let count = &this.unfinished.count;
        let decide = || if count.get() == 0 { Verdict::Granted } else { Verdict::Wait };
        this.waiter.as_ref().poll(context, decide).map(|_| ())
    }
}

pin_project! {
    /// Waits for a place.
    pub(super) struct Reserve<'a, O> {
        mechanism: &'a Mechanism<O>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<O> PinnedDrop for Reserve<'_, O> {
        fn drop(this: Pin<&mut Self>) {
            if this.waiter.leave() == Stage::Granted {
                this.mechanism.give_up_place();
            }
        }
    }
}

impl<'a, O> Reserve<'a, O> {
    #[inline]
    pub(super) fn new(mechanism: &'a Mechanism<O>) -> Reserve<'a, O> {
        Reserve { mechanism, waiter: Waiter::new(&mechanism.putters, 0) }
    }
}

impl<O> Future for Reserve<'_, O> {
    type Output = Result<(), ShutDown>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mechanism = *this.mechanism;
        match ready!(this.waiter.as_ref().poll(context, || mechanism.decide_put())) {
            Outcome::Granted if mechanism.is_shut_down() => {
                mechanism.give_up_place();
                Poll::Ready(Err(ShutDown))
            }
            Outcome::Granted => Poll::Ready(Ok(())),
            Outcome::Refused => Poll::Ready(Err(ShutDown)),
        }
    }
}

pin_project! {
    /// Waits for a place, and puts an item there.
    pub(super) struct Put<'a, O: Order> {
        item: Option<O::Item>,
        #[pin]
        reserve: Reserve<'a, O>,
    }
}

impl<'a, O: Order> Put<'a, O> {
    #[inline]
    pub(super) fn new(mechanism: &'a Mechanism<O>, item: O::Item) -> Put<'a, O> {
        Put { item: Some(item), reserve: Reserve::new(mechanism) }
    }
}

impl<O: Order> Future for Put<'_, O> {
    type Output = Result<(), Closed<O::Item>>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mechanism = this.reserve.mechanism;
        let place = ready!(this.reserve.poll(context));
        let item = this.item.take().expect("a finished wait panics when it is polled");
        Poll::Ready(match place {
            Ok(()) => mechanism.put_reserved(item),
            Err(ShutDown) => Err(Closed(item)),
        })
    }
}

pin_project! {
    /// Waits for an item, and takes it.
    pub(super) struct Get<'a, O> {
        mechanism: &'a Mechanism<O>,
        #[pin]
        waiter: Waiter<'a>,
    }

    impl<O> PinnedDrop for Get<'_, O> {
        fn drop(this: Pin<&mut Self>) {
            if this.waiter.leave() == Stage::Granted {
                this.mechanism.give_up_item();
            }
        }
    }
}

impl<'a, O> Get<'a, O> {
    #[inline]
    pub(super) fn new(mechanism: &'a Mechanism<O>) -> Get<'a, O> {
        Get { mechanism, waiter: Waiter::new(&mechanism.getters, 0) }
    }
}

impl<O: Order> Future for Get<'_, O> {
    type Output = Result<O::Item, ShutDown>;

    #[inline]
    #[track_caller]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mechanism = *this.mechanism;
        match ready!(this.waiter.as_ref().poll(context, || mechanism.decide_get())) {
            Outcome::Granted => Poll::Ready(mechanism.get_promised()),
            Outcome::Refused => Poll::Ready(Err(ShutDown)),
        }
    }
}
