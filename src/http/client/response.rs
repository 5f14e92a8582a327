//! The answer to a request: its head at once, its body piece by piece or whole.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode, Version};
use serde::de::DeserializeOwned;
use url::Url;

use super::decoding::Decoding;
use super::error::{Error, Phase};
use super::incoming::Raw;

/// An answer. Its body is still on its way: read it, or drop it, which closes its connection unless
/// everything was read.
pub struct Response {
    head: Parts,
    body: ResponseBody,
    body_limit: u64,
}

impl Response {
    pub(super) fn new(mut head: Parts, raw: Raw, is_decoded: bool, body_limit: u64) -> Response {
        let decoding = match is_decoded {
            true => Decoding::new(raw, &mut head.headers),
            false => Decoding::Plain(Box::new(raw)),
        };
        Response { head, body: ResponseBody { decoding, is_over: false }, body_limit }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// HTTP/1.1 or HTTP/2, or what an old server speaks.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The header fields, without those of a coding that is undone.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The address that answered, behind all redirects.
    pub fn url(&self) -> &Url {
        self.body.decoding.raw().url()
    }

    /// The bytes that the server announced; `None` if it did not, or if a coding is undone.
    pub fn content_length(&self) -> Option<u64> {
        self.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The answer itself, if its status is none of an error.
    ///
    /// # Errors
    ///
    /// For a status from 400 to 599: one that [`Error::status`] tells.
    #[doc(alias = "raise_for_status")]
    pub fn error_for_status(self) -> Result<Response, Error> {
        let status = self.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(self);
        }
        Err(Error::of_status(status.as_u16(), format!("the server answered {status}"))
            .at(self.url()))
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// If the connection breaks off, if a time limit is over, or if the body cannot be
    /// decompressed.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a piece that comes is kept for the next call.
    #[doc(alias = "iter_any")]
    #[doc(alias = "read")]
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|context| self.body.poll_piece(context)).await.transpose()
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk), and if it is longer than
    /// [`body_limit`](super::ClientBuilder::body_limit).
    ///
    /// # Cancellation
    ///
    /// **Weak**: what was read is gone, and the connection is closed.
    #[doc(alias = "read")]
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        if self.body.size_hint().lower() > self.body_limit {
            return Err(self.too_long());
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let mut all = first;
        let mut rest = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if rest.is_empty() {
                rest = BytesMut::from(std::mem::take(&mut all));
            }
            if (rest.len() + piece.len()) as u64 > self.body_limit {
                return Err(self.too_long());
            }
            rest.extend_from_slice(&piece);
        }
        let all = if rest.is_empty() { all } else { rest.freeze() };
        if all.len() as u64 > self.body_limit { Err(self.too_long()) } else { Ok(all) }
    }

    fn too_long(&self) -> Error {
        let text = format!(
            "the body is longer than {} bytes; read it piece by piece, or raise `body_limit`",
            self.body_limit
        );
        Error::new(Phase::Body, text).at(self.url())
    }

    /// The whole body as text, which has to be UTF-8.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes), and if it is not UTF-8.
    ///
    /// # Cancellation
    ///
    /// **Weak**: what was read is gone, and the connection is closed.
    pub async fn text(self) -> Result<String, Error> {
        let url = Rc::clone(self.body.decoding.raw().url());
        let bytes = self.bytes().await?;
        String::from_utf8(bytes.into()).map_err(|error| {
            let text = "the body is no text in UTF-8; take its bytes";
            Error::new(Phase::Decode, text).because(error.utf8_error()).at(&url)
        })
    }

    /// The whole body, read as JSON.
    ///
    /// ```no_run
    /// # async fn ask(client: corio::http::Client) -> Result<(), corio::http::client::Error> {
    /// let numbers: Vec<u32> = client.get("http://127.0.0.1:8000/").send().await?.json().await?;
    /// # drop(numbers);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`bytes`](Self::bytes), and if it is not the JSON of a `T`.
    ///
    /// # Cancellation
    ///
    /// **Weak**: what was read is gone, and the connection is closed.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let url = Rc::clone(self.body.decoding.raw().url());
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let text = "the body is not the JSON that was expected";
            Error::new(Phase::Decode, text).because(error).at(&url)
        })
    }

    /// What a chunked body or one of HTTP/2 has behind it, once its end was read.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.decoding.raw().trailers()
    }

    /// Head and body apart, to hand the body on as it comes.
    pub fn into_parts(self) -> (Parts, ResponseBody) {
        (self.head, self.body)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("url", &self.url().as_str())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The body of an answer: an `http_body::Body`, with trailers.
pub struct ResponseBody {
    decoding: Decoding,
    is_over: bool,
}

impl ResponseBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = ready!(self.decoding.poll_piece(context));
        self.is_over = !matches!(piece, Some(Ok(_)));
        Poll::Ready(piece)
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let was_over = self.is_over;
        let piece = ready!(self.poll_piece(context));
        let trailers = self.decoding.raw().trailers().filter(|_| piece.is_none() && !was_over);
        let trailers = trailers.cloned().map(|trailers| Ok(Frame::trailers(trailers)));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).or(trailers))
    }

    fn is_end_stream(&self) -> bool {
        let has_trailers = self.decoding.raw().trailers().is_some();
        self.is_over || (self.decoding.is_plain() && self.decoding.raw().is_over() && !has_trailers)
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoding.is_plain() { self.decoding.raw().size_hint() } else { SizeHint::default() }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
