//! Who hears of a signal: everyone in this process who listens to it.
//!
//! ```text
//!  kernel ─▶ signalfd of some core ─▶ that core's hub ─▶ the mailboxes of all who listen,
//!                                                         on whichever core
//! ```
//!
//! The kernel gives a pending signal to whoever reads it first, and to nobody else. So it is
//! read once by one core's hub, which marks it in every mailbox. A mailbox that goes away with a
//! signal that nobody else was told of leaves it for the next listener, as the kernel does with
//! one that nobody has read.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::driver::{Fd, Op, Payload, Token, open_signals, read_signal};
use crate::executor::slots::{Done, Receive, Start};
use crate::executor::waiting::WaitQueue;
use crate::executor::{Core, Life};

/// Signals by their numbers, one bit each.
pub(super) type Set = u64;

pub(super) fn bit(number: i32) -> Set {
    1 << number
}

/// All listeners of the process, and what none of them has heard.
struct Registry {
    mailboxes: Vec<Arc<Mailbox>>,
    left_over: Set,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { mailboxes: Vec::new(), left_over: 0 });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one listener was told and has not taken.
pub(super) struct Mailbox {
    wanted: Set,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: Set,
    waiting: WaitQueue,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the pending signal with the lowest number.
    pub(super) fn take(&self) -> Option<i32> {
        let mut state = self.state();
        let number = state.pending.trailing_zeros();
        state.pending &= state.pending.wrapping_sub(1);
        (number < Set::BITS).then_some(number as i32)
    }

    /// Queues a waiter; the old waker is the caller's to drop.
    pub(super) fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.state().waiting.wait(number, waker)
    }

    pub(super) fn leave(&self, number: u64) -> Option<Waker> {
        self.state().waiting.leave(number)
    }
}

/// Tells everyone who wants it.
fn dispatch(core: &Core, number: i32) {
    let mut wakers = Vec::new();
    {
        let mut registry = registry();
        let mut is_heard = false;
        for mailbox in registry.mailboxes.iter().filter(|it| it.wanted & bit(number) != 0) {
            let mut state = mailbox.state();
            state.pending |= bit(number);
            wakers.extend(state.waiting.all());
            is_heard = true;
        }
        if !is_heard {
            registry.left_over |= bit(number);
        }
    }
    for waker in wakers {
        core.wake(waker);
    }
}

/// One core's signalfd, for all that is listened to on it.
pub(super) struct Hub {
    core: Rc<Core>,
    fd: RefCell<Option<Rc<Fd>>>,
    mailboxes: RefCell<Vec<Arc<Mailbox>>>,
    polling: Cell<Option<Token>>,
}

thread_local! {
    static HUB: RefCell<Weak<Hub>> = const { RefCell::new(Weak::new()) };
}

impl Hub {
    /// The hub of this core.
    pub(super) fn of(core: &Rc<Core>) -> Rc<Hub> {
        HUB.with_borrow_mut(|known| match known.upgrade() {
            Some(hub) if Rc::ptr_eq(&hub.core, core) => hub,
            _ => {
                let hub = Rc::new(Hub {
                    core: Rc::clone(core),
                    fd: RefCell::default(),
                    mailboxes: RefCell::default(),
                    polling: Cell::new(None),
                });
                *known = Rc::downgrade(&hub);
                hub
            }
        })
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Listens to these signals from now on.
    pub(super) fn listen(self: &Rc<Self>, wanted: Set) -> io::Result<Arc<Mailbox>> {
        let mailbox = Arc::new(Mailbox { wanted, state: Mutex::default() });
        self.mailboxes.borrow_mut().push(Arc::clone(&mailbox));
        if let Err(error) = self.set_mask() {
            self.mailboxes.borrow_mut().pop();
            return Err(error);
        }
        {
            let mut registry = registry();
            mailbox.state().pending = registry.left_over & wanted;
            registry.left_over &= !wanted;
            registry.mailboxes.push(Arc::clone(&mailbox));
        }
        self.poll_signals();
        Ok(mailbox)
    }

    /// Has the descriptor tell of what any listener of this core wants.
    fn set_mask(&self) -> io::Result<()> {
        let wanted = self.mailboxes.borrow().iter().fold(0, |set, mailbox| set | mailbox.wanted);
        let numbers: Vec<i32> = (1..Set::BITS as i32).filter(|it| wanted & bit(*it) != 0).collect();
        let known = self.fd.borrow().as_ref().map(|fd| fd.raw());
        let raw = open_signals(known, &numbers)?;
        if known.is_none() {
            self.fd.replace(Some(self.core.fd(raw)));
        }
        Ok(())
    }

    /// Takes a listener out.
    pub(super) fn leave(&self, mailbox: &Arc<Mailbox>) {
        {
            let mut registry = registry();
            registry.mailboxes.retain(|it| !Arc::ptr_eq(it, mailbox));
            let others = registry.mailboxes.iter().fold(0, |set, it| set | it.wanted);
            registry.left_over |= mailbox.state().pending & !others;
        }
        self.mailboxes.borrow_mut().retain(|it| !Arc::ptr_eq(it, mailbox));
        if !self.mailboxes.borrow().is_empty() {
            // A mask that stays too wide has signals read that are left over then.
            let _ = self.set_mask();
            return;
        }
        if let Some(token) = self.polling.take() {
            self.core.cancel(token);
        }
        drop(self.fd.take());
    }

    fn poll_signals(self: &Rc<Self>) {
        let Some(fd) = self.fd.borrow().clone() else { return };
        if self.polling.get().is_some() || self.core.life() >= Life::Draining {
            return;
        }
        let token = self.core.start(Start {
            op: Op::Poll { fd: fd.raw(), multishot: false },
            payload: Payload::None,
            fd: Some(fd),
            receiver: Rc::<Hub>::clone(self),
            role: 0,
            owner: None,
        });
        self.polling.set(Some(token));
    }

    /// Reads what is pending, and tells everyone.
    pub(super) fn read(&self) -> io::Result<()> {
        let Some(fd) = self.fd.borrow().clone() else { return Ok(()) };
        while let Some(number) = read_signal(fd.raw())? {
            dispatch(&self.core, number);
        }
        Ok(())
    }
}

impl Receive for Hub {
    fn complete(self: Rc<Self>, _core: &Rc<Core>, done: Done) {
        if self.polling.get() == Some(done.token) {
            self.polling.set(None);
            // An error comes again with the next `recv`, which tells it.
            if self.read().is_ok() {
                self.poll_signals();
            }
        }
    }
}
