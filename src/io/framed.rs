//! Frames: a stream of bytes cut into messages, and messages put together to bytes.
//!
//! A [`Decoder`] looks at what has arrived and says where a message ends; an [`Encoder`] appends a
//! message to what is to be sent. [`Framed`] puts them around a stream, with the `Stream` and the
//! `Sink` of `futures`. Every decoder here has a limit, so that no peer fills the memory.
//!
//! (The ecosystem's `asynchronous-codec` has the same two traits, but its lines and its lengths
//! have no limit, and a decoder of its own cannot be told what is too long.)

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::io::{AsyncBufRead, AsyncWrite};
use futures_util::{Sink, Stream};

/// Bytes that are encoded before a `Sink` sends them.
const HIGH_WATER_BYTES: usize = 8 << 10;

/// Cuts messages out of bytes.
pub trait Decoder {
    /// A message.
    type Item;

    /// Takes a whole message off the front of `bytes`; `None` if it is not whole yet: then there
    /// will be more bytes at the next call.
    ///
    /// # Errors
    ///
    /// For what is no message, or too long: the stream ends with it.
    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>>;

    /// As [`decode`](Self::decode), when no more bytes come. By default what is left then and is no
    /// message is an error of kind `UnexpectedEof`.
    ///
    /// # Errors
    ///
    /// As there, and for a part of a message.
    fn decode_end(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        match self.decode(bytes)? {
            None if !bytes.is_empty() => {
                let text = format!("the input ended within a message, after {} bytes", bytes.len());
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
            item => Ok(item),
        }
    }
}

/// Puts messages into bytes.
pub trait Encoder<Item> {
    /// Appends a message to `bytes`.
    ///
    /// # Errors
    ///
    /// For a message that cannot be written so, such as one that is too long.
    fn encode(&mut self, item: Item, bytes: &mut BytesMut) -> io::Result<()>;
}

/// Lines of text of a greatest length. Lines end with `\n` or `\r\n`, which are taken off; the last
/// one may have no end.
#[derive(Clone, Copy, Debug)]
pub struct LinesCodec {
    limit: usize,
    /// So many bytes were looked at and hold no end.
    searched: usize,
}

impl LinesCodec {
    /// Lines of at most `limit` bytes, their ends not counted.
    pub fn new(limit: usize) -> LinesCodec {
        LinesCodec { limit, searched: 0 }
    }

