//! Tasks and operations as spans of `tracing`, with the feature of that name: `trace/spans.rs`.
//! Without it there is nothing in their place, at no cost: `trace/nothing.rs`.

#[cfg(not(feature = "tracing"))]
mod nothing;
#[cfg(feature = "tracing")]
mod spans;

#[cfg(not(feature = "tracing"))]
pub(super) use nothing::{OperationSpan, TaskSpan};
#[cfg(feature = "tracing")]
pub(super) use spans::{OperationSpan, TaskSpan};
