//! Files, pipes and processes, on a file in memory: a probe leaves nothing behind.
//!
//! What needs a name in a folder is asked for one that cannot be there: that it is missed proves
//! that the operation ran.
#![allow(unsafe_code)] // System calls that make what the trials work on.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::types::{DestinationSlot, Fd, Fixed, OpenHow};
use io_uring::{IoUring, opcode, squeue};

use super::ring::with_files;
use super::{Capability, answers_error, ask_lending, result_lending, result_of};
use crate::driver::socket::check;
use crate::driver::trial::{end, goes_on, with_trial_pool};
use crate::driver::{Feature, Group, trial, uring::group_number};

/// The same for all operations on files.
const SYSTEM_CALL: &str = "a helper thread makes the system call";

macro_rules! operations {
    ($($name:literal $since:literal $code:ident $trial:path, $what:literal, $gain:literal;)*) => {
        &[$(
            Capability::new($name, $since, $trial, $what, $gain, SYSTEM_CALL)
                .listed_as(opcode::$code::CODE),
        )*]
    };
}

macro_rules! operations_in_use {
    ($($feature:ident $since:literal $code:ident, $what:literal, $gain:literal;)*) => {
        &[$(
            Capability::used(Feature::$feature, $since, $what, $gain, SYSTEM_CALL)
                .listed_as(opcode::$code::CODE),
        )*]
    };
}

#[rustfmt::skip]
pub(super) const TABLE: &[Capability] = operations! {
    "readv" "5.1" Readv try_readv, "read a file into several pieces", "fewer operations";
    "readv_fixed" "6.15" ReadvFixed try_readv_fixed, "read into pieces of registered memory",
        "no page is mapped for the read";
    "read_multishot" "6.7" ReadMulti try_read_multishot, "one read of a pipe serves many messages",
        "a pipe or a terminal is read as a stream is";
    "open_direct" "5.15" OpenAt try_open_direct, "open a file into the ring's own table",
        "no look-up of the descriptor with each operation";
    "fixed_fd_install" "6.8" FixedFdInstall try_fixed_fd_install,
        "make a descriptor of the ring's own an ordinary one",
        "a direct descriptor can leave the ring";
    "close" "5.6" Close try_close, "close a descriptor", "closes leave with the batch";
    "tee" "5.8" Tee try_tee, "copy bytes from pipe to pipe", "a stream is doubled without a copy";
    "pipe" "6.16" Pipe try_pipe, "make a pipe", "the start of a child leaves with the batch";
    "waitid" "6.7" WaitId try_waitid, "wait for a child's end",
        "children without signals and without a thread";
};

/// What `fs` uses.
#[rustfmt::skip]
pub(super) const USED: &[Capability] = operations_in_use! {
    Read "5.6" Read, "read a file at a position", "the disk's queue is kept full";
    Write "5.6" Write, "write a file at a position", "the disk's queue is kept full";
    ReadFixed "5.1" ReadFixed, "read into registered memory", "no page is mapped for the read";
    WriteFixed "5.1" WriteFixed, "write from registered memory", "no page is mapped for the write";
    Openat "5.6" OpenAt, "open a file", "a slow disk blocks nobody";
    Openat2 "5.6" OpenAt2, "open a file, with rules for its path", "a slow disk blocks nobody";
    Statx "5.6" Statx, "what a file is, how long, how old", "a slow disk blocks nobody";
    Fsync "5.1" Fsync, "bring a file to the disk", "the loop goes on meanwhile";
    Fallocate "5.6" Fallocate, "reserve room on the disk",
        "the loop goes on meanwhile";
    Ftruncate "6.9" Ftruncate, "cut a file off", "the loop goes on meanwhile";
    Fadvise "5.6" Fadvise, "say how a file will be read", "read ahead, or not";
    Renameat "5.11" RenameAt, "rename a file", "a slow disk blocks nobody";
    Unlinkat "5.11" UnlinkAt, "remove a file", "a slow disk blocks nobody";
    Mkdirat "5.15" MkDirAt, "make a folder", "a slow disk blocks nobody";
    Symlinkat "5.15" SymlinkAt, "make a symbolic link", "a slow disk blocks nobody";
    Linkat "5.15" LinkAt, "give a file a second name", "a slow disk blocks nobody";
    Splice "5.7" Splice, "move bytes between a pipe and a file", "a file is sent without a copy";
};

