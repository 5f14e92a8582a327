//! Misuse is refused at the caller's line.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Waker};
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::signal::{Signal, Signals, ctrl_c};
use corio::{JoinHandle, Runtime, interval, sleep, spawn, timeout, yield_now};

use crate::OnDrop;

thread_local! {
    /// Where this thread panicked last, as the hook was told.
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The place and the text of the panic of `misuse`.
#[track_caller]
fn panic_of<T>(misuse: impl FnOnce() -> T) -> (String, String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(|location| location.file().to_owned());
            PANICKED_AT.set(place.unwrap_or_default());
            usual(panic);
        }));
    });
    PANICKED_AT.take();
    let Err(payload) = catch_unwind(AssertUnwindSafe(misuse)) else { panic!("no panic") };
    (PANICKED_AT.take(), text_of(payload))
}

fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default()
}

/// The panic says what is missing, and names this file.
#[track_caller]
fn assert_needs_runtime<T>(misuse: impl FnOnce() -> T) {
    let (place, text) = panic_of(misuse);
    assert!(text.contains("there is no corio runtime on this thread"), "{text}");
    assert_eq!(place, file!(), "{text}");
}

/// Polls a future once, on no runtime.
#[track_caller]
fn poll_once<F: Future>(future: F) {
    let _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
}

#[corio::test]
fn without_a_runtime_the_panic_names_the_callers_file() {
    assert_needs_runtime(|| spawn(async {}));
    assert_needs_runtime(|| corio::stats());
    assert_needs_runtime(|| Signals::new([Signal::User1]));
    assert_needs_runtime(|| poll_once(async { sleep(Duration::from_secs(1)).await }));
    assert_needs_runtime(|| {
        poll_once(async { timeout(Duration::MAX, sleep(Duration::MAX)).await })
    });
    assert_needs_runtime(|| {
        poll_once(async {
            let mut ticks = interval(Duration::MAX);
            ticks.reset();
            ticks.tick().await
        });
    });
    assert_needs_runtime(|| {
        poll_once(async {
            corio::select! {
                () = std::future::pending::<()>() => {},
                () = std::future::pending::<()>() => {},
            }
        });
    });
}

#[corio::test]
fn without_a_runtime_an_async_function_names_who_called_it() {
    let check = |(_, text): (String, String), line: u32| {
        assert!(text.contains("there is no corio runtime on this thread"), "{text}");
        assert!(text.contains(&format!("{}:{line}", file!())), "line {line} is not in: {text}");
    };
    check(panic_of(|| poll_once(TcpListener::bind("127.0.0.1:0"))), line!());
    check(panic_of(|| poll_once(ctrl_c())), line!());
    // Made outside, and polled inside, all of them work.
    let bind = TcpListener::bind("127.0.0.1:0");
    corio::run(bind).unwrap();
}

#[corio::test]
fn a_run_inside_a_run_is_refused_at_the_callers_line_and_polls_nothing() {
    let other = Runtime::new().unwrap();
    corio::run(async {
        let (polled, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let future = || {
            let (polled, dropped) = (Rc::clone(&polled), Rc::clone(&dropped));
            let guard = OnDrop(move || dropped.set(dropped.get() + 1));
            async move {
                let _guard = guard;
                polled.set(true);
            }
        };
        let (place, text) = panic_of(|| corio::run(future()));
        assert!(text.contains("already runs on this thread"), "{text}");
        assert_eq!(place, file!());
        let (place, text) = panic_of(|| other.block_on(future()));
        assert!(text.contains("already runs on this thread"), "{text}");
        assert_eq!(place, file!());
        assert!(!polled.get());
        assert_eq!(dropped.get(), 2);
        // The one that runs is none the worse for it.
        spawn(async { yield_now().await }).await.unwrap();
    });
    assert_eq!(other.block_on(async { 4 }), 4);
}

#[corio::test]
fn a_handle_is_refused_where_its_task_cannot_run() {
    let runtime = Runtime::new().unwrap();
    let poll =
        |task: &mut JoinHandle<i32>| Pin::new(task).poll(&mut Context::from_waker(Waker::noop()));
    let mut task = runtime.block_on(async { spawn(async { 3 }) });
    let (place, text) = panic_of(|| poll(&mut task));
    assert!(text.contains("outside of its runtime"), "{text}");
    assert_eq!(place, file!());
    let (_, text) = panic_of(|| corio::run(&mut task));
    assert!(text.contains("outside of its runtime"), "{text}");
    assert_eq!(runtime.block_on(&mut task).unwrap(), 3);
    let (place, text) = panic_of(|| poll(&mut task));
    assert!(text.contains("polled after it was ready"), "{text}");
    assert_eq!(place, file!());
}

#[corio::test]
fn an_ended_handle_may_be_asked_anywhere() {
    let task = corio::run(async { spawn(std::future::pending::<()>()) });
    assert!(task.is_finished() && !task.cancel());
    let mut task = pin!(task);
    let outcome = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(outcome, std::task::Poll::Ready(Err(error)) if error.is_cancelled()));
}

#[corio::test]
fn a_connect_without_a_runtime_names_who_called_it() {
    let (_, text) = panic_of(|| poll_once(TcpStream::connect("127.0.0.1:1")));
    assert!(text.contains("there is no corio runtime on this thread"), "{text}");
    assert!(text.contains(&format!("called at {}:", file!())), "{text}");
}

#[corio::test]
fn an_interval_of_nothing_and_a_value_that_is_no_panic_are_refused() {
    let (place, text) = panic_of(|| interval(Duration::ZERO));
    assert!(text.contains("longer than zero"), "{text}");
    assert_eq!(place, file!());
    let task = corio::run(async { spawn(std::future::pending::<()>()) });
    let error = corio::run(task).unwrap_err();
    let (place, text) = panic_of(|| error.into_panic());
    assert!(text.contains("was cancelled"), "{text}");
    assert_eq!(place, file!());
}
