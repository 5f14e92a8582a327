//! Slots on a kernel that behaves as badly as its contract allows (`driver/fake.rs`), compared
//! with a model; and in `slots_tests/cores.rs` whole cores on it, and on a real ring that is much
//! too small.

pub(crate) mod cores;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::Core;
use super::slots::{Delivery, Done, Receive, Slots, Start};
use super::trace::OperationSpan;
use crate::driver::fake::Fake;
use crate::driver::{AnyDriver, Completion, Op, Payload, ReceiveBuffer, Segment, Token, Wait};

/// splitmix64: enough randomness for a test, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % limit as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A receiver that is told apart by its address.
struct Named;

impl Receive for Named {
    fn complete(self: Rc<Self>, _core: &Rc<Core>, _done: Done) {
        unreachable!("these tests deliver by hand");
    }
}

fn poll_op(code: i32) -> Op {
    Op::Poll { fd: code, multishot: true }
}

fn start(payload: Payload, receiver: &Rc<Named>, role: u8) -> Start {
    let receiver = Rc::<Named>::clone(receiver);
    Start { op: poll_op(0), payload, fd: None, receiver, role, owner: None }
}

/// Slots with their driver, as a core has them.
struct Table {
    slots: Slots,
    driver: AnyDriver,
}

impl Table {
    fn new() -> Table {
        Table { slots: Slots::default(), driver: AnyDriver::Fake(Box::default()) }
    }

    fn fake(&mut self) -> &mut Fake {
        self.driver.fake()
    }

    fn start(&mut self, payload: Payload, receiver: &Rc<Named>, role: u8) -> Token {
        let start = start(payload, receiver, role);
        self.slots.start(&mut self.driver, start, OperationSpan::none())
    }

    fn cancel(&mut self, token: Token) {
        self.slots.cancel(&mut self.driver, token);
    }

    fn enter(&mut self) {
        self.driver.enter(Wait::No).unwrap();
    }

    /// What arrives at whom, of what a reap brings; `None` for what nobody asked for.
    fn deliver(&mut self) -> Vec<Option<(Rc<dyn Receive>, Done)>> {
        let mut completions = Vec::new();
        self.driver.reap(&mut completions);
        let deliver = |completion: Completion| {
            let delivery = self.slots.deliver(&mut self.driver, &completion)?;
            let Delivery { receiver, role, payload, .. } = delivery;
            let Completion { token, result, more, chunk } = completion;
            Some((receiver, Done { token, role, result, more, chunk, payload }))
        };
        completions.into_iter().map(deliver).collect()
    }
}

fn is_same(receiver: &Rc<dyn Receive>, expected: &Rc<Named>) -> bool {
    std::ptr::addr_eq(Rc::as_ptr(receiver), Rc::as_ptr(expected))
}

#[test]
fn free_slots_are_reused_first_in_first_out_under_a_new_generation() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let first: Vec<Token> = (0..64).map(|_| table.start(Payload::None, &receiver, 0)).collect();
    table.enter();
    for at in [7, 3, 5] {
        table.fake().complete(first[at], 0, false);
        assert_eq!(table.deliver().len(), 1);
    }
    let again: Vec<Token> = (0..3).map(|_| table.start(Payload::None, &receiver, 0)).collect();
    let indices: Vec<u32> = again.iter().map(|token| token.index()).collect();
    assert_eq!(indices, [7, 3, 5]);
    assert!(again.iter().all(|token| token.generation() == first[0].generation() + 1));
}

#[test]
fn a_completion_that_nobody_asked_for_finds_nobody() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let ended = table.start(Payload::None, &receiver, 0);
    table.enter();
    table.fake().complete(ended, 0, false);
    assert!(table.deliver()[0].is_some());
    // The slot is in use again, 64 starts later.
    let live: Vec<Token> = (0..64).map(|_| table.start(Payload::None, &receiver, 0)).collect();
    assert!(live.iter().any(|token| token.index() == ended.index() && *token != ended));

    let (index, generation) = (live[0].index(), live[0].generation());
    let foreign = [
        ended,                                               // late, or a duplicate
        Token::operation(index, generation.wrapping_add(1)), // not yet
        Token::operation(index, generation ^ (1 << 27)),     // long ago
        Token::operation(64, 1),                             // beyond the table
        Token::operation(u32::MAX, generation),              // far beyond it
        Token::from_bits(0),                                 // zeroed
        Token::from_bits(u64::MAX),                          // a wild pattern
        Token::from_bits(live[0].bits() & !(0xf << 60)),     // no tag
        Token::from_bits(live[0].cancel_bits()),             // a cancel's answer
        Token::from_bits(live[0].bits() | 0xf << 60),        // a tag that is not made
    ];
    for token in foreign {
        for more in [true, false] {
            table.fake().inject(token, 7, more);
        }
    }
    assert!(table.deliver().iter().all(Option::is_none));
    assert_eq!(table.slots.live_count(), 64);
}

