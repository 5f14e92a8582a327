//! Any descriptor, watched for readiness: what other libraries open and want a loop for.
//!
//! Readiness is asked of the kernel each time, and remembered only until somebody finds that it no
//! longer holds. The descriptor is duplicated, so whatever becomes of the original while it is
//! watched (closed, replaced, watched twice) concerns nobody but its owner.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use crate::driver::{Fd, Op, Payload};
use crate::executor::Core;
use crate::executor::operation::Operation;

/// A descriptor whose readiness can be awaited: a device, an inotify, a socket of another library.
///
/// It must not block, or a call that finds nothing stops the loop: set `O_NONBLOCK`. A regular file
/// is always ready.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// # corio::run(async {
/// let (mine, mut theirs) = UnixStream::pair()?;
/// mine.set_nonblocking(true)?;
/// let mine = corio::io::AsyncFd::new(mine)?;
/// theirs.write_all(b"news")?;
/// let mut buffer = [0; 10];
/// let count = loop {
///     let mut ready = mine.readable().await?;
///     match ready.try_io(|fd| (&mut &*fd.get_ref()).read(&mut buffer)) {
///         Ok(read) => break read?,
///         Err(_) => continue,
///     }
/// };
/// assert_eq!(&buffer[..count], b"news");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "add_reader")]
#[doc(alias = "add_writer")]
#[doc(alias = "remove_reader")]
#[doc(alias = "remove_writer")]
pub struct AsyncFd<T> {
    inner: T,
    core: Rc<Core>,
    fd: Rc<Fd>,
    is_ready: [Cell<bool>; 2],
}

/// That the descriptor was ready. See [`AsyncFd::readable`] and [`AsyncFd::writable`].
#[must_use = "readiness is remembered until `try_io` or `clear_ready` finds that it is over"]
pub struct ReadyGuard<'a, T> {
    fd: &'a AsyncFd<T>,
    direction: Direction,
}

/// That the descriptor was not ready after all: wait again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TryIoError(());

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

impl<T: AsFd> AsyncFd<T> {
    /// Watches a descriptor.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors: it is duplicated.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn new(inner: T) -> io::Result<AsyncFd<T>> {
        let core = Core::current();
        let raw = core.driver.borrow_mut().duplicate(inner.as_fd().as_raw_fd())?;
        let fd = core.fd(raw);
        Ok(AsyncFd { inner, core, fd, is_ready: [Cell::new(false), Cell::new(false)] })
    }
}

impl<T> AsyncFd<T> {
    /// Waits until a read would not block: there is something, or the end, or an error.
    ///
    /// # Errors
    ///
    /// The kernel's; or that the runtime it was made in is not the one that runs here.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it only waits.
    pub fn readable(&self) -> impl Future<Output = io::Result<ReadyGuard<'_, T>>> {
        self.ready(Direction::In)
    }

    /// Waits until a write would not block.
    ///
    /// # Errors
    ///
    /// As [`readable`](Self::readable).
    ///
    /// # Cancellation
    ///
    /// **Strict**: it only waits.
    pub fn writable(&self) -> impl Future<Output = io::Result<ReadyGuard<'_, T>>> {
        self.ready(Direction::Out)
    }

    async fn ready(&self, direction: Direction) -> io::Result<ReadyGuard<'_, T>> {
        self.core.check_turning()?;
        if !self.is_ready[direction as usize].get() {
            let fd = self.fd.raw();
            let op = match direction {
                Direction::In => Op::Poll { fd, multishot: false },
                Direction::Out => Op::PollOut { fd },
            };
            let result = Operation::start(&self.core, op, Payload::None, &self.fd).await;
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            self.is_ready[direction as usize].set(true);
        }
        Ok(ReadyGuard { fd: self, direction })
    }

    /// What is watched.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What is watched.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Watches it no longer.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<'a, T> ReadyGuard<'a, T> {
    /// Does what the readiness was waited for. If it would block, the readiness is over, which is
    /// the outer error: wait again.
    ///
    /// # Errors
    ///
    /// [`TryIoError`] if it would block; the inner result is that of `attempt`.
    pub fn try_io<R>(
        &mut self,
        attempt: impl FnOnce(&'a AsyncFd<T>) -> io::Result<R>,
    ) -> Result<io::Result<R>, TryIoError> {
        match attempt(self.fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.clear_ready();
                Err(TryIoError(()))
            }
            result => Ok(result),
        }
    }

    /// Says that the readiness is over: an attempt would have blocked.
    pub fn clear_ready(&mut self) {
        self.fd.is_ready[self.direction as usize].set(false);
    }

    /// Lets the readiness stand, which dropping the guard does as well.
    pub fn retain_ready(&mut self) {}

    /// What is watched.
    pub fn get_inner(&self) -> &'a T {
        &self.fd.inner
    }
}

impl<T: AsFd> AsFd for AsyncFd<T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for AsyncFd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncFd").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ReadyGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadyGuard")
    }
}

impl fmt::Display for TryIoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the descriptor was not ready")
    }
}

impl std::error::Error for TryIoError {}
