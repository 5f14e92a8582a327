//! A stream with TLS around it: reading, writing, and what was agreed upon.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};
use rustls::pki_types::CertificateDer;
use rustls::{Connection, HandshakeKind, ProtocolVersion};

use super::session::{Session, Side};

/// So many bytes are taken by one `poll_write` at most.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// A TLS connection on a stream, from [`Connector::connect`](super::Connector::connect) or
/// [`Acceptor::accept`](super::Acceptor::accept).
///
/// It reads and writes as the stream below does, by the methods here or by the traits of `futures`
/// (and of tokio and hyper, with their features). For two tasks, split it with
/// `futures::AsyncReadExt::split`.
///
/// **Its end.** [`shutdown`](Self::shutdown) (or `close` of the traits) tells the peer that nothing
/// more comes, inside of TLS, where nobody on the way can forge it; reading goes on. A peer that
/// goes away without that makes the read an error of kind `UnexpectedEof`, since what came may be
/// cut off. So does dropping this stream to its peer: what was written is sent, and its end is not
/// confirmed.
///
/// **Memory.** An idle connection keeps its keys and, once it has read, a buffer of 4 KiB.
pub struct TlsStream<S> {
    pub(super) session: Session<S>,
}

impl<S> TlsStream<S> {
    pub(super) fn new(session: Session<S>) -> TlsStream<S> {
        TlsStream { session }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.session.stream
    }

    /// The stream below. Reading from it or writing to it breaks the session.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.session.stream
    }

    /// The session of rustls: its cipher suite, the name that the client asked for, keying
    /// material.
    #[doc(alias = "get_extra_info")]
    #[doc(alias = "ssl_object")]
    pub fn session(&self) -> &Connection {
        &self.session.tls
    }

    /// The protocol that was agreed upon by ALPN (RFC 7301), if any was.
    #[doc(alias = "selected_alpn_protocol")]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.tls.alpn_protocol()
    }

    /// The certificates that the peer showed: its own, then those of who vouches for it. `None` of
    /// a client that was not asked for one.
    #[doc(alias = "getpeercert")]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.tls.peer_certificates()
    }

    /// The version that was agreed upon.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.session.tls.protocol_version()
    }

    /// Whether an earlier session was taken up again, without certificates shown anew.
    pub fn is_resumed(&self) -> bool {
        self.session.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Reads what has arrived, at least one byte, into `buffer`. 0 is the end that the peer
    /// announced (or an empty buffer).
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the input ends without the peer's close_notify; `InvalidData` with a
    /// [`TlsError`](super::TlsError) inside if the peer breaks the protocol or refuses this side (a
    /// certificate of a client, say); otherwise those of the stream below. What arrived before an
    /// error is read first.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a read that is dropped has taken nothing.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| Pin::new(&mut *self).poll_read(context, buffer)).await
    }

    /// Waits for unread bytes and shows the first of them; empty at the end of the input.
    /// [`consume`](Self::consume) takes them.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing is taken.
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|context| self.session.poll_readable(context)).await?;
        self.session.readable()
    }

    /// Takes `count` bytes that [`fill_buf`](Self::fill_buf) showed.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[track_caller]
    pub fn consume(&mut self, count: usize) {
        self.session.consume(count);
    }

    /// Writes all of `bytes`. Waits until those before are in the stream below, then takes these,
    /// and waits until they are.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after [`shutdown`](Self::shutdown); the first error of the session, or of the
    /// stream below.
    ///
    /// # Cancellation
    ///
    /// **Weak**: a write that is dropped has been taken whole or not at all. If it was, what is not
    /// in the stream below yet goes there with the next read, write, flush or shutdown.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        poll_fn(|context| self.session.poll_room(context)).await?;
        self.session.encipher(bytes)?;
        poll_fn(|context| self.session.poll_push(context, Side::Writer)).await
    }

    /// Waits until everything written before is sent, as the flush of the stream below does.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    ///
    /// **Strict**: what the stream below has is sent all the same.
    #[doc(alias = "drain")]
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut *self).poll_flush(context)).await
    }

    /// Sends everything, then tells the peer that nothing more comes (close_notify), and ends the
    /// write side of the stream below. Reading goes on.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing can be written once it has begun; what has to be sent for it goes on
    /// with the next call.
    #[doc(alias = "write_eof")]
    #[doc(alias = "unwrap")]
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| self.session.poll_end(context)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let session = &mut self.get_mut().session;
        ready!(session.poll_readable(context))?;
        Poll::Ready(session.tls.reader().read(buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let session = &mut self.get_mut().session;
        ready!(session.poll_readable(context))?;
        Poll::Ready(session.readable())
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        TlsStream::consume(self.get_mut(), count);
    }
}

/// A write takes what it can; a flush waits until all is sent, a close for the end after it.
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    /// Several slices share records.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let session = &mut self.get_mut().session;
        ready!(session.poll_room(context))?;
        let count = session.encipher_some(slices, WRITE_BYTES_MAX)?;
        // What finds no room now goes with the next call; an error is told by it.
        let _ = session.poll_push(context, Side::Writer);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = &mut self.get_mut().session;
        ready!(session.poll_push(context, Side::Writer))?;
        session.poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().session.poll_end(context)
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("stream", self.get_ref())
            .field("version", &self.protocol_version())
            .finish_non_exhaustive()
    }
}
