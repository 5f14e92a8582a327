//! What a queue answers when it cannot: asyncio's `QueueShutDown`, `QueueFull` and `QueueEmpty`.
//! What could not be put comes back.

use std::error::Error;
use std::fmt;

/// The queue is shut down, and there is nothing to get.
#[doc(alias = "QueueShutDown")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutDown;

impl fmt::Display for ShutDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue has been shut down")
    }
}

impl Error for ShutDown {}

/// The queue is shut down; here is the item.
#[doc(alias = "QueueShutDown")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ShutDown.fmt(f)
    }
}

impl<T> Error for Closed<T> {}

/// An item could not be put; here it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// No place is free, or the free ones are promised to others.
    #[doc(alias = "QueueFull")]
    Full(T),
    /// The queue is shut down.
    #[doc(alias = "QueueShutDown")]
    ShutDown(T),
}

impl<T> TryPutError<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            TryPutError::Full(item) | TryPutError::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Debug for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPutError::Full(_) => "Full(..)",
            TryPutError::ShutDown(_) => "ShutDown(..)",
        })
    }
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryPutError::Full(_) => f.write_str("the queue is full"),
            TryPutError::ShutDown(_) => ShutDown.fmt(f),
        }
    }
}

impl<T> Error for TryPutError<T> {}

/// No item could be got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryGetError {
    /// There is none, or those there are are promised to others.
    #[doc(alias = "QueueEmpty")]
    Empty,
    /// The queue is shut down, and there will be none.
    #[doc(alias = "QueueShutDown")]
    ShutDown,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryGetError::Empty => f.write_str("the queue is empty"),
            TryGetError::ShutDown => ShutDown.fmt(f),
        }
    }
}

impl Error for TryGetError {}

/// `task_done` was called more often than items were put: asyncio's `ValueError`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskDoneError(pub(crate) ());

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`task_done` was called too many times: more often than items were put")
    }
}

impl Error for TaskDoneError {}
