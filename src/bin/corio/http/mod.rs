//! HTTP/1.1 as the program needs it: a small server, and a client that checks answers.
//!
//! Nothing here knows of sockets. What a server does with bytes is a [`Conversation`], which takes
//! input and appends answers; it can be tried with input cut at every place.
//!
//! * `head.rs`: the head of one request, and what is refused about it;
//! * `body.rs`: where a request's body ends, by its length or in chunks;
//! * `answers.rs`: what the server says;
//! * `conversation.rs`: one connection, from its first byte to its last;
//! * `replies.rs`: the client's side, which checks what came back.

mod answers;
mod body;
mod conversation;
#[cfg(test)]
mod conversation_tests;
mod head;
mod replies;

pub(crate) use answers::Answers;
pub(crate) use conversation::Conversation;
pub(crate) use replies::{Replies, request};
