//! Slots and cores on a kernel that behaves as badly as its contract allows (`driver/fake.rs`), and
//! on a real ring that is much too small.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::operation::Operation;
use super::slots::{Done, Receive, Slots, Start};
use super::task::{AnyTask, Join, Phase, Task};
use super::{BusyPoll, Config, Core, Unhandled};
use crate::driver::fake::{Fake, OnEnter};
use crate::driver::{
    AnyDriver, BufferConfig, Driver, Features, Op, Payload, Pools, ReceiveBuffer, RingSize,
    Segment, Token, Wait,
};

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
        self.slots.start(&mut self.driver, start(payload, receiver, role))
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
        let deliver = |mut completion| {
            let delivery = self.slots.deliver(&mut self.driver, &mut completion)?;
            Some((delivery.receiver, delivery.done))
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

type Heard = Rc<RefCell<Vec<String>>>;

fn config(heard: &Heard) -> Config {
    let heard = Rc::clone(heard);
    Config {
        driver: None,
        ring: RingSize { submissions: 2, completions: 4 },
        buffers: BufferConfig { initial_count: 2, count_max: 2, ..BufferConfig::default() },
        busy_poll: BusyPoll::Off,
        seed: Some(1),
        grace: Duration::from_millis(20),
        linger: Duration::from_millis(20),
        unhandled: Box::new(move |unhandled: &Unhandled| {
            heard.borrow_mut().push(unhandled.to_string());
        }),
    }
}

fn fake_core(on_enter: Option<OnEnter>) -> (Rc<Core>, Heard) {
    let heard = Heard::default();
    let config = config(&heard);
    let pools = Rc::new(Pools::new(&config.buffers).unwrap());
    let mut driver = AnyDriver::Fake(Box::default());
    driver.fake().on_enter = on_enter;
    (Core::with_driver(config, driver, Features::none(), pools).unwrap(), heard)
}

fn spawn<F: Future + 'static>(core: &Rc<Core>, future: F) -> Rc<Task<F>> {
    core.spawn(future, Location::caller(), false)
}

fn outcome<F: Future>(task: &Task<F>) -> Result<F::Output, super::JoinError> {
    task.take().expect("the task is over, and nobody took its outcome")
}

/// Turns until these tasks are over, waiting as a `block_on` waits: for ever if nothing is ready.
fn turn_to_the_end<F: Future + 'static>(core: &Rc<Core>, tasks: &[Rc<Task<F>>]) {
    let all_over = poll_fn(|context| {
        let is_over = |task: &Rc<Task<F>>| task.header().phase.get() == Phase::Finished;
        for task in tasks.iter().filter(|task| !is_over(task)) {
            task.header().joiner.replace(Some(context.waker().clone()));
        }
        if tasks.iter().all(is_over) { Poll::Ready(()) } else { Poll::Pending }
    });
    turns_until(core, all_over);
}

/// An operation that a well-behaved fake completes with `code`.
fn coded(core: &Rc<Core>, code: i32) -> Operation {
    // Closing it is an error that nobody sees.
    let fd = core.fd(-1);
    Operation::start(core, Op::Poll { fd: code, multishot: false }, Payload::None, &fd)
}

fn code(op: Op) -> i32 {
    match op {
        Op::Poll { fd, .. } => fd,
        op => panic!("{op:?} has no code"),
    }
}

/// Completes what is in flight late and in another order, races cancels against results, and slips
/// in completions that nobody asked for.
fn mischief(seed: u64, injected: Rc<Cell<u64>>) -> OnEnter {
    let mut random = Random(seed);
    Box::new(move |fake, wait| {
        fake.queue_length = [1, 3, usize::MAX][random.below(3)];
        fake.reap_length = [1, 4, usize::MAX][random.below(3)];
        for token in fake.open() {
            let flight = fake.flight(token);
            let (code, cancelled) = (code(flight.op), flight.cancelled);
            match random.below(100) {
                0..20 => fake.complete(token, code, false),
                20..60 if cancelled => fake.complete(token, -libc::ECANCELED, false),
                60..70 => {
                    let past = Token::operation(token.index(), token.generation() - 1);
                    fake.inject(past, 1, random.percent(50));
                    injected.set(injected.get() + 1);
                }
                _ => {}
            }
        }
        if wait == Wait::Forever
            && fake.ready_count() == 0
            && let Some(token) = fake.open().first()
        {
            let code = code(fake.flight(*token).op);
            fake.complete(*token, code, false);
        }
        fake.reorder(|count| random.below(count));
    })
}

