//! How a file is opened.

use std::io;
use std::path::Path;

use super::dir::open_by_rule;
use super::{Dir, File};
use crate::driver::OpenHow;
use crate::executor::Core;

/// Options and flags with which a file is opened: std's, and the kernel's by
/// [`custom_flags`](Self::custom_flags).
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("log");
/// let log = corio::fs::OpenOptions::new().append(true).create(true).open(&path).await?;
/// log.append("a line\n").await?;
/// log.append("another\n").await?;
/// assert_eq!(corio::fs::read_to_string(&path).await?, "a line\nanother\n");
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    how: OpenHow,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Everything off; files are made with the permissions 0666, less the process's mask.
    pub fn new() -> OpenOptions {
        OpenOptions { how: OpenHow { mode: 0o666, ..OpenHow::NOTHING } }
    }

    /// The file can be read.
    pub fn read(mut self, on: bool) -> Self {
        self.how.read = on;
        self
    }

    /// The file can be written.
    pub fn write(mut self, on: bool) -> Self {
        self.how.write = on;
        self
    }

    /// The file can be written, and every write goes to its end, also of several processes.
    pub fn append(mut self, on: bool) -> Self {
        self.how.append = on;
        self
    }

    /// What is in the file is thrown away.
    pub fn truncate(mut self, on: bool) -> Self {
        self.how.truncate = on;
        self
    }

    /// The file is made if there is none.
    pub fn create(mut self, on: bool) -> Self {
        self.how.create = on;
        self
    }

    /// The file is made, and it is an error if there is one, also a link to nowhere.
    pub fn create_new(mut self, on: bool) -> Self {
        self.how.create_new = on;
        self
    }

    /// Permissions of a file that is made, less the process's mask: 0666 by default.
    pub fn mode(mut self, mode: u32) -> Self {
        self.how.mode = mode & 0o7777;
        self
    }

    /// No part of the path may be a link: one that is is an error.
    pub fn no_symlinks(mut self, on: bool) -> Self {
        self.how.no_links = on;
        self
    }

    /// Flags of open(2) besides, such as `O_NOATIME`. Those for reading and writing are left out.
    pub fn custom_flags(mut self, flags: i32) -> Self {
        self.how.custom = flags;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// The kernel's; `InvalidInput` for options that contradict each other, as in std;
    /// `Unsupported` for [`no_symlinks`](Self::no_symlinks) where the kernel does not know it.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the file may have been made or emptied by the time the open is dropped. No
    /// descriptor stays open.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        self.check()?;
        let core = Core::current();
        let fd = open_by_rule(&core, None, path.as_ref(), self.how).await?;
        Ok(File::new(core, fd))
    }

    /// Opens a file beneath a folder: a path that leads out of it is refused, see [`Dir`].
    ///
    /// ```
    /// # corio::run(async {
    /// # let folder = corio::fs::TemporaryFolder::new().await?;
    /// let uploads = corio::fs::Dir::open(folder.path()).await?;
    /// let options = corio::fs::OpenOptions::new().write(true).create_new(true).no_symlinks(true);
    /// let file = options.open_beneath(&uploads, "a name that somebody sent").await?;
    /// file.write_all_at(0, "contents").await?;
    /// # folder.remove().await?;
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// `PermissionDenied` for a path that leads out of the folder; `Unsupported` where the kernel
    /// cannot keep to that rule; otherwise as [`open`](Self::open).
    ///
    /// # Cancellation
    ///
    /// **Weak**: as of [`open`](Self::open).
    pub async fn open_beneath(&self, folder: &Dir, path: impl AsRef<Path>) -> io::Result<File> {
        self.check()?;
        folder.open_as(path.as_ref(), self.how).await
    }

    /// What std refuses is refused.
    pub(super) fn check(&self) -> io::Result<()> {
        let OpenHow { read, write, append, truncate, create, create_new, .. } = self.how;
        let what = if !(read || write || append) {
            "a file is opened for reading, writing or appending"
        } else if append && truncate && !create_new {
            "a file that is appended to is not emptied"
        } else if !write && !append && (truncate || create || create_new) {
            "a file that is only read is neither made nor emptied"
        } else {
            return Ok(());
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{what}; cure: see the options of this open"),
        ))
    }

    pub(super) fn how(&self) -> OpenHow {
        self.how
    }
}
