//! Reads at a position.
//!
//! ```text
//!             in the page cache, and the poll's budget allows it
//!   read ──┬───────────────────────────────────────────────────▶ copied at once
//!          │ cold, past the cache, or beyond the budget
//!          └──────────▶ an operation of the driver ────────────▶ ready in a later turn
//! ```
//!
//! A read of what is cached costs less as a plain call than as an operation with its slot and its
//! wake. Whether it is cached is known only by asking; a file whose read was not is not asked again
//! for a while.

use std::io;

use super::File;
use super::buffer::{all_from_payload, from_payload, into_memory};
use super::calls::{checked, checked_position, on_file, room};
use super::{DirectFile, OwnedBuffer};
use crate::driver::{Chunk, FileOp, Memories, Memory, Op, Payload};
use crate::executor::Leave;
use crate::executor::operation::Operation;
use crate::io::IncompleteRead;
use crate::task::yield_now;

/// So many reads go to the driver at once after one that was not cached.
const COLD_READS: u32 = 32;

impl File {
    /// Reads up to `length` bytes from a position on, into memory of the runtime's. There are fewer
    /// only at the end of the file, and none behind it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: what was read is thrown away, and the file is as before.
    #[doc(alias = "pread")]
    pub async fn read_at(&self, position: u64, length: usize) -> io::Result<Chunk> {
        let memory = Memory::Vec(room(length)?);
        let (result, memory) = self.read_memory(position, memory, length, false).await;
        result?;
        Ok(chunk_of(memory))
    }

    /// As [`read_at`](Self::read_at), but all of it.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` with an [`IncompleteRead`], which carries what there is, if the file ends
    /// before; the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: what was read is thrown away, and the file is as before.
    pub async fn read_exact_at(&self, position: u64, length: usize) -> io::Result<Chunk> {
        let memory = Memory::Vec(room(length)?);
        let (result, memory) = self.read_memory(position, memory, length, true).await;
        let (count, chunk) = (result?, chunk_of(memory));
        if count < length {
            return Err(IncompleteRead { partial: chunk.to_vec(), expected: Some(length) }.into());
        }
        Ok(chunk)
    }

    /// Reads into memory of the caller's, from its start up to its capacity, and gives it back with
    /// the count. There are fewer bytes than it has room for only at the end of the file.
    ///
    /// ```
    /// # corio::run(async {
    /// let file = corio::fs::File::open("/proc/version").await?;
    /// let (count, buffer) = file.read_at_into(0, Vec::with_capacity(5)).await;
    /// assert_eq!(count?, 5);
    /// assert_eq!(buffer, b"Linux");
    /// # std::io::Result::Ok(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The kernel's; the memory comes back as it went in. If the runtime does not run here, it
    /// comes back empty.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the memory is gone with the read.
    pub async fn read_at_into<B: OwnedBuffer>(
        &self,
        position: u64,
        buffer: B,
    ) -> (io::Result<usize>, B) {
        let memory = into_memory(buffer);
        let length = memory.capacity();
        let (result, payload) = self.read_memory(position, memory, length, false).await;
        (result, from_payload(payload))
    }

