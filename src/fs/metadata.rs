//! What a file is: std's words for what statx(2) says.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use crate::driver::{Status, kind};

/// A moment of the wall clock.
type Moment = std::time::SystemTime;

/// The status of a file: `metadata` of a path or of an open file.
#[doc(alias = "stat")]
#[derive(Clone, Copy)]
pub struct Metadata {
    status: Status,
}

impl Metadata {
    pub(super) fn new(status: Status) -> Metadata {
        Metadata { status }
    }

    /// What kind of file it is.
    pub fn file_type(&self) -> FileType {
        FileType { kind: self.status.kind() }
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is an ordinary file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a symbolic link: only of `symlink_metadata`.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "std's name: a length is not a count of items")]
    pub fn len(&self) -> u64 {
        self.status.length
    }

    /// Its permissions.
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.status.mode)
    }

    /// When it was written last.
    ///
    /// # Errors
    ///
    /// If the file system's time is none of the clock's.
    pub fn modified(&self) -> io::Result<Moment> {
        moment(self.status.modified)
    }

    /// When it was read last, as far as the file system keeps that.
    ///
    /// # Errors
    ///
    /// As of [`modified`](Self::modified).
    pub fn accessed(&self) -> io::Result<Moment> {
        moment(self.status.accessed)
    }

    /// When it was made.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the file system does not keep that.
    pub fn created(&self) -> io::Result<Moment> {
        match self.status.created {
            Some(time) => moment(time),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this file system does not keep when a file was made",
            )),
        }
    }

    /// When its contents or its status changed last: seconds and nanoseconds since 1970.
    pub fn changed(&self) -> (i64, u32) {
        self.status.changed
    }

    /// Kind and permissions, as the kernel has them.
    pub fn mode(&self) -> u32 {
        self.status.mode
    }

    /// Its number in its file system.
    pub fn ino(&self) -> u64 {
        self.status.inode
    }

    /// The file system it is in.
    pub fn dev(&self) -> u64 {
        self.status.device
    }

    /// How many names it has.
    pub fn nlink(&self) -> u64 {
        self.status.links
    }

    /// The user who owns it.
    pub fn uid(&self) -> u32 {
        self.status.user
    }

    /// The group that owns it.
    pub fn gid(&self) -> u32 {
        self.status.group
    }

    /// How many blocks of 512 bytes it takes.
    pub fn blocks(&self) -> u64 {
        self.status.blocks
    }

    /// The size of a read or write that suits it.
    pub fn blksize(&self) -> u64 {
        self.status.block_size
    }
}

fn moment((seconds, nanoseconds): (i64, u32)) -> io::Result<Moment> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at =
        if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    at.and_then(|at| at.checked_add(Duration::from_nanos(u64::from(nanoseconds)))).ok_or_else(
        || {
            let text = format!("{seconds} seconds from 1970 are beyond what the clock can say");
            io::Error::new(io::ErrorKind::InvalidData, text)
        },
    )
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("file_type", &self.file_type())
            .field("len", &self.len())
            .field("mode", &format_args!("{:o}", self.mode()))
            .finish_non_exhaustive()
    }
}

/// What kind of file it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType {
    kind: u32,
}

impl FileType {
    pub(super) fn from_kind(kind: u32) -> FileType {
        FileType { kind }
    }

    /// A folder.
    pub fn is_dir(&self) -> bool {
        self.kind == kind::FOLDER
    }

    /// An ordinary file.
    pub fn is_file(&self) -> bool {
        self.kind == kind::REGULAR
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == kind::LINK
    }

    /// A pipe with a name.
    pub fn is_fifo(&self) -> bool {
        self.kind == kind::PIPE
    }

    /// A Unix socket.
    pub fn is_socket(&self) -> bool {
        self.kind == kind::SOCKET
    }

    /// A device of blocks, as a disk.
    pub fn is_block_device(&self) -> bool {
        self.kind == kind::BLOCK_DEVICE
    }

    /// A device of characters, as a terminal.
    pub fn is_char_device(&self) -> bool {
        self.kind == kind::CHARACTER_DEVICE
    }
}

impl fmt::Debug for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            kind::FOLDER => "folder",
            kind::REGULAR => "file",
            kind::LINK => "symlink",
            kind::PIPE => "fifo",
            kind::SOCKET => "socket",
            kind::BLOCK_DEVICE => "block device",
            kind::CHARACTER_DEVICE => "character device",
            _ => "unknown",
        };
        write!(f, "FileType({word})")
    }
}
