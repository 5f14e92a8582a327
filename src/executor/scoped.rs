//! A future with a scope of its own, so that it can be asked to end.
//!
//! The scope is opened by the first poll, inside the one that is polled then, and moves along when
//! the future is polled elsewhere. See `scope.rs` for what happens to a request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::Core;
use super::scope::{Kind, Request, Scope};

/// The place of a future in the tree of scopes. Dropping it closes the scope.
pub(crate) struct Place {
    kind: Kind,
    open: Option<(Rc<Core>, Rc<Scope>)>,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Place {
        Place { kind, open: None }
    }

    /// Opens the scope, or notes where it is polled now. The core is the one that runs here.
    #[track_caller]
    pub(crate) fn polled(&mut self, waker: &Waker) -> (Rc<Core>, Rc<Scope>) {
        let core = Core::current();
        let outer = core.current_scope();
        if self.open.as_ref().is_some_and(|(known, _)| !Rc::ptr_eq(known, &core)) {
            // It comes from another runtime, whose operations are that one's affair.
            self.close(false);
        }
        match &self.open {
            Some((_, scope)) => {
                let scope = Rc::clone(scope);
                let polled = scope.polled(&outer, waker);
                if let Some(moved) = polled.moved {
                    core.scope_moved(&scope, moved);
                }
                drop(polled.old_waker);
                (core, scope)
            }
            None => {
                let scope = outer.open(self.kind, waker.clone());
                self.open = Some((Rc::clone(&core), Rc::clone(&scope)));
                (core, scope)
            }
        }
    }

    pub(crate) fn scope(&self) -> Option<&Rc<Scope>> {
        self.open.as_ref().map(|(_, scope)| scope)
    }

    /// Asks the scope to end.
    pub(crate) fn ask(&self, reason: Option<Arc<str>>) {
        if let Some((core, scope)) = &self.open {
            core.wake_each(scope.ask(reason));
        }
    }

    /// Closes the scope, and says what it answered for.
    pub(crate) fn close(&mut self, answers: bool) -> Vec<Rc<Request>> {
        let Some((core, scope)) = self.open.take() else { return Vec::new() };
        let (requests, woken) = scope.close(answers);
        let waker = scope.forget_waker();
        core.wake_each(woken);
        drop(waker);
        requests
    }

    /// Ends what a future that is over has left in flight; true if that is nothing.
    pub(crate) fn settle(&mut self) -> bool {
        let Some((core, scope)) = &self.open else { return true };
        if scope.in_flight() == 0 {
            return true;
        }
        scope.settle();
        core.cancel_operations(scope);
        false
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.close(false);
    }
}

/// While this lives, a scope is the one that is polled.
pub(crate) struct Inside<'a> {
    core: &'a Core,
    outer: Option<Rc<Scope>>,
}

impl Core {
    pub(crate) fn inside(&self, scope: &Rc<Scope>) -> Inside<'_> {
        let outer = self.current_scope.replace(Some(Rc::clone(scope)));
        Inside { core: self, outer }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        drop(self.core.current_scope.replace(self.outer.take()));
    }
}

pin_project! {
    /// See the top of this file.
    pub(crate) struct Scoped<F> {
        #[pin]
        future: Option<F>,
        pub(crate) place: Place,
    }
}

/// The future was dropped unfinished, since its scope was asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended;

impl<F: Future> Scoped<F> {
    pub(crate) fn new(kind: Kind, future: F) -> Scoped<F> {
        Scoped { future: Some(future), place: Place::new(kind) }
    }

    /// Polls the future inside its scope. Once it is over, the caller closes the place.
    #[track_caller]
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Ended>> {
        let mut this = self.project();
        let (core, scope) = this.place.polled(context.waker());
        core.take_request_of(&scope);
        let _inside = core.inside(&scope);
        let future = this.future.as_mut().as_pin_mut();
        let future = future.expect("a future was polled after it was ready");
        if let Poll::Ready(value) = future.poll(context) {
            this.future.set(None);
            return Poll::Ready(Ok(value));
        }
        // A request that was made meanwhile ends the future at this very wait.
        core.take_request_of(&scope);
        if scope.is_ending() && scope.is_quiet() {
            this.future.set(None);
            return Poll::Ready(Err(Ended));
        }
        Poll::Pending
    }

    /// Drops the future now, whatever it has in flight.
    pub(crate) fn drop_future(self: Pin<&mut Self>) {
        let mut this = self.project();
        let open = this.place.open.clone();
        let _inside = open.as_ref().map(|(core, scope)| core.inside(scope));
        this.future.set(None);
    }

    /// Takes a request that was made since the last poll, if there is nothing to wait for: then
    /// the future need not be polled again to be dropped.
    pub(crate) fn is_quiet_and_asked(&self) -> bool {
        self.place.scope().is_some_and(|scope| scope.is_quiet() && scope.take_request())
    }
}
