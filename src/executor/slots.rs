//! Operations in flight: the one place where operations and their receivers meet.
//!
//! ```text
//!            start                       completion, more
//!  free ───────────────▶ in flight ──────────────────────┐
//!    ▲                    │   │  ▲                        │ receiver.complete(..)
//!    │                    │   │  └────────────────────────┘
//!    │  last completion   │   │ cancel: asked of the driver, once
//!    └────────────────────┘   └─▶ in flight, cancel_sent
//! ```
//!
//! A slot owns what the kernel may still touch: the payload, and the descriptor if its receiver
//! does not keep that. Whoever waits may go away; the slot keeps all until the last completion.
//! `[slot-keeps-memory]`: slots live in boxed segments, so a payload's address never changes, and
//! nobody looks at it while in flight.
//! Free slots are reused first in, first out, under a new generation, so a late or foreign
//! completion meets no other operation: it is dropped and counted.
#![allow(unsafe_code)] // Calls `push`, the one unsafe function of the seam.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Core;
use super::scope::Scope;
use super::trace::OperationSpan;
use crate::driver::{AnyDriver, Chunk, Completion, Fd, Op, Payload, Token, prefetch};

const SEGMENT_LENGTH: usize = 64;

/// Who hears of an operation's completions.
pub(crate) trait Receive {
    /// Called for each completion, in order, while no part of the core is borrowed.
    fn complete(self: Rc<Self>, core: &Rc<Core>, done: Done);
}

/// A completion as its receiver gets it.
pub(crate) struct Done {
    pub(crate) token: Token,
    /// What the receiver said the operation is to it.
    pub(crate) role: u8,
    /// The kernel's result: not negative, or `-errno`.
    pub(crate) result: i32,
    /// Whether the operation goes on.
    pub(crate) more: bool,
    pub(crate) chunk: Option<Chunk>,
    /// The operation's payload, with its last completion.
    pub(crate) payload: Payload,
}

/// What an operation needs to start.
pub(crate) struct Start {
    pub(crate) op: Op,
    pub(crate) payload: Payload,
    /// The descriptor, unless the receiver keeps it for its whole life.
    pub(crate) fd: Option<Rc<Fd>>,
    pub(crate) receiver: Rc<dyn Receive>,
    pub(crate) role: u8,
    /// The scope it belongs to, if it belongs to one rather than to a resource.
    pub(crate) owner: Option<Rc<Scope>>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    role: u8,
    in_flight: bool,
    cancel_sent: bool,
    payload: Payload,
    fd: Option<Rc<Fd>>,
    receiver: Option<Rc<dyn Receive>>,
    owner: Option<Rc<Scope>>,
    span: OperationSpan,
}

/// Who hears of a completion, and what the slot held if it was the last: used and dropped by the
/// caller once nothing is borrowed.
pub(crate) struct Delivery {
    pub(crate) receiver: Rc<dyn Receive>,
    pub(crate) role: u8,
    pub(crate) payload: Payload,
    pub(crate) owner: Option<Rc<Scope>>,
    pub(crate) fd: Option<Rc<Fd>>,
    pub(super) span: OperationSpan,
}

/// All operations of one core.
#[derive(Default)]
pub(crate) struct Slots {
    segments: Vec<Box<[Slot]>>,
    free: VecDeque<u32>,
    live_count: usize,
}

impl Slots {
    pub(crate) fn live_count(&self) -> usize {
        self.live_count
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let index = index as usize;
        self.segments.get_mut(index / SEGMENT_LENGTH)?.get_mut(index % SEGMENT_LENGTH)
    }

    fn find(&mut self, token: Token) -> Option<&mut Slot> {
        if !token.is_operation() {
            return None;
        }
        let slot = self.slot(token.index())?;
        (slot.in_flight && slot.generation == token.generation()).then_some(slot)
    }

