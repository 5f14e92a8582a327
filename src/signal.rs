//! Signals, read from a signalfd that the loop polls.
//!
//! `Signals` hears of them one by one; `interrupt` has them end a future, in good order first.
//!
//! The signals are blocked for the thread that listens and for threads it starts afterwards; a
//! thread that was there before may still be hit. So listen before you start threads. They stay
//! blocked: a process that listened to an interrupt once ends by its own decision from then on.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use crate::driver::{Fd, Op, Payload, open_signals, read_signal};
use crate::executor::Core;
use crate::executor::operation::{Operation, core_for};
use crate::executor::scope::Kind;
use crate::executor::scoped::{Ended, Scoped};

/// A signal that a server is sent. See signal(7).
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
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
            Signal::Quit => "SIGQUIT",
            Signal::User1 => "SIGUSR1",
            Signal::User2 => "SIGUSR2",
        })
    }
}

const NUMBERS: [(Signal, i32); 6] = [
    (Signal::Interrupt, libc::SIGINT),
    (Signal::Terminate, libc::SIGTERM),
    (Signal::Hangup, libc::SIGHUP),
    (Signal::Quit, libc::SIGQUIT),
    (Signal::User1, libc::SIGUSR1),
    (Signal::User2, libc::SIGUSR2),
];

/// Listens to signals, from when it is made until it is dropped.
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
pub struct Signals {
    core: Rc<Core>,
    fd: Rc<Fd>,
}

impl Signals {
    /// Listens to these signals from now on.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        Signals::on(Core::current(), signals)
    }

    fn on(core: Rc<Core>, signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let wanted: Vec<Signal> = signals.into_iter().collect();
        let numbers: Vec<i32> = NUMBERS
            .iter()
            .filter(|(signal, _)| wanted.contains(signal))
            .map(|(_, number)| *number)
            .collect();
        let fd = core.fd(open_signals(&numbers)?);
        Ok(Signals { core, fd })
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
        loop {
            self.core.check_turning()?;
            if let Some(number) = read_signal(self.fd.raw())?
                && let Some((signal, _)) = NUMBERS.iter().find(|(_, it)| *it == number)
            {
                return Ok(*signal);
            }
            let op = Op::Poll { fd: self.fd.raw(), multishot: false };
            let polled = Operation::start(&self.core, op, Payload::None, &self.fd).await;
            if polled < 0 {
                return Err(io::Error::from_raw_os_error(-polled));
            }
        }
    }
}

/// Ending by a signal.
impl Signals {
    /// Runs `future` until it ends, or until one of the signals ends it: what asyncio's `run` does
    /// with its main task at Ctrl-C.
    ///
    /// The first signal asks the future to end softly, as
    /// [`wait_for`](crate::time::wait_for) does at its deadline: a
    /// [`catch_cancel`](crate::task::catch_cancel) inside may clean up with awaits, and if the
    /// future becomes ready all the same, its value wins. The second one drops it where it is. A
    /// runtime that is closed afterwards ends the tasks that are left.
    ///
    /// ```
    /// use corio::signal::{Signal, Signals};
    /// # corio::run(async {
    /// let signals = Signals::new([Signal::Interrupt, Signal::Terminate])?;
    /// let served = signals.interrupt(async { "served" }).await;
    /// assert_eq!(served?, "served", "nobody pressed Ctrl-C");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If a signal ended the future: one of kind `Interrupted`, which holds an [`Interrupted`]. Or
    /// those of [`recv`](Self::recv), by which the future is dropped.
    ///
    /// # Panics
    ///
    /// If no runtime runs on the thread that polls it.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the future is dropped with it. A signal that was not heard yet stays
    /// pending.
    #[doc(alias = "KeyboardInterrupt")]
    pub async fn interrupt<F: IntoFuture>(&self, future: F) -> io::Result<F::Output> {
        let mut scoped = pin!(Scoped::new(Kind::Block, future.into_future()));
        let mut heard = None;
        loop {
            let mut signal = pin!(self.recv());
            let either = poll_fn(|context| match scoped.as_mut().poll(context) {
                Poll::Ready(over) => Poll::Ready(Ok(over)),
                Poll::Pending => signal.as_mut().poll(context).map(Err),
            });
            match (either.await, heard) {
                (Ok(Ok(value)), _) => {
                    settled(scoped).await;
                    return Ok(value);
                }
                (Err(Ok(signal)), None) => {
                    scoped.place.ask(Some(format!("the process got {signal}").into()));
                    heard = Some(signal);
                }
                (Ok(Err(Ended)) | Err(Ok(_)), Some(signal)) => {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, Interrupted { signal }));
                }
                (Ok(Err(Ended)), None) => unreachable!("only a signal asks it to end"),
                (Err(Err(error)), _) => return Err(error),
            }
        }
    }
}

/// Waits for the end of what a future that is over has left in flight.
async fn settled<F: Future>(mut scoped: Pin<&mut Scoped<F>>) {
    poll_fn(|context| {
        let place = scoped.as_mut().project().place;
        place.polled(context.waker());
        if place.settle() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A signal ended what ran: the inner error of [`Signals::interrupt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted {
    signal: Signal,
}

impl Interrupted {
    /// The first signal that came.
    pub fn signal(&self) -> Signal {
        self.signal
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by {}", self.signal)
    }
}

impl Error for Interrupted {}

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
        let signals = Signals::on(core_for(called_at), [Signal::Interrupt])?;
        signals.recv().await.map(|_| ())
    }
}
