//! Locks of whole files: flock(2).
//!
//! A lock that is held is asked for again and again, with pauses that grow to 50 ms. A thread that
//! waited for it in the kernel could not be called back, and enough of them would keep the helpers
//! from the work that gives the lock back.

use std::io;
use std::time::Duration;

use super::File;
use super::calls::plain;
use crate::driver::{FileOp, LockKind};
use crate::time::sleep;

const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

impl File {
    /// Locks the file for this open file alone, against others that lock it, in this process or in
    /// another; it keeps nobody from reading or writing. The lock is held until
    /// [`unlock`](Self::unlock) or until the file is closed. Who waits is not served in any order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: an attempt that was on its way may have got the lock; unlock the file, or close
    /// it.
    #[doc(alias = "flock")]
    pub async fn lock(&self) -> io::Result<()> {
        self.wait_for_lock(LockKind::Exclusive).await
    }

    /// As [`lock`](Self::lock), beside others that lock it shared.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as there.
    pub async fn lock_shared(&self) -> io::Result<()> {
        self.wait_for_lock(LockKind::Shared).await
    }

    /// Locks the file if nobody else has it locked; false otherwise.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as of [`lock`](Self::lock).
    pub async fn try_lock(&self) -> io::Result<bool> {
        self.ask_for_lock(LockKind::Exclusive).await
    }

    /// As [`try_lock`](Self::try_lock), beside others that lock it shared.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as of [`lock`](Self::lock).
    pub async fn try_lock_shared(&self) -> io::Result<bool> {
        self.ask_for_lock(LockKind::Shared).await
    }

    /// Gives the lock back.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been given back.
    pub async fn unlock(&self) -> io::Result<()> {
        plain(&self.core, &self.fd, FileOp::Lock { fd: self.fd.raw(), kind: LockKind::Unlock })
            .await
    }

    async fn wait_for_lock(&self, kind: LockKind) -> io::Result<()> {
        let mut pause = PAUSE_MIN;
        while !self.ask_for_lock(kind).await? {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    async fn ask_for_lock(&self, kind: LockKind) -> io::Result<bool> {
        let op = FileOp::Lock { fd: self.fd.raw(), kind };
        match plain(&self.core, &self.fd, op).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