    /// As [`read_at_into`](Self::read_at_into), into several pieces, which are filled one after the
    /// other. The kernel takes 1024 pieces at a time.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the memory is gone with the read.
    #[doc(alias = "preadv")]
    pub async fn read_vectored_at<B: OwnedBuffer>(
        &self,
        position: u64,
        buffers: Vec<B>,
    ) -> (io::Result<usize>, Vec<B>) {
        let mut payload = Memories::of(buffers.into_iter().map(into_memory).collect());
        let mut count = 0;
        let result = loop {
            if let Err(error) = checked_position(position) {
                break Err(error);
            }
            let Payload::Memories(memories) = &payload else { break Ok(count) };
            let room: usize = memories.memories.iter().map(Memory::capacity).sum();
            if count == room {
                break Ok(count);
            }
            let op = FileOp::Read {
                fd: self.fd.raw(),
                position: Some(position + count as u64),
                from: count,
                length: room - count,
            };
            let step = match on_file(&self.core, &self.fd, op, payload).await {
                Ok(outcome) => {
                    payload = outcome.payload;
                    checked(outcome.result)
                }
                Err(error) => {
                    payload = Payload::None;
                    Err(error)
                }
            };
            match step {
                Ok(0) => break Ok(count),
                Ok(step) => count += step,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let (Ok(_), Payload::Memories(memories)) = (&result, &mut payload) {
            memories.set_filled(count);
        }
        (result, all_from_payload(payload))
    }

    /// Fills memory with `length` bytes, or up to the end of the file. If `sure`, an error behind
    /// bytes that were read is told as well; otherwise those count, and the next read meets it.
    pub(super) async fn read_memory(
        &self,
        position: u64,
        mut memory: Memory,
        length: usize,
        sure: bool,
    ) -> (io::Result<usize>, Payload) {
        let mut count = 0;
        let is_possible = self.core.check_turning().and_then(|()| checked_position(position));
        if let Err(error) = is_possible {
            return (Err(error), Payload::Memory(memory));
        }
        if length > 0 && self.may_be_cached() && self.may_read_now(length).await {
            count = self.read_cached(position, &mut memory, length);
            if count == length {
                memory.set_filled(count);
                return (Ok(count), Payload::Memory(memory));
            }
        }
        self.read_rest(position, memory, count, length, sure).await
    }

    async fn read_rest(
        &self,
        position: u64,
        memory: Memory,
        mut count: usize,
        length: usize,
        sure: bool,
    ) -> (io::Result<usize>, Payload) {
        let mut payload = Payload::Memory(memory);
        let result = loop {
            if count == length {
                break Ok(count);
            }
            if let Err(error) = self.core.check_turning() {
                break Err(error);
            }
            let op = Op::File(FileOp::Read {
                fd: self.fd.raw(),
                position: Some(position.saturating_add(count as u64)),
                from: count,
                length: length - count,
            });
            let mut operation = Operation::start(&self.core, op, payload, &self.fd);
            let result = (&mut operation).await;
            payload = operation.take_payload();
            match checked(result) {
                Ok(0) => break Ok(count),
                Ok(step) => count += step,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if count > 0 && !sure => break Ok(count),
                Err(error) => break Err(error),
            }
        };
        if let (Ok(_), Payload::Memory(memory)) = (&result, &mut payload) {
            memory.set_filled(count);
        }
        (result, payload)
    }

    /// Whether a read may be done in this poll, or in the next one, which is waited for.
    async fn may_read_now(&self, length: usize) -> bool {
        match self.core.ask_leave(length) {
            Leave::Granted => true,
            Leave::Never => false,
            Leave::NextPoll => {
                yield_now().await;
                self.core.ask_leave(length) == Leave::Granted
            }
        }
    }

    /// Whether it is worth asking.
    pub(super) fn may_be_cached(&self) -> bool {
        match self.cold_reads.get() {
            0 => true,
            rest => {
                self.cold_reads.set(rest - 1);
                false
            }
        }
    }

    /// Reads what is in the page cache; 0 also if there is nothing to read.
    fn read_cached(&self, position: u64, memory: &mut Memory, length: usize) -> usize {
        usize::try_from(self.try_cached(position, memory, length)).unwrap_or(0)
    }

    /// The same, with the kernel's answer if it is not.
    pub(super) fn try_cached(&self, position: u64, memory: &mut Memory, length: usize) -> i32 {
        let fd = self.fd.raw();
        let result = self.core.driver.borrow_mut().read_now(fd, position, memory, length);
        if result < 0 {
            self.cold_reads.set(COLD_READS);
        }
        result
    }
}

impl DirectFile {
    pub(super) async fn read_past_cache(
        &self,
        position: u64,
        memory: Memory,
    ) -> (io::Result<usize>, Payload) {
        let length = memory.capacity();
        self.file.read_rest(position, memory, 0, length, false).await
    }
}

fn chunk_of(payload: Payload) -> Chunk {
    match payload {
        Payload::Memory(Memory::Vec(bytes)) => Chunk::from_vec(bytes),
        _ => Chunk::from_vec(Vec::new()),
    }
}
