//! One connection, from its first byte to its end.
//!
//! It ends by itself, by a limit (`activity.rs`), or since the server closes: then it is asked to
//! finish the requests it has, and takes no more. A client that breaks off is no error of the
//! server. An error of the service, or of a body that it gave, is one, and goes where errors of
//! handlers go: `Builder::on_unhandled`. There a client is told of as well that was cut off for
//! what it did, but one a second only: those who attack are many.

use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use hyper_util::server::conn::auto;

use super::activity::{Activity, Parting, Verdict, Watched};
use super::service::{HttpService, Limited};
use super::transport::{Securing, Transport, Wire};
use super::{AnyError, ServeOptions};
use crate::compat::OnItsCore;
use crate::compat::hyper::{Executor, Timer};
use crate::net::{TcpStream, server_closing};
use crate::time::{Instant, Sleep, sleep_until, timeout};

/// The streams of HTTP/2 that the server itself may have to reset for errors of the client.
const LOCAL_RESETS_MAX: usize = 100;

/// How often a client that was cut off is told of.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What the connections of a server have in common on one core.
pub(super) struct Connections {
    options: ServeOptions,
    protocol: auto::Builder<Executor>,
    complaints: Complaints,
}

impl Connections {
    pub(super) fn new(options: ServeOptions) -> Rc<Connections> {
        let protocol = protocol(&options);
        Rc::new(Connections { options, protocol, complaints: Complaints::default() })
    }

    /// Serves one connection.
    pub(super) async fn converse<S: HttpService>(
        self: Rc<Self>,
        mut stream: TcpStream,
        service: S,
    ) -> Result<(), Box<dyn Error>> {
        // A client that breaks off is no error of the server.
        stream.set_report_unsent(false);
        let wire = match &self.options.secure {
            None => Wire::Plain(stream),
            Some(secure) => match self.handshake(secure.secure(stream)).await? {
                Some(secured) => Wire::Secured(secured),
                None => return Ok(()),
            },
        };
        let activity = Activity::new();
        let outcome = self.answer(&activity, wire, service).await;
        // An upgraded connection goes on elsewhere, and counts as long as it does.
        activity.stream_gone().await;
        outcome
    }

    /// Answers requests for as long as it is HTTP.
    async fn answer<S: HttpService>(
        &self,
        activity: &Rc<Activity>,
        wire: Wire,
        service: S,
    ) -> Result<(), Box<dyn Error>> {
        let options = &self.options;
        let service = Limited::new(service, activity, options.body_limit, options.body_timeout);
        let stream = OnItsCore::new(Watched::new(wire, activity));
        let mut connection = pin!(self.protocol.serve_connection_with_upgrades(stream, service));
        let mut closing = pin!(server_closing());
        let mut clock = Clock::new(options, activity);
        let mut is_ending = false;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
                    return Poll::Ready(self.complaints.outcome(outcome, activity));
                }
                clock.hasten();
                let should_end = match clock.poll(context) {
                    Poll::Ready(Verdict::Late) => {
                        activity.part(Parting::AtOnce);
                        return Poll::Ready(self.complaints.tell("its head took too long"));
                    }
                    // It had its time to end in good order.
                    Poll::Ready(_) if is_ending => {
                        activity.part(Parting::AtOnce);
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(_) => true,
                    Poll::Pending => !is_ending && closing.as_mut().poll(context).is_ready(),
                };
                if !should_end {
                    return Poll::Pending;
                }
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await
    }

    /// Waits for a handshake, as long as for a head. `None` if it did not come to its end.
    async fn handshake(
        &self,
        securing: Securing,
    ) -> Result<Option<Box<dyn Transport>>, Box<dyn Error>> {
        let shaking = pin!(timeout(self.options.head_timeout, securing));
        let closing = pin!(server_closing());
        let outcome = match select(shaking, closing).await {
            Either::Left((Ok(Ok(transport)), _)) => return Ok(Some(transport)),
            Either::Left((Ok(Err(error)), _)) if error.kind() == io::ErrorKind::InvalidData => {
                self.complaints.tell(&error.to_string())
            }
            Either::Left((Err(_), _)) => self.complaints.tell("its TLS handshake took too long"),
            // It broke off, or the server closes and it has asked for nothing yet.
            _ => Ok(()),
        };
        outcome.map(|()| None)
    }
}

