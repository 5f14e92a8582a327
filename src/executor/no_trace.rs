//! What `trace.rs` has, without the feature `tracing`: nothing, at no cost.

use std::panic::Location;

use crate::driver::Op;

pub(crate) struct TaskSpan;

impl TaskSpan {
    #[inline]
    pub(super) fn new(_: u64, _: &'static Location<'static>, _: bool) -> TaskSpan {
        TaskSpan
    }

    #[inline]
    pub(super) fn name(&self, _: &str) {}

    #[inline]
    pub(super) fn within<T>(&self, step: impl FnOnce() -> T) -> T {
        step()
    }

    #[inline]
    pub(super) fn close(&self) {}
}

#[derive(Default)]
pub(super) struct OperationSpan;

impl OperationSpan {
    #[inline]
    pub(super) fn new(_: &Op) -> OperationSpan {
        OperationSpan
    }

    #[inline]
    pub(super) fn none() -> OperationSpan {
        OperationSpan
    }

    #[inline]
    pub(super) fn completed(self, _: i32) {}
}
