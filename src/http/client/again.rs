//! Whether a request that got no answer may be sent again.
//!
//! A connection that was idle may be closed by the server in the moment in which a request goes
//! out. The request is sent again
//!
//! * if nothing of it was sent, or if the server says that it did not look at it (HTTP/2: a refused
//!   stream, or one behind the last that GOAWAY names);
//! * once, on a new connection, if it was sent on one that was used before, no answer came, and its
//!   method is idempotent (RFC 9110, section 9.2.2).
//!
//! A body that is made while it is sent is sent again only if nothing of it was taken.

use std::error::Error;

use h2::Reason;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::{Method, Request, Response};

use super::body::{Body, Outgoing};
use super::lease::Lease;

/// What a connection made of a request.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

/// What to do about a failure.
pub(super) enum Verdict {
    /// The request is as it was.
    Untouched(hyper::Error, Body),
    /// The server did not look at it.
    Again(hyper::Error),
    /// The server may have acted on it, which does no harm.
    AgainOnce(hyper::Error),
    Over(hyper::Error),
}

pub(super) fn judge(
    mut failure: TrySendError<Request<Outgoing>>,
    lease: &Lease,
    method: &Method,
    is_fresh: bool,
) -> Verdict {
    let message = failure.take_message();
    let error = failure.into_error();
    if let Some(message) = message.filter(|_| lease.is_reused()) {
        lease.forget();
        return Verdict::Untouched(error, message.into_body().into_inner());
    }
    match h2_error(&error) {
        Some(refusal) if is_refusal(refusal) => {
            if refusal.is_go_away() {
                lease.forget();
            }
            return Verdict::Again(error);
        }
        // Of this request alone, or of the server's opinion about the client.
        Some(other) if other.is_reset() || other.is_go_away() => return Verdict::Over(error),
        _ => {}
    }
    let is_lost = !error.is_parse() && !error.is_user() && !error.is_timeout();
    if is_lost && lease.is_reused() && method.is_idempotent() && !is_fresh {
        lease.forget();
        return Verdict::AgainOnce(error);
    }
    Verdict::Over(error)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// Whether the server says that it did nothing (RFC 9113, sections 6.8 and 8.7).
fn is_refusal(error: &h2::Error) -> bool {
    let reason = error.reason();
    let is_refused = error.is_reset() && reason == Some(Reason::REFUSED_STREAM);
    let is_behind = error.is_go_away() && reason == Some(Reason::NO_ERROR);
    error.is_remote() && (is_refused || is_behind)
}
