//! A session of rustls and the stream below it, and how bytes go between the two.
//!
//! ```text
//!  peer ─▶ stream ─▶ receive: deciphered ─▶ session ─▶ read, fill_buf
//!  peer ◀─ stream ◀─ push ◀─ enciphered ◀─ session ◀─ write
//! ```
//!
//! What was deciphered and not read stays in the session, so a read that is dropped loses nothing.
//! What was enciphered and found no room in the stream stays there as well, until the next push:
//! every write, flush and close pushes, and so does every read, since a reader may wait for the
//! answer to just those bytes.
//!
//! So a reader and a writer in two tasks may both wait for room in the stream, which wakes only who
//! asked last. It is therefore asked with a waker of the session's own, which wakes both.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::task::AtomicWaker;
use rustls::Connection;

use super::error::{cut_off, failure};

/// Who waits for the write side of the stream below.
#[derive(Default)]
struct Waiting {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// On whose behalf the write side of the stream below is polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Reader,
    Writer,
}

/// The session and its stream.
pub(super) struct Session<S> {
    pub(super) stream: S,
    /// Boxed: it is large, and streams are moved.
    pub(super) tls: Box<Connection>,
    waiting: Arc<Waiting>,
    /// Of `waiting`.
    waker: Waker,
    /// What ended the session, for ever.
    failure: Option<rustls::Error>,
    /// This side's close_notify is on its way.
    pub(super) has_said_its_end: bool,
}

impl<S> Session<S> {
    pub(super) fn new(stream: S, mut tls: Connection) -> Session<S> {
        // The write side waits before it takes anything, so nothing has to be refused.
        tls.set_buffer_limit(None);
        let waiting = Arc::<Waiting>::default();
        let waker = Waker::from(Arc::clone(&waiting));
        Session {
            stream,
            tls: Box::new(tls),
            waiting,
            waker,
            failure: None,
            has_said_its_end: false,
        }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match &self.failure {
            Some(error) => Err(failure(error.clone())),
            None => Ok(()),
        }
    }
}

/// Sending.
impl<S: AsyncWrite + Unpin> Session<S> {
    /// Polls the write side of the stream below, such that the side is woken.
    pub(super) fn poll_below<T>(
        &mut self,
        context: &Context<'_>,
        side: Side,
        mut poll: impl FnMut(Pin<&mut S>, &mut Connection, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut below = Context::from_waker(&self.waker);
        if let Poll::Ready(value) = poll(Pin::new(&mut self.stream), &mut self.tls, &mut below) {
            return Poll::Ready(value);
        }
        match side {
            Side::Reader => self.waiting.reader.register(context.waker()),
            Side::Writer => self.waiting.writer.register(context.waker()),
        }
        // Again, since a wake that came in between has woken nobody.
        poll(Pin::new(&mut self.stream), &mut self.tls, &mut below)
    }

    /// Polls until all that was enciphered is in the stream below.
    pub(super) fn poll_push(&mut self, context: &Context<'_>, side: Side) -> Poll<io::Result<()>> {
        if !self.tls.wants_write() {
            return Poll::Ready(Ok(()));
        }
        self.poll_below(context, side, |stream, tls, context| {
            let mut below = Below { stream: stream.get_mut(), context };
            while tls.wants_write() {
                match tls.write_tls(&mut below) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Poll::Pending;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Polls until bytes can be enciphered: what was before is in the stream below.
    pub(super) fn poll_room(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(context, Side::Writer))?;
        self.check()?;
        if self.has_said_its_end {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the stream's write side was shut down; nothing can be written after `shutdown`",
            )));
        }
        Poll::Ready(Ok(()))
    }

    /// Enciphers bytes, all of them.
    pub(super) fn encipher(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)
    }

    /// Enciphers bytes, about `limit` of them at most; how many.
    pub(super) fn encipher_some(
        &mut self,
        slices: &[IoSlice<'_>],
        limit: usize,
    ) -> io::Result<usize> {
        match slices.iter().position(|slice| !slice.is_empty()) {
            None => Ok(0),
            Some(first) if slices[first].len() >= limit => {
                self.tls.writer().write(&slices[first][..limit])
            }
            Some(first) => {
                let mut room = limit;
                let fits = slices[first..].iter().take_while(|slice| {
                    let fits = slice.len() <= room;
                    room = room.saturating_sub(slice.len());
                    fits
                });
                let count = fits.count();
                self.tls.writer().write_vectored(&slices[first..first + count])
            }
        }
    }

    /// Polls until the stream below has sent what it has.
    pub(super) fn poll_flush(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_below(context, Side::Writer, |stream, _, context| stream.poll_flush(context))
    }

    /// Polls until everything, the end of this side included, is sent.
    pub(super) fn poll_end(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_said_its_end {
            self.has_said_its_end = true;
            self.tls.send_close_notify();
        }
        ready!(self.poll_push(context, Side::Writer))?;
        self.poll_below(context, Side::Writer, |stream, _, context| stream.poll_close(context))
    }
}

/// Receiving.
impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Polls for bytes of the peer, and deciphers them; `false` at the end of the input.
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.check()?;
        let count = match self.tls.read_tls(&mut Below { stream: &mut self.stream, context }) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if let Err(error) = self.tls.process_new_packets() {
            self.failure = Some(error);
            // The peer is told, if there is room for it. What came before is read first.
            let _ = self.poll_push(context, Side::Reader);
        }
        Poll::Ready(Ok(count > 0))
    }

    /// Polls until there is something to read, or the end that the peer announced.
    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.reader().fill_buf() {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An error of this session says more than the missing end after it.
                Err(_) => return Poll::Ready(self.check().and(Err(cut_off()))),
            }
            // The peer may wait for these bytes. An error of sending is for the writer.
            let _ = self.poll_push(context, Side::Reader);
            ready!(self.poll_receive(context))?;
        }
    }

    /// What `poll_readable` found; empty at the end.
    pub(super) fn readable(&mut self) -> io::Result<&[u8]> {
        self.tls.reader().into_first_chunk()
    }

    /// Takes bytes of `readable`.
    #[track_caller]
    pub(super) fn consume(&mut self, count: usize) {
        self.tls.reader().consume(count);
    }
}

/// The stream below, as rustls reads and writes it: what has to wait is `WouldBlock`.
struct Below<'a, 'b, S> {
    stream: &'a mut S,
    context: &'a mut Context<'b>,
}

fn at_once<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Below<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_read(self.context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> Write for Below<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.stream).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
