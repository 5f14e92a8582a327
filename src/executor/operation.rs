//! A future of one operation with one result.
//!
//! The operation belongs to the task that was polled when it started. Dropping the future asks
//! for its end; the slot keeps what the kernel may touch until the last completion. If the task is
//! asked to end (softly), an operation that completed all the same gives its value, one that ended
//! by that request stays pending, and a new one is not started: see `task.rs`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Core;
use super::slots::{Done, Receive, Start};
use super::task::AnyTask;
use crate::driver::{Fd, Op, Payload, Token};

/// What the slot and the future share.
#[derive(Default)]
struct Answer {
    result: Cell<Option<i32>>,
    waker: RefCell<Option<Waker>>,
}

impl Receive for Answer {
    fn complete(self: Rc<Self>, core: &Rc<Core>, done: Done) {
        self.result.set(Some(done.result));
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            core.wake(waker);
        }
    }
}

/// See the top of this file.
pub(crate) struct Operation {
    core: Rc<Core>,
    answer: Rc<Answer>,
    owner: Option<Rc<dyn AnyTask>>,
    /// `None` if it was not started, since the task is ending.
    token: Option<Token>,
}

impl Operation {
    pub(crate) fn start(core: &Rc<Core>, op: Op, payload: Payload, fd: &Rc<Fd>) -> Operation {
        let owner = core.current_task();
        let answer = Rc::<Answer>::default();
        let is_ending = owner.as_ref().is_some_and(|owner| owner.header().cancel.get());
        let token = (!is_ending).then(|| {
            core.start(Start {
                op,
                payload,
                fd: Some(Rc::clone(fd)),
                receiver: Rc::<Answer>::clone(&answer),
                role: 0,
                owner: owner.clone(),
            })
        });
        Operation { core: Rc::clone(core), answer, owner, token }
    }

    fn is_ended_by_request(&self, result: i32) -> bool {
        let is_ending = self.owner.as_ref().is_some_and(|owner| owner.header().cancel.get());
        is_ending && result == -libc::ECANCELED
    }
}

impl Future for Operation {
    /// The kernel's result: not negative, or `-errno`.
    type Output = i32;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<i32> {
        if let Some(result) = self.answer.result.get() {
            return match self.is_ended_by_request(result) {
                true => Poll::Pending,
                false => Poll::Ready(result),
            };
        }
        let waker = context.waker().clone();
        let old = self.answer.waker.borrow_mut().replace(waker);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.answer.result.get().is_none()
            && let Some(token) = self.token
        {
            self.core.cancel(token);
        }
    }
}
