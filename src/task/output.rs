//! What a task of a group may return, and which of it is a failure.

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

/// The output of a task, with a view to whether it failed: the `Err` of a `Result` is a failure, as
/// an exception is in asyncio, and every other type is a value.
///
/// A type of your own is made an output by a few lines:
///
/// ```
/// struct Answer;
/// impl corio::task::TaskOutput for Answer {
///     type Value = Answer;
///     fn into_result(self) -> Result<Answer, Box<dyn std::error::Error>> {
///         Ok(self)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a task in a group",
    note = "return a `Result`, `()`, a number, a text or a collection; or implement `TaskOutput`",
    note = "a task that never returns (`!`) can be an `async fn` that says so: `-> Infallible`"
)]
pub trait TaskOutput {
    /// What there is if it did not fail.
    type Value;

    /// The value, or the failure.
    ///
    /// # Errors
    ///
    /// The failure.
    fn into_result(self) -> Result<Self::Value, Box<dyn Error>>;

    /// Whether it is a failure.
    fn is_failure(&self) -> bool {
        false
    }
}

impl<T, E: Into<Box<dyn Error>>> TaskOutput for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, Box<dyn Error>> {
        self.map_err(Into::into)
    }

    fn is_failure(&self) -> bool {
        self.is_err()
    }
}

macro_rules! values {
    ($({$($parameter:ident)*} $type:ty),+ $(,)?) => {
        $(impl<$($parameter),*> TaskOutput for $type {
            type Value = Self;

            fn into_result(self) -> Result<Self, Box<dyn Error>> {
                Ok(self)
            }
        })+
    };
}

values!(
    {} (),
    {} Infallible,
    {} bool,
    {} char,
    {} i8,
    {} i16,
    {} i32,
    {} i64,
    {} i128,
    {} isize,
    {} u8,
    {} u16,
    {} u32,
    {} u64,
    {} u128,
    {} usize,
    {} f32,
    {} f64,
    {} String,
    {} &'static str,
    {T} Option<T>,
    {T} Vec<T>,
    {T} Box<T>,
    {T} Rc<T>,
    {T} Arc<T>,
    {A B} (A, B),
    {A B C} (A, B, C),
);
