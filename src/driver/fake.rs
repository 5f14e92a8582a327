//! A driver for tests: it keeps what was pushed, and completes it when and how the test says.

use std::collections::VecDeque;
use std::io;

use super::{Completion, Op, Token, Wait};

/// See the top of this file.
#[derive(Default)]
pub(crate) struct Fake {
    /// Operations that were pushed and have not had their last completion.
    pub(crate) pushed: Vec<(Token, Op)>,
    /// Cancels that were asked for, in order.
    pub(crate) cancels: Vec<Token>,
    /// What the next reap brings, in order.
    pub(crate) ready: VecDeque<Completion>,
}

impl Fake {
    pub(super) fn push(&mut self, token: Token, op: Op) {
        self.pushed.push((token, op));
    }

    pub(super) fn cancel(&mut self, token: Token) {
        self.cancels.push(token);
    }

    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        assert!(wait != Wait::Forever || !self.ready.is_empty(), "the test would hang here");
        Ok(())
    }

    pub(super) fn reap(&mut self, completions: &mut Vec<Completion>) -> bool {
        completions.extend(self.ready.drain(..));
        true
    }

    pub(super) fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Has an operation complete at the next reap.
    pub(crate) fn complete(&mut self, token: Token, result: i32, more: bool) {
        if !more {
            self.pushed.retain(|(pushed, _)| *pushed != token);
        }
        self.ready.push_back(Completion { token, result, more, chunk: None });
    }
}
