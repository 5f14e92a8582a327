//! Trees of folders: made along a path, and removed without ever leaving them.
//!
//! A removal goes down by descriptors: a folder is opened inside of its parent's descriptor, by one
//! name and never behind a link. So whoever exchanges a folder for a link meanwhile loses the link,
//! and nothing outside is touched. What others remove meanwhile is removed; what they add behind
//! the reader's back is found by another round, as long as each round removes something.
//!
//! The files of a folder are removed many at a time: each waits for a thread of the kernel's or a
//! helper, and one after the other they would wait for little else. How many bounds what a turn of
//! the loop has to do with them.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::calls::{name, on_names, open};
use super::folder::{ReadDir, open_folder_in};
use super::paths::{create_dir, metadata, remove_dir, remove_file, symlink_metadata};
use crate::driver::{Fd, FileOp, OpenHow, Paths, RawEntry, is_about_links, kind};
use crate::executor::Core;

/// How often a folder is read anew that others fill while it is emptied.
const ROUNDS_MAX: usize = 64;

/// How many files are removed at a time.
const REMOVALS_MAX: usize = 32;

/// How deep a tree may be: each level holds a descriptor while it is worked on.
const DEPTH_MAX: usize = 4096;

/// Makes a folder and those that it is in, as far as they are missing.
///
/// # Errors
///
/// The kernel's; `AlreadyExists` if something on the way is no folder.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: some of them may have been made.
#[doc(alias = "makedirs")]
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let mut missing = Vec::new();
    let mut next = Some(path);
    while let Some(folder) = next.filter(|folder| !folder.as_os_str().is_empty()) {
        match create_dir(folder).await {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(folder),
            Err(error) => match metadata(folder).await {
                Ok(found) if found.is_dir() => break,
                _ => return Err(error),
            },
        }
        next = folder.parent();
    }
    for folder in missing.into_iter().rev() {
        match create_dir(folder).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it. Links are removed, never followed; if the path itself
/// is one, it alone is.
///
/// Up to 32 files are removed at a time, all of one folder, and the loop goes on meanwhile. Each
/// level of the tree holds a descriptor.
///
/// # Errors
///
/// The kernel's; what was removed before stays removed. `NotFound` of the path itself is one, of
/// what is in it not.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: a part of it is gone.
#[doc(alias = "rmtree")]
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if symlink_metadata(path).await?.is_symlink() {
        return remove_file(path).await;
    }
    let core = Core::current();
    let how = OpenHow { read: true, folder: true, no_follow: true, ..OpenHow::NOTHING };
    let top = open(&core, None, name(path)?, how).await?;
    empty(&core, top).await?;
    remove_dir(path).await
}

/// A folder that is being emptied.
struct Level {
    fd: Rc<Fd>,
    /// Its name in the level above.
    own: OsString,
    /// Folders in it that are to be emptied and removed.
    folders: Vec<OsString>,
    rounds: usize,
}

impl Level {
    fn new(fd: Rc<Fd>, own: OsString) -> Level {
        Level { fd, own, folders: Vec::new(), rounds: 0 }
    }

    /// Looks at a name once more, unless that went on for too long.
    fn retry(&mut self, own: OsString, error: io::Error) -> io::Result<()> {
        self.rounds += 1;
        if self.rounds == ROUNDS_MAX {
            return Err(error);
        }
        self.folders.push(own);
        Ok(())
    }
}

/// Removes all that is in a folder: a stack of levels instead of a recursion, whose depth would be
/// somebody else's choice.
async fn empty(core: &Rc<Core>, top: Rc<Fd>) -> io::Result<()> {
    let mut levels = vec![Level::new(top, OsString::new())];
    let top = &mut levels[0];
    remove_files(core, top).await?;
    while let Some(level) = levels.last_mut() {
        let Some(own) = level.folders.pop() else {
            let Some(done) = levels.pop() else { return Ok(()) };
            let Some(above) = levels.last_mut() else { return Ok(()) };
            if let Some(again) = close_level(core, above, done).await? {
                levels.push(again);
            }
            continue;
        };
        match open_folder_in(core, &level.fd, &own).await {
            Ok(fd) => {
                let mut below = Level::new(fd, own);
                remove_files(core, &mut below).await?;
                if levels.len() == DEPTH_MAX {
                    return Err(too_deep());
                }
                levels.push(below);
            }
            Err(error) if is_gone(&error) => {}
            // It became a link, or a file.
            Err(error) if is_no_folder(&error) => {
                match unlink(core, &level.fd, own.clone(), false).await {
                    // And a folder again.
                    Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                        level.retry(own, error)?;
                    }
                    removed => removed?,
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a folder that was emptied; gives it back if somebody filled it behind our back.
async fn close_level(
    core: &Rc<Core>,
    above: &mut Level,
    mut done: Level,
) -> io::Result<Option<Level>> {
    match unlink(core, &above.fd, done.own.clone(), true).await {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            done.rounds += 1;
            if done.rounds == ROUNDS_MAX {
                return Err(error);
            }
            remove_files(core, &mut done).await?;
            Ok(Some(done))
        }
        // Something else has its name now.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            above.retry(done.own, error)?;
            Ok(None)
        }
        removed => removed.map(|()| None),
    }
}

/// Removes what is no folder, and notes the folders.
async fn remove_files(core: &Rc<Core>, level: &mut Level) -> io::Result<()> {
    // A reader of its own, from the beginning.
    let fd = open_folder_in(core, &level.fd, std::ffi::OsStr::new(".")).await?;
    let mut reader = ReadDir::new(Rc::clone(core), fd, Path::new(""));
    loop {
        let batch = reader.next_batch().await?;
        if batch.is_empty() {
            return Ok(());
        }
        let parent = &level.fd;
        let removals = stream::iter(batch).map(|entry| remove_file_in(core, parent, entry));
        let mut removals = removals.buffer_unordered(REMOVALS_MAX);
        while let Some(folder) = removals.try_next().await? {
            level.folders.extend(folder);
        }
    }
}

/// Removes one entry, unless it is a folder: then it gives its name.
async fn remove_file_in(
    core: &Rc<Core>,
    parent: &Rc<Fd>,
    entry: RawEntry,
) -> io::Result<Option<OsString>> {
    if entry.kind == kind::FOLDER {
        return Ok(Some(entry.name));
    }
    match unlink(core, parent, entry.name.clone(), false).await {
        // Of file systems that do not tell kinds, or one that was exchanged.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Some(entry.name)),
        removed => removed.map(|()| None),
    }
}

/// Removes a name; that it is gone already is as well.
async fn unlink(
    core: &Rc<Core>,
    folder: &Rc<Fd>,
    own: OsString,
    is_folder: bool,
) -> io::Result<()> {
    let op = FileOp::Unlink { folder: folder.raw(), is_folder };
    let payload = Paths::one(name(Path::new(&own))?);
    match on_names(core, Some(folder), op, payload).await {
        Err(error) if is_gone(&error) => Ok(()),
        removed => removed.map(drop),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// A link is one or the other error.
fn is_no_folder(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory || is_about_links(error)
}

fn too_deep() -> io::Error {
    io::Error::other(format!(
        "the tree is deeper than {DEPTH_MAX} folders, each of which holds a \
        descriptor while it is emptied; cure: remove its lower part first"
    ))
}
