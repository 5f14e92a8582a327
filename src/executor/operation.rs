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

/// The role of an operation whose result is a descriptor.
const OPENS: u8 = 1;

/// What the slot and the future share.
#[derive(Default)]
struct Answer {
    result: Cell<Option<i32>>,
    /// What the operation pointed to, once it is over.
    payload: Cell<Payload>,
    /// The descriptor that it made: closed with the answer if nobody takes it, so also one that
    /// comes after the future was dropped.
    opened: Cell<Option<Rc<Fd>>>,
    waker: RefCell<Option<Waker>>,
}

impl Receive for Answer {
    fn complete(self: Rc<Self>, core: &Rc<Core>, done: Done) {
        if done.role == OPENS && done.result >= 0 {
            self.opened.set(Some(core.fd(done.result)));
        }
        self.payload.set(done.payload);
        self.result.set(Some(done.result));
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            core.wake(waker);
        }
    }
}

/// All that an operation left.
pub(crate) struct Outcome {
    /// The kernel's result: not negative, or `-errno`.
    pub(crate) result: i32,
    /// Nothing if the slot keeps it, since the operation was given up.
    pub(crate) payload: Payload,
    /// The descriptor, if the result is one.
    pub(crate) opened: Option<Rc<Fd>>,
}

/// See the top of this file.
pub(crate) struct Operation {
    core: Rc<Core>,
    answer: Rc<Answer>,
    /// `None` of one that belongs to a resource.
    owner: Option<Rc<Scope>>,
    /// `None` if it was not started, since the scope or the core is ending.
    token: Option<Token>,
}

impl Operation {
    pub(crate) fn start(core: &Rc<Core>, op: Op, payload: Payload, fd: &Rc<Fd>) -> Operation {
        Operation::start_with(core, op, payload, Some(Rc::clone(fd)))
    }

    /// As `start`, of an operation that may have no descriptor.
    pub(crate) fn start_with(
        core: &Rc<Core>,
        op: Op,
        payload: Payload,
        fd: Option<Rc<Fd>>,
    ) -> Operation {
        let owner = core.current_scope();
        Operation::start_for(core, op, payload, fd, Some(owner))
    }

    /// As `start`, of one that belongs to a resource and stands beyond the scope that is polled: it
    /// does not end with it.
    pub(crate) fn standing(core: &Rc<Core>, op: Op, payload: Payload, fd: &Rc<Fd>) -> Operation {
        Operation::start_for(core, op, payload, Some(Rc::clone(fd)), None)
    }

    fn start_for(
        core: &Rc<Core>,
        op: Op,
        payload: Payload,
        fd: Option<Rc<Fd>>,
        owner: Option<Rc<Scope>>,
    ) -> Operation {
        let answer = Rc::<Answer>::default();
        let is_ending = owner.as_ref().is_some_and(|owner| owner.is_ending_around());
        let is_refused = is_ending || core.life() >= Life::Draining;
        let token = match is_refused {
            true => {
                answer.payload.set(payload);
                answer.result.set(Some(-libc::ECANCELED));
                None
            }
            false => Some(core.start(Start {
                op,
                payload,
                fd,
                receiver: Rc::<Answer>::clone(&answer),
                role: if matches!(op, Op::File(op) if op.opens()) { OPENS } else { 0 },
                owner: owner.clone(),
            })),
        };
        Operation { core: Rc::clone(core), answer, owner, token }
    }

    /// Waits for the end, for whoever needs more than the result.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let result = (&mut self).await;
        Outcome { result, payload: self.take_payload(), opened: self.answer.opened.take() }
    }

    /// What the operation pointed to, once it is over.
    pub(crate) fn take_payload(&self) -> Payload {
        self.answer.payload.take()
    }

    /// Whether the scope that is polled now was asked to end, and the operation ended by that.
    fn is_ended_by_request(&self, result: i32) -> bool {
        let is_cancelled = result == -libc::ECANCELED || result == -libc::EINTR;
        let Some(owner) = self.owner.as_ref().filter(|_| is_cancelled) else { return false };
        owner.is_ending_around() && self.core.current_scope().is_inside(owner)
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
