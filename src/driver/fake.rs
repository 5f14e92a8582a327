//! A driver for tests: a kernel that is as late, as disorderly and as hostile as the contract
//! allows.
//!
//! ```text
//!            push, cancel              enter                  complete            reap
//!  slots ───────────────▶ queue ───────────────▶ in flight ───────────▶ ready ──────────▶ slots
//!                           │ forget_cancel
//!                           ▼
//!                         taken out
//! ```
//!
//! Nothing happens by itself: a test, or its `on_enter`, says when an operation completes and in
//! which order results are reaped. What it watches over on its own is the other side of the
//! contract: a token is in flight once; a cancel is never sent after the operation's end was
//! reaped; and a payload, looked at through the pointer that `push` was given, has neither moved
//! nor changed until then.
#![allow(unsafe_code)] // Looks at payloads as the kernel does: through bare pointers.

use std::collections::VecDeque;
use std::io;

use super::{AnyDriver, Completion, Op, Payload, Token, Wait};

/// What happens in the kernel when it is entered.
pub(crate) type OnEnter = Box<dyn FnMut(&mut Fake, Wait)>;

/// See the top of this file.
pub(crate) struct Fake {
    queue: VecDeque<Request>,
    /// How many requests one `enter` takes.
    pub(crate) queue_length: usize,
    /// Operations that the kernel has, until their end is reaped.
    pub(crate) in_flight: Vec<Flight>,
    /// Cancels that reached the kernel, in order.
    pub(crate) cancels: Vec<Token>,
    ready: VecDeque<Completion>,
    /// How many completions one `reap` brings.
    pub(crate) reap_length: usize,
    pub(crate) on_enter: Option<OnEnter>,
    pub(crate) enters: usize,
}

enum Request {
    Start(Flight),
    Cancel(Token),
}

/// An operation in the kernel's hands.
#[derive(Clone)]
pub(crate) struct Flight {
    pub(crate) token: Token,
    pub(crate) op: Op,
    pub(crate) cancelled: bool,
    /// It has completed for the last time, which nobody knows yet.
    pub(crate) ended: bool,
    payload: *mut Payload,
    print: Print,
}

/// What must not change in flight: where the memory is, how long it is, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Print {
    address: usize,
    length: usize,
    sum: u64,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            queue: VecDeque::new(),
            queue_length: usize::MAX,
            in_flight: Vec::new(),
            cancels: Vec::new(),
            ready: VecDeque::new(),
            reap_length: usize::MAX,
            on_enter: None,
            enters: 0,
        }
    }
}

impl AnyDriver {
    /// The fake that this is.
    pub(crate) fn fake(&mut self) -> &mut Fake {
        match self {
            AnyDriver::Fake(fake) => fake,
            _ => panic!("the driver of this core is not the fake one"),
        }
    }
}

impl Fake {
    pub(super) fn push(&mut self, token: Token, op: Op, payload: *mut Payload) {
        let is_known = self.flights().any(|flight| flight.token == token);
        assert!(!is_known, "{token:?} is pushed while it is in flight");
        let print = print(payload);
        let flight = Flight { token, op, cancelled: false, ended: false, payload, print };
        self.queue.push_back(Request::Start(flight));
    }

    pub(super) fn cancel(&mut self, token: Token) {
        self.queue.push_back(Request::Cancel(token));
    }