async fn poll_once(operation: &mut Operation) -> Poll<i32> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *operation).poll(context))).await
}

#[test]
fn a_task_is_woken_for_its_own_operation_and_for_no_other() {
    for seed in 0..30 {
        let injected = Rc::new(Cell::new(0));
        let (core, _) = fake_core(Some(mischief(seed, Rc::clone(&injected))));
        let polls = Rc::new(Cell::new(0));
        let program = |task: i32| {
            let (core, polls) = (Rc::clone(&core), Rc::clone(&polls));
            async move {
                for step in 0..20 {
                    let mut operation = pin!(coded(&core, task * 1000 + step));
                    let counted = poll_fn(|context| {
                        polls.set(polls.get() + 1);
                        operation.as_mut().poll(context)
                    });
                    assert_eq!(counted.await, task * 1000 + step);
                }
            }
        };
        let tasks: Vec<_> = (0..20).map(|task| spawn(&core, program(task))).collect();
        turn_to_the_end(&core, &tasks);
        assert!(tasks.iter().all(|task| outcome(task).is_ok()));
        assert_eq!(polls.get(), 20 * 20 * 2, "each is polled once to wait and once to take");
        assert_eq!(core.counters.foreign_completions.get(), injected.get());
        assert_eq!(core.operations_in_flight(), 0);
        core.close();
    }
}

#[test]
fn dropped_and_forgotten_waits_mix_up_no_results() {
    for seed in 0..30 {
        let injected = Rc::new(Cell::new(0));
        let (core, heard) = fake_core(Some(mischief(seed, Rc::clone(&injected))));
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let (core_of_task, mut random) = (Rc::clone(&core), Random(seed * 99 + task));
                spawn(&core, async move {
                    for step in 0..20 {
                        let code = task as i32 * 1000 + step;
                        let mut operation = coded(&core_of_task, code);
                        let polled = match random.below(5) {
                            0 => Poll::Pending,
                            1 => poll_once(&mut operation).await,
                            _ => Poll::Ready((&mut operation).await),
                        };
                        if let Poll::Ready(result) = polled {
                            assert_eq!(result, code);
                        }
                        if random.percent(5) {
                            std::mem::forget(operation);
                        }
                    }
                })
            })
            .collect();
        let ended_by_request = &tasks[seed as usize % 20];
        ended_by_request.header().cancel.set(true);
        turn_to_the_end(&core, &tasks);
        for task in &tasks {
            match outcome(task) {
                Ok(()) => {}
                Err(error) => assert!(error.is_cancelled(), "seed {seed}: {error}"),
            }
        }
        assert_eq!(core.counters.foreign_completions.get(), injected.get());
        assert_eq!(core.operations_in_flight(), 0, "a task is over after its operations");
        assert_eq!(core.close().leaked_operations, 0);
        assert!(heard.borrow().is_empty(), "{heard:?}");
    }
}

#[test]
fn an_operation_that_never_ends_is_leaked_and_reported_in_bounded_time() {
    let (core, heard) = fake_core(None);
    let (core_of_task, fd) = (Rc::clone(&core), core.fd(-1));
    let task = spawn(&core, async move {
        let payload = Payload::Buffer(ReceiveBuffer::new(64));
        Operation::start(&core_of_task, Op::ReceiveInto { fd: -1 }, payload, &fd).await
    });
    let entered = core.enter();
    core.turn(&mut || false, 0);
    drop(entered);
    let token = core.driver.borrow_mut().fake().open()[0];
    let mut flight = core.driver.borrow_mut().fake().flight(token).clone();

    let start = Instant::now();
    let report = core.close();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((report.leaked_operations, report.dropped_tasks), (1, 1));
    assert!(heard.borrow()[0].contains("1 operations did not end"), "{heard:?}");
    assert!(outcome(&task).is_err_and(|error| error.is_cancelled()));
    drop((task, core));
    // The kernel comes back to it after all.
    flight.fill(&[7; 64]);
}

