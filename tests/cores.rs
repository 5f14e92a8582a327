//! Many cores: calls and tasks from any thread, started together, ended together.

#[path = "cores/sharded.rs"]
mod sharded;

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use corio::cores::{CoreHandle, Cores, RemoteHandle};
use corio::net::{TcpListener, TcpStream};
use corio::sync::Event;
use corio::{Runtime, catch_cancel, sleep, spawn, timeout, yield_now};

/// No wait of a test takes longer; what does has lost its wake-up.
const PATIENCE: Duration = Duration::from_secs(20);

/// More loops than this machine has CPUs, without a line for each test.
fn cores(count: usize) -> Cores {
    Cores::available().unwrap().count(count).on_start(|_| {})
}

/// A runtime on a thread of its own, until it is told to end.
fn other_core() -> (CoreHandle, impl FnOnce()) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        corio::run(async move {
            let over = Rc::new(Event::new());
            OVER.set(Some(Rc::clone(&over)));
            tell.send(CoreHandle::current()).unwrap();
            over.wait().await;
        });
    });
    let core = told.recv().unwrap();
    let end = move || {
        core.call_soon(|| OVER.take().unwrap().set()).unwrap();
        thread.join().unwrap();
    };
    (core, end)
}

/// An executor that is not ours: it parks its thread.
fn foreign_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(PATIENCE);
    }
}

thread_local! {
    static OVER: Cell<Option<Rc<Event>>> = const { Cell::new(None) };
}

#[corio::test]
fn a_foreign_thread_starts_tasks_that_are_not_send_and_joins_them() {
    let (core, end) = other_core();
    let task = core.spawn(|| async {
        let local = Rc::new(Cell::new(1));
        yield_now().await;
        local.set(local.get() + 1);
        local.get()
    });
    assert_eq!(task.join_blocking().unwrap(), 2);
    let slow = core.spawn(|| sleep(Duration::from_secs(60)));
    assert!(slow.join_blocking_for(Duration::from_millis(5)).is_err());
    assert!(slow.cancel_with("enough"));
    let error = slow.join_blocking_for(PATIENCE).unwrap().unwrap_err();
    assert_eq!((error.is_cancelled(), error.reason()), (true, Some("enough")));
    assert!(!slow.cancel());
    let panics: RemoteHandle<()> = core.spawn(|| async { panic!("over there") });
    assert!(panics.join_blocking().unwrap_err().is_panic());
    let unmade: RemoteHandle<()> = core.spawn(|| -> std::future::Ready<()> { panic!("unmade") });
    assert!(unmade.join_blocking().unwrap_err().is_panic());
    end();
    let late = core.spawn(|| async { unreachable!("the core has ended") });
    let late: Result<(), _> = late.join_blocking();
    assert!(late.unwrap_err().is_cancelled());
    assert!(core.call_soon(|| unreachable!("the core has ended")).is_err());
}

#[corio::test]
fn a_handle_is_awaited_on_a_core_and_on_a_foreign_executor() {
    let (core, end) = other_core();
    let answer = corio::run(async {
        let (mut one, two) = (core.spawn(|| async { 1 }), core.spawn(|| async { 2 }));
        assert!(timeout(PATIENCE, &mut one).await.unwrap().is_ok());
        timeout(PATIENCE, two).await.unwrap().unwrap()
    });
    assert_eq!(answer, 2);
    let task = core.spawn(|| async {
        sleep(Duration::from_millis(2)).await;
        4
    });
    assert_eq!(foreign_block_on(task).unwrap(), 4);
    end();
}

#[corio::test]
fn what_is_sent_to_a_resting_runtime_waits_for_its_next_run_and_is_cancelled_at_its_end() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle();
    assert!(!handle.is_current());
    let first = thread::spawn(move || handle.spawn(|| async { 6 * 7 })).join().unwrap();
    assert!(!first.is_finished());
    runtime.block_on(async {
        assert!(handle.is_current() && CoreHandle::current() == handle);
        assert_eq!(first.await.unwrap(), 42);
    });
    let late = handle.spawn(|| async { unreachable!("nothing runs it") });
    runtime.close();
    assert!(late.join_blocking().unwrap_err().is_cancelled());
    assert!(handle.call_soon(|| {}).is_err());
    assert!(handle.spawn(|| async {}).join_blocking().unwrap_err().is_cancelled());
}

