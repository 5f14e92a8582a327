//! The kernel's flags for files, behind words: nothing above the driver names one.

use io_uring::types;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpenHow {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    /// Past the page cache.
    pub(crate) direct: bool,
    /// A file without a name, in the folder that the path names.
    pub(crate) unnamed: bool,
    /// Only a folder.
    pub(crate) folder: bool,
    /// Not what a link at the end of the path points to.
    pub(crate) no_follow: bool,
    /// Only the place in the tree: nothing can be read through it.
    pub(crate) place_only: bool,
    /// The path leads nowhere but below the folder that it is relative to.
    pub(crate) beneath: bool,
    /// No part of the path is a link.
    pub(crate) no_links: bool,
    /// Flags of the caller's.
    pub(crate) custom: i32,
    /// Permissions of a file that is made, before the mask of the process.
    pub(crate) mode: u32,
}

impl OpenHow {
    /// Everything off.
    pub(crate) const NOTHING: OpenHow = OpenHow {
        read: false,
        write: false,
        append: false,
        truncate: false,
        create: false,
        create_new: false,
        direct: false,
        unnamed: false,
        folder: false,
        no_follow: false,
        place_only: false,
        beneath: false,
        no_links: false,
        custom: 0,
        mode: 0,
    };

    pub(super) fn flags(self) -> i32 {
        let access = match (self.read, self.write || self.append) {
            (_, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (true, true) => libc::O_RDWR,
        };
        let bits = [
            (self.append, libc::O_APPEND),
            (self.truncate && !self.create_new, libc::O_TRUNC),
            (self.create, libc::O_CREAT),
            (self.create_new, libc::O_CREAT | libc::O_EXCL),
            (self.direct, libc::O_DIRECT),
            (self.unnamed, libc::O_TMPFILE),
            (self.folder, libc::O_DIRECTORY),
            (self.no_follow, libc::O_NOFOLLOW),
            (self.place_only, libc::O_PATH),
        ];
        let bits = bits.iter().filter(|(on, _)| *on).fold(0, |bits, (_, bit)| bits | bit);
        access | bits | (self.custom & !libc::O_ACCMODE) | libc::O_CLOEXEC
    }

    /// Whether it has rules for the path, which only openat2(2) knows.
    pub(crate) fn has_rules(self) -> bool {
        self.beneath || self.no_links
    }

    /// The same for openat2(2), which takes no permissions for a file that it will not make.
    pub(super) fn with_rules(self) -> types::OpenHow {
        let rule = |on, bit| if on { bit } else { 0 };
        let rules = rule(self.beneath, libc::RESOLVE_BENEATH)
            | rule(self.no_links, libc::RESOLVE_NO_SYMLINKS);
        let makes = self.create || self.create_new || self.unnamed;
        types::OpenHow::new()
            .flags(self.flags() as u64)
            .mode(if makes { u64::from(self.mode) } else { 0 })
            .resolve(rules)
    }
}

/// Whose status is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StatusFlags {
    /// What the path names, behind links.
    Follow,
    /// What the path names, a link itself.
    NoFollow,
    /// The open file itself; the path is empty.
    Itself,
}

impl StatusFlags {
    pub(super) fn bits(self) -> i32 {
        match self {
            StatusFlags::Follow => 0,
            StatusFlags::NoFollow => libc::AT_SYMLINK_NOFOLLOW,
            StatusFlags::Itself => libc::AT_EMPTY_PATH,
        }
    }
}

/// Whether a hard link is made to a link at the path's end, or to what it points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkFlags {
    NoFollow,
    Follow,
}

impl LinkFlags {
    pub(super) fn bits(self) -> i32 {
        match self {
            LinkFlags::NoFollow => 0,
            LinkFlags::Follow => libc::AT_SYMLINK_FOLLOW,
        }
    }
}

/// What becomes of room that is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AllocateMode {
    /// The file grows if the room lies behind its end.
    Grow,
    /// Its length stays.
    KeepLength,
    /// The room is given back; reads find zeroes there.
    PunchHole,
}

impl AllocateMode {
    pub(super) fn bits(self) -> i32 {
        match self {
            AllocateMode::Grow => 0,
            AllocateMode::KeepLength => libc::FALLOC_FL_KEEP_SIZE,
            AllocateMode::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        }
    }
}

/// How a part of a file will be used: `File::advise`, posix_fadvise(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing is known.
    Normal,
    /// From front to back: the kernel reads further ahead.
    Sequential,
    /// Here and there: it does not read ahead.
    Random,
    /// Soon: it is read into the page cache.
    WillNeed,
    /// Not soon: what is on the disk leaves the page cache.
    DontNeed,
    /// Once.
    NoReuse,
}

impl Advice {
    pub(super) fn bits(self) -> i32 {
        match self {
            Advice::Normal => libc::POSIX_FADV_NORMAL,
            Advice::Sequential => libc::POSIX_FADV_SEQUENTIAL,
            Advice::Random => libc::POSIX_FADV_RANDOM,
            Advice::WillNeed => libc::POSIX_FADV_WILLNEED,
            Advice::DontNeed => libc::POSIX_FADV_DONTNEED,
            Advice::NoReuse => libc::POSIX_FADV_NOREUSE,
        }
    }
}

/// What is asked of a file's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockKind {
    Shared,
    Exclusive,
    Unlock,
}

impl LockKind {
    /// Never waits: a helper that waits for a lock would keep others from giving it back.
    pub(super) fn bits(self) -> i32 {
        match self {
            LockKind::Shared => libc::LOCK_SH | libc::LOCK_NB,
            LockKind::Exclusive => libc::LOCK_EX | libc::LOCK_NB,
            LockKind::Unlock => libc::LOCK_UN,
        }
    }
}

/// Whether an open that does not follow links found one, or a path has too many of them.
pub(crate) fn is_about_links(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

/// Whether a path with a rule led out of its folder.
pub(crate) fn is_escape(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EXDEV)
}

/// Whether the kernel has no such call.
pub(crate) fn is_no_call(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSYS)
}

/// Whether the kernel says that copying between these two files is nothing that it does.
pub(crate) fn is_no_copy(error: &std::io::Error) -> bool {
    let no_copy = [libc::EXDEV, libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EBADF];
    error.raw_os_error().is_some_and(|number| no_copy.contains(&number))
}

/// Whether an operation was ended by a cancel, and did nothing.
pub(crate) fn is_cancelled(result: i32) -> bool {
    result == -libc::ECANCELED || result == -libc::EINTR
}

/// Whether a file has no positions, as a pipe.
pub(crate) fn is_without_positions(result: i32) -> bool {
    result == -libc::ESPIPE
}
