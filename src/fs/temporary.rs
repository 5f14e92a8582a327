//! Temporary files and folders: with names that nobody else has, or without a name.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::calls::{name, open};
use super::paths::{create_private_dir, link_open_file, rename_new};
use super::{File, OpenOptions, remove_dir_all, remove_file};
use crate::driver::{FileOp, HERE, Op, OpenHow, Paths};
use crate::executor::operation::Operation;
use crate::executor::{Core, Life};

/// How many names are tried: that one of them is taken says that somebody takes them on purpose.
const TRIES_MAX: usize = 100;

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A name that nobody has, as far as one can tell.
pub(super) fn random_name(core: &Core) -> String {
    let letter = |_| char::from(LETTERS[core.random_below(LETTERS.len())]);
    let letters: String = (0..16).map(letter).collect();
    format!(".corio-{}-{letters}", std::process::id())
}

/// An open file in a folder for temporary ones, which is removed with this.
///
/// It can be read and written by this user only. [`keep`](Self::keep) gives it a name for good;
/// [`remove`](Self::remove) removes it and waits for that. Dropping it has it removed: in the
/// background, or if the runtime ends before, not at all.
///
/// ```
/// # corio::run(async {
/// let scratch = corio::fs::TemporaryFile::new().await?;
/// scratch.file().write_all_at(0, "for a while").await?;
/// let path = scratch.path().to_owned();
/// assert!(corio::fs::exists(&path).await?);
/// scratch.remove().await?;
/// assert!(!corio::fs::exists(&path).await?);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "NamedTemporaryFile")]
pub struct TemporaryFile {
    file: File,
    path: Owned,
}

impl TemporaryFile {
    /// Makes one in the folder that `TMPDIR` names, or in `/tmp`.
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
    /// **Weak**: it may have been made, and stays.
    pub async fn new() -> io::Result<TemporaryFile> {
        TemporaryFile::new_in(std::env::temp_dir()).await
    }

    /// Makes one in a folder.
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
    /// **Weak**: it may have been made, and stays.
    pub async fn new_in(folder: impl AsRef<Path>) -> io::Result<TemporaryFile> {
        let core = Core::current();
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600);
        for _ in 0..TRIES_MAX {
            let path = folder.as_ref().join(random_name(&core));
            match options.open(&path).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    return Ok(TemporaryFile { file, path: Owned::new(core, path, false) });
                }
            }
        }
        Err(all_taken())
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path.path
    }

    /// Gives it a name in the same file system, which nobody must have, and keeps it.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and the kernel's: then it is removed.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have got the name.
    pub async fn keep(mut self, path: impl AsRef<Path>) -> io::Result<File> {
        rename_new(&self.path.path, path.as_ref()).await?;
        self.path.is_gone = true;
        Ok(self.file)
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it is removed in the background.
    pub async fn remove(mut self) -> io::Result<()> {
        remove_file(&self.path.path).await?;
        self.path.is_gone = true;
        Ok(())
    }
}

impl fmt::Debug for TemporaryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryFile").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// A folder for temporary files, which is removed with all that is in it.
///
/// Only this user can look into it. [`remove`](Self::remove) removes it and waits for that;
/// dropping it has it removed in the background, or if the runtime ends before, not at all.
#[doc(alias = "TemporaryDirectory")]
pub struct TemporaryFolder {
    path: Owned,
}

impl TemporaryFolder {
    /// Makes one in the folder that `TMPDIR` names, or in `/tmp`.
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
    /// **Weak**: it may have been made, and stays.
    pub async fn new() -> io::Result<TemporaryFolder> {
        TemporaryFolder::new_in(std::env::temp_dir()).await
    }

    /// Makes one in a folder.
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
    /// **Weak**: it may have been made, and stays.
    pub async fn new_in(folder: impl AsRef<Path>) -> io::Result<TemporaryFolder> {
        let core = Core::current();
        for _ in 0..TRIES_MAX {
            let path = folder.as_ref().join(random_name(&core));
            match create_private_dir(&path).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    return Ok(TemporaryFolder { path: Owned::new(core, path, true) });
                }
            }
        }
        Err(all_taken())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path.path
    }

    /// Keeps it, and says where it is.
    pub fn keep(mut self) -> PathBuf {
        self.path.is_gone = true;
        self.path.path.clone()
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: it is removed in the background.
    pub async fn remove(mut self) -> io::Result<()> {
        remove_dir_all(&self.path.path).await?;
        self.path.is_gone = true;
        Ok(())
    }
}

impl fmt::Debug for TemporaryFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryFolder").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Opens a file without a name in a folder, for reading and writing: it is gone when it is closed,
/// also if the process is killed. [`File::link`] gives it a name.
///
/// # Errors
///
/// `Unsupported`, and the kernel's: not all file systems have such files.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: nothing stays.
#[doc(alias = "O_TMPFILE")]
#[doc(alias = "TemporaryFile")]
pub async fn unnamed_file(folder: impl AsRef<Path>) -> io::Result<File> {
    let core = Core::current();
    let how = OpenHow { read: true, write: true, unnamed: true, mode: 0o600, ..OpenHow::NOTHING };
    let fd = open(&core, None, name(folder.as_ref())?, how).await?;
    Ok(File::new(core, fd))
}

impl File {
    /// Gives an open file a name in its file system, which nobody must have: that of an
    /// [`unnamed_file`] whose contents are complete. `/proc` has to be there.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, and the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have got the name.
    pub async fn link(&self, path: impl AsRef<Path>) -> io::Result<()> {
        link_open_file(&self.as_fd(), path.as_ref()).await
    }
}

fn all_taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!(
            "{TRIES_MAX} random names are taken: somebody makes files of these names on purpose"
        ),
    )
}

/// A path whose file is removed with this.
struct Owned {
    core: Rc<Core>,
    path: PathBuf,
    is_folder: bool,
    is_gone: bool,
}

impl Owned {
    fn new(core: Rc<Core>, path: PathBuf, is_folder: bool) -> Owned {
        Owned { core, path, is_folder, is_gone: false }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.is_gone || self.core.life() >= Life::Draining {
            return;
        }
        let (core, guard) = (Rc::clone(&self.core), self.core.linger_guard());
        let (path, is_folder) = (std::mem::take(&mut self.path), self.is_folder);
        let remove = async move {
            let _guard = guard;
            // Nobody is there any more who could be told.
            if is_folder {
                let _ = remove_dir_all(path).await;
            } else if let Ok(path) = name(&path) {
                let op = Op::File(FileOp::Unlink { folder: HERE, is_folder: false });
                let _ = Operation::start_with(&core, op, Paths::one(path), None).await;
            }
        };
        self.core.spawn(remove, std::panic::Location::caller(), true);
    }
}
