//! What nobody was there to hear: told once, through a hook or on standard error.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use super::Core;
use crate::driver::JobPanic;

/// Something that went wrong with nobody waiting for it. `Builder::on_unhandled` hears of it; by
/// default it is one line on standard error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unhandled {
    /// A task panicked, and its handle is gone or was dropped without being awaited.
    TaskPanicked {
        /// The task's number.
        id: u64,
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// The panic's text.
        message: String,
    },
    /// A stream was dropped before it could send all that was written to it, or a `read_to_file`
    /// before what it had taken was in the file.
    WriteFailed {
        /// The kernel's error.
        error: std::io::Error,
    },
    /// The handler of a server's connection returned an error.
    HandlerFailed {
        /// The other end, if it was still there.
        peer: Option<std::net::SocketAddr>,
        /// What the handler returned.
        error: Box<dyn std::error::Error>,
    },
    /// A listener has no descriptors left for new connections; they wait in the backlog.
    AcceptPaused {
        /// The kernel's error.
        error: std::io::Error,
    },
    /// The kernel did not let go of operations by the deadline of teardown; their memory is leaked.
    OperationsLeaked {
        /// How many.
        count: usize,
    },
    /// io_uring is unavailable, and epoll takes its place. Told once a process.
    FellBack {
        /// Why: the fact, the likely cause and the cure.
        reason: std::io::Error,
    },
    /// A blocking job panicked, and its handle is gone or was dropped without being awaited.
    JobPanicked {
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
        /// The panic's text.
        message: String,
    },
    /// A blocking job did not end by the grace limit of teardown: it runs on, and holds its thread.
    JobLeftBehind {
        /// Where it was spawned.
        spawned_at: &'static Location<'static>,
    },
    /// A closure that another thread had a core run panicked.
    CallPanicked,
    /// The hook of [`Builder::on_spawn`](crate::Builder::on_spawn) panicked.
    SpawnHookPanicked,
    /// A waker that is not corio's panicked when it was woken.
    WakerPanicked,
    /// A value that somebody left to the runtime, such as bytes to send, panicked when it was
    /// dropped.
    DropPanicked,
}

impl fmt::Display for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unhandled::TaskPanicked { id, spawned_at, message } => write!(
                f,
                "task {id} spawned at {spawned_at} panicked and nobody awaited it: {message}"
            ),
            Unhandled::WriteFailed { error } => {
                write!(f, "a stream was dropped with unsent data that failed: {error}")
            }
            Unhandled::HandlerFailed { peer: Some(peer), error } => {
                write!(f, "the handler of the connection from {peer} failed: {error}")
            }
            Unhandled::HandlerFailed { peer: None, error } => {
                write!(f, "the handler of a connection failed: {error}")
            }
            Unhandled::AcceptPaused { error } => write!(
                f,
                "a listener cannot accept ({error}); new connections wait in its backlog; cure: \
                 raise the limit of descriptors (`ulimit -n`) or close connections"
            ),
            Unhandled::OperationsLeaked { count } => write!(
                f,
                "{count} operations did not end by the deadline of teardown; their memory is leaked"
            ),
            Unhandled::FellBack { reason } => write!(f, "running on epoll: {reason}"),
            Unhandled::JobPanicked { spawned_at, message } => write!(
                f,
                "the blocking job spawned at {spawned_at} panicked and nobody awaited it: {message}"
            ),
            Unhandled::JobLeftBehind { spawned_at } => write!(
                f,
                "the blocking job spawned at {spawned_at} did not end with its runtime and was \
                 left behind; cure: let it look at `blocking::is_cancelled`"
            ),
            Unhandled::CallPanicked => f.write_str("a call from another thread panicked"),
            Unhandled::SpawnHookPanicked => f.write_str("the hook that hears of spawns panicked"),
            Unhandled::WakerPanicked => f.write_str("a foreign waker panicked when it was woken"),
            Unhandled::DropPanicked => f.write_str("a value panicked when the runtime dropped it"),
        }
    }
}

/// Runs foreign code, and keeps a panic of it from the core; false if there was one.
pub(crate) fn contain(run: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(run)).map_err(dispose).is_ok()
}

/// Drops what somebody panicked with. That value is foreign, too: if its drop panics, what that
/// one panicked with is leaked, or it might go on for ever.
pub(crate) fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
}

/// Tells of a blocking job's panic after its core went away.
pub(crate) fn report_job_panic_without_core(
    spawned_at: &'static Location<'static>,
    message: String,
) {
    print(&Unhandled::JobPanicked { spawned_at, message });
}

/// As above, on the worker that was left behind with the job.
pub(crate) fn orphaned_job_panicked(panic: JobPanic) {
    report_job_panic_without_core(panic.spawned_at, panic.message);
}

impl Core {
    /// Tells of a blocking job's panic that nobody will take.
    pub(crate) fn report_job_panic(&self, spawned_at: &'static Location<'static>, message: String) {
        self.report(&Unhandled::JobPanicked { spawned_at, message });
    }

    /// As above, for all that the workers left.
    pub(super) fn report_job_panics(&self) {
        for panic in self.workers.take_panics() {
            self.report_job_panic(panic.spawned_at, panic.message);
        }
    }

    /// Drops what somebody left to the runtime. If that panics it is told, and the core goes on.
    pub(crate) fn drop_foreign<T>(&self, value: T) {
        if !contain(|| drop(value)) {
            self.report(&Unhandled::DropPanicked);
        }
    }
}

/// Who hears of it.
pub(crate) type UnhandledHook = Box<dyn Fn(&Unhandled)>;

/// The hook of a core that was given none.
pub(crate) fn print(unhandled: &Unhandled) {
    eprintln!("corio: {unhandled}");
}

/// What was chosen at the start.
pub(crate) fn print_line(line: &str) {
    eprintln!("corio: {line}");
}

/// Why a program cannot start, for the person who started it.
pub(crate) fn print_start_error(error: &std::io::Error) {
    eprintln!("error: {error}");
}
