//! A file replaced as a whole: readers see the old one or the new one, also after a crash.

use std::io;
use std::path::{Path, PathBuf};

use super::calls::{name, open};
use super::temporary::random_name;
use super::{File, OpenOptions, metadata, remove_file, rename};
use crate::driver::{FileOp, OpenHow, Segment};
use crate::executor::Core;

/// Replaces the contents of a file, all or nothing.
///
/// The bytes go to a new file beside it, which is brought to the disk, takes the name and the
/// permissions of the old one, and then the folder is brought to the disk as well. So whoever reads
/// it meanwhile, or after a crash, finds the old contents or the new ones, whole. Other names of
/// the old file keep the old contents; a link is followed.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # let path = folder.path().join("settings");
/// corio::fs::replace(&path, "colour = blue\n").await?;
/// assert_eq!(corio::fs::read_to_string(&path).await?, "colour = blue\n");
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The kernel's; the file is as before unless it was the last step, of the folder, that failed.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: it may have been replaced; otherwise a file `.corio-...` may be left beside it.
pub async fn replace(path: impl AsRef<Path>, bytes: impl Into<Segment>) -> io::Result<()> {
    let bytes = bytes.into();
    let core = Core::current();
    let path = target_of(path.as_ref()).await?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let beside = folder.join(random_name(&core));
    let written = write_beside(&beside, &path, bytes).await;
    if let Err(error) = written {
        // The first error is the one that says something.
        let _ = remove_file(&beside).await;
        return Err(error);
    }
    let how = OpenHow { read: true, folder: true, ..OpenHow::NOTHING };
    let fd = open(&core, None, name(&folder)?, how).await?;
    let op = FileOp::Sync { fd: fd.raw(), data_only: false };
    super::calls::plain(&core, &fd, op).await
}

async fn target_of(path: &Path) -> io::Result<PathBuf> {
    match super::canonicalize(path).await {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

async fn write_beside(beside: &Path, path: &Path, bytes: Segment) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create_new(true).open(beside).await?;
    match metadata(path).await {
        Ok(old) => file.set_permissions(old.permissions()).await?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all_at(0, bytes).await?;
    file.sync_all().await?;
    rename(beside, path).await
}