#[corio::test]
fn calls_keep_their_order_and_a_panic_of_one_ends_nothing() {
    let heard = Rc::new(Cell::new(0));
    let note = Rc::clone(&heard);
    let runtime =
        Runtime::builder().on_unhandled(move |_| note.set(note.get() + 1)).build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let core = CoreHandle::current();
        assert!(core.is_current());
        let notes = Arc::clone(&order);
        let thread = thread::spawn(move || {
            for number in 0..1000 {
                let notes = Arc::clone(&notes);
                let call = move || {
                    notes.lock().unwrap().push(number);
                    assert_ne!(number, 500, "as told");
                };
                core.call_soon(call).unwrap();
            }
        });
        let all = async {
            while order.try_lock().map_or(0, |order| order.len()) < 1000 {
                yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.unwrap();
        thread.join().unwrap();
        // At home it is a call for the next turn.
        let flag = Arc::new(AtomicUsize::new(0));
        let note = Arc::clone(&flag);
        core.call_soon(move || note.store(1, Ordering::SeqCst)).unwrap();
        assert_eq!(flag.load(Ordering::SeqCst), 0, "not inside of the call");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(flag.load(Ordering::SeqCst), 1);
    });
    assert!(
        order.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().copied().eq(0..1000)
    );
    assert_eq!(heard.get(), 1);
}

#[corio::test]
fn a_blocking_join_on_a_core_is_refused() {
    let (core, end) = other_core();
    let task = core.spawn(|| async { 1 });
    let refused = std::panic::catch_unwind(move || corio::run(async { task.join_blocking() }));
    assert!(refused.is_err());
    end();
}

#[corio::test]
fn calls_that_were_not_run_are_dropped_with_their_core() {
    let runtime = Runtime::new().unwrap();
    let core = runtime.block_on(async { CoreHandle::current() });
    let task = core.spawn(|| async { unreachable!("nobody runs the core any more") });
    let guard = Arc::new(());
    let held = Arc::clone(&guard);
    core.call_soon(move || drop(held)).unwrap();
    assert!(!task.is_finished());
    drop(runtime);
    let outcome: Result<(), _> = task.join_blocking();
    assert!(outcome.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&guard), 1);
}

#[corio::test]
fn every_core_runs_the_work_and_every_result_is_collected() {
    for count in [1, 2, 5] {
        let results = cores(count).run(move |core| async move {
            assert_eq!(core.count(), count);
            let next = core.handle((core.index() + 1) % count);
            next.spawn(move || async move { CoreHandle::current() == next }).await.unwrap()
        });
        let results = results.unwrap();
        assert_eq!(results.len(), count);
        assert!(results.into_iter().all(|result| result.unwrap()));
    }
}

#[corio::test]
fn a_core_that_panics_ends_the_others_and_all_is_told() {
    for culprit in 0..3 {
        let (begun, cleaned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (start, note) = (Arc::clone(&begun), Arc::clone(&cleaned));
        let results = cores(3).runtime(|builder| builder.grace(Duration::from_millis(20)));
        let results = results.run(move |core| {
            let (start, note) = (Arc::clone(&start), Arc::clone(&note));
            async move {
                start.fetch_add(1, Ordering::SeqCst);
                while core.index() == culprit && start.load(Ordering::SeqCst) < 3 {
                    sleep(Duration::from_millis(1)).await;
                }
                assert_ne!(core.index(), culprit, "this one");
                let cancelled = catch_cancel(pending::<()>()).await.unwrap_err();
                assert!(cancelled.reason().unwrap().contains("another core"));
                note.fetch_add(1, Ordering::SeqCst);
                // One that does not end by itself is aborted.
                pending::<()>().await;
            }
        });
        let results = results.unwrap();
        for (index, result) in results.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert_eq!(error.is_panic(), index == culprit, "{error}");
        }
        assert_eq!(cleaned.load(Ordering::SeqCst), 2);
    }
}

#[corio::test]
fn a_core_that_panics_before_the_others_have_begun_ends_them_all_the_same() {
    for _ in 0..20 {
        let results = cores(4).run(|core| async move {
            assert_ne!(core.index(), 3, "at once");
            pending::<()>().await;
        });
        assert!(results.unwrap().into_iter().all(|result| result.is_err()));
    }
}

