//! Signals, read from a signalfd that the loop polls.
//!
//! The signals are blocked for the thread that listens and for threads it starts afterwards; a
//! thread that was there before may still be hit. So listen before you start threads. They stay
//! blocked: a process that listened to an interrupt once ends by its own decision from then on.

use std::fmt;
use std::io;
use std::panic::Location;
use std::rc::Rc;

use crate::driver::{Fd, Op, Payload, open_signals, read_signal};
use crate::executor::Core;
use crate::executor::operation::{Operation, core_for};

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
