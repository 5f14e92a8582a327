//! An open file. Reads and writes name their positions, so any number of them may be in flight;
//! `reading.rs` and `writing.rs` have them.

use std::cell::Cell;
use std::ffi::CString;
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use super::calls::{checked_position, on_names, plain, status};
use super::{Cursor, Metadata, OpenOptions};
use crate::driver::{Advice, AllocateMode, Fd, FileOp, Payload, StatusFlags};
use crate::executor::Core;

/// An open file of this core.
///
/// Everything takes `&self` and names its position: put the file into an `Rc`, and have as many
/// reads and writes in flight as the disk likes. What reads on and on, from front to back, is a
/// [`Cursor`].
///
/// The descriptor is closed when the file and the last operation on it are gone. Where that has
/// work to do (the last name of a large file is gone, a network's file system)
/// [`close`](Self::close) does it off the loop.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("numbers");
/// let file = corio::fs::File::create(&path).await?;
/// let (first, second) = corio::join!(file.write_all_at(0, "one "), file.write_all_at(4, "two"));
/// first?;
/// second?;
/// file.sync_all().await?;
/// assert_eq!(corio::fs::read(&path).await?, b"one two");
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct File {
    pub(super) core: Rc<Core>,
    pub(super) fd: Rc<Fd>,
    /// Reads go to the driver at once, so many times: the last one was not in the page cache.
    pub(super) cold_reads: Cell<u32>,
}

impl File {
    pub(super) fn new(core: Rc<Core>, fd: Rc<Fd>) -> File {
        File { core, fd, cold_reads: Cell::new(0) }
    }

    pub(crate) fn descriptor(&self) -> &Rc<Fd> {
        &self.fd
    }

    /// Opens a file for reading. A pipe with a name is opened at once, also where nobody writes to
    /// it yet and open(2) would wait (on the ring; a helper waits).
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: a descriptor that comes after the open was dropped is closed.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for reading and writing; it is made, or emptied.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the file may have been made or emptied. No descriptor stays open.
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).await
    }

    /// As [`create`](Self::create), but it is an error if there is such a file.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and the kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the file may have been made. No descriptor stays open.
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).await
    }

    /// How a file is opened: [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over a descriptor, say of a [`std::fs::File`].
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn from_fd(fd: impl Into<OwnedFd>) -> File {
        let core = Core::current();
        let fd = core.fd(fd.into().into_raw_fd());
        File::new(core, fd)
    }

    /// Brings everything of the file to the disk: what was written before, and what the file system
    /// says of it.
    ///
    /// # Errors
    ///
    /// The kernel's. After an error it is unknown what is on the disk, and a second call may say
    /// that all is well: write it again.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it is unknown what is on the disk.
    #[doc(alias = "fsync")]
    pub async fn sync_all(&self) -> io::Result<()> {
        plain(&self.core, &self.fd, FileOp::Sync { fd: self.fd.raw(), data_only: false }).await
    }

    /// As [`sync_all`](Self::sync_all), but only what a read needs: no times.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it is unknown what is on the disk.
    #[doc(alias = "fdatasync")]
    pub async fn sync_data(&self) -> io::Result<()> {
        plain(&self.core, &self.fd, FileOp::Sync { fd: self.fd.raw(), data_only: true }).await
    }

    /// Cuts the file off, or has it go on with zeroes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have happened.
    #[doc(alias = "ftruncate")]
    pub async fn set_len(&self, length: u64) -> io::Result<()> {
        checked_position(length)?;
        plain(&self.core, &self.fd, FileOp::SetLength { fd: self.fd.raw(), length }).await
    }

    /// Reserves room on the disk, so that writes there do not fail for want of it. The file grows
    /// if the room lies behind its end; see [`allocate_beyond`](Self::allocate_beyond).
    ///
    /// # Errors
    ///
    /// `Unsupported` by some file systems; the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have happened.
    #[doc(alias = "fallocate")]
    pub async fn allocate(&self, position: u64, length: u64) -> io::Result<()> {
        self.allocate_as(AllocateMode::Grow, position, length).await
    }

    /// As [`allocate`](Self::allocate), but the file keeps its length.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have happened.
    pub async fn allocate_beyond(&self, position: u64, length: u64) -> io::Result<()> {
        self.allocate_as(AllocateMode::KeepLength, position, length).await
    }

    /// Gives a part of the file back to the disk: reads find zeroes there.
    ///
    /// # Errors
    ///
    /// As of [`allocate`](Self::allocate).
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have happened.
    pub async fn punch_hole(&self, position: u64, length: u64) -> io::Result<()> {
        self.allocate_as(AllocateMode::PunchHole, position, length).await
    }

    async fn allocate_as(&self, mode: AllocateMode, position: u64, length: u64) -> io::Result<()> {
        checked_position(position)?;
        checked_position(length)?;
        let op = FileOp::Allocate { fd: self.fd.raw(), mode, position, length };
        plain(&self.core, &self.fd, op).await
    }

    /// Tells the kernel how a part of the file will be used; length 0 is up to its end.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it changes no byte.
    #[doc(alias = "posix_fadvise")]
    pub async fn advise(&self, advice: Advice, position: u64, length: u64) -> io::Result<()> {
        let op = FileOp::Advise { fd: self.fd.raw(), advice, position, length };
        plain(&self.core, &self.fd, op).await
    }

    /// The file's status.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing changes.
    #[doc(alias = "fstat")]
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let flags = StatusFlags::Itself;
        let status = status(&self.core, Some(&self.fd), CString::default(), flags).await?;
        Ok(Metadata::new(status))
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have happened.
    #[doc(alias = "fchmod")]
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        let mode = permissions.mode() & 0o7777;
        plain(&self.core, &self.fd, FileOp::SetMode { fd: self.fd.raw(), mode }).await
    }

    /// Closes the file on a helper thread, and says what only a close says: errors of file systems
    /// that write late. Without it the drop closes on the spot.
    ///
    /// # Errors
    ///
    /// The kernel's; the descriptor is gone all the same. `ResourceBusy` if operations on the file
    /// are in flight: the last of them closes it.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it is closed.
    pub async fn close(self) -> io::Result<()> {
        let File { core, fd, .. } = self;
        core.check_turning()?;
        let Ok(descriptor) = Fd::release_last(fd) else {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "operations on the file are in flight, the last of which closes it; cure: wait for \
                 them before the close",
            ));
        };
        on_names(&core, None, FileOp::Close, Payload::Descriptor(descriptor)).await.map(drop)
    }

    /// The file from this position on, as a stream of bytes that reads ahead.
    pub fn cursor(self, position: u64) -> Cursor {
        Cursor::new(Rc::new(self), position)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("fd", &self.fd.raw()).finish_non_exhaustive()
    }
}
