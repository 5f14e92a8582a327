//! The body of a request: whole, so that it can be sent again, or piece by piece, which can be
//! done once.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::time::Instant;

type AnyError = Box<dyn StdError + Send + Sync>;
type Pieces = Pin<Box<dyn HttpBody<Data = Bytes, Error = AnyError>>>;

/// The body of a request.
///
/// One made of bytes or text is whole: it can be sent again, on another connection or to where a
/// redirect points. One of [`wrap`](Body::wrap) is sent once.
pub struct Body(Kind);

enum Kind {
    Whole(Bytes),
    Pieces(Pieces),
}

impl Body {
    /// A body that is made while it is sent, from any `http_body::Body`; it need not be `Send`. Its
    /// length is told to the server if it is known before.
    ///
    /// ```
    /// use corio::http::client::Body;
    /// use futures_util::stream;
    /// use http_body_util::StreamBody;
    /// use hyper::body::{Bytes, Frame};
    ///
    /// let pieces = ["one ", "two"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    /// let frames = pieces.map(|piece| piece.map(Frame::data));
    /// let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    /// # let _ = body;
    /// ```
    pub fn wrap<B>(body: B) -> Body
    where
        B: HttpBody<Data = Bytes> + 'static,
        B::Error: Into<AnyError>,
    {
        Body(Kind::Pieces(Box::pin(Wrapped(Box::pin(body)))))
    }

    /// A copy, if it is whole.
    pub(super) fn again(&self) -> Option<Body> {
        match &self.0 {
            Kind::Whole(bytes) => Some(Body(Kind::Whole(bytes.clone()))),
            Kind::Pieces(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body(Kind::Whole(Bytes::new()))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body(Kind::Whole(bytes.into()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Pieces(_) => f.write_str("Body(in pieces)"),
        }
    }
}

/// A body whose errors are of any kind.
struct Wrapped<B>(Pin<Box<B>>);

impl<B> HttpBody for Wrapped<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<AnyError>,
{
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        let frame = ready!(self.0.as_mut().poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Since when the server has the word; `None` while the next piece of a request's body is made.
pub(super) type Turn = Rc<Cell<Option<Instant>>>;

/// A body as a connection sends it: it notes whose turn it is, so that the server's time for an
/// answer neither runs while a piece is made nor ends while pieces are taken.
pub(super) struct Outgoing {
    body: Body,
    turn: Turn,
}

impl Outgoing {
    pub(super) fn new(body: Body, turn: &Turn) -> Outgoing {
        Outgoing { body, turn: Rc::clone(turn) }
    }

    pub(super) fn into_inner(self) -> Body {
        self.body
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        let frame = match &mut self.body.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Pieces(pieces) => pieces.as_mut().poll_frame(context),
        };
        self.turn.set(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.body.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Pieces(pieces) => pieces.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Pieces(pieces) => pieces.size_hint(),
        }
    }
}
