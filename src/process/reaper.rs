//! Waits for one child, on the loop's behalf: a standing poll of its pidfd.
//!
//! The poll outlives the handle. If the runtime ends before the child, the child becomes an orphan
//! of this process, and whoever starts or loses the next one waits for it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::process::ExitStatus;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::driver::{Fd, Op, Payload};
use crate::executor::slots::{Done, Receive, Start};
use crate::executor::waiting::WaitQueue;
use crate::executor::{Core, Life};
use crate::signal::Signal;

/// What is known of a child.
pub(super) struct Reaper {
    core: Rc<Core>,
    pidfd: Rc<Fd>,
    status: Cell<Option<ExitStatus>>,
    error: Cell<Option<i32>>,
    waiters: RefCell<WaitQueue>,
}

impl Reaper {
    pub(super) fn start(core: &Rc<Core>, pidfd: Rc<Fd>) -> Rc<Reaper> {
        let reaper = Rc::new(Reaper {
            core: Rc::clone(core),
            pidfd,
            status: Cell::new(None),
            error: Cell::new(None),
            waiters: RefCell::default(),
        });
        reaper.poll_pidfd();
        reaper
    }

    fn poll_pidfd(self: &Rc<Self>) {
        self.core.start(Start {
            op: Op::Poll { fd: self.pidfd.raw(), multishot: false },
            payload: Payload::None,
            fd: Some(Rc::clone(&self.pidfd)),
            receiver: Rc::<Reaper>::clone(self),
            role: 0,
            owner: None,
        });
    }

    /// How the child ended, if it has.
    pub(super) fn look(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.get().is_none() && self.error.get().is_none() {
            let found = self.core.driver.borrow_mut().wait_for_process(self.pidfd.raw());
            match found {
                Ok(status) => self.status.set(status),
                Err(error) => self.error.set(error.raw_os_error()),
            }
        }
        match self.error.get() {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => Ok(self.status.get()),
        }
    }

    pub(super) async fn ended(&self) -> io::Result<ExitStatus> {
        let mut place = Place { reaper: self, number: None };
        poll_fn(|context| place.poll(context)).await
    }

    /// Sends a signal; one that has ended gets none, which is no error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.get().is_some() {
            return Ok(());
        }
        self.core.driver.borrow_mut().signal_process(self.pidfd.raw(), signal.number())
    }

    pub(super) fn signal_group(&self, leader: u32, signal: Signal) -> io::Result<()> {
        let (pidfd, is_gone) = (self.pidfd.raw(), self.status.get().is_some());
        self.core.driver.borrow_mut().signal_group(pidfd, leader, is_gone, signal.number())
    }

    fn wake_all(&self) {
        let waiting = self.waiters.borrow_mut().all();
        for waker in waiting {
            self.core.wake(waker);
        }
    }
}

impl Receive for Reaper {
    fn complete(self: Rc<Self>, core: &Rc<Core>, _done: Done) {
        let is_over = !matches!(self.look(), Ok(None));
        if is_over {
            self.wake_all();
        } else if core.life() < Life::Draining {
            self.poll_pidfd();
        } else {
            core.driver.borrow_mut().orphan_process(self.pidfd.raw());
        }
    }
}

/// The place of one who waits.
struct Place<'a> {
    reaper: &'a Reaper,
    number: Option<u64>,
}

impl Place<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<io::Result<ExitStatus>> {
        let reaper = self.reaper;
        if let Some(status) = reaper.look()? {
            return Poll::Ready(Ok(status));
        }
        reaper.core.check_turning()?;
        let waker = context.waker().clone();
        let old = reaper.waiters.borrow_mut().wait(&mut self.number, waker);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            let own = self.reaper.waiters.borrow_mut().leave(number);
            drop(own);
        }
    }
}