/// A file in memory with some bytes in it.
fn scratch() -> io::Result<File> {
    // SAFETY: [plain-call] the name is a whole C string.
    let fd = check(unsafe { libc::memfd_create(c"corio".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    io::Write::write_all(&mut file, b"corio probe")?;
    Ok(file)
}

pub(in crate::driver) fn try_read(ring: &mut IoUring) -> io::Result<bool> {
    let (file, mut memory) = (scratch()?, vec![0u8; 5]);
    let read = opcode::Read::new(Fd(file.as_raw_fd()), memory.as_mut_ptr(), 5).build();
    result_lending(ring, read, memory).map(|(count, memory)| count == 5 && memory == b"corio")
}

pub(in crate::driver) fn try_write(ring: &mut IoUring) -> io::Result<bool> {
    let (file, memory) = (scratch()?, b"CORIO".to_vec());
    let write = opcode::Write::new(Fd(file.as_raw_fd()), memory.as_ptr(), 5).build();
    let (count, _) = result_lending(ring, write, memory)?;
    let mut written = [0; 5];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut written, 0)?;
    Ok(count == 5 && written == *b"CORIO")
}

/// Memory, and the one piece that describes it.
type Lent = (Vec<u8>, Vec<libc::iovec>);

fn piece() -> Lent {
    let mut memory = vec![0u8; 5];
    let piece = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: 5 };
    (memory, vec![piece])
}

fn try_readv(ring: &mut IoUring) -> io::Result<bool> {
    let (file, lent) = (scratch()?, piece());
    let read = opcode::Readv::new(Fd(file.as_raw_fd()), lent.1.as_ptr(), 1).build();
    result_lending(ring, read, lent).map(|(count, lent)| count == 5 && lent.0 == b"corio")
}

/// Runs a read into memory that is registered meanwhile.
fn try_registered(
    ring: &mut IoUring,
    read: impl FnOnce(Fd, &mut Lent) -> squeue::Entry,
) -> io::Result<bool> {
    let file = scratch()?;
    let answer = with_registered(ring, &file, piece(), read);
    answer.map(|(count, lent)| count == 5 && lent.0 == b"corio")
}

/// Runs an operation on a file with memory that is registered meanwhile.
fn with_registered(
    ring: &mut IoUring,
    file: &File,
    mut lent: Lent,
    operation: impl FnOnce(Fd, &mut Lent) -> squeue::Entry,
) -> io::Result<(i32, Lent)> {
    let pieces = [lent.1[0]];
    // SAFETY: [slot-keeps-memory] the memory is lent to the operation, and unregistered at its end.
    unsafe { ring.submitter().register_buffers(&pieces) }?;
    let operation = operation(Fd(file.as_raw_fd()), &mut lent);
    let answer = result_lending(ring, operation, lent);
    ring.submitter().unregister_buffers()?;
    answer
}

pub(in crate::driver) fn try_read_fixed(ring: &mut IoUring) -> io::Result<bool> {
    try_registered(ring, |file, lent| {
        opcode::ReadFixed::new(file, lent.0.as_mut_ptr(), 5, 0).build()
    })
}

pub(in crate::driver) fn try_write_fixed(ring: &mut IoUring) -> io::Result<bool> {
    let (file, mut lent) = (scratch()?, piece());
    lent.0.copy_from_slice(b"CORIO");
    let (count, _) = with_registered(ring, &file, lent, |file, lent| {
        opcode::WriteFixed::new(file, lent.0.as_ptr(), 5, 0).build()
    })?;
    let mut written = [0; 5];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut written, 0)?;
    Ok(count == 5 && written == *b"CORIO")
}

