//! A waker is a ticket: an integer, never a pointer.
//!
//! ```text
//!  63..54 core   53..48 epoch   47..28 generation   27..0 task slot
//! ```
//!
//! Cloning copies the integer and dropping does nothing, so there is no count, atomic or
//! otherwise, and nothing to dangle. Waking on the core's own thread marks the task ready if the
//! generation still matches; waking from elsewhere posts the ticket into that core's inbox and
//! rings its bell only if it sleeps. A stale ticket is a spurious wake, which is always allowed.
//!
//! `[cells-live-for-ever]`: the core's number names a cell in a static table. A cell, its inbox and
//! its bell are made once and never freed or closed, only taken over by a later core under the next
//! epoch; so a ticket of a core that ended reaches memory that is there, and is thrown away.
#![allow(unsafe_code)] // A waker is made from its vtable.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::Core;
use super::calls::{Call, Calls};
use super::inbox::{Inbox, MustRing};
use super::turn::WAKES_MAX;
use crate::driver::Bell;

/// The most cores that can run in one process at a time.
const CORES_MAX: usize = 1024;

const SLOT_BITS: u32 = 28;
const GENERATION_BITS: u32 = 20;
const EPOCH_BITS: u32 = 6;

/// The task slot that means the future of `block_on`.
pub(crate) const ROOT_SLOT: u32 = (1 << SLOT_BITS) - 1;

/// Task generations repeat after this many.
pub(crate) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const EPOCH_MASK: u32 = (1 << EPOCH_BITS) - 1;

/// What a waker says: which task of which core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

impl Ticket {
    pub(crate) fn new(home: Home, slot: u32, generation: u32) -> Ticket {
        let generation = u64::from(generation & GENERATION_MASK);
        Ticket(u64::from(home.0) << 48 | generation << SLOT_BITS | u64::from(slot))
    }

    pub(crate) fn home(self) -> Home {
        Home((self.0 >> 48) as u16)
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 as u32 & ROOT_SLOT
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> SLOT_BITS) as u32 & GENERATION_MASK
    }

    pub(crate) fn waker(self) -> Waker {
        // SAFETY: [ticket-is-a-number] the vtable below takes the data for an integer only, and
        // its functions are safe to call from any thread at any time.
        unsafe { Waker::from_raw(self.raw_waker()) }
    }

    fn raw_waker(self) -> RawWaker {
        RawWaker::new(std::ptr::without_provenance(self.0 as usize), &VTABLE)
    }

    pub(super) fn from_bits(bits: u64) -> Ticket {
        Ticket(bits)
    }

    /// Wakes the task, from whichever thread this is.
    pub(crate) fn wake(self) {
        if !Core::wake_at_home(self) {
            self.post();
        }
    }

    fn post(self) {
        let index = usize::from(self.home().0 >> EPOCH_BITS);
        let Some(cell) = CELLS[index].get() else { return };
        match cell.inbox.post(self.0) {
            MustRing::Yes => cell.bell.ring(),
            MustRing::No => {}
        }
    }
}

/// Whether a waker is one of ours: then waking it runs no foreign code.
pub(crate) fn is_ticket(waker: &Waker) -> bool {
    std::ptr::eq(waker.vtable(), &VTABLE)
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| from_data(data).raw_waker(),
    |data| from_data(data).wake(),
    |data| from_data(data).wake(),
    |_| {},
);

fn from_data(data: *const ()) -> Ticket {
    Ticket(data.addr() as u64)
}

/// A core's number with its epoch: what tickets are addressed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Home(u16);

/// What other threads see of a core.
pub(crate) struct Cell {
    pub(crate) inbox: Inbox,
    pub(crate) calls: Calls,
    pub(crate) bell: Bell,
}

impl Cell {
    /// Whether nothing waits that the core has to look at.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.calls.is_empty()
    }

    /// Says that the core is about to sleep; false if there is something to do first.
    pub(super) fn announce_sleep(&self) -> bool {
        let is_quiet = self.inbox.announce_sleep();
        if is_quiet && !self.calls.is_empty() {
            self.inbox.awake();
            return false;
        }
        is_quiet
    }
}

/// Where a core can be reached from any thread, for as long as it lives and after.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    home: Home,
    cell: &'static Cell,
}

impl Address {
    /// Has the core run a call; hands it back if the core has ended.
    pub(crate) fn call(self, call: Call) -> Result<(), Call> {
        self.cell.calls.push(self.home, call)?;
        match self.cell.inbox.knock() {
            MustRing::Yes => self.cell.bell.ring(),
            MustRing::No => {}
        }
        Ok(())
    }

    /// The core's number among those of the process.
    pub(crate) fn home(self) -> Home {
        self.home
    }
}

