//! The body of a request, with a limit on its length and on the time between its pieces.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::compat::OnItsCore;
use crate::time::{Sleep, sleep};

/// The body of a request: an `http_body::Body`, to be collected or read frame by frame
/// (`http_body_util::BodyExt`).
///
/// # Errors
///
/// Of a frame: `FileTooLarge` if the body is longer than
/// [`ServeOptions::body_limit`](super::ServeOptions::body_limit), `TimedOut` if the client sends
/// nothing for [`ServeOptions::body_timeout`](super::ServeOptions::body_timeout), otherwise
/// hyper's.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    left: u64,
    timeout: Duration,
    /// Since a frame is waited for.
    sleep: Option<OnItsCore<Pin<Box<Sleep>>>>,
}

impl Body {
    pub(super) fn new(incoming: Incoming, limit: u64, timeout: Duration) -> Body {
        Body { incoming, left: limit, timeout, sleep: None }
    }

    fn too_long() -> Box<dyn Error + Send + Sync> {
        let text = "the body of the request is longer than the server allows";
        io::Error::new(io::ErrorKind::FileTooLarge, text).into()
    }

    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Box<dyn Error + Send + Sync>> {
        let timeout = self.timeout;
        let sleep = self.sleep.get_or_insert_with(|| OnItsCore::future(sleep(timeout)));
        let text = "the client stopped in the middle of a request's body";
        let late = || io::Error::new(io::ErrorKind::TimedOut, text).into();
        Pin::new(sleep).poll(context).map(|()| late())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.incoming.size_hint().lower() > self.left {
            return Poll::Ready(Some(Err(Body::too_long())));
        }
        let frame = match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Pending => return self.poll_late(context).map(|late| Some(Err(late))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        self.sleep = None;
        let length = frame.data_ref().map_or(0, Buf::remaining) as u64;
        if length > self.left {
            return Poll::Ready(Some(Err(Body::too_long())));
        }
        self.left -= length;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
