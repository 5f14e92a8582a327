//! The body of an answer as it comes from its connection: with time limits, and with the lease,
//! which is given back at its end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::io::{AsyncBufRead, AsyncRead};
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Incoming};
use url::Url;

use super::error::{Error, Phase};
use super::lease::Lease;
use crate::time::{Instant, Sleep, sleep_until};

/// The time that is left for a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For each piece.
    pub(super) piece: Option<Duration>,
    /// For the whole request.
    pub(super) deadline: Option<Instant>,
}

/// What comes, piece by piece; also as bytes to be read, for decoders.
pub(super) struct Raw {
    incoming: Incoming,
    /// `None` once the end was read, or an error.
    lease: Option<Lease>,
    patience: Patience,
    /// Since a piece is waited for.
    sleep: Option<Sleep>,
    url: Rc<Url>,
    trailers: Option<HeaderMap>,
    /// What a decoder has not consumed.
    unread: Bytes,
    has_come: bool,
}

impl Raw {
    pub(super) fn new(incoming: Incoming, lease: Lease, patience: Patience, url: Rc<Url>) -> Raw {
        let mut raw = Raw {
            incoming,
            lease: Some(lease),
            patience,
            sleep: None,
            url,
            trailers: None,
            unread: Bytes::new(),
            has_come: false,
        };
        raw.give_back_at_end();
        raw
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        self.lease.is_none() && self.unread.is_empty()
    }

    /// Whether there was any byte.
    pub(super) fn has_come(&self) -> bool {
        self.has_come
    }

    pub(super) fn size_hint(&self) -> hyper::body::SizeHint {
        self.incoming.size_hint()
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    pub(super) fn url(&self) -> &Rc<Url> {
        &self.url
    }

    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    /// The next piece; never an empty one.
    pub(super) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.unread))));
        }
        while self.lease.is_some() {
            let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let error = ready!(self.poll_late(context));
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
            };
            self.sleep = None;
            match frame.transpose() {
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => self.give_back_at_end(),
                    Ok(data) => {
                        self.has_come = true;
                        self.give_back_at_end();
                        return Poll::Ready(Some(Ok(data)));
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Ok(None) => self.lease.take().into_iter().for_each(Lease::give_back),
                Err(source) => {
                    let error = Error::new(Phase::Body, "the answer broke off").because(source);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
            }
        }
        Poll::Ready(None)
    }

    /// Ends it, and its connection.
    fn fail(&mut self, error: Error) -> Error {
        self.lease = None;
        error.at(&self.url)
    }

    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let Patience { piece, deadline } = self.patience;
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            None => {
                let late = piece.map(|limit| Instant::now() + limit);
                let Some(until) = [late, deadline].into_iter().flatten().min() else {
                    return Poll::Pending;
                };
                self.sleep.insert(sleep_until(until))
            }
        };
        ready!(Pin::new(&mut *sleep).poll(context));
        let is_total = deadline.is_some_and(|deadline| deadline <= sleep.deadline());
        let (name, limit) = if is_total { ("timeout", None) } else { ("body_timeout", piece) };
        let limit = limit.map_or_else(String::new, |limit| format!(" for {limit:?}"));
        let text = format!("the server sent nothing of a body{limit} (`{name}`)");
        Poll::Ready(Error::timeout(Phase::Body, text))
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }
}

impl AsyncBufRead for Raw {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let raw = self.get_mut();
        if raw.unread.is_empty()
            && let Some(piece) = ready!(raw.poll_piece(context))
        {
            raw.unread = piece?;
        }
        Poll::Ready(Ok(&raw.unread))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.unread.advance(count);
    }
}