static CELLS: [OnceLock<&'static Cell>; CORES_MAX] = [const { OnceLock::new() }; CORES_MAX];

struct Registry {
    used_count: u16,
    /// Numbers whose core ended, with the epoch that their next core gets.
    free: Vec<(u16, u16)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { used_count: 0, free: Vec::new() });

/// A core's claim on its cell, given back when dropped.
pub(crate) struct Claim {
    pub(crate) home: Home,
    pub(crate) cell: &'static Cell,
}

impl Claim {
    /// Takes a cell: one that an earlier core left, or a new one.
    pub(crate) fn new() -> io::Result<Claim> {
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, epoch) = match registry.free.pop() {
            Some(left) => left,
            None if usize::from(registry.used_count) < CORES_MAX => (registry.used_count, 0),
            None => {
                return Err(io::Error::other(format!(
                    "{CORES_MAX} runtimes are alive in this process; likely they are built and \
                     never dropped; cure: keep one a thread"
                )));
            }
        };
        let place = &CELLS[usize::from(index)];
        let cell = match place.get() {
            Some(cell) => *cell,
            None => {
                let cell = Box::leak(Box::new(Cell {
                    inbox: Inbox::new(),
                    calls: Calls::default(),
                    bell: Bell::new()?,
                }));
                registry.used_count += 1;
                place.get_or_init(|| cell)
            }
        };
        // Wakes for the cell's last core mean nothing to this one.
        for _ in 0..WAKES_MAX {
            if cell.inbox.pop().is_none() {
                break;
            }
        }
        cell.inbox.take_wake_all();
        let home = Home(index << EPOCH_BITS | epoch);
        cell.calls.open(home);
        Ok(Claim { home, cell })
    }

    pub(crate) fn address(&self) -> Address {
        Address { home: self.home, cell: self.cell }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An orderly end has closed it, and dropped what was there.
        drop(self.cell.calls.close());
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, epoch) = (self.home.0 >> EPOCH_BITS, self.home.0 & EPOCH_MASK as u16);
        // Oldest first, so that an epoch comes back as late as can be.
        registry.free.insert(0, (index, (epoch + 1) & EPOCH_MASK as u16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{TcpListener, TcpStream};
    use crate::{sleep, spawn};
    use std::cell::{Cell as Slot, RefCell};
    use std::pin::{Pin, pin};
    use std::rc::Rc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    thread_local! {
        static CLONES: Slot<u32> = const { Slot::new(0) };
        static LISTENER: RefCell<Option<Rc<TcpListener>>> = const { RefCell::new(None) };
    }

    /// What a foreign waker may do at any time: here each of its functions does it.
    fn meddle() {
        let mut context = Context::from_waker(Waker::noop());
        spawn(async {}).cancel();
        assert!(pin!(sleep(Duration::from_secs(1))).poll(&mut context).is_pending());
        if let Some(listener) = LISTENER.with_borrow(Clone::clone) {
            let address = listener.local_addr().unwrap();
            let _ = pin!(TcpStream::connect(address)).poll(&mut context);
            let _ = pin!(listener.accept()).poll(&mut context);
        }
    }

    static RUDE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            CLONES.set(CLONES.get() + 1);
            meddle();
            RawWaker::new(data, &RUDE)
        },
        |_| meddle(),
        |_| meddle(),
        |_| meddle(),
    );

    fn rude() -> Waker {
        // SAFETY: [ticket-is-a-number] the functions of this vtable do not look at the data.
        unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &RUDE)) }
    }

    /// Polls twice with a waker whose clone meddles, so that one clone replaces another.
    fn poll_rudely<F: Future>(mut future: Pin<&mut F>) {
        let before = CLONES.get();
        for _ in 0..2 {
            let waker = rude();
            let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll.is_pending());
        }
        assert!(CLONES.get() > before);
    }

    #[test]
    fn a_waker_that_meddles_when_it_is_cloned_meets_no_borrow() {
        crate::run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut server = listener.accept().await.unwrap();
            LISTENER.set(Some(Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap())));
            poll_rudely(pin!(sleep(Duration::from_millis(1))));
            poll_rudely(pin!(spawn(std::future::pending::<()>())));
            poll_rudely(pin!(listener.accept()));
            poll_rudely(pin!(TcpStream::connect(listener.local_addr().unwrap())));
            poll_rudely(pin!(server.read(&mut [0; 1])));
            let room = || pin!(client.write(&[0; 1 << 20])).poll(&mut Context::from_waker(&rude()));
            while room().is_ready() {
                sleep(Duration::from_micros(100)).await;
            }
            poll_rudely(pin!(client.write(b"x")));
            poll_rudely(pin!(client.flush()));
            poll_rudely(pin!(client.shutdown()));
            sleep(Duration::from_millis(2)).await;
            LISTENER.set(None);
        });
    }

    #[test]
    fn a_clone_that_closes_the_listener_leaves_nobody_waiting() {
        static CLOSING: RawWakerVTable = RawWakerVTable::new(
            |data| {
                if let Some(listener) = LISTENER.take() {
                    let _ = pin!(listener.close()).poll(&mut Context::from_waker(Waker::noop()));
                }
                RawWaker::new(data, &CLOSING)
            },
            |_| {},
            |_| {},
            |_| {},
        );
        crate::run(async {
            let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
            LISTENER.set(Some(Rc::clone(&listener)));
            // SAFETY: [ticket-is-a-number] the functions of this vtable do not look at the data.
            let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &CLOSING)) };
            let poll = pin!(listener.accept()).poll(&mut Context::from_waker(&waker));
            assert!(matches!(poll, Poll::Ready(Err(_))));
        });
    }

    #[test]
    fn a_ticket_keeps_its_three_parts_apart() {
        let home = Home(0xffff);
        let ticket = Ticket::new(home, 7, GENERATION_MASK);
        assert_eq!((ticket.home(), ticket.slot()), (home, 7));
        assert_eq!(ticket.generation(), GENERATION_MASK);
        let other = Ticket::new(Home(0), ROOT_SLOT, 0);
        assert_eq!((other.home(), other.slot(), other.generation()), (Home(0), ROOT_SLOT, 0));
    }

    #[test]
    fn a_cell_that_is_taken_over_has_another_epoch() {
        let first = Claim::new().unwrap();
        let (home, cell) = (first.home, std::ptr::from_ref(first.cell));
        drop(first);
        // Not all of them: other tests build runtimes meanwhile.
        let claims: Vec<_> = (0..CORES_MAX / 4).map_while(|_| Claim::new().ok()).collect();
        let again = claims.iter().find(|claim| std::ptr::eq(claim.cell, cell));
        assert!(again.is_none_or(|again| again.home != home));
        assert!(claims.iter().all(|claim| claim.home != home));
    }
}