    /// Puts an operation into a slot and hands it to the driver.
    pub(super) fn start(
        &mut self,
        driver: &mut AnyDriver,
        start: Start,
        span: OperationSpan,
    ) -> Token {
        let index = match self.free.pop_front() {
            Some(index) => index,
            None => self.add_segment(),
        };
        self.live_count += 1;
        let slot = self.slot(index).expect("a free index names a slot");
        slot.generation = slot.generation.wrapping_add(1) & Token::GENERATION_MASK;
        slot.in_flight = true;
        slot.cancel_sent = false;
        slot.role = start.role;
        // A free slot holds no payload that this could drop.
        std::mem::forget(std::mem::replace(&mut slot.payload, start.payload));
        slot.fd = start.fd;
        slot.receiver = Some(start.receiver);
        slot.owner = start.owner;
        slot.span = span;
        let token = Token::operation(index, slot.generation);
        // SAFETY: [slot-keeps-memory] the payload is in the slot now, stays there untouched until
        // `deliver` sees the last completion, and fits the operation (the receivers' pairs).
        unsafe { driver.push(token, start.op, &raw mut slot.payload) };
        token
    }

    fn add_segment(&mut self) -> u32 {
        let first = (self.segments.len() * SEGMENT_LENGTH) as u32;
        let segment = (0..SEGMENT_LENGTH).map(|_| Slot::default()).collect();
        self.segments.push(segment);
        self.free.extend(first + 1..first + SEGMENT_LENGTH as u32);
        first
    }

    /// Asks for an operation's end, once; a token of one that ended asks nothing.
    pub(crate) fn cancel(&mut self, driver: &mut AnyDriver, token: Token) {
        if let Some(slot) = self.find(token)
            && !slot.cancel_sent
        {
            slot.cancel_sent = true;
            driver.cancel(token);
        }
    }

    /// Asks for the end of every operation.
    pub(crate) fn cancel_all(&mut self, driver: &mut AnyDriver) {
        for index in 0..(self.segments.len() * SEGMENT_LENGTH) as u32 {
            let slot = self.slot(index).expect("the index is below the count");
            if slot.in_flight {
                let token = Token::operation(index, slot.generation);
                self.cancel(driver, token);
            }
        }
    }

    /// Asks for the memory of those who will hear of these completions.
    pub(crate) fn prefetch_receivers(&mut self, completions: &[Completion]) {
        for completion in completions {
            if let Some(slot) = self.find(completion.token)
                && let Some(receiver) = &slot.receiver
            {
                prefetch(&**receiver);
            }
        }
    }

    /// Finds a completion's receiver; `None` for one that we did not ask for.
    pub(crate) fn deliver(
        &mut self,
        driver: &mut AnyDriver,
        completion: &Completion,
    ) -> Option<Delivery> {
        let token = completion.token;
        let slot = self.find(token)?;
        let role = slot.role;
        if completion.more {
            let receiver = Rc::clone(slot.receiver.as_ref()?);
            return Some(Delivery {
                receiver,
                role,
                payload: Payload::None,
                owner: None,
                fd: None,
                span: OperationSpan::none(),
            });
        }
        slot.in_flight = false;
        let payload = std::mem::take(&mut slot.payload);
        let span = std::mem::take(&mut slot.span);
        let (receiver, owner, fd) = (slot.receiver.take()?, slot.owner.take(), slot.fd.take());
        if slot.cancel_sent {
            driver.forget_cancel(token);
        }
        self.live_count -= 1;
        self.free.push_back(token.index());
        Some(Delivery { receiver, role, payload, owner, fd, span })
    }

    /// Leaks what is still in flight, so that the kernel may go on with it; says how much.
    pub(crate) fn leak(&mut self) -> usize {
        let leaked = self.live_count;
        if leaked > 0 {
            std::mem::forget(std::mem::take(&mut self.segments));
            self.free.clear();
            self.live_count = 0;
        }
        leaked
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // After an orderly teardown nothing is in flight. If a panic cut it short, memory that the
        // kernel may still use is kept: `[slot-keeps-memory]`.
        self.leak();
    }
}

#[cfg(test)]
impl Slots {
    /// Has every slot count its generations from here.
    pub(crate) fn set_generations(&mut self, generation: u32) {
        for slot in self.segments.iter_mut().flat_map(|segment| segment.iter_mut()) {
            slot.generation = generation;
        }
    }
}
