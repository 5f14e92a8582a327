//! Why a task has no value.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Why a task has no value: it was cancelled, it panicked, or it failed in a group.
pub struct JoinError(Box<Ending>);

struct Ending {
    kind: JoinErrorKind,
    id: u64,
    spawned_at: &'static Location<'static>,
    operations_left: usize,
}

pub(super) enum JoinErrorKind {
    Cancelled(Option<Arc<str>>),
    Panic(Box<dyn Any + Send>),
    Failed,
}

impl JoinError {
    pub(super) fn new(
        kind: JoinErrorKind,
        id: u64,
        spawned_at: &'static Location<'static>,
    ) -> JoinError {
        JoinError(Box::new(Ending { kind, id, spawned_at, operations_left: 0 }))
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

    /// Whether the task was cancelled or aborted, or its runtime ended.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Cancelled(_))
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Panic(_))
    }

    /// Whether the task failed, or panicked, as a member of a group: the group has the error.
    pub fn is_failed(&self) -> bool {
        matches!(self.0.kind, JoinErrorKind::Failed)
    }

    /// Why the task was cancelled, if whoever asked said so.
    pub fn reason(&self) -> Option<&str> {
        match &self.0.kind {
            JoinErrorKind::Cancelled(reason) => reason.as_deref(),
            _ => None,
        }
    }

    /// The task's number.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Where the task was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.spawned_at
    }

    /// Operations that the kernel had not let go of by the task's grace limit. They end in the
    /// background.
    pub fn operations_left(&self) -> usize {
        self.0.operations_left
    }

    /// What the task panicked with, for `std::panic::resume_unwind`.
    ///
    /// # Panics
    ///
    /// If the task did not panic.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.0.kind {
            JoinErrorKind::Panic(payload) => payload,
            JoinErrorKind::Cancelled(_) => {
                panic!("task {} was cancelled, it did not panic", self.0.id)
            }
            JoinErrorKind::Failed => {
                panic!("what task {} failed with is in the error of its group", self.0.id)
            }
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
        write!(f, "task {} spawned at {} ", self.0.id, self.0.spawned_at)?;
        match &self.0.kind {
            JoinErrorKind::Panic(payload) => write!(f, "panicked: {}", text_of_panic(&**payload)),
            JoinErrorKind::Failed => f.write_str("failed, and its group has the error"),
            JoinErrorKind::Cancelled(None) => f.write_str("was cancelled"),
            JoinErrorKind::Cancelled(Some(reason)) => write!(f, "was cancelled: {reason}"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}
