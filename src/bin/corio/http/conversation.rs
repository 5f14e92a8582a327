//! One connection of the server, without its socket: bytes go in, answers come out.
//!
//! ```text
//!            head, no body                     refused, or `Connection: close`
//!   Head ──────────────────▶ answer ──▶ Head        any state ─────────▶ Over
//!    └─ head ─▶ Body ── body ends ──▶ answer ──▶ Head
//! ```
//!
//! Requests may come in any pieces and several in one piece; answers leave in their order. A
//! request with a body is answered once the body has been read, so that an answer never overtakes
//! what the client still sends.

use super::answers::Answers;
use super::body::Body;
use super::head::{self, Head, Refusal};

/// How one connection stands.
pub(crate) struct Conversation {
    state: State,
    request_count: u64,
}

enum State {
    Head,
    Body(Head, Body),
    Over,
}

impl Conversation {
    pub(crate) fn new() -> Conversation {
        Conversation { state: State::Head, request_count: 0 }
    }

    /// Takes what it can from the front of `input`, appends the answers to `output`, and returns
    /// how much it took. The rest is the beginning of something: it has to come again, with more
    /// bytes behind it.
    pub(crate) fn take(&mut self, input: &[u8], answers: &Answers, output: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        while !self.is_over() && taken < input.len() {
            match self.step(&input[taken..], answers, output) {
                Ok(0) => break,
                Ok(count) => taken += count,
                Err(refusal) => {
                    answers.refuse(refusal, output);
                    self.state = State::Over;
                }
            }
        }
        // Whatever follows the last request is nobody's.
        if self.is_over() { input.len() } else { taken }
    }

    fn step(
        &mut self,
        input: &[u8],
        answers: &Answers,
        output: &mut Vec<u8>,
    ) -> Result<usize, Refusal> {
        match &mut self.state {
            State::Over => Ok(0),
            State::Head => {
                let Some((head, len)) = head::read(input)? else {
                    return Ok(0);
                };
                let body = Body::new(head.framing);
                if body.is_done() {
                    self.answer(&head, answers, output);
                } else {
                    // A body that follows already was not waited with.
                    if head.expects_continue && len == input.len() {
                        Answers::go_on(output);
                    }
                    self.state = State::Body(head, body);
                }
                Ok(len)
            }
            State::Body(head, body) => {
                let count = body.take(input)?;
                if body.is_done() {
                    let head = *head;
                    self.answer(&head, answers, output);
                }
                Ok(count)
            }
        }
    }

    fn answer(&mut self, head: &Head, answers: &Answers, output: &mut Vec<u8>) {
        self.request_count += 1;
        answers.answer(head, output);
        self.state = if head.keep_alive { State::Head } else { State::Over };
    }

    /// The connection ends once the answers are sent.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// A request has begun whose end is not there, whatever is left over from [`take`](Self::take).
    pub(crate) fn is_within_request(&self) -> bool {
        matches!(self.state, State::Body(..))
    }

    /// Requests answered so far, refusals apart.
    pub(crate) fn request_count(&self) -> u64 {
        self.request_count
    }
}
