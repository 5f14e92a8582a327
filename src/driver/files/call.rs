//! An operation as the system call of its name: a number and six words, which may go to another
//! thread. What the words point to stays where it is until the operation's last completion.
#![allow(unsafe_code)] // System calls.

use std::ffi::CStr;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use super::memory::{Memory, Room, Source, room, source};
use super::status::StatusPlace;
use super::{FileOp, HERE, LENGTH_MAX, SpliceEnd};
use crate::driver::Payload;

/// A system call, ready to be made.
#[derive(Debug)]
pub(super) struct Call {
    number: libc::c_long,
    words: [usize; 6],
    /// What a close closes: a call that is never made drops it, which does so as well.
    closes: Option<OwnedFd>,
}

impl Call {
    fn new(number: libc::c_long, words: &[usize]) -> Call {
        let mut all = [0; 6];
        all[..words.len()].copy_from_slice(words);
        Call { number, words: all, closes: None }
    }

    /// Makes the call: its result, or `-errno`.
    pub(super) fn run(self) -> i32 {
        let [mut a, b, c, d, e, f] = self.words;
        if let Some(fd) = self.closes {
            a = word(fd.into_raw_fd());
        }
        loop {
            // SAFETY: [slot-keeps-memory] the words were made by `call` for this number, and what
            // they point to stays until the completion that this call's result becomes.
            let answer = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
            if answer >= 0 {
                return answer as i32;
            }
            match io::Error::last_os_error().raw_os_error() {
                // A close has let go of the number all the same.
                Some(libc::EINTR) if self.number != libc::SYS_close => {}
                error => return -error.unwrap_or(libc::EIO),
            }
        }
    }
}

/// A number as a word, with its sign.
fn word(number: impl Into<i64>) -> usize {
    number.into() as usize
}

/// An address as a word. Whoever reads the memory again gets it from the payload.
fn place<T>(pointer: *const T) -> usize {
    pointer.expose_provenance()
}

fn name(name: &CStr) -> usize {
    place(name.as_ptr())
}

/// The one place that knows how an operation is asked of the kernel directly.
pub(super) fn call(op: FileOp, payload: &mut Payload) -> Call {
    match (op, payload) {
        (FileOp::Read { fd, position, from, length }, payload) => {
            read(fd, position, room(payload, from, length), 0)
        }
        (FileOp::Write { fd, position, from, append }, payload) => {
            let flags = if append { libc::RWF_APPEND } else { 0 };
            write(fd, position, source(payload, from), flags)
        }
        (FileOp::Sync { fd, data_only }, _) => {
            let number = if data_only { libc::SYS_fdatasync } else { libc::SYS_fsync };
            Call::new(number, &[word(fd)])
        }
        (FileOp::SetLength { fd, length }, _) => {
            Call::new(libc::SYS_ftruncate, &[word(fd), length as usize])
        }
        (FileOp::Allocate { fd, mode, position, length }, _) => {
            let words = [word(fd), word(mode.bits()), position as usize, length as usize];
            Call::new(libc::SYS_fallocate, &words)
        }
        (FileOp::Advise { fd, advice, position, length }, _) => {
            let words = [word(fd), position as usize, length as usize, word(advice.bits())];
            Call::new(libc::SYS_fadvise64, &words)
        }
        (FileOp::Lock { fd, kind }, _) => {
            Call::new(libc::SYS_flock, &[word(fd), word(kind.bits())])
        }
        (FileOp::SetMode { fd, mode }, _) => {
            Call::new(libc::SYS_fchmod, &[word(fd), mode as usize])
        }
        (FileOp::CopyRange { from, to, length }, _) => {
            let length = length.min(LENGTH_MAX);
            Call::new(libc::SYS_copy_file_range, &[word(from), 0, word(to), 0, length, 0])
        }
        (FileOp::Splice { from, to, length }, Payload::Second(second)) => {
            let [start, target] = &mut second.positions;
            let (start, target) = (position_at(start, from), position_at(target, to));
            let words = [word(from.fd), start, word(to.fd), target, length.min(LENGTH_MAX), 0];
            Call::new(libc::SYS_splice, &words)
        }
        (FileOp::Close, payload) => match std::mem::take(payload) {
            Payload::Descriptor(fd) => {
                Call { number: libc::SYS_close, words: [0; 6], closes: Some(fd) }
            }
            _ => unreachable!("a close has the descriptor for its payload"),
        },
        (FileOp::Entries { fd }, Payload::Memory(memory)) => {
            let words = [word(fd), place(memory.as_mut_ptr()), memory.capacity()];
            Call::new(libc::SYS_getdents64, &words)
        }
        (op, payload) => call_by_name(op, payload),
    }
}

/// Where a splice finds the position of one of its ends; 0 if that has none.
fn position_at(memory: &mut i64, end: SpliceEnd) -> usize {
    let Some(position) = end.position else { return 0 };
    *memory = position as i64;
    place(&raw const *memory)
}