fn protocol(options: &ServeOptions) -> auto::Builder<Executor> {
    let mut protocol = auto::Builder::new(Executor);
    protocol
        .http1()
        .timer(Timer)
        // The connection has one timer, which is for all: `Clock`.
        .header_read_timeout(None)
        .max_buf_size(options.head_limit)
        .max_headers(options.headers_max);
    let head_limit = u32::try_from(options.head_limit).unwrap_or(u32::MAX);
    protocol
        .http2()
        .timer(Timer)
        .max_header_list_size(head_limit)
        .max_concurrent_streams(options.streams_max)
        .max_pending_accept_reset_streams(options.resets_max)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .max_send_buf_size(options.send_limit);
    protocol
}

/// Tells of clients that were cut off.
#[derive(Default)]
struct Complaints {
    /// Nothing is told before.
    next: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Complaints {
    /// What of a connection's outcome is for others to know.
    fn outcome(
        &self,
        outcome: Result<(), AnyError>,
        activity: &Activity,
    ) -> Result<(), Box<dyn Error>> {
        let Err(error) = outcome else { return Ok(()) };
        let Some(of_hyper) = error.downcast_ref::<hyper::Error>() else { return Ok(()) };
        if of_hyper.is_user() {
            return Err(error);
        }
        if of_hyper.is_parse_too_large() {
            return self.tell("its head was too large");
        }
        match of_hyper.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
            Some(error) if sends_away(error) => {
                activity.part(Parting::Soon);
                self.tell(&format!("it floods: {error}"))
            }
            _ => Ok(()),
        }
    }

    fn tell(&self, what: &str) -> Result<(), Box<dyn Error>> {
        let now = Instant::now();
        if self.next.get().is_some_and(|next| now < next) {
            self.untold.set(self.untold.get() + 1);
            return Ok(());
        }
        self.next.set(Some(now + TOLD_EVERY));
        let more = match self.untold.take() {
            0 => String::new(),
            count => format!(" ({count} others were cut off since the last one was told)"),
        };
        Err(io::Error::other(format!("the client was cut off: {what}{more}")).into())
    }
}

/// Whether it is we who ended the connection, for what the client did.
fn sends_away(error: &h2::Error) -> bool {
    error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
}

/// The one timer of a connection.
struct Clock<'a> {
    options: &'a ServeOptions,
    activity: &'a Activity,
    sleep: Sleep,
}

impl<'a> Clock<'a> {
    fn new(options: &'a ServeOptions, activity: &'a Activity) -> Clock<'a> {
        let due = Instant::now() + options.head_timeout.min(options.idle_timeout);
        Clock { options, activity, sleep: sleep_until(due) }
    }

    /// A head that has begun, and is not whole, has its time from its first byte on.
    fn hasten(&mut self) {
        let late = self.activity.head_since().map(|since| since + self.options.head_timeout);
        if let Some(late) = late.filter(|late| *late < self.sleep.deadline()) {
            self.sleep.reset(late);
        }
    }

    /// Ready when the connection's time is over; never with `Until`.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Verdict> {
        while Pin::new(&mut self.sleep).poll(context).is_ready() {
            let (head, idle) = (self.options.head_timeout, self.options.idle_timeout);
            let now = Instant::now();
            match self.activity.verdict(now, head, idle) {
                Verdict::Until(then) => self.sleep.reset(then),
                over => {
                    self.sleep.reset(now + idle);
                    return Poll::Ready(over);
                }
            }
        }
        Poll::Pending
    }
}