#[test]
fn a_cancel_that_loses_the_race_changes_nothing() {
    let (core, _) = fake_core(None);
    let core_of_task = Rc::clone(&core);
    let task = spawn(&core, async move { coded(&core_of_task, 7).await });
    let entered = core.enter();
    core.turn(&mut || false, 0);
    let token = core.driver.borrow_mut().fake().open()[0];
    // The result lies ready; the request comes before it is reaped.
    core.driver.borrow_mut().fake().complete(token, 7, false);
    core.driver.borrow_mut().fake().queue_length = 0;
    task.header().cancel.set(true);
    task.header().ticket.wake();
    core.turn(&mut || false, 0);
    core.turn(&mut || false, 0);
    assert_eq!(outcome(&task).unwrap(), 7, "a value that is there wins");
    assert!(!core.driver.borrow_mut().has_unsubmitted(), "a late cancel is taken out");
    drop(entered);
    core.close();
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls a future as the root of a core, and counts the turns.
fn turns_until<F: Future>(core: &Rc<Core>, future: F) -> (F::Output, u64) {
    let _entered = core.enter();
    let mut future = pin!(future);
    let (waker, mut output) = (core.begin_root(), None);
    let before = core.counters.turns.get();
    while output.is_none() {
        let mut poll_root = || {
            if let Poll::Ready(it) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                output = Some(it);
            }
            output.is_some()
        };
        core.turn(&mut poll_root, u64::MAX);
    }
    core.end_root();
    (output.expect("the loop ends with one"), core.counters.turns.get() - before)
}

/// A ring of two submissions and four completions.
fn tiny_core() -> (Rc<Core>, Heard) {
    let heard = Heard::default();
    let config = Config { driver: Some(Driver::Uring), ..config(&heard) };
    (Core::new(config).unwrap(), heard)
}

#[test]
fn a_hundred_thousand_operations_pass_through_a_ring_of_two() {
    const COUNT: usize = 100_000;
    let (core, heard) = tiny_core();
    let fd = core.fd(-1);
    let start = || Operation::start(&core, Op::Nop, Payload::None, &fd);
    let (_, turns) = turns_until(&core, async {
        let all: Vec<Operation> = (0..COUNT).map(|_| start()).collect();
        for operation in all {
            assert_eq!(operation.await, 0);
        }
    });
    let stats = core.driver.borrow().stats();
    assert_eq!((stats.lost, core.operations_in_flight()), (0, 1), "only the bell is left");
    assert!(stats.enters < COUNT as u64, "{} enters", stats.enters);
    assert!(turns < COUNT as u64, "{turns} turns");
    assert_eq!(core.close().leaked_operations, 0);
    assert!(heard.borrow().is_empty());
}

#[test]
fn twenty_thousand_cancels_pass_through_a_ring_of_two() {
    const COUNT: usize = 20_000;
    let (core, _) = tiny_core();
    let idle = core.driver.borrow_mut().open_socket(&([127, 0, 0, 1], 1).into()).unwrap();
    let fd = core.fd(idle);
    core.driver.borrow_mut().bind(idle, &([127, 0, 0, 1], 0).into()).unwrap();
    core.driver.borrow_mut().listen(idle, 1).unwrap();
    let op = Op::Poll { fd: idle, multishot: false };
    let (_, turns) = turns_until(&core, async {
        for round in 0..COUNT / 100 {
            let all: Vec<Operation> =
                (0..100).map(|_| Operation::start(&core, op, Payload::None, &fd)).collect();
            // Some are cancelled before the kernel saw them, some after.
            if round % 2 == 0 {
                yield_now().await;
            }
            drop(all);
        }
        while core.operations_in_flight() > 1 {
            yield_now().await;
        }
    });
    assert_eq!(core.driver.borrow().stats().lost, 0);
    assert!(turns < COUNT as u64, "{turns} turns");
    assert_eq!(core.close().leaked_operations, 0);
}

#[test]
fn twenty_cores_one_after_another_and_at_once_fit_on_one_thread() {
    for _ in 0..20 {
        tiny_core().0.close();
    }
    let cores: Vec<_> = (0..20).map(|_| tiny_core().0).collect();
    for core in &cores {
        let nop = Operation::start(core, Op::Nop, Payload::None, &core.fd(-1));
        assert_eq!(turns_until(core, nop).0, 0);
        core.close();
    }
}