fn read(fd: RawFd, position: Option<u64>, room: Room, flags: i32) -> Call {
    let (fd, position) = (word(fd), position.map_or(usize::MAX, |it| it as usize));
    match room {
        Room::One(start, length) if position == usize::MAX => {
            Call::new(libc::SYS_read, &[fd, place(start), length])
        }
        Room::One(start, length) => {
            Call::new(libc::SYS_pread64, &[fd, place(start), length, position])
        }
        Room::Many(pieces, count) => {
            Call::new(libc::SYS_preadv2, &[fd, place(pieces), count, position, 0, word(flags)])
        }
    }
}

fn write(fd: RawFd, position: Option<u64>, source: Source, flags: i32) -> Call {
    let (fd, position) = (word(fd), position.map_or(usize::MAX, |it| it as usize));
    match source {
        Source::One(start, length) if position == usize::MAX && flags == 0 => {
            Call::new(libc::SYS_write, &[fd, place(start), length])
        }
        Source::One(start, length) if flags == 0 => {
            Call::new(libc::SYS_pwrite64, &[fd, place(start), length, position])
        }
        Source::One(..) => unreachable!("an append has its bytes in a list of pieces"),
        Source::Many(pieces, count) => {
            Call::new(libc::SYS_pwritev2, &[fd, place(pieces), count, position, 0, word(flags)])
        }
    }
}

fn call_by_name(op: FileOp, payload: &mut Payload) -> Call {
    let here = word(HERE);
    match (op, payload) {
        (FileOp::Open { folder, how }, Payload::Paths(paths)) if how.has_rules() => {
            paths.how = how.with_rules();
            let (how, size) = (place(&raw const paths.how), size_of_val(&paths.how));
            Call::new(libc::SYS_openat2, &[word(folder), name(&paths.first), how, size])
        }
        (FileOp::Open { folder, how }, Payload::Paths(paths)) => {
            let words = [word(folder), name(&paths.first), word(how.flags()), how.mode as usize];
            Call::new(libc::SYS_openat, &words)
        }
        (FileOp::Status { folder, flags }, Payload::Status(status)) => {
            let answer = place(&raw mut status.answer);
            let mask = StatusPlace::MASK as usize;
            let words = [word(folder), name(&status.path), word(flags.bits()), mask, answer];
            Call::new(libc::SYS_statx, &words)
        }
        (FileOp::Unlink { folder, is_folder }, Payload::Paths(paths)) => {
            let flags = if is_folder { libc::AT_REMOVEDIR } else { 0 };
            Call::new(libc::SYS_unlinkat, &[word(folder), name(&paths.first), word(flags)])
        }
        (FileOp::Rename { replace }, Payload::Paths(paths)) => {
            let flags = if replace { 0 } else { libc::RENAME_NOREPLACE };
            let (from, to) = (name(&paths.first), name(&paths.second));
            Call::new(libc::SYS_renameat2, &[here, from, here, to, flags as usize])
        }
        (FileOp::MakeFolder { mode }, Payload::Paths(paths)) => {
            Call::new(libc::SYS_mkdirat, &[here, name(&paths.first), mode as usize])
        }
        (FileOp::Link { flags }, Payload::Paths(paths)) => {
            let (from, to) = (name(&paths.first), name(&paths.second));
            Call::new(libc::SYS_linkat, &[here, from, here, to, word(flags.bits())])
        }
        (FileOp::Symlink, Payload::Paths(paths)) => {
            Call::new(libc::SYS_symlinkat, &[name(&paths.first), here, name(&paths.second)])
        }
        (FileOp::ReadLink, Payload::Paths(paths)) => {
            let (start, length) = (paths.answer.as_mut_ptr(), paths.answer.len());
            Call::new(libc::SYS_readlinkat, &[here, name(&paths.first), place(start), length])
        }
        (FileOp::SetModeAt { mode }, Payload::Paths(paths)) => {
            Call::new(libc::SYS_fchmodat, &[here, name(&paths.first), mode as usize])
        }
        (op, _) => unreachable!("{op:?} was pushed without the payload it needs"),
    }
}

/// Reads what lies in the page cache, and nothing that would have to be waited for: the count, or
/// `-errno`, which is `-EAGAIN` if there is none.
pub(crate) fn read_now(fd: RawFd, position: u64, memory: &mut Memory, length: usize) -> i32 {
    let piece = libc::iovec {
        iov_base: memory.as_mut_ptr().cast(),
        iov_len: length.min(memory.capacity()),
    };
    let words =
        [word(fd), place(&raw const piece), 1, position as usize, 0, word(libc::RWF_NOWAIT)];
    let [a, b, c, d, e, f] = words;
    // By its number: libc's function of the name is one at which threads are cancelled, and two
    // atomic operations say so around each call.
    // SAFETY: [plain-call] the piece is memory of the caller's, valid for its length.
    let count = unsafe { libc::syscall(libc::SYS_preadv2, a, b, c, d, e, f) };
    match count {
        -1 => -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
        count => count as i32,
    }
}
