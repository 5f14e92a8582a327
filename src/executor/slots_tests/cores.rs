//! Whole cores on the fake kernel, and on a ring of two submissions and four completions.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::os::fd::IntoRawFd;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Random;
use crate::driver::fake::OnEnter;
use crate::driver::{
    AnyDriver, BufferConfig, Driver, Features, Op, Payload, Pools, ReceiveBuffer, RingSize, Token,
    Wait, WorkersConfig,
};
use crate::executor::JoinError;
use crate::executor::operation::Operation;
use crate::executor::scope::Kind;
use crate::executor::scoped::Scoped;
use crate::executor::task::{AnyTask, Join, Phase, Task};
use crate::executor::{BusyPoll, Config, Core, Spawning, Unhandled};

pub(crate) type Heard = Rc<RefCell<Vec<String>>>;

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
        spawning: Spawning::default(),
        workers: WorkersConfig {
            count_max: 1,
            keep_alive: Duration::from_secs(1),
            cpus: None,
            orphaned: |_| {},
        },
        unhandled: Box::new(move |unhandled: &Unhandled| {
            heard.borrow_mut().push(unhandled.to_string());
        }),
    }
}

pub(crate) fn fake_core(on_enter: Option<OnEnter>) -> (Rc<Core>, Heard) {
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

fn outcome<F: Future>(task: &Task<F>) -> Result<F::Output, JoinError> {
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
        core.ask_task(&**ended_by_request, None);
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
    core.ask_task(&*task, None);
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
pub(crate) fn turns_until<F: Future>(core: &Rc<Core>, future: F) -> (F::Output, u64) {
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

/// Under a load that never leaves the completion queue empty, a deadline of some milliseconds is
/// not taken for one that lies far ahead.
#[test]
fn a_sleep_ends_although_there_is_always_more_to_reap() {
    let (core, _) = fake_core(Some(Box::new(|fake, _| {
        assert!(fake.enters < 1_000, "a sleep of 30 ms has not ended in 1,000 turns of 1 ms");
        let entered_at = Instant::now();
        while entered_at.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        if fake.enters < 3 {
            // Here the queue is seen empty.
            return;
        }
        fake.reap_length = 1;
        let nobodys = Token::operation(0, 7);
        fake.inject(nobodys, 0, false);
        fake.inject(nobodys, 0, false);
    })));
    let begun_at = Instant::now();
    turns_until(&core, crate::time::sleep(Duration::from_millis(30)));
    assert!(begun_at.elapsed() >= Duration::from_millis(30));
    core.close();
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
    let idle =
        core.driver.borrow_mut().open_socket(&([127, 0, 0, 1], 1).into()).unwrap().into_raw_fd();
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

#[test]
fn a_task_whose_last_operation_moved_to_another_task_does_not_wait_for_it() {
    // A kernel that completes nothing by itself.
    let (core, _) = fake_core(None);
    let shelf = Rc::new(RefCell::new(None));
    let (left_on, taken_from) = (Rc::clone(&shelf), Rc::clone(&shelf));
    let core_of_first = Rc::clone(&core);
    let first = spawn(&core, async move {
        let operation = async move { coded(&core_of_first, 7).await };
        let mut operation = Box::pin(Scoped::new(Kind::Block, operation));
        let once = poll_fn(|context| Poll::Ready(operation.as_mut().poll(context).is_pending()));
        assert!(once.await);
        left_on.replace(Some(operation));
        0
    });
    let second = spawn(&core, async move {
        let mut operation = taken_from.take().expect("the first one left it there");
        let outcome = poll_fn(|context| operation.as_mut().poll(context)).await;
        outcome.expect("nobody asked it to end")
    });
    let phases = || (first.header().phase.get(), second.header().phase.get());
    turns_until(&core, turns(200));
    assert_eq!(phases(), (Phase::Finished, Phase::Live));
    assert_eq!((first.header().in_flight(), second.header().in_flight()), (0, 1));
    let open = core.driver.borrow_mut().fake().open();
    for token in open {
        core.driver.borrow_mut().fake().complete(token, -libc::ECANCELED, false);
    }
    turns_until(&core, turns(200));
    assert_eq!(phases(), (Phase::Finished, Phase::Finished));
    assert_eq!((outcome(&first).unwrap(), outcome(&second).unwrap()), (0, -libc::ECANCELED));
    assert_eq!((core.task_count(), core.operations_in_flight()), (0, 0));
    core.close();
}

/// Many polls happen in one turn of the loop.
async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}
