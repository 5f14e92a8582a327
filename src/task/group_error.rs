//! What went wrong in a group: all of it.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use crate::executor::join_error::text_of_panic;
use crate::executor::task::Header;
use crate::executor::{Core, Unhandled};

/// What a failure was.
pub(super) enum Failure {
    Error(Box<dyn Error>),
    Panic(Box<dyn Any + Send>),
}

/// How one task of a group failed, or its body.
pub struct TaskError {
    id: Option<u64>,
    name: Option<Rc<str>>,
    spawned_at: Option<&'static Location<'static>>,
    failure: Failure,
}

impl TaskError {
    pub(super) fn new(header: Option<&Header>, failure: Failure) -> TaskError {
        TaskError {
            id: header.map(|header| header.id),
            name: header.and_then(|header| header.name()),
            spawned_at: header.map(|header| header.spawned_at),
            failure,
        }
    }

    fn report_lost(&self, core: &Core) {
        if let (Failure::Panic(payload), Some(id), Some(spawned_at)) =
            (&self.failure, self.id, self.spawned_at)
        {
            let message = text_of_panic(&**payload);
            core.report(&Unhandled::TaskPanicked { id, spawned_at, message });
        }
    }

    /// The task's number; `None` for the group's body.
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    /// The task's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where the task was spawned; `None` for the group's body.
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        self.spawned_at
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.failure, Failure::Panic(_))
    }

    /// The error that was returned; `None` if it panicked.
    pub fn error(&self) -> Option<&(dyn Error + 'static)> {
        match &self.failure {
            Failure::Error(error) => Some(&**error),
            Failure::Panic(_) => None,
        }
    }

    /// The error that was returned, if it is of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error()?.downcast_ref()
    }

    /// What it panicked with, or the error that was returned.
    ///
    /// # Errors
    ///
    /// The error that was returned, if it did not panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, Box<dyn Error>> {
        match self.failure {
            Failure::Panic(payload) => Ok(payload),
            Failure::Error(error) => Err(error),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Error(error) => error.fmt(f),
            Failure::Panic(payload) => write!(f, "panicked: {}", text_of_panic(&**payload)),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskError")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("spawned_at", &self.spawned_at.map(ToString::to_string))
            .field("failure", &format_args!("{self}"))
            .finish()
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error()
    }
}

/// Errors that a group has not told yet. A panic that it never tells, since it was dropped or never
/// joined, is reported as that of a task whose handle is gone.
#[derive(Default)]
pub(super) struct Untold {
    errors: RefCell<Vec<TaskError>>,
}

impl Untold {
    pub(super) fn push(&self, error: TaskError) {
        self.errors.borrow_mut().push(error);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    pub(super) fn take(&self) -> Vec<TaskError> {
        self.errors.take()
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(core) = Core::try_current() {
            self.errors.get_mut().iter().for_each(|error| error.report_lost(&core));
        }
    }
}

/// All errors of a group.
#[derive(Debug)]
#[doc(alias = "ExceptionGroup")]
pub struct GroupError {
    errors: Vec<TaskError>,
    operations_left: usize,
}

impl GroupError {
    pub(super) fn new(errors: Vec<TaskError>, operations_left: usize) -> GroupError {
        GroupError { errors, operations_left }
    }

    /// The errors, in the order they came up.
    pub fn iter(&self) -> std::slice::Iter<'_, TaskError> {
        self.errors.iter()
    }

    /// How many there are: none if the group was cancelled.
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// Whether there is no error, since the group was cancelled.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether nothing failed, and [`TaskGroup::cancel`](super::TaskGroup::cancel) or a grace
    /// limit cut the body short.
    pub fn is_cancelled(&self) -> bool {
        self.is_empty()
    }

    /// Those that `matches`, and the rest: asyncio's `split`, for `except*`.
    pub fn split(
        self,
        matches: impl FnMut(&TaskError) -> bool,
    ) -> (Option<GroupError>, Option<GroupError>) {
        let operations_left = self.operations_left;
        let (matching, rest): (Vec<_>, Vec<_>) = self.errors.into_iter().partition(matches);
        let group =
            |errors: Vec<_>| (!errors.is_empty()).then_some(GroupError { errors, operations_left });
        (group(matching), group(rest))
    }

    /// The one error there is.
    ///
    /// # Errors
    ///
    /// The group's error itself, if there are none or several.
    pub fn into_single(mut self) -> Result<TaskError, GroupError> {
        match self.errors.pop() {
            Some(error) if self.errors.is_empty() => Ok(error),
            Some(error) => {
                self.errors.push(error);
                Err(self)
            }
            None => Err(self),
        }
    }

    /// Operations that the kernel had not let go of by the grace limit.
    pub fn operations_left(&self) -> usize {
        self.operations_left
    }
}

impl IntoIterator for GroupError {
    type Item = TaskError;
    type IntoIter = std::vec::IntoIter<TaskError>;

    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl<'a> IntoIterator for &'a GroupError {
    type Item = &'a TaskError;
    type IntoIter = std::slice::Iter<'a, TaskError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            0 => return f.write_str("the group was cancelled"),
            1 => f.write_str("1 task of a group failed: ")?,
            count => write!(f, "{count} tasks of a group failed: ")?,
        }
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl Error for GroupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.errors.first().map(|error| error as &(dyn Error + 'static))
    }
}
