//! What the kernel tells of a file: statx(2), in plain numbers.
#![allow(unsafe_code)] // A structure of the kernel's that starts as zeroes.

use std::ffi::CString;

use crate::driver::Payload;

/// Bits of a `statx` that say how reads and writes past the page cache are aligned (6.1).
const MASK_DIRECT: u32 = 0x2000;

/// Where the answer is put, and whose status it is.
pub(crate) struct StatusPlace {
    pub(super) path: CString,
    pub(super) answer: libc::statx,
}

impl StatusPlace {
    pub(crate) fn of(path: CString) -> Payload {
        // SAFETY: [plain-data] statx is integers; all zeroes is a value of it.
        let answer = unsafe { std::mem::zeroed() };
        Payload::Status(Box::new(StatusPlace { path, answer }))
    }

    pub(super) const MASK: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME | MASK_DIRECT;

    /// What a status that succeeded left.
    pub(crate) fn status(&self) -> Status {
        let answer = &self.answer;
        let time = |time: libc::statx_timestamp| (time.tv_sec, time.tv_nsec);
        let has = |bit: u32| answer.stx_mask & bit != 0;
        Status {
            mode: u32::from(answer.stx_mode),
            length: answer.stx_size,
            inode: answer.stx_ino,
            device: libc::makedev(answer.stx_dev_major, answer.stx_dev_minor),
            links: u64::from(answer.stx_nlink),
            user: answer.stx_uid,
            group: answer.stx_gid,
            blocks: answer.stx_blocks,
            block_size: u64::from(answer.stx_blksize),
            accessed: time(answer.stx_atime),
            modified: time(answer.stx_mtime),
            changed: time(answer.stx_ctime),
            created: has(libc::STATX_BTIME).then(|| time(answer.stx_btime)),
            direct: has(MASK_DIRECT)
                .then_some((answer.stx_dio_mem_align, answer.stx_dio_offset_align)),
        }
    }
}

/// The status of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    /// Kind and permissions.
    pub(crate) mode: u32,
    pub(crate) length: u64,
    pub(crate) inode: u64,
    pub(crate) device: u64,
    pub(crate) links: u64,
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) block_size: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) accessed: (i64, u32),
    pub(crate) modified: (i64, u32),
    pub(crate) changed: (i64, u32),
    pub(crate) created: Option<(i64, u32)>,
    /// Alignment of memory and of positions past the page cache; zeroes if that is not possible.
    pub(crate) direct: Option<(u32, u32)>,
}

impl Status {
    /// The bits of the mode that say what it is.
    pub(crate) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

/// The kinds of files, by the bits of a mode.
pub(crate) mod kind {
    pub(crate) const FOLDER: u32 = libc::S_IFDIR;
    pub(crate) const REGULAR: u32 = libc::S_IFREG;
    pub(crate) const LINK: u32 = libc::S_IFLNK;
    pub(crate) const PIPE: u32 = libc::S_IFIFO;
    pub(crate) const SOCKET: u32 = libc::S_IFSOCK;
    pub(crate) const CHARACTER_DEVICE: u32 = libc::S_IFCHR;
    pub(crate) const BLOCK_DEVICE: u32 = libc::S_IFBLK;
}
