//! How an operation on a file is made: started, waited for, and its result turned into an
//! [`io::Result`].

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use crate::driver::{
    Fd, FileOp, HERE, Op, OpenHow, Paths, Payload, Status, StatusFlags, StatusPlace,
};
use crate::executor::Core;
use crate::executor::operation::{Operation, Outcome};

/// A path as the kernel takes it.
pub(super) fn name(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path {path:?} has a zero byte in it, which no name of a file can have"),
        )
    })
}

/// An error of the kernel's, if the result is one.
pub(super) fn checked(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// A position as the kernel takes it: with a sign, and -1 has a meaning of its own.
pub(super) fn checked_position(position: u64) -> io::Result<u64> {
    check_position(position).map(|()| position)
}

/// The same, for who needs no number.
pub(crate) fn check_position(position: u64) -> io::Result<()> {
    if i64::try_from(position).is_ok() {
        return Ok(());
    }
    let text = format!("{position} is no position in a file: the last one is {}", i64::MAX);
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Room for so many bytes; an error where there is no such memory, and not the end of the process.
pub(super) fn room(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    Ok(bytes)
}

/// An operation on an open file. The outcome has the payload also if it failed.
pub(super) async fn on_file(
    core: &Rc<Core>,
    fd: &Rc<Fd>,
    op: FileOp,
    payload: Payload,
) -> io::Result<Outcome> {
    core.check_turning()?;
    Ok(Operation::start(core, Op::File(op), payload, fd).outcome().await)
}

/// One without a payload, whose result says nothing but that it went well.
pub(super) async fn plain(core: &Rc<Core>, fd: &Rc<Fd>, op: FileOp) -> io::Result<()> {
    checked(on_file(core, fd, op, Payload::None).await?.result).map(drop)
}

/// An operation on names, relative to this folder or to the current one.
pub(super) async fn on_names(
    core: &Rc<Core>,
    folder: Option<&Rc<Fd>>,
    op: FileOp,
    payload: Payload,
) -> io::Result<Outcome> {
    core.check_turning()?;
    let operation = Operation::start_with(core, Op::File(op), payload, folder.map(Rc::clone));
    let outcome = operation.outcome().await;
    checked(outcome.result).map(|_| outcome)
}

pub(super) async fn open(
    core: &Rc<Core>,
    folder: Option<&Rc<Fd>>,
    path: CString,
    how: OpenHow,
) -> io::Result<Rc<Fd>> {
    let op = FileOp::Open { folder: folder.map_or(HERE, |fd| fd.raw()), how };
    let outcome = on_names(core, folder, op, Paths::one(path)).await?;
    Ok(outcome.opened.expect("an open that succeeds makes a descriptor"))
}

/// The status of what a path names, or with an empty path of the file itself.
pub(super) async fn status(
    core: &Rc<Core>,
    folder: Option<&Rc<Fd>>,
    path: CString,
    flags: StatusFlags,
) -> io::Result<Status> {
    let op = FileOp::Status { folder: folder.map_or(HERE, |fd| fd.raw()), flags };
    let outcome = on_names(core, folder, op, StatusPlace::of(path)).await?;
    match outcome.payload {
        Payload::Status(place) => Ok(place.status()),
        _ => unreachable!("a completed operation gives its payload back"),
    }
}
