//! Why a task, or a blocking job, has no value. One type, so that a function may await either and
//! fail by `?`.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use super::report::dispose;

/// Why a task has no value: it was cancelled, it panicked, or it failed in a group. Why a blocking
/// job has none: it was cancelled before it began, it panicked, or the kernel refused its thread.
#[doc(alias = "CancelledError")]
pub struct JoinError(Box<Ending>);

struct Ending {
    kind: JoinErrorKind,
    subject: Subject,
    spawned_at: &'static Location<'static>,
    operations_left: usize,
}

pub(super) enum JoinErrorKind {
    Cancelled(Option<Arc<str>>),
    Panic(Box<dyn Any + Send>),
    Failed,
    NoThread(io::Error),
}

enum Subject {
    Task(u64),
    Job,
}

impl JoinError {
    pub(super) fn new(
        kind: JoinErrorKind,
        id: u64,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError::about(Subject::Task(id), kind, spawned_at)
    }

    fn about(
        subject: Subject,
        kind: JoinErrorKind,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError(Box::new(Ending { kind, subject, spawned_at, operations_left: 0 }))
    }

    /// That of a blocking job which never began.
    pub(crate) fn job_cancelled(spawned_at: &'static Location<'static>) -> JoinError {
        JoinError::about(Subject::Job, JoinErrorKind::Cancelled(None), spawned_at)
    }

    pub(crate) fn job_panicked(
        panic: Box<dyn Any + Send>,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError::about(Subject::Job, JoinErrorKind::Panic(panic), spawned_at)
    }

    /// That of a blocking job which no thread can run.
    pub(crate) fn job_refused(
        error: io::Error,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError::about(Subject::Job, JoinErrorKind::NoThread(error), spawned_at)
    }

    /// That of a task whose error or panic went to its group.
    pub(crate) fn failed(id: u64, spawned_at: &'static Location<'static>) -> JoinError {
        JoinError::new(JoinErrorKind::Failed, id, spawned_at)
    }

    /// That of a task whose core ended before it.
    pub(crate) fn cancelled(id: u64, spawned_at: &'static Location<'static>) -> JoinError {
        JoinError::new(JoinErrorKind::Cancelled(None), id, spawned_at)
    }

    /// That of a task which could not even be made.
    pub(crate) fn panicked(
        panic: Box<dyn Any + Send>,
        id: u64,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError::new(JoinErrorKind::Panic(panic), id, spawned_at)
    }

    pub(crate) fn leaving(mut self, operations: usize) -> JoinError {
        self.0.operations_left = operations;
        self
    }

    /// Whether the task was cancelled or aborted, or its runtime ended; whether the blocking job
    /// was cancelled before it began.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Cancelled(_))
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Panic(_))
    }

    /// Whether the task failed, or panicked, as a member of a group: the group has the error.
    pub fn is_failed(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Failed)
    }

    /// Whether the kernel refused a blocking job the thread to run on.
    pub fn is_refused(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::NoThread(_))
    }

    /// Why the task was cancelled, if whoever asked said so.
    pub fn reason(&self) -> Option<&str> {
        match &self.0.kind {
            JoinErrorKind::Cancelled(reason) => reason.as_deref(),
            _ => None,
        }
    }

    /// The task's number; 0 for a blocking job, which has none.
    pub fn id(&self) -> u64 {
        match self.0.subject {
            Subject::Task(id) => id,
            Subject::Job => 0,
        }
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.spawned_at
    }

    /// Operations that the kernel had not let go of by the task's grace limit. They end in the
    /// background.
    pub fn operations_left(&self) -> usize {
        self.0.operations_left
    }

    /// What it panicked with, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If it did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0.kind {
            JoinErrorKind::Panic(payload) => payload,
            _ => panic!("there is no panic to take: {self}"),
        }
    }

    /// Drops it. What somebody panicked with is never let panic again.
    pub(crate) fn dispose(self) {
        if let JoinErrorKind::Panic(payload) = self.0.kind {
            dispose(payload);
        }
    }

    pub(crate) fn panic_message(&self) -> Option<String> {
        match &self.0.kind {
            JoinErrorKind::Panic(payload) => Some(text_of_panic(&**payload)),
            _ => None,
        }
    }
}

/// The text that somebody panicked with.
pub(crate) fn text_of_panic(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subject {
            Subject::Task(id) => write!(f, "task {id} spawned at {} ", self.0.spawned_at)?,
            Subject::Job => write!(f, "the blocking job spawned at {} ", self.0.spawned_at)?,
        }
        match &self.0.kind {
            JoinErrorKind::Panic(payload) => write!(f, "panicked: {}", text_of_panic(&**payload)),
            JoinErrorKind::Failed => f.write_str("failed, and its group has the error"),
            JoinErrorKind::Cancelled(None) => f.write_str("was cancelled"),
            JoinErrorKind::Cancelled(Some(reason)) => write!(f, "was cancelled: {reason}"),
            JoinErrorKind::NoThread(error) => write!(
                f,
                "has no thread to run on ({error}); likely a limit of threads is reached (`ulimit \
                 -u`, a cgroup's pids.max); cure: raise it, or lower `blocking_threads`"
            ),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            JoinErrorKind::NoThread(error) => Some(error),
            _ => None,
        }
    }
}

/// So that `?` serves in functions that return `io::Result`.
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> io::Error {
        let kind = match &error.0.kind {
            JoinErrorKind::NoThread(error) => error.kind(),
            _ => io::ErrorKind::Other,
        };
        let text = error.to_string();
        error.dispose();
        io::Error::new(kind, text)
    }
}
