//! Signals, read from a signalfd that the loop polls, and told to everyone who listens.
//!
//! The signals are blocked for the thread that listens and for threads it starts afterwards; a
//! thread that was there before may still be hit. So listen before you start threads. They stay
//! blocked: a process that listened to an interrupt once ends by its own decision from then on.
//! Children are started with none blocked.

mod hub;
mod interrupt;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use interrupt::Interrupted;

use crate::executor::Core;
use crate::executor::operation::core_for;
use hub::{Hub, Mailbox, Set, bit};

/// A signal that a server is sent, or sends to its children. See signal(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: end in good order.
    Terminate,
    /// SIGHUP: the terminal is gone; by custom, read the configuration again.
    Hangup,
    /// SIGQUIT: Ctrl-\.
    Quit,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGALRM: a timer of the process.
    Alarm,
    /// SIGCHLD: a child ended or stopped. Children of [`process`](crate::process) need none.
    Child,
    /// SIGWINCH: the terminal has another size.
    WindowChange,
    /// SIGPIPE: nobody reads. Rust ignores it, so that writes fail instead.
    Pipe,
    /// SIGKILL: ends a process at once. To be sent only.
    Kill,
    /// SIGSTOP: halts a process. To be sent only.
    Stop,
    /// SIGCONT: goes on.
    Continue,
}

const NUMBERS: [(Signal, i32); 13] = [
    (Signal::Interrupt, libc::SIGINT),
    (Signal::Terminate, libc::SIGTERM),
    (Signal::Hangup, libc::SIGHUP),
    (Signal::Quit, libc::SIGQUIT),
    (Signal::User1, libc::SIGUSR1),
    (Signal::User2, libc::SIGUSR2),
    (Signal::Alarm, libc::SIGALRM),
    (Signal::Child, libc::SIGCHLD),
    (Signal::WindowChange, libc::SIGWINCH),
    (Signal::Pipe, libc::SIGPIPE),
    (Signal::Kill, libc::SIGKILL),
    (Signal::Stop, libc::SIGSTOP),
    (Signal::Continue, libc::SIGCONT),
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
            Signal::Quit => "SIGQUIT",
            Signal::User1 => "SIGUSR1",
            Signal::User2 => "SIGUSR2",
            Signal::Alarm => "SIGALRM",
            Signal::Child => "SIGCHLD",
            Signal::WindowChange => "SIGWINCH",
            Signal::Pipe => "SIGPIPE",
            Signal::Kill => "SIGKILL",
            Signal::Stop => "SIGSTOP",
            Signal::Continue => "SIGCONT",
        })
    }
}

impl Signal {
    /// The kernel's number for it.
    pub fn number(self) -> i32 {
        let found = NUMBERS.iter().find(|(signal, _)| *signal == self);
        found.expect("every signal has its number").1
    }

    fn of_number(number: i32) -> Option<Signal> {
        NUMBERS.iter().find(|(_, it)| *it == number).map(|(signal, _)| *signal)
    }
}

/// Listens to signals, from when it is made until it is dropped.
///
/// Everyone who listens to a signal hears it, on whichever core. Tasks that share one listener
/// share what it hears: each signal ends one wait. It is a `Stream` of `futures` as well.
///
/// ```
/// use corio::signal::{Signal, Signals};
/// # corio::run(async {
/// let signals = Signals::new([Signal::User1])?;
/// let heard = corio::timeout(std::time::Duration::from_millis(1), signals.recv()).await;
/// assert!(heard.is_err(), "nobody sent a signal");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "add_signal_handler")]
#[doc(alias = "remove_signal_handler")]
pub struct Signals {
    hub: Rc<Hub>,
    mailbox: Arc<Mailbox>,
    /// The place in the queue of one who polls it as a stream.
    place: Option<u64>,
}

impl Signals {
    /// Listens to these signals from now on. What came before, while nobody listened, is heard if
    /// the signal was blocked by then.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for [`Signal::Kill`] and [`Signal::Stop`], which nobody hears; the kernel's,
    /// such as a lack of descriptors.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        Signals::on(&Core::current(), signals)
    }

    fn on(core: &Rc<Core>, signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let mut wanted: Set = 0;
        for signal in signals {
            if matches!(signal, Signal::Kill | Signal::Stop) {
                let text = format!("nobody hears {signal:?}: the kernel sees to it alone");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            wanted |= bit(signal.number());
        }
        let hub = Hub::of(core);
        let mailbox = hub.listen(wanted)?;
        Ok(Signals { hub, mailbox, place: None })
    }

    /// The next signal. Several of one kind that nobody took yet are one, as signal(7) has it.
    ///
    /// # Errors
    ///
    /// The kernel's; or that the runtime it was made in is not the one that runs here.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a signal stays pending until a `recv` returns it.
    pub async fn recv(&self) -> io::Result<Signal> {
        let mut waiter = Waiter { signals: self, number: None };
        poll_fn(|context| waiter.signals.poll_recv(&mut waiter.number, context)).await
    }

    fn poll_recv(
        &self,
        number: &mut Option<u64>,
        context: &Context<'_>,
    ) -> Poll<io::Result<Signal>> {
        self.hub.core().check_turning()?;
        self.hub.read()?;
        let waker = context.waker().clone();
        if let Some(signal) = self.mailbox.take().and_then(Signal::of_number) {
            return Poll::Ready(Ok(signal));
        }
        let old = self.mailbox.wait(number, waker);
        drop(old);
        Poll::Pending
    }
}

/// Leaves the queue when the wait is over.
struct Waiter<'a> {
    signals: &'a Signals,
    number: Option<u64>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let own = self.signals.mailbox.leave(number);
            drop(own);
        }
    }
}

impl futures_util::Stream for Signals {
    type Item = io::Result<Signal>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut place = self.place.take();
        let polled = self.poll_recv(&mut place, context);
        if polled.is_pending() {
            self.place = place;
        } else if let Some(number) = place {
            let own = self.mailbox.leave(number);
            drop(own);
        }
        polled.map(Some)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.hub.leave(&self.mailbox);
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signals")
    }
}

/// Waits for Ctrl-C (SIGINT).
///
/// # Errors
///
/// As [`Signals::new`].
///
/// # Panics
///
/// When it is polled, if no runtime runs on that thread.
///
/// # Cancellation
///
/// **Strict**: an interrupt that comes later stays pending for the next call.
#[track_caller]
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> {
    let called_at = Location::caller();
    async move {
        let signals = Signals::on(&core_for(called_at), [Signal::Interrupt])?;
        signals.recv().await.map(|_| ())
    }
}