fn try_readv_fixed(ring: &mut IoUring) -> io::Result<bool> {
    try_registered(ring, |file, lent| opcode::ReadvFixed::new(file, lent.1.as_ptr(), 1, 0).build())
}

fn try_read_multishot(ring: &mut IoUring) -> io::Result<bool> {
    with_trial_pool(ring, |ring| {
        let (near, mut far) = io::pipe()?;
        io::Write::write_all(&mut far, b"x")?;
        let group = group_number(Group::Small);
        let read = opcode::ReadMulti::new(Fd(near.as_raw_fd()), 0, group).build();
        let answers = trial::ask(ring, &read.user_data(1), 1)?;
        end(ring, 1)?;
        goes_on(&answers)
    })
}

/// Takes a descriptor that an operation made.
fn take(fd: i32) -> OwnedFd {
    // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

const HERE: Fd = Fd(libc::AT_FDCWD);
const FOLDER: &CStr = c"/";
/// Nothing is ever there.
const NOWHERE: &CStr = c"/proc/self/corio-probe/nothing";

pub(in crate::driver) fn try_openat(ring: &mut IoUring) -> io::Result<bool> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let open = opcode::OpenAt::new(HERE, FOLDER.as_ptr()).flags(flags).build();
    result_lending(ring, open, ()).map(|(fd, ())| drop(take(fd)))?;
    Ok(true)
}

pub(in crate::driver) fn try_openat2(ring: &mut IoUring) -> io::Result<bool> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let how = vec![OpenHow::new().flags(flags as u64)];
    let open = opcode::OpenAt2::new(HERE, FOLDER.as_ptr(), how.as_ptr()).build();
    result_lending(ring, open, how).map(|(fd, _)| drop(take(fd)))?;
    Ok(true)
}

fn try_open_direct(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    with_files(ring, near.as_raw_fd(), |ring| {
        let slot = DestinationSlot::try_from_slot_target(1)
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let open = opcode::OpenAt::new(HERE, FOLDER.as_ptr()).file_index(Some(slot));
        let open = open.flags(libc::O_RDONLY | libc::O_DIRECTORY).build();
        result_lending(ring, open, ()).map(|(result, ())| result == 0)
    })
}

fn try_fixed_fd_install(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = io::pipe()?;
    with_files(ring, near.as_raw_fd(), |ring| {
        let installed = result_of(ring, opcode::FixedFdInstall::new(Fixed(0), 0).build())?;
        drop(take(installed));
        Ok(true)
    })
}

fn try_close(ring: &mut IoUring) -> io::Result<bool> {
    let number: RawFd = std::os::fd::IntoRawFd::into_raw_fd(scratch()?);
    match result_of(ring, opcode::Close::new(Fd(number)).build()) {
        Ok(result) => Ok(result == 0),
        Err(error) => {
            drop(take(number));
            Err(error)
        }
    }
}

