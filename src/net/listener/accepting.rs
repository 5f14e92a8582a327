//! Waiting for a connection of a listener. Who waits has a place in a line and nothing else: what
//! is accepted is the listener's until it is returned.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::Stream;

use super::{Listener, closed};
use crate::net::TcpStream;

/// Waits for a connection.
pub(super) struct Accept<'a> {
    listener: &'a Rc<Listener>,
    number: Option<u64>,
}

impl<'a> Accept<'a> {
    pub(super) fn new(listener: &'a Rc<Listener>) -> Accept<'a> {
        Accept { listener, number: None }
    }

    /// Gives up the place in the queue; the turn passes on.
    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            let own = self.listener.waiting.borrow_mut().leave(number);
            self.listener.wake_first();
            // Last, since the drop of a foreign waker may panic.
            drop(own);
        }
    }

    /// What there is to return, if it is this one's turn. Then the turn is passed on: whoever
    /// keeps a future that is over must not hold up the others.
    fn take(&mut self) -> Option<io::Result<TcpStream>> {
        let listener = self.listener;
        if !listener.waiting.borrow().is_turn_of(self.number) {
            return None;
        }
        let next = listener.inbox.borrow_mut().pop_front();
        let taken = match (next, listener.error.get()) {
            (Some(fd), _) => Ok(TcpStream::from_fd(Rc::clone(&listener.core), fd)),
            (None, _) if listener.is_closed.get() => Err(closed()),
            (None, Some(error)) => Err(io::Error::from_raw_os_error(error)),
            (None, None) => return None,
        };
        self.leave();
        listener.accept_more();
        Some(taken)
    }
}

impl Future for Accept<'_> {
    type Output = io::Result<TcpStream>;

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

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The connections of a listener, from
/// [`TcpListener::incoming`](crate::net::TcpListener::incoming).
pub struct Incoming<'a> {
    accept: Accept<'a>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(listener: &'a Rc<Listener>) -> Incoming<'a> {
        Incoming { accept: Accept::new(listener) }
    }
}

impl Stream for Incoming<'_> {
    type Item = io::Result<TcpStream>;

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
