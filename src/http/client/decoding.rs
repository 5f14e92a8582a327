//! Compressed answers, taken apart by libraries: gzip, br and zstd.
//!
//! Memory is bounded: a piece of the result has at most [`PIECE_LEN`] bytes, and zstd's window is
//! no larger than RFC 9659 allows. What a whole body may come to is the response's limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::futures::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures_util::io::AsyncRead;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use super::error::{Error, Phase};
use super::incoming::Raw;

/// What is asked for, in the words of `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, br, zstd";

const PIECE_LEN: usize = 16 << 10;

/// 8 MiB: RFC 9659.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A body with its coding, if any, undone.
pub(super) enum Decoding {
    Plain(Box<Raw>),
    Gzip(Box<GzipDecoder<Raw>>),
    Brotli(Box<BrotliDecoder<Raw>>),
    Zstd(Box<ZstdDecoder<Raw>>),
}

impl Decoding {
    /// Undoes the one coding that the headers name, and takes it out of them. Several codings, one
    /// over the other, and those that nobody asked for are left to the caller.
    pub(super) fn new(raw: Raw, headers: &mut HeaderMap) -> Decoding {
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let (first, second) = (codings.next(), codings.next());
        let coding = first.filter(|_| second.is_none() && !raw.is_over());
        let coding = coding.map(|it| it.as_bytes().trim_ascii().to_ascii_lowercase());
        let decoding = match coding.as_deref() {
            Some(b"gzip" | b"x-gzip") => {
                let mut decoder = GzipDecoder::new(raw);
                decoder.multiple_members(true);
                Decoding::Gzip(Box::new(decoder))
            }
            Some(b"br") => Decoding::Brotli(Box::new(BrotliDecoder::new(raw))),
            Some(b"zstd") => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(raw, &window);
                decoder.multiple_members(true);
                Decoding::Zstd(Box::new(decoder))
            }
            _ => return Decoding::Plain(Box::new(raw)),
        };
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        decoding
    }

    pub(super) fn raw(&self) -> &Raw {
        match self {
            Decoding::Plain(raw) => raw,
            Decoding::Gzip(decoder) => decoder.get_ref(),
            Decoding::Brotli(decoder) => decoder.get_ref(),
            Decoding::Zstd(decoder) => decoder.get_ref(),
        }
    }

    fn raw_mut(&mut self) -> &mut Raw {
        match self {
            Decoding::Plain(raw) => raw,
            Decoding::Gzip(decoder) => decoder.get_mut(),
            Decoding::Brotli(decoder) => decoder.get_mut(),
            Decoding::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// The next piece; never an empty one.
    pub(super) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        let mut buffer = vec![0; if self.is_plain() { 0 } else { PIECE_LEN }];
        let read = match self {
            Decoding::Plain(raw) => return raw.poll_piece(context),
            Decoding::Gzip(decoder) => Pin::new(decoder).poll_read(context, &mut buffer),
            Decoding::Brotli(decoder) => Pin::new(decoder).poll_read(context, &mut buffer),
            Decoding::Zstd(decoder) => Pin::new(decoder).poll_read(context, &mut buffer),
        };
        match ready!(read) {
            Ok(0) => self.poll_end(context),
            Ok(count) => {
                buffer.truncate(count);
                Poll::Ready(Some(Ok(buffer.into())))
            }
            // Nothing is a coded form of nothing, too.
            Err(_) if self.raw().is_over() && !self.raw().has_come() => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(self.failure(error)))),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Decoding::Plain(_))
    }

    /// Behind the coded form there is nothing but the end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match ready!(self.raw_mut().poll_piece(context)) {
            Some(Ok(_)) => {
                let text = "there are bytes behind the end of a compressed body";
                Poll::Ready(Some(Err(Error::new(Phase::Decode, text).at(self.raw().url()))))
            }
            other => Poll::Ready(other),
        }
    }

    /// The error of the body below, or one of the decoder's own.
    fn failure(&self, error: io::Error) -> Error {
        error.downcast::<Error>().unwrap_or_else(|error| {
            let text = "the body is not what its `Content-Encoding` says";
            Error::new(Phase::Decode, text).because(error).at(self.raw().url())
        })
    }
}
