//! What a stream's descriptor is: the few places in which sockets and pipes differ.
//!
//! The state machine (`stream.rs`) is one for all. It asks here which operation receives, which
//! one sends, and how a direction is ended.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::Stream;
use crate::driver::{
    Chunk, DESCRIPTORS_MAX, FileOp, Group, Memory, Message, Op, Payload, ReceiveBuffer,
};
use crate::executor::Core;

/// What is read of a file at a time.
const FILE_BYTES: usize = 64 << 10;

/// Messages whose descriptors wait to be taken; of more, the oldest are closed.
const MESSAGES_MAX: usize = 16;

/// The kinds of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A TCP socket.
    Tcp,
    /// A Unix socket.
    Local,
    /// A Unix socket whose peer may pass descriptors.
    Passing,
    /// A socket that other handles and processes have as well: an end of it is the last one's.
    Shared,
    /// A pipe, a terminal, another device.
    Pipe,
    /// An ordinary file or a disk: what is read and written there waits for no event, but for the
    /// disk, so these are operations of files.
    File,
}

/// Descriptors that came with bytes of a stream.
#[derive(Default)]
pub(super) struct Passed {
    /// Bytes received since descriptors are asked for.
    received: u64,
    /// Each with the number of bytes that came before it.
    messages: VecDeque<(u64, Vec<OwnedFd>)>,
    /// Some were lost for want of room in the process.
    has_lost: bool,
}

impl Source {
    /// How it receives into memory of the operation's own; `None` if pooled buffers will do.
    pub(super) fn must_own_memory(self) -> bool {
        matches!(self, Source::Passing | Source::File)
    }

    /// A receive from the pool.
    pub(super) fn receive(self, fd: i32, group: Group, multishot: bool) -> Op {
        match self {
            Source::Pipe => Op::PipeRead { fd, group },
            _ => Op::Receive { fd, group, multishot },
        }
    }

    /// A receive into memory of its own.
    pub(super) fn receive_into(self, fd: i32, bytes: usize) -> (Op, Payload) {
        match self {
            Source::Passing => {
                (Op::ReceiveMessage { fd }, Payload::Message(Message::room(bytes, true)))
            }
            Source::Pipe => (Op::PipeReadInto { fd }, Payload::Buffer(ReceiveBuffer::new(bytes))),
            Source::File => {
                let memory = Memory::Vec(Vec::with_capacity(FILE_BYTES));
                let read = FileOp::Read { fd, position: None, from: 0, length: FILE_BYTES };
                (Op::File(read), Payload::Memory(memory))
            }
            _ => (Op::ReceiveInto { fd }, Payload::Buffer(ReceiveBuffer::new(bytes))),
        }
    }

    pub(super) fn send(self, fd: i32) -> Op {
        match self {
            Source::Pipe => Op::PipeWrite { fd },
            Source::File => Op::File(FileOp::Write { fd, position: None, from: 0, append: false }),
            _ => Op::Send { fd },
        }
    }

    /// Whether a send can be tried by a plain call.
    pub(super) fn sends_now(self) -> bool {
        !matches!(self, Source::Pipe | Source::File)
    }

    /// Whether bytes can be moved between it and a pipe without a wait.
    pub(super) fn splices(self) -> bool {
        !matches!(self, Source::Passing | Source::Shared | Source::File)
    }

    /// Tells the other end that nothing more comes.
    pub(super) fn end_writes(self, core: &Core, fd: i32) -> io::Result<()> {
        let mut driver = core.driver.borrow_mut();
        match self {
            Source::Pipe | Source::File => driver.end_pipe(fd),
            Source::Shared => Ok(()),
            _ => driver.shutdown_write(fd),
        }
    }

    /// Ends both directions without a word.
    pub(super) fn reset(self, core: &Core, fd: i32) {
        let mut driver = core.driver.borrow_mut();
        match self {
            Source::Tcp => driver.reset(fd),
            Source::Local | Source::Passing => driver.shutdown_both(fd),
            Source::Shared => {}
            // The last close ends it; an error says that it is ended.
            Source::Pipe | Source::File => drop(driver.end_pipe(fd)),
        }
    }
}

/// The bytes of a completed receive: in a buffer of the pool, or in the operation's own memory.
pub(super) fn received_chunk(
    pooled: Option<Chunk>,
    payload: Payload,
    length: usize,
) -> Option<Chunk> {
    match (pooled, payload) {
        (Some(chunk), _) => Some(chunk),
        (None, Payload::Buffer(buffer)) => Some(buffer.into_chunk(length)),
        (None, Payload::Memory(mut memory)) => {
            memory.set_filled(length);
            let Memory::Vec(bytes) = memory else { return None };
            Some(Chunk::from_vec(bytes))
        }
        (None, _) => None,
    }
}

impl Stream {
    /// Has descriptors taken along with the bytes from now on.
    pub(crate) fn take_passed(self: &Rc<Self>) {
        if self.source.replace(Source::Passing) != Source::Passing {
            // A standing receive would have the kernel close them.
            self.pause();
        }
    }

    /// A message came: its bytes as a chunk; its descriptors are kept.
    pub(super) fn keep_passed(&self, message: Box<Message>, length: usize) -> Chunk {
        let received = message.into_received(length);
        let mut passed = self.passed.borrow_mut();
        let passed = passed.get_or_insert_default();
        passed.has_lost |= received.lost_control;
        if !received.descriptors.is_empty() && !self.discarding.get() {
            let before = passed.received;
            passed.messages.push_back((before, received.descriptors));
            if passed.messages.len() > MESSAGES_MAX {
                passed.messages.pop_front();
            }
        }
        passed.received += length as u64;
        received.chunk
    }

    /// The descriptors that came with the bytes which were taken by now.
    pub(crate) fn claim_passed(&self) -> io::Result<Vec<OwnedFd>> {
        let unread = self.inbox.borrow().len() as u64;
        let mut passed = self.passed.borrow_mut();
        let passed = passed.get_or_insert_default();
        if std::mem::take(&mut passed.has_lost) {
            return Err(io::Error::other(
                "descriptors that the peer passed are lost: likely this process has as many open \
                 as it may; cure: close some, or raise RLIMIT_NOFILE",
            ));
        }
        let taken = passed.received.saturating_sub(unread);
        let mut claimed = Vec::new();
        while passed.messages.front().is_some_and(|(before, _)| *before < taken) {
            claimed.extend(passed.messages.pop_front().map(|(_, it)| it).unwrap_or_default());
        }
        Ok(claimed)
    }

    /// Whether so many descriptors go with so many bytes.
    pub(crate) fn check_passing(bytes: usize, descriptors: usize) -> io::Result<()> {
        let text = match (bytes, descriptors) {
            (0, _) => "descriptors go with a byte: there must be one",
            (_, count) if count > DESCRIPTORS_MAX => "one message carries 253 descriptors at most",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}