#[test]
fn generations_wrap_without_mixing_two_operations_up() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let first = table.start(Payload::None, &receiver, 0);
    table.enter();
    table.fake().complete(first, 0, false);
    table.deliver();
    table.slots.set_generations(Token::GENERATION_MASK - 1);
    let mut before = None;
    for _ in 0..64 * 3 {
        let token = table.start(Payload::None, &receiver, 0);
        table.enter();
        if let Some(before) = before.replace(token) {
            table.fake().inject(before, 0, false);
        }
        table.fake().complete(token, 0, false);
        let heard = table.deliver();
        assert!(heard.last().unwrap().is_some());
        assert!(heard[..heard.len() - 1].iter().all(Option::is_none), "the one before is over");
    }
}

#[test]
fn a_payload_stays_where_it_is_while_the_table_grows() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let sent = |index: usize| index.to_le_bytes().repeat(1 + index % 9);
    let mut tokens = Vec::new();
    for index in 0..5000 {
        let payload = match index % 2 {
            0 => Payload::Buffer(ReceiveBuffer::new(16)),
            _ => Payload::Segment(Segment::from(sent(index))),
        };
        tokens.push(table.start(payload, &receiver, 0));
    }
    table.enter();
    for (index, token) in tokens.iter().enumerate() {
        if index % 2 == 0 {
            table.fake().flight(*token).fill(&index.to_le_bytes());
        }
        // The fake looks at all payloads here and when they are reaped.
        table.fake().complete(*token, 8, false);
    }
    for (index, delivered) in table.deliver().into_iter().enumerate() {
        match delivered.unwrap().1.payload {
            Payload::Buffer(buffer) => assert_eq!(&buffer.into_chunk(8)[..], index.to_le_bytes()),
            Payload::Segment(segment) => assert_eq!(segment.as_slice(), sent(index)),
            _ => panic!("the payload of {index} came back as another"),
        }
    }
}

#[test]
fn a_cancel_is_sent_once_and_not_after_the_end() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let tokens: Vec<Token> = (0..3).map(|_| table.start(Payload::None, &receiver, 0)).collect();
    table.enter();
    table.cancel(tokens[0]);
    table.cancel(tokens[0]);
    table.enter();
    assert_eq!(table.fake().cancels, [tokens[0]]);

    // Asked for, but the operation ends before the cancel was sent: it is taken out.
    table.cancel(tokens[1]);
    assert!(table.driver.has_unsubmitted());
    table.fake().complete(tokens[1], 1, false);
    table.deliver();
    assert!(!table.driver.has_unsubmitted());

    // Asked for after the end: nothing is sent, also not to the slot's next operation.
    table.cancel(tokens[1]);
    assert!(!table.driver.has_unsubmitted());
    table.cancel(tokens[2]);
    table.enter();
    assert_eq!(table.fake().cancels, [tokens[0], tokens[2]]);
}

#[test]
fn memory_in_flight_outlives_its_table() {
    let (mut table, receiver) = (Table::new(), Rc::new(Named));
    let token = table.start(Payload::Buffer(ReceiveBuffer::new(100)), &receiver, 0);
    table.enter();
    let mut flight = table.fake().flight(token).clone();
    drop(table);
    // The kernel comes back to it.
    flight.fill(&[7; 100]);
}

/// What the model knows of an operation.
struct Expected {
    receiver: Rc<Named>,
    role: u8,
    /// What the kernel said and has not arrived.
    results: VecDeque<(i32, bool)>,
    cancel_asked: bool,
    bytes: Vec<u8>,
}

/// Slots beside a model of them.
struct Trial {
    table: Table,
    random: Random,
    live: HashMap<u64, Expected>,
    ended: Vec<Token>,
    /// Free slots with their generation, first in first out.
    free: VecDeque<(u32, u32)>,
    slot_count: u32,
    injected: usize,
    unclaimed: usize,
}

impl Trial {
    fn new(seed: u64) -> Trial {
        Trial {
            table: Table::new(),
            random: Random(seed),
            live: HashMap::new(),
            ended: Vec::new(),
            free: VecDeque::new(),
            slot_count: 0,
            injected: 0,
            unclaimed: 0,
        }
    }

