//! A folder that is held open, and what is opened beneath it.
//!
//! A path that a client sent must not lead out of the folder that is served: not by `..`, not from
//! the root, and not by a link, whoever exchanges folders for links meanwhile. To look at a path
//! first and to open it afterwards leaves a moment for that; so the kernel is told the rule along
//! with the open: openat2(2) with RESOLVE_BENEATH.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

use super::calls::{name, open, status};
use super::folder::{ReadDir, open_folder_in};
use super::{File, Metadata, OpenOptions};
use crate::driver::{Fd, OpenHow, StatusFlags, is_escape, is_no_call};
use crate::executor::Core;

/// How often an open is tried again that could not be sure, since somebody renamed meanwhile.
const TRIES_MAX: usize = 64;

/// A folder that is held open: what is opened through it lies beneath it, whatever the path says.
///
/// The path may have links that stay beneath the folder, and `..` as far as it goes down again; one
/// that leads out of it, or begins at the root, is refused. What is mounted on a folder is beneath
/// it.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path();
/// corio::fs::write(path.join("index.html"), "<p>hello").await?;
/// let site = corio::fs::Dir::open(path).await?;
/// let file = site.open_file("index.html").await?;
/// assert_eq!(&file.read_at(0, 100).await?[..], b"<p>hello");
/// let error = site.open_file("../../etc/passwd").await.unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct Dir {
    core: Rc<Core>,
    fd: Rc<Fd>,
}

/// Only the place: the folder need not be readable, and a metadata needs no more of a file.
const PLACE: OpenHow = OpenHow { place_only: true, ..OpenHow::NOTHING };

impl Dir {
    /// Opens a folder. Links in this path are followed: it is the program's.
    ///
    /// # Errors
    ///
    /// The kernel's; `NotADirectory`.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: no descriptor stays open.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Dir> {
        let core = Core::current();
        let how = OpenHow { folder: true, ..PLACE };
        let fd = open(&core, None, name(path.as_ref())?, how).await?;
        Ok(Dir { core, fd })
    }

    /// Opens a file beneath the folder for reading. [`OpenOptions::open_beneath`] opens it in other
    /// ways.
    ///
    /// # Errors
    ///
    /// As of [`OpenOptions::open_beneath`].
    ///
    /// # Cancellation
    ///
    /// **Strict**: no descriptor stays open.
    pub async fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        OpenOptions::new().read(true).open_beneath(self, path).await
    }

    /// Opens a folder beneath this one.
    ///
    /// # Errors
    ///
    /// As of [`OpenOptions::open_beneath`].
    ///
    /// # Cancellation
    ///
    /// **Strict**: no descriptor stays open.
    pub async fn open_dir(&self, path: impl AsRef<Path>) -> io::Result<Dir> {
        let fd = self.beneath(path.as_ref(), OpenHow { folder: true, ..PLACE }).await?;
        Ok(Dir { core: Rc::clone(&self.core), fd })
    }

    /// The status of what a path beneath the folder names, behind links.
    ///
    /// # Errors
    ///
    /// As of [`OpenOptions::open_beneath`].
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing changes.
    pub async fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        let fd = self.beneath(path.as_ref(), PLACE).await?;
        let flags = StatusFlags::Itself;
        status(&self.core, Some(&fd), CString::default(), flags).await.map(Metadata::new)
    }

    /// The entries of the folder, as those of [`read_dir`](crate::fs::read_dir). Their paths are
    /// relative to it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing changes, and no descriptor stays open.
    pub async fn read_dir(&self) -> io::Result<ReadDir> {
        // A reader of its own, from the beginning.
        let fd = open_folder_in(&self.core, &self.fd, ".".as_ref()).await?;
        Ok(ReadDir::new(Rc::clone(&self.core), fd, Path::new("")))
    }

    async fn beneath(&self, path: &Path, how: OpenHow) -> io::Result<Rc<Fd>> {
        let how = OpenHow { beneath: true, ..how };
        open_by_rule(&self.core, Some(&self.fd), path, how).await
    }

    pub(super) async fn open_as(&self, path: &Path, how: OpenHow) -> io::Result<File> {
        let fd = self.beneath(path, how).await?;
        Ok(File::new(Rc::clone(&self.core), fd))
    }
}

/// Opens with the rules for the path, if there are any; says what a broken one means.
pub(super) async fn open_by_rule(
    core: &Rc<Core>,
    folder: Option<&Rc<Fd>>,
    path: &Path,
    how: OpenHow,
) -> io::Result<Rc<Fd>> {
    if !how.has_rules() {
        return open(core, folder, name(path)?, how).await;
    }
    let mut tries = 0;
    loop {
        match open(core, folder, name(path)?, how).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES_MAX => {
                tries += 1;
            }
            Err(error) if how.beneath && is_escape(&error) => return Err(escape(path)),
            Err(error) if is_no_call(&error) => return Err(no_rules()),
            opened => return opened,
        }
    }
}

fn escape(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("the path {path:?} leads out of the folder that it is to be opened beneath"),
    )
}

fn no_rules() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this kernel, or the filter on its calls, has no openat2, which alone keeps a path to \
         rules; cure: Linux 5.6 or later, and a profile that allows the call",
    )
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dir").field("fd", &self.fd.raw()).finish_non_exhaustive()
    }
}
