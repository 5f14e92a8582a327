//! Which driver a core gets.
//!
//! The ring, if it starts. Where io_uring is *unavailable* (built without it, refused by a sysctl,
//! a seccomp profile or a security module, too old) epoll takes its place, and one line says so. A
//! lack of *resources* (locked memory, descriptors) is never answered by a silent change of driver:
//! a smaller ring is tried, and then the start is refused with the numbers and the cure.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Mutex, Once, PoisonError};

use super::epoll::Epoll;
use super::refusal;
use super::trial::RingSize;
use super::uring::Uring;
use super::{AnyDriver, Features, Helpers, Pools};

/// The kernel interface under the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Driver {
    /// io_uring.
    Uring,
    /// epoll, where io_uring is unavailable.
    Epoll,
}

impl Driver {
    /// The driver of this name, as `CORIO_DRIVER` and `--driver` take it.
    pub fn from_name(name: &str) -> Option<Driver> {
        match name {
            "uring" => Some(Driver::Uring),
            "epoll" => Some(Driver::Epoll),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Uring => "uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// A driver that works, and why it is not the ring, if it is not and was not asked for.
pub(crate) struct Choice {
    pub(crate) driver: AnyDriver,
    pub(crate) features: Features,
    pub(crate) fell_back: Option<io::Error>,
}

thread_local! {
    /// The driver of all runtimes that this thread builds, for a test that runs once on each.
    static OF_THIS_THREAD: Cell<Option<Driver>> = const { Cell::new(None) };
}

/// Runs a test whose runtimes all get this driver, if this thread builds them.
///
/// # Panics
///
/// If the environment forces another driver: the test would not show what its name says.
#[track_caller]
pub(crate) fn with_driver<T>(driver: Driver, test: impl FnOnce() -> T) -> T {
    struct Restore(Option<Driver>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OF_THIS_THREAD.set(self.0);
        }
    }
    if let Ok(Some(forced)) = driver_variable() {
        let (own, forced) = (driver.name(), forced.name());
        assert!(
            own == forced,
            "this test is for {own}, and CORIO_DRIVER forces {forced}: unset it, or run only the \
             tests for that driver with `cargo test {forced}`"
        );
    }
    let _restore = Restore(OF_THIS_THREAD.replace(Some(driver)));
    test()
}

/// The driver that was asked for, or the best that starts. `CORIO_DRIVER` has the last word.
pub(crate) fn choose(
    wanted: Option<Driver>,
    size: RingSize,
    pools: &Rc<Pools>,
) -> io::Result<Choice> {
    match OF_THIS_THREAD.get().or(driver_variable()?).or(wanted) {
        Some(Driver::Uring) => uring(size, pools),
        Some(Driver::Epoll) => epoll(pools, None),
        None => best(size, pools),
    }
}

/// The ring if it starts, decided once a process: cores of one group must not differ in it, also
/// where the machine's settings change between two of them.
fn best(size: RingSize, pools: &Rc<Pools>) -> io::Result<Choice> {
    static DECIDED: Mutex<Option<Driver>> = Mutex::new(None);
    let mut decided = DECIDED.lock().unwrap_or_else(PoisonError::into_inner);
    let choice = match *decided {
        Some(Driver::Uring) => uring(size, pools)?,
        Some(Driver::Epoll) => epoll(pools, None)?,
        None => match uring(size, pools) {
            Err(error) if refusal::is_unavailable(&error) => epoll(pools, Some(error))?,
            chosen => chosen?,
        },
    };
    *decided = Some(choice.features.driver());
    Ok(choice)
}

fn uring(size: RingSize, pools: &Rc<Pools>) -> io::Result<Choice> {
    let uring = Uring::new(size, pools)?;
    let features = *uring.features();
    Ok(Choice {
        driver: AnyDriver::Uring(Box::new(uring), Helpers::default()),
        features,
        fell_back: None,
    })
}

fn epoll(pools: &Rc<Pools>, fell_back: Option<io::Error>) -> io::Result<Choice> {
    let epoll =
        Epoll::new(pools).map_err(|error| refusal::explain_epoll(error, fell_back.as_ref()))?;
    let driver = AnyDriver::Epoll(Box::new(epoll), Helpers::default());
    Ok(Choice { driver, features: Features::epoll(), fell_back })
}

fn driver_variable() -> io::Result<Option<Driver>> {
    let name = std::env::var("CORIO_DRIVER").unwrap_or_default();
    match (name.as_str(), Driver::from_name(&name)) {
        ("", _) => Ok(None),
        (_, Some(driver)) => Ok(Some(driver)),
        (_, None) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("CORIO_DRIVER is `{name}`, which is no driver; known are uring and epoll"),
        )),
    }
}

/// Says once a process that epoll took the ring's place.
pub(crate) fn once_a_process(tell: impl FnOnce()) {
    static TOLD: Once = Once::new();
    TOLD.call_once(tell);
}