#[corio::test]
fn a_core_whose_work_is_done_serves_the_others_until_the_last_is_done() {
    let results = cores(3).run(|core| async move {
        if core.index() == 0 {
            return 0;
        }
        sleep(Duration::from_millis(20)).await;
        core.handle(0).spawn(|| async { 7 }).await.unwrap()
    });
    let results: Vec<_> = results.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [0, 7, 7]);
}

#[corio::test]
fn main_runs_once_and_its_end_ends_all_cores() {
    let line = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&line);
    let cores = Cores::available().unwrap().count(3);
    let cores = cores.on_start(move |line| *heard.lock().unwrap() = line.to_owned());
    let value = cores.block_on(|core| async move {
        let mut sum = 0;
        for handle in core.handles() {
            sum += handle.spawn(|| async { 1 }).await.unwrap();
        }
        // Left running over there; its core ends with main.
        drop(core.handle(1).spawn(pending::<()>));
        sum
    });
    assert_eq!(value.unwrap(), 3);
    assert!(line.lock().unwrap().starts_with("3 cores "), "{line:?}");
}

#[corio::test]
fn each_core_is_pinned_to_a_cpu_of_its_own_and_the_caller_gets_its_cpus_back() {
    let cpus_here = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list"));
        line.unwrap().split_once(':').unwrap().1.trim().to_owned()
    };
    let before = cpus_here();
    let cores = Cores::available().unwrap().on_start(|_| {});
    let results = cores.run(move |core| async move { (core.cpu().unwrap(), cpus_here()) });
    let mut pinned = std::collections::BTreeSet::new();
    for result in results.unwrap() {
        let (cpu, here) = result.unwrap();
        assert_eq!(here, cpu.to_string());
        assert!(pinned.insert(cpu), "{cpu} twice");
    }
    assert_eq!(cpus_here(), before);
}

#[corio::test]
fn a_core_that_cannot_start_starts_none() {
    let cores = cores(3).runtime(|builder| builder.pin(100_000));
    let error = cores.run(|_| async { unreachable!("none starts") });
    let error = error.map(|results: Vec<Result<(), _>>| results.len()).unwrap_err();
    assert!(error.to_string().contains("core 0 of 3 cannot start"), "{error}");
}

#[corio::test]
fn each_core_serves_a_port_of_its_own_and_answers_another() {
    let results = cores(3).run(|core| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let line = stream.read_line(100).await.unwrap();
            stream.write(&line).await.unwrap();
        });
        let next = core.handle((core.index() + 1) % core.count());
        let client = next.spawn(move || async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write(b"hello\n").await.unwrap();
            stream.read_line(100).await.unwrap() == b"hello\n"
        });
        assert!(timeout(PATIENCE, client).await.unwrap().unwrap());
        server.await.unwrap();
    });
    assert!(results.unwrap().into_iter().all(|result| result.is_ok()));
}

#[corio::test]
fn a_hundred_thousand_calls_at_random_moments_are_all_run() {
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let results = cores(4).run(move |core| {
        let counter = Arc::clone(&counter);
        async move {
            for round in 0..250 {
                let mut tasks = Vec::new();
                for number in 0..100 {
                    let counter = Arc::clone(&counter);
                    let target = core.handle((core.index() + number + round) % core.count());
                    tasks.push(target.spawn(move || async move {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }));
                }
                for task in tasks {
                    task.await.unwrap();
                }
                if round % 50 == core.index() {
                    // Now and then the core is asleep when it is called.
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    assert!(results.unwrap().into_iter().all(|result| result.is_ok()));
    assert_eq!(ran.load(Ordering::Relaxed), 100_000);
}

#[corio::main(cores = 3)]
async fn main_of_a_program() -> Result<usize, String> {
    let core = CoreHandle::current();
    let thread = core.spawn(|| async { thread::current().name().map(str::to_owned) });
    thread.await.map_err(|error| error.to_string())?;
    Ok(corio::stats().tasks)
}

#[test]
fn a_programs_main_runs_once_and_gives_its_value() {
    assert_eq!(main_of_a_program(), Ok(1), "its own task, which is on the first core");
}
