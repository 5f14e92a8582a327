//! Files past the page cache: O_DIRECT.
//!
//! The disk's controller writes into the memory itself, so memory, positions and lengths are
//! multiples of what the file system asks for: statx(2) tells it from 6.1 on. What is misaligned is
//! refused here, with the numbers, since the kernel says no more than `EINVAL`.

use std::fmt;
use std::io;
use std::path::Path;

use super::calls::{name, open, status};
use super::options::OpenOptions;
use super::paths::itself;
use super::writing::Place;
use super::{AlignedBuffer, File};
use crate::driver::{Memory, OpenHow, Payload, StatusFlags};
use crate::executor::Core;

/// What serves where the file system does not say: a page, which is a multiple of any block.
const ALIGNMENT_DEFAULT: usize = 4096;

/// A file that is read and written past the page cache.
///
/// For who keeps a cache of their own, or reads once what is larger than the memory. Memory comes
/// from [`buffer`](Self::buffer).
///
/// ```no_run
/// # corio::run(async {
/// let file = corio::fs::DirectFile::open("data").await?;
/// let (count, buffer) = file.read_at(0, file.buffer(64 << 10)).await;
/// println!("{} bytes, the first is {:?}", count?, buffer.first());
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "O_DIRECT")]
pub struct DirectFile {
    pub(super) file: File,
    memory_alignment: usize,
    position_alignment: usize,
}

impl DirectFile {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// `InvalidInput` or `Unsupported` from file systems that have no reads past the cache; the
    /// kernel's.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Strict**: no descriptor stays open.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<DirectFile> {
        DirectFile::open_with(path, &OpenOptions::new().read(true)).await
    }

    /// Opens a file with options.
    ///
    /// # Errors
    ///
    /// As of [`open`](Self::open).
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the file may have been made or emptied. No descriptor stays open.
    pub async fn open_with(
        path: impl AsRef<Path>,
        options: &OpenOptions,
    ) -> io::Result<DirectFile> {
        options.check()?;
        let core = Core::current();
        let how = OpenHow { direct: true, ..options.how() };
        let fd = open(&core, None, name(path.as_ref())?, how).await?;
        let found = status(&core, Some(&fd), itself(), StatusFlags::Itself).await?;
        let (memory, position) = match found.direct {
            Some((0, _) | (_, 0)) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this file cannot be read past the page cache; cure: open it as a `File`",
                ));
            }
            Some((memory, position)) => (memory as usize, position as usize),
            None => (ALIGNMENT_DEFAULT, ALIGNMENT_DEFAULT),
        };
        Ok(DirectFile {
            file: File::new(core, fd),
            memory_alignment: memory,
            position_alignment: position,
        })
    }

    /// What addresses of memory are multiples of.
    pub fn memory_alignment(&self) -> usize {
        self.memory_alignment
    }

    /// What positions and lengths are multiples of.
    pub fn position_alignment(&self) -> usize {
        self.position_alignment
    }

    /// The file, for all but reads and writes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Memory that this file takes, with room for at least so many bytes, none of them filled.
    ///
    /// Up to 256 KiB it is of the core's pool, and goes back there when it is dropped; the pool has
    /// 16 MiB at most. What is larger, or finds no place, is on the heap. The pool is registered
    /// with the ring as far as that locks no more than a quarter of the memory that may be locked:
    /// then the kernel does not look its pages up for every read.
    ///
    /// # Panics
    ///
    /// If there is no such memory.
    #[track_caller]
    pub fn buffer(&self, capacity: usize) -> AlignedBuffer {
        let capacity = capacity.max(1).next_multiple_of(self.position_alignment);
        let alignment = self.memory_alignment.max(self.position_alignment);
        let core = &self.file.core;
        core.driver.borrow_mut().aligned_buffer(&core.pools, capacity, alignment)
    }

    /// Reads into the whole room of a buffer, and gives it back with the count: less than its room
    /// only at the end of the file.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the memory, the position or the length is misaligned; the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the buffer is gone with the read.
    pub async fn read_at(
        &self,
        position: u64,
        buffer: AlignedBuffer,
    ) -> (io::Result<usize>, AlignedBuffer) {
        if let Err(error) = self.check("read", position, buffer.capacity(), &buffer) {
            return (Err(error), buffer);
        }
        let (result, payload) = self.read_past_cache(position, Memory::Aligned(buffer)).await;
        (result, super::buffer::from_payload(payload))
    }

    /// Writes the filled part of a buffer, and gives it back.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the memory, the position or the length is misaligned; the kernel's.
    ///
    /// # Cancellation
    ///
    /// **Weak**: it may have been written, or a part of it, and the buffer is gone.
    pub async fn write_at(
        &self,
        position: u64,
        buffer: AlignedBuffer,
    ) -> (io::Result<()>, AlignedBuffer) {
        let length = buffer.len();
        if let Err(error) = self.check("write", position, length, &buffer) {
            return (Err(error), buffer);
        }
        let payload = Payload::Memory(Memory::Aligned(buffer));
        let (result, payload) = self.file.write_payload(Place::At(position), payload, length).await;
        (result, super::buffer::from_payload(payload))
    }

    fn check(
        &self,
        what: &str,
        position: u64,
        length: usize,
        buffer: &AlignedBuffer,
    ) -> io::Result<()> {
        let (memory, block) = (self.memory_alignment, self.position_alignment);
        let address = buffer.as_ptr() as usize;
        let wrong = if !address.is_multiple_of(memory) {
            format!("the memory is aligned to {}, and not to {memory}", buffer.alignment())
        } else if !position.is_multiple_of(block as u64) {
            format!("the position {position} is no multiple of {block}")
        } else if !length.is_multiple_of(block) {
            format!("the length {length} is no multiple of {block}")
        } else {
            return Ok(());
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "a {what} past the page cache is misaligned: {wrong}; cure: take memory from \
                 `DirectFile::buffer`, and round positions and lengths to `position_alignment`"
            ),
        ))
    }
}

impl fmt::Debug for DirectFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectFile")
            .field("file", &self.file)
            .field("memory_alignment", &self.memory_alignment)
            .field("position_alignment", &self.position_alignment)
            .finish()
    }
}
