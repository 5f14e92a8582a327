//! A future of one operation with one result.
//!
//! The operation belongs to the scope that was polled when it started. Dropping the future asks
//! for its end; the slot keeps what the kernel may touch until the last completion. If the scope is
//! asked to end (softly), an operation that completed all the same gives its value, one that ended
//! by that request stays pending, and a new one is not started: see `scope.rs`. Only the scope that
//! ends is kept waiting: where the future was moved out of it, nobody would end that wait.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::scope::Scope;
use super::slots::{Done, Receive, Start};
use super::{Core, Life, NO_RUNTIME};
use crate::driver::{Fd, Op, Payload, Token};

/// The core that an async function runs on. It is first polled somewhere else than it is called:
/// if there is no core, the panic names who called it.
pub(crate) fn core_for(called_at: &Location<'_>) -> Rc<Core> {
    let core = Core::try_current();
    core.unwrap_or_else(|| panic!("{NO_RUNTIME} (called at {called_at})"))
}

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
    owner: Rc<Scope>,
    /// `None` if it was not started, since the scope or the core is ending.
    token: Option<Token>,
}

impl Operation {
    pub(crate) fn start(core: &Rc<Core>, op: Op, payload: Payload, fd: &Rc<Fd>) -> Operation {
        let owner = core.current_scope();
        let answer = Rc::<Answer>::default();
        let is_refused = owner.is_ending_around() || core.life() >= Life::Draining;
        if is_refused {
            answer.result.set(Some(-libc::ECANCELED));
        }
        let token = (!is_refused).then(|| {
            core.start(Start {
                op,
                payload,
                fd: Some(Rc::clone(fd)),
                receiver: Rc::<Answer>::clone(&answer),
                role: 0,
                owner: Some(Rc::clone(&owner)),
            })
        });
        Operation { core: Rc::clone(core), answer, owner, token }
    }

    /// Whether the scope that is polled now was asked to end, and the operation ended by that.
    fn is_ended_by_request(&self, result: i32) -> bool {
        let is_cancelled = result == -libc::ECANCELED || result == -libc::EINTR;
        is_cancelled
            && self.owner.is_ending_around()
            && self.core.current_scope().is_inside(&self.owner)
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
        if self.core.check_turning().is_err() {
            // Nothing would wake whoever polls it here; as with a drop, the operation is ended.
            return Poll::Ready(-libc::ECANCELED);
        }
        let waker = context.waker().clone();
        let old = self.answer.waker.borrow_mut().replace(waker);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // It is not to be woken any more, and if its drop panics, then here and not in the core.
        let waker = self.answer.waker.take();
        if self.answer.result.get().is_none()
            && let Some(token) = self.token
        {
            self.core.cancel(token);
        }
        drop(waker);
    }
}
