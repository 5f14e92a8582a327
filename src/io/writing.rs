//! Writes: they wait for room in the outbox, then accept all or nothing. Dropping a write that
//! waits writes nothing, and passes its turn on.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::outbox::{HIGH_WATER_BYTES, WriteSide};
use super::stream::os_error;
use super::{Segment, Stream};

/// What a writer waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Its turn, and room for bytes.
    Bytes,
    /// Its turn, to end the write side behind the writes that came first.
    End,
}

/// Waits for a writer's turn, and for room if it needs some.
struct Room<'a> {
    stream: &'a Rc<Stream>,
    purpose: Purpose,
    /// The writer's place in the queue, if it had to wait.
    number: Option<u64>,
    /// It keeps the place when its turn has come, until it is dropped.
    keeps: bool,
}

/// The writers' turn, for as long as this lives: nobody else writes.
pub(super) struct Turn<'a> {
    _room: Room<'a>,
}

impl Room<'_> {
    fn new(stream: &Rc<Stream>, purpose: Purpose) -> Room<'_> {
        Room { stream, purpose, number: None, keeps: false }
    }

    fn queue(&mut self, context: &Context<'_>) {
        let waker = context.waker().clone();
        let old = self.stream.outbox.borrow_mut().writers.wait(&mut self.number, waker);
        drop(old);
    }

    fn is_ready(&self) -> io::Result<bool> {
        let stream = self.stream;
        match self.purpose {
            Purpose::Bytes => stream.check_writable()?,
            Purpose::End => stream.check_unbroken()?,
        }
        let outbox = stream.outbox.borrow();
        let has_room = self.purpose == Purpose::End || !outbox.is_above_mark();
        Ok(has_room && outbox.writers.is_turn_of(self.number))
    }

    /// Gives up the place in the queue; the turn passes on, also to one who polls.
    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            let (own, next) = {
                let mut outbox = self.stream.outbox.borrow_mut();
                (outbox.writers.leave(number), outbox.first_writer())
            };
            drop(own);
            self.stream.wake_all(next);
            self.stream.wake_watcher();
        }
    }
}

impl Future for Room<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_ready = self.is_ready()?;
        match is_ready && !self.keeps {
            // The next one is polled after this one has written, and looks at the room again.
            true => self.leave(),
            false => self.queue(context),
        }
        if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits for room, then queues a segment. A type of its own, since an `async fn` would hold the
/// segment twice, in each of the many tasks that echo or forward.
pub(crate) struct WriteOwned<'a> {
    room: Room<'a>,
    segment: Option<Segment>,
}

impl Future for WriteOwned<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if Pin::new(&mut self.room).poll(context)?.is_pending() {
            return Poll::Pending;
        }
        let stream = self.room.stream;
        let is_empty = self.segment.as_ref().is_none_or(|segment| segment.len() == 0);
        if !is_empty && let Some(segment) = self.segment.take() {
            stream.queue(segment);
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits until everything up to a byte is sent.
struct Flush<'a> {
    stream: &'a Rc<Stream>,
    target: u64,
    number: Option<u64>,
}

impl Future for Flush<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream;
        stream.check_unbroken()?;
        if stream.outbox.borrow().is_sent_up_to(self.target) {
            return Poll::Ready(Ok(()));
        }
        let (waker, target) = (context.waker().clone(), self.target);
        let old = {
            let mut outbox = stream.outbox.borrow_mut();
            let number = *self.number.get_or_insert_with(|| outbox.next_number());
            outbox.wait_for_sent(number, target, waker)
        };
        drop(old);
        Poll::Pending
    }
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let own = self.stream.outbox.borrow_mut().stop_flusher(number);
            drop(own);
        }
    }
}

impl Stream {
    pub(super) fn check_unbroken(&self) -> io::Result<()> {
        self.core.check_turning()?;
        match self.outbox.borrow_mut().see_error() {
            Some(error) => Err(os_error(error)),
            None => Ok(()),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        self.check_unbroken()?;
        match self.outbox.borrow().side {
            WriteSide::Open => Ok(()),
            WriteSide::Ending | WriteSide::Ended => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the stream's write side was shut down; nothing can be written after `shutdown`",
            )),
        }
    }

    /// Waits for the writers' turn, and until everything before it is sent.
    pub(super) async fn take_turn(self: &Rc<Self>) -> io::Result<Turn<'_>> {
        let mut room = Room { keeps: true, ..Room::new(self, Purpose::Bytes) };
        (&mut room).await?;
        self.flush().await?;
        Ok(Turn { _room: room })
    }

    /// Queues a segment of who has the turn.
    pub(super) fn queue(self: &Rc<Self>, segment: Segment) {
        let copied = self.outbox.borrow_mut().push(segment);
        self.send_soon();
        // Last: its drop may be foreign code, which may panic.
        drop(copied);
    }

    pub(crate) async fn write(self: &Rc<Self>, bytes: &[u8]) -> io::Result<()> {
        Room::new(self, Purpose::Bytes).await?;
        if !bytes.is_empty() {
            self.outbox.borrow_mut().copy_in(bytes);
            self.send_soon();
        }
        Ok(())
    }

    pub(crate) fn write_owned(self: &Rc<Self>, segment: Segment) -> WriteOwned<'_> {
        WriteOwned { room: Room::new(self, Purpose::Bytes), segment: Some(segment) }
    }

    pub(crate) async fn flush(self: &Rc<Self>) -> io::Result<()> {
        let target = self.outbox.borrow().flush_target();
        Flush { stream: self, target, number: None }.await
    }

    pub(crate) async fn shutdown(self: &Rc<Self>) -> io::Result<()> {
        Room::new(self, Purpose::End).await?;
        self.end_writes();
        self.flush().await
    }

    /// Accepts as much as there is room for.
    pub(crate) fn poll_write(
        self: &Rc<Self>,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_writable()?;
        let room = {
            let outbox = self.outbox.borrow();
            match outbox.writers.is_turn_of(None) {
                true => HIGH_WATER_BYTES.saturating_sub(outbox.unsent()),
                false => 0,
            }
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if room == 0 {
            self.watch(context);
            return Poll::Pending;
        }
        let accepted = bytes.len().min(room);
        self.outbox.borrow_mut().copy_in(&bytes[..accepted]);
        self.send_soon();
        Poll::Ready(Ok(accepted))
    }

    /// Waits until everything is sent.
    pub(crate) fn poll_flush(self: &Rc<Self>, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.check_unbroken()?;
        if self.outbox.borrow().unsent() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.watch(context);
        Poll::Pending
    }

    /// Waits until everything is sent and FIN is out.
    pub(crate) fn poll_shutdown(self: &Rc<Self>, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.core.check_turning()?;
        self.end_writes();
        self.poll_flush(context)
    }

    /// Has this task woken at the next progress of the write side, or of the closing.
    pub(super) fn watch(&self, context: &Context<'_>) {
        let waker = context.waker().clone();
        let old = self.watcher.borrow_mut().replace(waker);
        drop(old);
    }

    /// Waits until FIN is out, or the write side has failed.
    pub(super) async fn writes_ended(self: &Rc<Self>) -> io::Result<()> {
        poll_fn(|context| self.poll_shutdown(context)).await
    }
}