    pub(super) fn forget_cancel(&mut self, token: Token) {
        self.queue.retain(|request| !matches!(request, Request::Cancel(it) if *it == token));
    }

    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.enters += 1;
        self.submit();
        if let Some(mut on_enter) = self.on_enter.take() {
            on_enter(self, wait);
            self.on_enter = Some(on_enter);
        }
        let is_idle = self.ready.is_empty() && self.queue.is_empty();
        assert!(wait != Wait::Forever || !is_idle, "the test would hang here");
        Ok(())
    }

    fn submit(&mut self) {
        let count = self.queue.len().min(self.queue_length);
        for request in self.queue.drain(..count).collect::<Vec<_>>() {
            match request {
                Request::Start(flight) => self.in_flight.push(flight),
                Request::Cancel(token) => {
                    let place = self.place(token);
                    let place = place.expect("a cancel is sent after its operation's end");
                    self.in_flight[place].cancelled = true;
                    self.cancels.push(token);
                }
            }
        }
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        let count = self.ready.len().min(self.reap_length);
        for completion in self.ready.drain(..count).collect::<Vec<_>>() {
            if !completion.more
                && let Some(place) = self.place(completion.token)
            {
                self.in_flight.remove(place).check();
            }
            completions.push(completion);
        }
        self.ready.is_empty()
    }

    pub(super) fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn has_unsubmitted(&self) -> bool {
        !self.queue.is_empty()
    }

    fn flights(&self) -> impl Iterator<Item = &Flight> {
        let queued = self.queue.iter().filter_map(|request| match request {
            Request::Start(flight) => Some(flight),
            Request::Cancel(_) => None,
        });
        self.in_flight.iter().chain(queued)
    }

    fn place(&self, token: Token) -> Option<usize> {
        self.in_flight.iter().position(|flight| flight.token == token)
    }

    /// The operations that can complete: taken by the kernel, and not ended.
    pub(crate) fn open(&self) -> Vec<Token> {
        self.in_flight.iter().filter(|flight| !flight.ended).map(|flight| flight.token).collect()
    }

    /// The operation in flight with this token.
    pub(crate) fn flight(&mut self, token: Token) -> &mut Flight {
        let place = self.place(token).expect("the operation is in flight");
        &mut self.in_flight[place]
    }

    /// Has an operation complete: the result lies ready for a reap.
    pub(crate) fn complete(&mut self, token: Token, result: i32, more: bool) {
        let flight = self.flight(token);
        assert!(!flight.ended, "an operation completes once for the last time");
        flight.check();
        flight.ended = !more;
        self.ready.push_back(Completion { token, result, more, chunk: None });
    }

    /// Has a completion appear that nobody asked for.
    pub(crate) fn inject(&mut self, token: Token, result: i32, more: bool) {
        self.ready.push_back(Completion { token, result, more, chunk: None });
    }

    /// Puts what is ready into another order. `draw` picks among so many; what one operation
    /// reported stays in its order.
    pub(crate) fn reorder(&mut self, mut draw: impl FnMut(usize) -> usize) {
        let mut mixed = VecDeque::with_capacity(self.ready.len());
        while !self.ready.is_empty() {
            let token = self.ready[draw(self.ready.len())].token;
            let first = self.ready.iter().position(|it| it.token == token);
            mixed.extend(first.and_then(|first| self.ready.remove(first)));
        }
        self.ready = mixed;
    }

    /// How many completions lie ready.
    pub(crate) fn ready_count(&self) -> usize {
        self.ready.len()
    }
}

impl Flight {
    #[track_caller]
    fn check(&self) {
        let token = self.token;
        assert_eq!(print(self.payload), self.print, "the payload of {token:?} was touched");
    }

    /// Writes into a receive's memory, as the kernel does before it completes.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.check();
        // SAFETY: [slot-keeps-memory] that it holds here is what this driver is for.
        let Payload::Buffer(buffer) = (unsafe { &mut *self.payload }) else {
            panic!("{:?} has no buffer to fill", self.op)
        };
        assert!(bytes.len() <= buffer.capacity());
        // SAFETY: [slot-keeps-memory] the buffer has this capacity, and nobody looks at it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.as_mut_ptr(), bytes.len()) };
    }
}

fn print(payload: *mut Payload) -> Print {
    // SAFETY: [slot-keeps-memory] that it holds here is what this driver is for.
    let (address, length, sum) = match unsafe { &mut *payload } {
        Payload::None | Payload::Descriptor(_) => (0, 0, 0),
        Payload::Address(address) => (address.as_ptr() as usize, address.length() as usize, 0),
        Payload::Buffer(buffer) => (buffer.as_mut_ptr() as usize, buffer.capacity(), 0),
        Payload::Segment(segment) => {
            let bytes = segment.as_slice();
            (bytes.as_ptr() as usize, bytes.len(), sum(bytes))
        }
        Payload::Batch(batch) => (&raw const **batch as usize, 0, 0),
        Payload::Paths(paths) => (&raw const **paths as usize, 0, 0),
        Payload::Status(status) => (&raw const **status as usize, 0, 0),
        Payload::Memory(memory) => (memory.as_slice().as_ptr() as usize, memory.capacity(), 0),
        Payload::Memories(memories) => (&raw const **memories as usize, 0, 0),
        Payload::Second(second) => (&raw const **second as usize, 0, 0),
        Payload::Message(message) => (&raw const **message as usize, 0, 0),
    };
    Print { address: address ^ (payload as usize).rotate_left(32), length, sum }
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
