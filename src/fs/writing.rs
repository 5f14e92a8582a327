//! Writes at a position, and at the end.
//!
//! What is written is given away ([`Segment`]), or lent with its memory and given back. A write
//! that the kernel cuts short goes on, where all of it was asked for, behind what is through.

use std::io;

use super::buffer::{all_from_payload, from_payload, into_memory};
use super::calls::{checked, checked_position, on_file};
use super::{File, OwnedBuffer};
use crate::driver::{Batch, FileOp, Memories, Payload, Segment};

/// Where a write goes.
#[derive(Clone, Copy)]
pub(super) enum Place {
    At(u64),
    /// At the end, wherever that is by then.
    End,
    /// Where the last one ended.
    Onwards,
}

impl File {
    /// Writes at a position, and says how many bytes are through.
    ///
    /// The bytes are given away without a copy: a `Vec<u8>`, `Bytes`, a
    /// [`Chunk`](crate::io::Chunk), `String`, or `'static` ones.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been written, or a part of it.
    #[doc(alias = "pwrite")]
    pub async fn write_at(&self, position: u64, bytes: impl Into<Segment>) -> io::Result<usize> {
        let payload = Payload::Segment(bytes.into());
        self.write_step(Place::At(position), 0, payload).await.0
    }

    /// Writes all of it at a position.
    ///
    /// # Errors
    ///
    /// The kernel's: then a part may have been written.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been written, or a part of it.
    pub async fn write_all_at(&self, position: u64, bytes: impl Into<Segment>) -> io::Result<()> {
        let bytes = bytes.into();
        let length = bytes.len();
        self.write_payload(Place::At(position), Payload::Segment(bytes), length).await.0
    }

    /// Writes all of it at the end of the file, wherever that is by then, also if other processes
    /// append to it. What one call appends stays together if the kernel takes it whole, which it
    /// does of regular files unless the disk is full.
    ///
    /// # Errors
    ///
    /// The kernel's: then a part may have been written.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been written, or a part of it.
    pub async fn append(&self, bytes: impl Into<Segment>) -> io::Result<()> {
        let bytes = bytes.into();
        let length = bytes.len();
        let mut batch = Batch::new(vec![bytes]);
        let (mut done, mut place) = (0, Place::End);
        while done < length {
            let (step, payload) = self.write_step(place, 0, Payload::Batch(batch)).await;
            done += match step {
                // Pipes and devices have no end but the place where they are.
                Err(error) if is_without_end(&error) && matches!(place, Place::End) => {
                    place = Place::Onwards;
                    0
                }
                step => whole(step)?,
            };
            let Payload::Batch(rest) = payload else { return Ok(()) };
            let mut rest = rest.into_segments();
            if let Some(segment) = rest.first_mut() {
                segment.advance(segment.len() - (length - done));
            }
            batch = Batch::new(rest);
        }
        Ok(())
    }

    /// Writes the length of memory of the caller's, all of it, and gives it back.
    ///
    /// # Errors
    ///
    /// The kernel's: then a part may have been written. If the runtime does not run here, the
    /// memory comes back empty.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been written, or a part of it, and the memory is gone.
    pub async fn write_all_at_from<B: OwnedBuffer>(
        &self,
        position: u64,
        buffer: B,
    ) -> (io::Result<()>, B) {
        let memory = into_memory(buffer);
        let length = memory.as_slice().len();
        let payload = Payload::Memory(memory);
        let (result, payload) = self.write_payload(Place::At(position), payload, length).await;
        (result, from_payload(payload))
    }

    /// As [`write_all_at_from`](Self::write_all_at_from), of several pieces, one after the other.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancellation
    ///
    /// **Weak**: as there.
    #[doc(alias = "pwritev")]
    pub async fn write_vectored_at<B: OwnedBuffer>(
        &self,
        position: u64,
        buffers: Vec<B>,
    ) -> (io::Result<()>, Vec<B>) {
        let memories: Vec<_> = buffers.into_iter().map(into_memory).collect();
        let length = memories.iter().map(|memory| memory.as_slice().len()).sum();
        let payload = Memories::of(memories);
        let (result, payload) = self.write_payload(Place::At(position), payload, length).await;
        (result, all_from_payload(payload))
    }

    /// Writes a payload of so many bytes, until all of it is through.
    pub(super) async fn write_payload(
        &self,
        place: Place,
        mut payload: Payload,
        length: usize,
    ) -> (io::Result<()>, Payload) {
        let mut done = 0;
        while done < length {
            let place = match place {
                Place::At(position) => Place::At(position.saturating_add(done as u64)),
                place => place,
            };
            let (step, back) = self.write_step(place, done, payload).await;
            payload = back;
            match whole(step) {
                Ok(step) => done += step,
                Err(error) => return (Err(error), payload),
            }
        }
        (Ok(()), payload)
    }

    /// One write of what lies behind the first `from` bytes.
    async fn write_step(
        &self,
        place: Place,
        from: usize,
        payload: Payload,
    ) -> (io::Result<usize>, Payload) {
        let (position, append) = match place {
            Place::At(position) => match checked_position(position) {
                Ok(position) => (Some(position), false),
                Err(error) => return (Err(error), payload),
            },
            Place::End => (Some(0), true),
            Place::Onwards => (None, false),
        };
        let op = FileOp::Write { fd: self.fd.raw(), position, from, append };
        match on_file(&self.core, &self.fd, op, payload).await {
            Ok(outcome) => (checked(outcome.result), outcome.payload),
            Err(error) => (Err(error), Payload::None),
        }
    }
}

fn is_without_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::NotSeekable)
}

/// A step of a write that goes on: one that was interrupted did nothing, one of nothing never ends.
fn whole(step: io::Result<usize>) -> io::Result<usize> {
    match step {
        Ok(0) => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "the kernel takes no more bytes of this write, and gives no reason",
        )),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        step => step,
    }
}
