//! What is done by name: one operation each.

use std::ffi::{CString, OsString};
use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Metadata;
use super::calls::{name, on_names, open, status};
use crate::driver::{FileOp, HERE, LinkFlags, OpenHow, Paths, Payload, StatusFlags};
use crate::executor::Core;

/// Room for the target of a link: more than any path may have.
const LINK_BYTES_MAX: usize = 4096 + 1;

async fn one(op: FileOp, path: &Path) -> io::Result<()> {
    let payload = Paths::one(name(path)?);
    on_names(&Core::current(), None, op, payload).await.map(drop)
}

async fn two(op: FileOp, first: &Path, second: &Path) -> io::Result<()> {
    let payload = Paths::two(name(first)?, name(second)?);
    on_names(&Core::current(), None, op, payload).await.map(drop)
}

/// Gives a file or folder another name; what had that name before is replaced, in one step.
///
/// # Errors
///
/// The kernel's: both names have to be in one file system.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: it may have happened.
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    two(FileOp::Rename { replace: true }, from.as_ref(), to.as_ref()).await
}

/// As [`rename`], of a name that nobody must have.
pub(super) async fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    two(FileOp::Rename { replace: false }, from, to).await
}

/// Takes the name of a file, or a link, away. The file itself goes with its last name, when nobody
/// has it open.
///
/// # Errors
///
/// The kernel's; `IsADirectory` for a folder.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: it may have happened.
#[doc(alias = "unlink")]
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    one(FileOp::Unlink { folder: HERE, is_folder: false }, path.as_ref()).await
}

/// Removes an empty folder.
///
/// # Errors
///
/// The kernel's; `DirectoryNotEmpty`.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: it may have happened.
#[doc(alias = "rmdir")]
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    one(FileOp::Unlink { folder: HERE, is_folder: true }, path.as_ref()).await
}

/// Makes a folder; the one that it is in has to be there.
///
/// # Errors
///
/// The kernel's; `AlreadyExists`.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: it may have happened.
#[doc(alias = "mkdir")]
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    one(FileOp::MakeFolder { mode: 0o777 }, path.as_ref()).await
}

/// A folder that only this user can look into.
pub(super) async fn create_private_dir(path: &Path) -> io::Result<()> {
    one(FileOp::MakeFolder { mode: 0o700 }, path).await
}

/// Gives a file a second name in the same file system; of a link, the link gets it.
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
/// **Weak**: it may have happened.
#[doc(alias = "link")]
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    two(FileOp::Link { flags: LinkFlags::NoFollow }, original.as_ref(), link.as_ref()).await
}

/// Gives an open file without a name its first one.
pub(super) async fn link_open_file(file: &impl AsRawFd, link: &Path) -> io::Result<()> {
    let itself = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    two(FileOp::Link { flags: LinkFlags::Follow }, &itself, link).await
}

/// Makes a symbolic link that says `original`, whether there is such a file or not.
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
/// **Weak**: it may have happened.
pub async fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    two(FileOp::Symlink, original.as_ref(), link.as_ref()).await
}

/// What a symbolic link says.
///
/// # Errors
///
/// The kernel's; `InvalidInput` if it is no link.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: nothing changes.
#[doc(alias = "readlink")]
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let payload = Paths::with_answer(name(path.as_ref())?, LINK_BYTES_MAX);
    let outcome = on_names(&Core::current(), None, FileOp::ReadLink, payload).await?;
    let Payload::Paths(mut paths) = outcome.payload else {
        unreachable!("a completed operation gives its payload back")
    };
    paths.answer.truncate(outcome.result.unsigned_abs() as usize);
    Ok(PathBuf::from(OsString::from_vec(paths.answer)))
}

/// The status of what a path names, behind links.
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
/// **Strict**: nothing changes.
#[doc(alias = "stat")]
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = name(path.as_ref())?;
    status(&Core::current(), None, path, StatusFlags::Follow).await.map(Metadata::new)
}

/// The status of what a path names; of a link, that of the link.
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
/// **Strict**: nothing changes.
#[doc(alias = "lstat")]
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = name(path.as_ref())?;
    status(&Core::current(), None, path, StatusFlags::NoFollow).await.map(Metadata::new)
}

/// Whether a path names something; a link to nowhere names nothing. By the time it is answered,
/// that may have changed: open the file rather than ask first.
///
/// # Errors
///
/// The kernel's, where it cannot tell: a folder that may not be looked into.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: nothing changes.
#[doc(alias = "try_exists")]
pub async fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The path without links and dots, from the root. It asks the kernel for the name of the opened
/// place, so `/proc` has to be there.
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
/// **Strict**: nothing changes.
#[doc(alias = "realpath")]
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let how = OpenHow { place_only: true, ..OpenHow::NOTHING };
    let place = open(&Core::current(), None, name(path.as_ref())?, how).await?;
    read_link(format!("/proc/self/fd/{}", place.raw())).await
}

/// Changes the permissions of what a path names, behind links.
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
/// **Weak**: it may have happened.
#[doc(alias = "chmod")]
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    one(FileOp::SetModeAt { mode: permissions.mode() & 0o7777 }, path.as_ref()).await
}

/// The name of the open file itself, where an operation on names takes one.
pub(super) fn itself() -> CString {
    CString::default()
}
