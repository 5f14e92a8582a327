//! The handshake: flights go out and come in until both sides agree.

use std::io;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::Connection;

use super::TlsStream;
use super::error::cut_off_early;
use super::session::{Session, Side};

/// Shakes hands on a stream. The stream belongs to this future, and is dropped with it.
pub(super) async fn shake_hands<S>(stream: S, tls: Connection) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = Session::new(stream, tls);
    let mut handshake = Handshake { unsent: None };
    std::future::poll_fn(|context| handshake.poll(&mut session, context)).await?;
    Ok(TlsStream::new(session))
}

struct Handshake {
    /// Why nothing more can be sent. What the peer said before it went away says more.
    unsent: Option<io::Error>,
}

impl Handshake {
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while session.tls.is_handshaking() {
            // Whether or not all of it is out: the peer's answer is waited for at the same time.
            let _ = self.poll_send(session, context);
            match session.poll_receive(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    session.check()?;
                    return Poll::Ready(Err(self.unsent.take().unwrap_or_else(cut_off_early)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match self.unsent.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => return Poll::Pending,
                },
            }
        }
        // The last flight. If it cannot be sent, the next write tells.
        self.poll_send(session, context).map(Ok)
    }

    /// Polls until everything is sent, or cannot be.
    fn poll_send<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        session: &mut Session<S>,
        context: &Context<'_>,
    ) -> Poll<()> {
        if self.unsent.is_some() {
            return Poll::Ready(());
        }
        let pushed = ready!(session.poll_push(context, Side::Writer));
        let sent = match pushed {
            Ok(()) => ready!(session.poll_flush(context)),
            error => error,
        };
        self.unsent = sent.err();
        Poll::Ready(())
    }
}
