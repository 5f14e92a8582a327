//! A moment on the core's clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use crate::driver::now_ns;
use crate::executor::Core;

/// A moment on the clock of the running core (CLOCK_MONOTONIC, in nanoseconds).
///
/// It is a type of its own, and not `std`'s, since a simulated core has a clock of its own.
///
/// ```
/// use corio::time::{Duration, Instant};
/// # corio::run(async {
/// let start = Instant::now();
/// corio::sleep(Duration::from_millis(1)).await;
/// assert!(start.elapsed() >= Duration::from_millis(1));
/// # });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment of this call.
    #[doc(alias = "time")]
    pub fn now() -> Instant {
        match Core::try_current() {
            Some(core) => Instant(core.now_ns()),
            None => Instant(now_ns()),
        }
    }

    /// How long ago this moment is; zero if it lies ahead.
    pub fn elapsed(self) -> Duration {
        Instant::now() - self
    }

    /// The time from `earlier` to this moment; zero if it is later.
    pub fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration`, or `None` past the end of the clock (in 584 years).
    pub fn checked_add(self, duration: Duration) -> Option<Instant> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Instant)
    }

    /// Nanoseconds on the core's clock.
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    /// This moment and `duration`, or the end of the clock.
    pub(crate) fn saturating_add(self, duration: Duration) -> Instant {
        self.checked_add(duration).unwrap_or(Instant(u64::MAX))
    }
}

/// The moment that lies so far ahead; the last there is if it lies beyond.
pub(crate) fn deadline_after(duration: Duration) -> Instant {
    Instant::now().saturating_add(duration)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of the clock.
    fn add(self, duration: Duration) -> Instant {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the start of the clock.
    fn sub(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({}.{:09} s)", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}
