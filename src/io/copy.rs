//! Copying both ways between two streams: what a proxy does.
//!
//! Each direction takes what the reader has and offers it to the writer, without a buffer of its
//! own. When one side has ended, the other is told, and goes on until it ends too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncBufRead, AsyncWrite};

/// How far one direction has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Copying,
    /// The reader ended: the writer is being told.
    Ending,
    Over,
}

struct OneWay {
    stage: Stage,
    count: u64,
    /// The writer took bytes that it may still hold back.
    has_unflushed: bool,
}

impl OneWay {
    fn new() -> OneWay {
        OneWay { stage: Stage::Copying, count: 0, has_unflushed: false }
    }

    fn poll<R, W>(
        &mut self,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<u64>>
    where
        R: AsyncBufRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        loop {
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(self.count)),
                Stage::Ending => {
                    ready!(writer.as_mut().poll_close(context))?;
                    self.stage = Stage::Over;
                }
                Stage::Copying => {
                    let bytes = match reader.as_mut().poll_fill_buf(context)? {
                        Poll::Ready(bytes) => bytes,
                        Poll::Pending => {
                            // Nothing follows for now; what was taken is not to wait for more.
                            if self.has_unflushed {
                                ready!(writer.as_mut().poll_flush(context))?;
                                self.has_unflushed = false;
                            }
                            return Poll::Pending;
                        }
                    };
                    if bytes.is_empty() {
                        self.stage = Stage::Ending;
                        continue;
                    }
                    let written = ready!(writer.as_mut().poll_write(context, bytes))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    reader.as_mut().consume(written);
                    self.count += written as u64;
                    self.has_unflushed = true;
                }
            }
        }
    }
}

/// Copies from each stream to the other until both have ended: how many bytes went from `a` to
/// `b`, and from `b` to `a`. When one ends, the other is told by its close (FIN, for a socket), and
/// may go on.
///
/// ```
/// use corio::net::UnixStream;
/// # corio::run(async {
/// let ((mut client, mut a), (mut b, server)) = (UnixStream::pair()?, UnixStream::pair()?);
/// corio::spawn(async move {
///     server.write(b"from the server").await?;
///     server.close().await
/// });
/// client.write(b"hello").await?;
/// client.shutdown().await?;
/// let (there, back) = corio::io::copy_bidirectional(&mut a, &mut b).await?;
/// assert_eq!((there, back), (5, 15));
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The first of any of the two: then both directions stop.
///
/// # Cancellation
///
/// **Strict** with corio's streams: what was read was written, and the rest stays where it is.
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncBufRead + AsyncWrite + Unpin + ?Sized,
    B: AsyncBufRead + AsyncWrite + Unpin + ?Sized,
{
    let (mut there, mut back) = (OneWay::new(), OneWay::new());
    poll_fn(|context| {
        let forth = there.poll(Pin::new(&mut *a), Pin::new(&mut *b), context)?;
        let back = back.poll(Pin::new(&mut *b), Pin::new(&mut *a), context)?;
        match (forth, back) {
            (Poll::Ready(forth), Poll::Ready(back)) => Poll::Ready(Ok((forth, back))),
            _ => Poll::Pending,
        }
    })
    .await
}
