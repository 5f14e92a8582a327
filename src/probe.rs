//! What this machine can do for corio, as plain data: `corio probe` prints it.
//!
//! Three questions, three answers:
//!
//! * *What am I allowed here?* [`Environment::read`]: the kernel, limits, switches, filters, the
//!   container.
//! * *Why am I refused the ring?* [`Refusal`]: the error of [`Builder::build`] holds one; it
//!   gives the fact, the likely cause and the cures for this environment.
//! * *What works?* [`Prober`] runs every [`Capability`] that corio uses or could use. What a
//!   running core uses is told by [`Runtime::features`].
//!
//! ```
//! use corio::probe::{Environment, Refusal};
//! let environment = Environment::read();
//! match corio::Runtime::builder().require_io_uring().build() {
//!     Ok(runtime) => println!("Linux {}: {}", environment.kernel, runtime.features()),
//!     Err(error) => {
//!         let refusal = Refusal::in_error(&error);
//!         for cure in refusal.map(Refusal::cures).unwrap_or_default() {
//!             println!("{}: {}", cure.place, cure.text);
//!         }
//!     }
//! }
//! ```
//!
//! [`Builder::build`]: crate::Builder::build
//! [`Runtime::features`]: crate::Runtime::features

pub use crate::driver::{
    Capability, Cause, Container, Cure, Environment, Found, KnownBug, Limit, Prober, Refusal,
};

use crate::driver::RingSize;

/// Bytes of memory that one core with the default settings locks: its queues, and the rings of its
/// receive buffers. RLIMIT_MEMLOCK counts them for all cores of all processes of a user together.
///
/// ```
/// let cores = 8;
/// assert!(cores * corio::probe::locked_bytes_of_a_core() < 8 << 20);
/// ```
pub fn locked_bytes_of_a_core() -> usize {
    RingSize::default().locked_bytes()
}
