//! Children: programs that are started, talked to through pipes, and waited for.
//!
//! ```text
//!  Command::spawn ─▶ Child ──────── wait, kill, communicate
//!                      │ drop                        ▲
//!                      ▼                             │
//!                  pidfd, which the loop polls: the child ended, and is waited for
//! ```
//!
//! The loop itself waits for every child, so none stays a zombie, whoever was dropped. A child is
//! known by its pidfd and not by its number, which may be given again: a signal never hits a
//! stranger. Its end is one thing, the end of its output another: `wait` does not depend on pipes
//! that a grandchild may keep open.

mod child;
mod command;
mod reaper;

pub use child::Child;
pub use command::Command;
pub use std::process::{ExitStatus, Output, Stdio};
