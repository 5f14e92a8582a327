//! Waits for a listener: for a connection, or for the end.
//!
//! The connections lie in the listener's inbox as bare descriptors; what kind of stream they are
//! is known to whoever waits for them.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::TcpStream;
use super::listener::Listener;
use crate::driver::Fd;
use crate::executor::Core;
use crate::io::Stream;

/// A kind of stream that a listener accepts.
pub(super) trait Accepted: Sized + 'static {
    fn accepted(core: &Rc<Core>, fd: Rc<Fd>) -> Self;

    /// The state machine under it.
    fn under(&self) -> &Rc<Stream>;

    /// The Internet address of the other end, if it has one.
    fn peer(&self) -> Option<SocketAddr>;
}

pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener is closed")
}

impl Listener {
    /// Stops listening, and waits for the last of the accepts in flight.
    pub(super) async fn close(self: &Rc<Self>) {
        self.stop();
        Closing { listener: self, number: None }.await;
    }
}

/// Waits for the last of the accepts in flight.
struct Closing<'a> {
    listener: &'a Rc<Listener>,
    number: Option<u64>,
}

impl Future for Closing<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let listener = self.listener;
        // Where the core does not run, they end when it does, or have ended with it.
        if listener.in_flight.borrow().is_empty() || listener.core.check_turning().is_err() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let old = listener.closers.borrow_mut().wait(&mut self.number, waker);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let own = self.listener.closers.borrow_mut().leave(number);
            drop(own);
        }
    }
}

/// Waits for a connection.
pub(super) struct Accept<'a, S> {
    listener: &'a Rc<Listener>,
    number: Option<u64>,
    kind: PhantomData<fn() -> S>,
}

impl<'a, S: Accepted> Accept<'a, S> {
    pub(super) fn new(listener: &'a Rc<Listener>) -> Accept<'a, S> {
        Accept { listener, number: None, kind: PhantomData }
    }
}

impl<S> Accept<'_, S> {
    /// Gives up the place in the queue; the turn passes on.
    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            let own = self.listener.waiting.borrow_mut().leave(number);
            self.listener.wake_first();
            // Last, since the drop of a foreign waker may panic.
            drop(own);
        }
    }
}

impl<S: Accepted> Accept<'_, S> {
    /// What there is to return, if it is this one's turn. Then the turn is passed on: whoever
    /// keeps a future that is over must not hold up the others.
    fn take(&mut self) -> Option<io::Result<S>> {
        let listener = self.listener;
        if !listener.waiting.borrow().is_turn_of(self.number) {
            return None;
        }
        let next = listener.inbox.borrow_mut().pop_front();
        let taken = match (next, listener.error.get()) {
            (Some(fd), _) => Ok(S::accepted(&listener.core, fd)),
            (None, _) if listener.is_closed.get() => Err(closed()),
            (None, Some(error)) => Err(io::Error::from_raw_os_error(error)),
            (None, None) => return None,
        };
        self.leave();
        listener.accept_more();
        Some(taken)
    }
}

impl<S: Accepted> Future for Accept<'_, S> {
    type Output = io::Result<S>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let listener = self.listener;
        listener.core.check_turning()?;
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        let waker = context.waker().clone();
        // To clone a foreign waker may run any code, also some that closes this listener.
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        let old = listener.waiting.borrow_mut().wait(&mut self.number, waker);
        listener.accept_more();
        drop(old);
        Poll::Pending
    }
}

impl<S> Drop for Accept<'_, S> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The connections of a listener, from its `incoming`.
#[must_use = "a stream does nothing until it is polled"]
pub struct Incoming<'a, S = TcpStream> {
    accept: Accept<'a, S>,
}

impl<'a, S> Incoming<'a, S> {
    pub(super) fn new(accept: Accept<'a, S>) -> Incoming<'a, S> {
        Incoming { accept }
    }
}

impl<S: Accepted> futures_util::Stream for Incoming<'_, S> {
    type Item = io::Result<S>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.accept).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                Poll::Ready(None)
            }
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        }
    }
}