pub(in crate::driver) fn try_statx(ring: &mut IoUring) -> io::Result<bool> {
    // SAFETY: [plain-data] statx is integers; all zeroes is a value of it.
    let mut lent: Vec<libc::statx> = vec![unsafe { std::mem::zeroed() }];
    let place = lent.as_mut_ptr().cast();
    let statx = opcode::Statx::new(HERE, FOLDER.as_ptr(), place).mask(libc::STATX_TYPE);
    result_lending(ring, statx.build(), lent)
        .map(|(_, lent)| u32::from(lent[0].stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}

pub(in crate::driver) fn try_fsync(ring: &mut IoUring) -> io::Result<bool> {
    let file = scratch()?;
    result_of(ring, opcode::Fsync::new(Fd(file.as_raw_fd())).build()).map(|result| result == 0)
}

pub(in crate::driver) fn try_fallocate(ring: &mut IoUring) -> io::Result<bool> {
    let file = scratch()?;
    result_of(ring, opcode::Fallocate::new(Fd(file.as_raw_fd()), 64).build())?;
    Ok(file.metadata()?.len() == 64)
}

pub(in crate::driver) fn try_ftruncate(ring: &mut IoUring) -> io::Result<bool> {
    let file = scratch()?;
    result_of(ring, opcode::Ftruncate::new(Fd(file.as_raw_fd()), 3).build())?;
    Ok(file.metadata()?.len() == 3)
}

pub(in crate::driver) fn try_fadvise(ring: &mut IoUring) -> io::Result<bool> {
    let file = scratch()?;
    let advice = opcode::Fadvise::new(Fd(file.as_raw_fd()), 0, libc::POSIX_FADV_NORMAL).build();
    result_of(ring, advice).map(|result| result == 0)
}

/// An operation on names that are not there.
fn misses(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<bool> {
    answers_error(result_lending(ring, entry, ()), libc::ENOENT)
}

pub(in crate::driver) fn try_renameat(ring: &mut IoUring) -> io::Result<bool> {
    let (from, to) = (NOWHERE.as_ptr(), NOWHERE.as_ptr());
    misses(ring, opcode::RenameAt::new(HERE, from, HERE, to).build())
}

pub(in crate::driver) fn try_unlinkat(ring: &mut IoUring) -> io::Result<bool> {
    misses(ring, opcode::UnlinkAt::new(HERE, NOWHERE.as_ptr()).build())
}

pub(in crate::driver) fn try_mkdirat(ring: &mut IoUring) -> io::Result<bool> {
    misses(ring, opcode::MkDirAt::new(HERE, NOWHERE.as_ptr()).build())
}

pub(in crate::driver) fn try_symlinkat(ring: &mut IoUring) -> io::Result<bool> {
    misses(ring, opcode::SymlinkAt::new(HERE, FOLDER.as_ptr(), NOWHERE.as_ptr()).build())
}

pub(in crate::driver) fn try_linkat(ring: &mut IoUring) -> io::Result<bool> {
    let (from, to) = (NOWHERE.as_ptr(), NOWHERE.as_ptr());
    misses(ring, opcode::LinkAt::new(HERE, from, HERE, to).build())
}

pub(in crate::driver) fn try_splice(ring: &mut IoUring) -> io::Result<bool> {
    let (file, (_near, far)) = (scratch()?, io::pipe()?);
    let (from, to) = (Fd(file.as_raw_fd()), Fd(far.as_raw_fd()));
    let splice = opcode::Splice::new(from, 0, to, -1, 5).build();
    result_of(ring, splice).map(|count| count == 5)
}

fn try_tee(ring: &mut IoUring) -> io::Result<bool> {
    let ((near, mut far), (_other_near, other_far)) = (io::pipe()?, io::pipe()?);
    io::Write::write_all(&mut far, b"corio")?;
    let (from, to) = (Fd(near.as_raw_fd()), Fd(other_far.as_raw_fd()));
    result_of(ring, opcode::Tee::new(from, to, 5).build()).map(|count| count == 5)
}

fn try_pipe(ring: &mut IoUring) -> io::Result<bool> {
    let mut ends = vec![-1; 2];
    let pipe = opcode::Pipe::new(ends.as_mut_ptr()).flags(libc::O_CLOEXEC as u32).build();
    let (answers, ends) = ask_lending(ring, pipe, ends)?;
    let result = answers.first().map_or(-libc::ETIMEDOUT, |answer| answer.result);
    super::checked(result)?;
    ends.into_iter().map(take).for_each(drop);
    Ok(true)
}

fn try_waitid(ring: &mut IoUring) -> io::Result<bool> {
    // This process is not its own child.
    let wait = opcode::WaitId::new(libc::P_PID, std::process::id(), libc::WEXITED).build();
    answers_error(result_lending(ring, wait, ()), libc::ECHILD)
}
