//! Whole files at once: read, written, copied.

use std::io;
use std::path::Path;

use super::calls::{checked, on_file, room};
use super::{File, OpenOptions};
use crate::driver::{FileOp, Memory, Payload, Second, Segment, is_no_copy};

/// What is read at a time of a file that does not say how long it is.
const PIECE_BYTES: usize = 64 << 10;

/// What is copied at a time, so that a cancelled copy ends soon.
const COPY_BYTES: usize = 4 << 20;

/// Reads a whole file, also one whose length says nothing, as those of `/proc` and pipes.
///
/// # Errors
///
/// The kernel's; `OutOfMemory` if it does not fit.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: the file is as before; what came out of a pipe is lost.
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = File::open(path).await?;
    let length = file.metadata().await?.len();
    let mut bytes = room(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1))?;
    let mut has_positions = true;
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.try_reserve(PIECE_BYTES)?;
        }
        let (filled, room) = (bytes.len(), bytes.capacity());
        let op = FileOp::Read {
            fd: file.fd.raw(),
            position: has_positions.then_some(filled as u64),
            from: filled,
            length: room - filled,
        };
        let payload = Payload::Memory(Memory::Vec(bytes));
        let outcome = on_file(&file.core, &file.fd, op, payload).await?;
        let Payload::Memory(mut memory) = outcome.payload else {
            return checked(outcome.result).map(|_| Vec::new());
        };
        let count = match checked(outcome.result) {
            Err(error) if error.kind() == io::ErrorKind::NotSeekable && has_positions => {
                has_positions = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            result => Some(result?),
        };
        memory.set_filled(filled + count.unwrap_or(0));
        let Memory::Vec(back) = memory else {
            unreachable!("the memory that comes back is what went in")
        };
        bytes = back;
        if count == Some(0) {
            return Ok(bytes);
        }
    }
}

/// Reads a whole file of text.
///
/// # Errors
///
/// As of [`read`]; `InvalidData` if it is not UTF-8.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: as [`read`].
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    String::from_utf8(read(path).await?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = format!("the file {path:?} is not UTF-8: byte {at} begins no character");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Writes a whole file: it is made, or what was in it is thrown away. Readers may see it half
/// written; see [`replace`](crate::fs::replace).
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
/// **Weak**: the file may have been made, emptied, and written in part.
pub async fn write(path: impl AsRef<Path>, bytes: impl Into<Segment>) -> io::Result<()> {
    let bytes = bytes.into();
    let options = OpenOptions::new().write(true).create(true).truncate(true);
    let file = options.open(path).await?;
    file.write_all_at(0, bytes).await
}

/// Copies the contents and the permissions of a file to another one, which is made or replaced in
/// place, and says how many bytes that were. The kernel copies, and file systems that can share the
/// blocks do so.
///
/// # Errors
///
/// The kernel's; `InvalidInput` if it is no ordinary file, or both are the same.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Weak**: the other file may have been made, emptied, and written in part.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let source = File::open(from).await?;
    let status = source.metadata().await?;
    if !status.is_file() {
        let text = "what is to be copied is no ordinary file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // Not emptied by the open: it may be the same file.
    let options = OpenOptions::new().write(true).create(true).mode(status.mode());
    let target = options.open(to).await?;
    let found = target.metadata().await?;
    if (found.dev(), found.ino()) == (status.dev(), status.ino()) {
        let text = "a file cannot be copied to itself";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if found.is_file() {
        target.set_len(0).await?;
        target.set_permissions(status.permissions()).await?;
    }
    copy_contents(&source, &target).await
}

/// By the kernel as far as it does that, otherwise through memory.
pub(super) async fn copy_contents(source: &File, target: &File) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        let (from, to) = (source.fd.raw(), target.fd.raw());
        let op = FileOp::CopyRange { from, to, length: COPY_BYTES };
        let outcome = on_file(&source.core, &target.fd, op, Second::of(&source.fd)).await?;
        match checked(outcome.result) {
            // Some file systems say so of files that have contents, as `/proc`.
            Ok(0) => break,
            Ok(count) => copied += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_no_copy(&error) => break,
            Err(error) => return Err(error),
        }
    }
    loop {
        let piece = source.read_at(copied, PIECE_BYTES).await?;
        if piece.is_empty() {
            return Ok(copied);
        }
        let count = piece.len() as u64;
        target.write_all_at(copied, piece).await?;
        copied += count;
    }
}