    fn start(&mut self) {
        let bytes: Vec<u8> = (0..self.random.below(40)).map(|byte| byte as u8).collect();
        let payload = match self.random.below(3) {
            0 => Payload::None,
            1 => Payload::Buffer(ReceiveBuffer::new(bytes.len().max(1))),
            _ => Payload::Segment(Segment::from(bytes.clone())),
        };
        let (receiver, role) = (Rc::new(Named), self.random.below(256) as u8);
        let token = self.table.start(payload, &receiver, role);
        if self.free.is_empty() {
            let added = self.slot_count..self.slot_count + 64;
            self.free.extend(added.map(|index| (index, 0)));
            self.slot_count += 64;
        }
        let (index, generation) = self.free.pop_front().unwrap();
        assert_eq!((token.index(), token.generation()), (index, generation + 1));
        let results = VecDeque::new();
        let expected = Expected { receiver, role, results, cancel_asked: false, bytes };
        assert!(self.live.insert(token.bits(), expected).is_none());
    }

    fn complete(&mut self) {
        let open = self.table.fake().open();
        if open.is_empty() {
            return;
        }
        let token = open[self.random.below(open.len())];
        let (result, more) = (self.random.below(1000) as i32 - 500, self.random.percent(40));
        self.live.get_mut(&token.bits()).unwrap().results.push_back((result, more));
        self.table.fake().complete(token, result, more);
    }

    fn cancel(&mut self) {
        if !self.ended.is_empty() && self.random.percent(30) {
            let token = self.ended[self.random.below(self.ended.len())];
            return self.table.cancel(token);
        }
        let open = self.table.fake().open();
        if !open.is_empty() {
            let token = open[self.random.below(open.len())];
            self.live.get_mut(&token.bits()).unwrap().cancel_asked = true;
            self.table.cancel(token);
        }
    }

    fn inject(&mut self) {
        let token = match self.random.below(4) {
            0 if !self.ended.is_empty() => self.ended[self.random.below(self.ended.len())],
            1 => Token::operation(self.random.below(1 << 32) as u32, 1 << 20),
            2 => Token::from_bits(self.random.below(1 << 60) as u64),
            _ => Token::operation(self.random.below(1000) as u32, 0),
        };
        self.injected += 1;
        let more = self.random.percent(50);
        self.table.fake().inject(token, 1, more);
    }

    fn enter(&mut self) {
        let limits = [0, 1, 2, 5, usize::MAX];
        let length = limits[self.random.below(limits.len())];
        self.table.fake().queue_length = length;
        self.table.enter();
    }

    fn reap(&mut self) {
        let limits = [0, 1, 3, usize::MAX];
        let length = limits[self.random.below(limits.len())];
        self.table.fake().reap_length = length;
        let random = &mut self.random;
        self.table.driver.fake().reorder(|count| random.below(count));
        for delivered in self.table.deliver() {
            match delivered {
                Some((receiver, done)) => self.check(&receiver, done),
                None => self.unclaimed += 1,
            }
        }
        assert_eq!(self.table.slots.live_count(), self.live.len());
    }

    fn check(&mut self, receiver: &Rc<dyn Receive>, done: Done) {
        let bits = done.token.bits();
        let expected = self.live.get_mut(&bits).expect("the operation is live");
        assert!(is_same(receiver, &expected.receiver));
        assert_eq!(done.role, expected.role);
        assert_eq!(expected.results.pop_front(), Some((done.result, done.more)));
        match done.payload {
            Payload::Segment(segment) => assert_eq!(segment.as_slice(), expected.bytes),
            Payload::Buffer(_) => assert!(!done.more),
            _ => {}
        }
        if !done.more {
            self.live.remove(&bits);
            self.ended.push(done.token);
            self.free.push_back((done.token.index(), done.token.generation()));
        }
    }
}

#[test]
fn random_steps_agree_with_a_model() {
    for seed in 0..20 {
        let mut trial = Trial::new(seed);
        for _ in 0..2000 {
            match trial.random.below(100) {
                0..25 => trial.start(),
                25..55 => trial.complete(),
                55..65 => trial.cancel(),
                65..70 => trial.inject(),
                70..85 => trial.enter(),
                _ => trial.reap(),
            }
        }
        trial.table.fake().queue_length = usize::MAX;
        trial.table.enter();
        for token in trial.table.fake().open() {
            trial.live.get_mut(&token.bits()).unwrap().results.push_back((0, false));
            trial.table.fake().complete(token, 0, false);
        }
        while trial.table.fake().ready_count() > 0 {
            trial.reap();
        }
        assert!(trial.live.is_empty() && trial.table.slots.live_count() == 0, "seed {seed}");
        assert_eq!(trial.unclaimed, trial.injected, "seed {seed}");
        let mut cancels = trial.table.fake().cancels.clone();
        let count = cancels.len();
        cancels.sort_unstable_by_key(|token| token.bits());
        cancels.dedup();
        assert!(count > 0 && cancels.len() == count, "a cancel was sent twice, seed {seed}");
    }
}