    fn too_long(&self) -> io::Error {
        let text = format!("a line is longer than {} bytes", self.limit);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    fn text(&self, mut line: BytesMut) -> io::Result<String> {
        if line.ends_with(b"\r") {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Err(self.too_long());
        }
        String::from_utf8(line.to_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a line is no text in UTF-8"))
    }
}

impl Decoder for LinesCodec {
    type Item = String;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<String>> {
        let unsearched = &bytes[self.searched.min(bytes.len())..];
        if let Some(at) = memchr::memchr(b'\n', unsearched) {
            let line = bytes.split_to(self.searched + at);
            bytes.advance(1);
            self.searched = 0;
            return self.text(line).map(Some);
        }
        // The end of a line may have begun.
        if bytes.len() > self.limit + 1 {
            return Err(self.too_long());
        }
        self.searched = bytes.len();
        Ok(None)
    }

    fn decode_end(&mut self, bytes: &mut BytesMut) -> io::Result<Option<String>> {
        match self.decode(bytes)? {
            None if !bytes.is_empty() => {
                self.searched = 0;
                self.text(bytes.split()).map(Some)
            }
            line => Ok(line),
        }
    }
}

impl<T: AsRef<str>> Encoder<T> for LinesCodec {
    fn encode(&mut self, line: T, bytes: &mut BytesMut) -> io::Result<()> {
        let line = line.as_ref();
        if line.len() > self.limit {
            return Err(self.too_long());
        }
        if line.contains('\n') {
            let text = "a line with an end in it would be read as two";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.put_u8(b'\n');
        Ok(())
    }
}

/// Messages behind their lengths, which are four bytes, the highest first.
#[derive(Clone, Copy, Debug)]
pub struct LengthCodec {
    limit: usize,
}

impl LengthCodec {
    /// Messages of at most `limit` bytes. A longer one is refused by its length alone, before it
    /// has come.
    pub fn new(limit: usize) -> LengthCodec {
        LengthCodec { limit }
    }

    fn check(&self, length: usize) -> io::Result<()> {
        if length <= self.limit {
            return Ok(());
        }
        let text = format!("a message of {length} bytes is longer than {}", self.limit);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

impl Decoder for LengthCodec {
    type Item = Bytes;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        self.check(length)?;
        if bytes.len() < 4 + length {
            return Ok(None);
        }
        bytes.advance(4);
        Ok(Some(bytes.split_to(length).freeze()))
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LengthCodec {
    fn encode(&mut self, message: T, bytes: &mut BytesMut) -> io::Result<()> {
        let message = message.as_ref();
        self.check(message.len())?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        bytes.put_u32(length);
        bytes.extend_from_slice(message);
        Ok(())
    }
}

/// A stream of bytes as a `Stream` and a `Sink` of messages.
///
/// ```
/// use corio::io::{Framed, LinesCodec};
/// use corio::net::UnixStream;
/// use futures_util::{SinkExt, StreamExt};
/// # corio::run(async {
/// let (a, b) = UnixStream::pair()?;
/// let mut a = Framed::new(a, LinesCodec::new(80));
/// let mut b = Framed::new(b, LinesCodec::new(80));
/// a.send("hello").await?;
/// assert_eq!(b.next().await.unwrap()?, "hello");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Cancellation
///
/// **Strict**: a `next` that is dropped has taken no message; a part of one stays for the next.
pub struct Framed<S, C> {
    stream: S,
    codec: C,
    unread: BytesMut,
    unsent: BytesMut,
    is_over: bool,
}

impl<S, C> Framed<S, C> {
    /// Cuts what `stream` reads, and joins what it writes, with `codec`.
    pub fn new(stream: S, codec: C) -> Framed<S, C> {
        let (unread, unsent) = (BytesMut::new(), BytesMut::new());
        Framed { stream, codec, unread, unsent, is_over: false }
    }

    /// The stream under it.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The codec.
    pub fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
    }

    /// The stream, and the bytes that were read and are no message yet. What was not sent is gone:
    /// flush first.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.unread)
    }
}

impl<S, C> Stream for Framed<S, C>
where
    S: AsyncBufRead + Unpin,
    C: Decoder + Unpin,
{
    type Item = io::Result<C::Item>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.is_over {
            match this.codec.decode(&mut this.unread) {
                Ok(None) => {}
                decoded => {
                    this.is_over = decoded.is_err();
                    return Poll::Ready(decoded.transpose());
                }
            }
            let mut stream = Pin::new(&mut this.stream);
            let bytes = match ready!(stream.as_mut().poll_fill_buf(context)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let count = bytes.len();
            this.unread.extend_from_slice(bytes);
            stream.consume(count);
            if count == 0 {
                let last = this.codec.decode_end(&mut this.unread);
                this.is_over = !matches!(last, Ok(Some(_))) || this.unread.is_empty();
                return Poll::Ready(last.transpose());
            }
        }
        Poll::Ready(None)
    }
}

impl<S, C> Framed<S, C>
where
    S: AsyncWrite + Unpin,
{
    /// Gives the stream what is encoded.
    fn poll_give(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, C, I> Sink<I> for Framed<S, C>
where
    S: AsyncWrite + Unpin,
    C: Encoder<I> + Unpin,
{
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.unsent.len() < HIGH_WATER_BYTES {
            true => Poll::Ready(Ok(())),
            false => self.poll_give(context),
        }
    }

    fn start_send(mut self: Pin<&mut Self>, item: I) -> io::Result<()> {
        let this = &mut *self;
        let before = this.unsent.len();
        let encoded = this.codec.encode(item, &mut this.unsent);
        if encoded.is_err() {
            // A part of a message is none.
            this.unsent.truncate(before);
        }
        encoded
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_give(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_give(context))?;
        Pin::new(&mut self.stream).poll_close(context)
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Framed<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed")
            .field("stream", &self.stream)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}
