//! An operation as a submission to the ring.

use std::ffi::CStr;

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::memory::{Room, Source, room, source};
use super::status::StatusPlace;
use super::{FileOp, HERE, LENGTH_MAX};
use crate::driver::Payload;

const FOLDER: Fd = Fd(HERE);

/// The position that stands for "where the last one ended".
const ONWARDS: u64 = u64::MAX;

/// The one place that knows how an operation on a file is asked of the ring. `region` is the number
/// under which the ring knows the memory of a read or a write.
pub(in crate::driver) fn submission(
    op: FileOp,
    payload: &mut Payload,
    region: Option<u16>,
) -> squeue::Entry {
    match (op, payload) {
        (FileOp::Read { fd, position, from, length }, payload) => {
            let position = position.unwrap_or(ONWARDS);
            match (room(payload, from, length), region) {
                (Room::One(start, length), Some(region)) => {
                    opcode::ReadFixed::new(Fd(fd), start, length as u32, region)
                        .offset(position)
                        .build()
                }
                (Room::One(start, length), None) => {
                    opcode::Read::new(Fd(fd), start, length as u32).offset(position).build()
                }
                (Room::Many(pieces, count), _) => {
                    opcode::Readv::new(Fd(fd), pieces, count as u32).offset(position).build()
                }
            }
        }
        (FileOp::Write { fd, position, from, append }, payload) => {
            let position = position.unwrap_or(ONWARDS);
            let flags = if append { libc::RWF_APPEND } else { 0 };
            match (source(payload, from), region) {
                (Source::One(start, length), Some(region)) => {
                    opcode::WriteFixed::new(Fd(fd), start, length as u32, region)
                        .offset(position)
                        .rw_flags(flags)
                        .build()
                }
                (Source::One(start, length), None) => {
                    let write = opcode::Write::new(Fd(fd), start, length as u32);
                    write.offset(position).rw_flags(flags).build()
                }
                (Source::Many(pieces, count), _) => {
                    let write = opcode::Writev::new(Fd(fd), pieces, count as u32);
                    write.offset(position).rw_flags(flags).build()
                }
            }
        }
        (FileOp::Sync { fd, data_only }, _) => {
            let flags = match data_only {
                true => io_uring::types::FsyncFlags::DATASYNC,
                false => io_uring::types::FsyncFlags::empty(),
            };
            opcode::Fsync::new(Fd(fd)).flags(flags).build()
        }
        (FileOp::SetLength { fd, length }, _) => opcode::Ftruncate::new(Fd(fd), length).build(),
        (FileOp::Allocate { fd, mode, position, length }, _) => {
            opcode::Fallocate::new(Fd(fd), length).offset(position).mode(mode.bits()).build()
        }
        (FileOp::Advise { fd, advice, position, length }, _) => {
            opcode::Fadvise::new(Fd(fd), length as i64, advice.bits()).offset(position).build()
        }
        (FileOp::Splice { from, to, length }, _) => {
            // Here -1 says that an end has no position.
            let place = |position: Option<u64>| position.map_or(-1, |it| it as i64);
            let (start, target) = (place(from.position), place(to.position));
            let length = length.min(LENGTH_MAX) as u32;
            opcode::Splice::new(Fd(from.fd), start, Fd(to.fd), target, length).build()
        }
        (op, payload) => submission_by_name(op, payload),
    }
}

fn submission_by_name(op: FileOp, payload: &mut Payload) -> squeue::Entry {
    let name = CStr::as_ptr;
    match (op, payload) {
        (FileOp::Open { folder, how }, Payload::Paths(paths)) => {
            paths.how = how.with_rules();
            let (folder, path) = (Fd(folder), name(&paths.first));
            let open = match how.has_rules() {
                true => opcode::OpenAt2::new(folder, path, &raw const paths.how).build(),
                false => {
                    opcode::OpenAt::new(folder, path).flags(how.flags()).mode(how.mode).build()
                }
            };
            // The kernel's first try does not block, and of a pipe that nobody reads it says
            // `ENXIO` instead of waiting: what is opened to be written is tried by a worker.
            match how.write || how.append {
                true => open.flags(squeue::Flags::ASYNC),
                false => open,
            }
        }
        (FileOp::Status { folder, flags }, Payload::Status(status)) => {
            let answer = (&raw mut status.answer).cast();
            opcode::Statx::new(Fd(folder), name(&status.path), answer)
                .flags(flags.bits())
                .mask(StatusPlace::MASK)
                .build()
        }
        (FileOp::Unlink { folder, is_folder }, Payload::Paths(paths)) => {
            let flags = if is_folder { libc::AT_REMOVEDIR } else { 0 };
            opcode::UnlinkAt::new(Fd(folder), name(&paths.first)).flags(flags).build()
        }
        (FileOp::Rename { replace }, Payload::Paths(paths)) => {
            let flags = if replace { 0 } else { libc::RENAME_NOREPLACE };
            let (from, to) = (name(&paths.first), name(&paths.second));
            opcode::RenameAt::new(FOLDER, from, FOLDER, to).flags(flags).build()
        }
        (FileOp::MakeFolder { mode }, Payload::Paths(paths)) => {
            opcode::MkDirAt::new(FOLDER, name(&paths.first)).mode(mode).build()
        }
        (FileOp::Link { flags }, Payload::Paths(paths)) => {
            let (from, to) = (name(&paths.first), name(&paths.second));
            opcode::LinkAt::new(FOLDER, from, FOLDER, to).flags(flags.bits()).build()
        }
        (FileOp::Symlink, Payload::Paths(paths)) => {
            opcode::SymlinkAt::new(FOLDER, name(&paths.first), name(&paths.second)).build()
        }
        (op, _) => unreachable!("{op:?} was pushed without the payload it needs"),
    }
}
