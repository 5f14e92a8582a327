//! Files: on the ring, and where the kernel has an operation only as a system call, on helper
//! threads. The loop never waits for a disk.
//!
//! ```
//! # corio::run(async {
//! # let folder = corio::fs::TemporaryFolder::new().await?;
//! # let path = folder.path().join("greeting");
//! corio::fs::write(&path, "hello").await?;
//! let file = corio::fs::File::open(&path).await?;
//! let chunk = file.read_at(1, 3).await?;
//! assert_eq!(&chunk[..], b"ell");
//! # folder.remove().await?;
//! # std::io::Result::Ok(())
//! # }).unwrap();
//! ```
//!
//! Files are different from streams: nothing arrives by itself, so a buffer belongs to one
//! operation. Reads give a [`Chunk`](crate::io::Chunk), writes take what `write_owned` takes.
//! Memory of the caller's own goes in and comes back: [`File::read_at_into`]. For code that is
//! written for streams there is [`File::cursor`], which reads ahead.
//!
//! **Cancellation.** The kernel may have carried out what was cancelled: a dropped write, rename or
//! remove may have happened, and every item says so. A dropped open leaves no descriptor behind.
//!
//! **What others send.** A path that a client sent is opened beneath a folder, which it cannot
//! leave: [`Dir`]. A file goes to a client by the streams' `sendfile`, through the kernel.
//!
//! **On the epoll driver**, and for what the ring does not have (locks, folders' entries, targets
//! of links, permissions), eight helper threads a core make the system calls. What they have begun
//! cannot be stopped; the runtime does not wait for it at its end.

mod buffer;
mod calls;
mod cursor;
mod dir;
mod direct;
#[cfg(test)]
mod faults;
mod file;
mod folder;
mod lock;
mod metadata;
mod options;
mod paths;
mod reading;
mod replace;
mod temporary;
mod tree;
mod whole;
mod writing;

pub use crate::driver::{Advice, AlignedBuffer};
pub use buffer::OwnedBuffer;
pub(crate) use calls::check_position;
pub use cursor::Cursor;
pub use dir::Dir;
pub use direct::DirectFile;
pub use file::File;
pub use folder::{DirEntry, ReadDir, read_dir};
pub use metadata::{FileType, Metadata};
pub use options::OpenOptions;
pub use paths::{
    canonicalize, create_dir, exists, hard_link, metadata, read_link, remove_dir, remove_file,
    rename, set_permissions, symlink, symlink_metadata,
};
pub use replace::replace;
pub use temporary::{TemporaryFile, TemporaryFolder, unnamed_file};
pub use tree::{create_dir_all, remove_dir_all};
pub use whole::{copy, read, read_to_string, write};

pub use std::fs::Permissions;
