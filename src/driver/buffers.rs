//! Receive buffers: a pool per size, shared with the kernel, and the chunks cut from it.
//!
//! An idle connection holds no buffer. The kernel takes one from the pool when bytes arrive, the
//! completion turns it into a [`Chunk`], and dropping the chunk gives the buffer back.
//!
//! ```text
//!            circulate                kernel fills              drop of the Chunk
//!  parked ───────────────▶ offered ────────────────▶ lent ─────────────────────────▶ offered
//!     ▲                                                │  (retire: the pool is larger
//!     └────────────────────────────────────────────────┘   than its recent use)
//! ```
//!
//! * `parked` buffers are address space only: never touched, or given back to the kernel.
//! * `offered` ones are in the ring that the kernel takes from; `lent` ones are in a `Chunk`.
//! * The pool doubles when less than a quarter is offered, up to its limit, and halves by parking
//!   returning buffers when a whole window of returns never lent a quarter of it.
//!
//! `[pool-outlives-chunks]`: a chunk holds its pool by `Rc`, and the pool's memory is one mapping
//! that lives as long as the pool, whatever became of the ring. Its drop needs no thread-local.
//!
//! `[buffer-has-one-owner]`: a buffer is either offered (the kernel may write it) or lent to
//! exactly one chunk (nobody else may).
#![allow(unsafe_code)] // Memory that the kernel writes, and the ring shared with it.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use io_uring::types::BufRingEntry;

use super::Group;
use super::files::AlignedPool;

/// How many returns of buffers the pool looks at before it decides whether it is too large.
const WINDOW_RETURNS: u32 = 4096;

/// A chunk is little if it fills less than this part of its buffer.
const LITTLE_PART: usize = 4;

/// Ids of the large group carry this bit, so that a completion's buffer id names its pool.
const LARGE_BIT: u16 = 1 << 14;

/// The same for the group of datagrams.
const DATAGRAM_BIT: u16 = 1 << 15;

/// The largest datagram with what is written before it. Only pages that were written to are memory.
const DATAGRAM_BYTES: usize = 68 << 10;

/// Buffers for datagrams: at first, and at most.
const DATAGRAM_COUNTS: (u16, u16) = (16, 256);

/// The sizes of a core's pools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferConfig {
    pub(crate) size_bytes: usize,
    pub(crate) initial_count: u16,
    pub(crate) count_max: u16,
    pub(crate) large_size_bytes: usize,
    pub(crate) large_count_max: u16,
}

impl Default for BufferConfig {
    fn default() -> BufferConfig {
        BufferConfig {
            size_bytes: 16 << 10,
            initial_count: 64,
            count_max: 1024,
            large_size_bytes: 64 << 10,
            large_count_max: 256,
        }
    }
}

/// A private mapping, or none of size 0.
pub(super) struct Mapping {
    pub(super) base: NonNull<u8>,
    length: usize,
}

impl Mapping {
    pub(super) fn new(length: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: [plain-call] a new anonymous mapping touches no existing memory.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), length.max(1), protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // The kernel keeps pages of a registered ring pinned; a forked child must not share them.
        // SAFETY: [plain-call] the range is the mapping just made.
        unsafe { libc::madvise(base, length.max(1), libc::MADV_DONTFORK) };
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { base, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: [pool-outlives-chunks] nobody points into the mapping any more: the pool is
        // dropped after its last chunk and after the ring it was registered with.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length.max(1)) };
    }
}

/// The ring through which buffers are offered to the kernel.
struct OfferRing {
    memory: Mapping,
    mask: u16,
    tail: Cell<u16>,
}

impl OfferRing {
    fn new(entries: u16) -> io::Result<OfferRing> {
        let entries = entries.next_power_of_two();
        let memory = Mapping::new(usize::from(entries) * size_of::<BufRingEntry>())?;
        Ok(OfferRing { memory, mask: entries - 1, tail: Cell::new(0) })
    }

    fn offer(&self, address: *mut u8, length: usize, id: u16) {
        let tail = self.tail.get();
        let entries = self.memory.base.as_ptr().cast::<BufRingEntry>();
        // SAFETY: [offer-ring] the masked index is inside the mapping, whose entries are integers.
        let place = unsafe { entries.add(usize::from(tail & self.mask)) };
        // SAFETY: [offer-ring] the kernel reads this entry only once the tail has passed it.
        let entry = unsafe { &mut *place };
        entry.set_addr(address as u64);
        entry.set_len(length as u32);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: [offer-ring] the argument is the first entry, as `tail` wants it.
        let shared = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: [offer-ring] the tail is an aligned u16 that both sides use atomically.
        let shared = unsafe { AtomicU16::from_ptr(shared.cast_mut()) };
        shared.store(tail.wrapping_add(1), Ordering::Release);
    }
}

/// All buffers of one size of one core.
pub(crate) struct Pool {
    group: Group,
    size_bytes: usize,
    initial_count: u16,
    count_max: u16,
    memory: Mapping,
    ring: RefCell<Option<OfferRing>>,
    /// The offered buffers, for a driver that takes them itself instead of the kernel.
    list: RefCell<Option<Vec<u16>>>,
    parked: RefCell<Vec<u16>>,
    /// Buffers in circulation: offered or lent.
    total: Cell<u16>,
    lent: Cell<u16>,
    window_returns: Cell<u32>,
    window_lent_max: Cell<u16>,
    retiring: Cell<u16>,
}

impl Pool {
    fn new(group: Group, size_bytes: usize, initial: u16, max: u16) -> io::Result<Rc<Pool>> {
        Ok(Rc::new(Pool {
            group,
            size_bytes,
            initial_count: initial.min(max),
            count_max: max,
            memory: Mapping::new(size_bytes * usize::from(max))?,
            ring: RefCell::new(None),
            list: RefCell::new(None),
            parked: RefCell::new((0..max).rev().collect()),
            total: Cell::new(0),
            lent: Cell::new(0),
            window_returns: Cell::new(0),
            window_lent_max: Cell::new(0),
            retiring: Cell::new(0),
        }))
    }

    /// Makes the shared ring; the driver registers its address under the group's number.
    pub(super) fn make_ring(&self) -> io::Result<(u64, u16)> {
        let ring = OfferRing::new(self.count_max)?;
        let address = ring.memory.base.as_ptr() as u64;
        let entries = ring.mask + 1;
        *self.ring.borrow_mut() = Some(ring);
        Ok((address, entries))
    }

    /// Offers buffers in a list, for a driver that takes them itself.
    pub(super) fn serve_from_list(&self) {
        *self.list.borrow_mut() = Some(Vec::new());
        if self.group == Group::Small {
            self.start();
        }
    }

    /// A buffer from the list, as a chunk of its whole room.
    pub(super) fn take_listed(self: &Rc<Pool>) -> Option<Chunk> {
        let id = self.list.borrow_mut().as_mut()?.pop()?;
        Some(self.take(id, self.size_bytes))
    }

    /// Gives the shared ring up, if the kernel would not have it.
    pub(super) fn drop_ring(&self) {
        *self.ring.borrow_mut() = None;
    }

    /// Puts the initial buffers into circulation, if none are yet.
    pub(crate) fn start(&self) {
        let is_served = self.ring.borrow().is_some() || self.list.borrow().is_some();
        if self.total.get() == 0 && is_served {
            self.circulate(self.initial_count.max(1));
        }
    }

    /// How many buffers the kernel can take from, as far as this side knows.
    pub(crate) fn offered_count(&self) -> u16 {
        self.total.get() - self.lent.get()
    }

    /// Buffers in circulation.
    pub(crate) fn total_count(&self) -> u16 {
        self.total.get()
    }

    /// Buffers that chunks hold.
    pub(crate) fn lent_count(&self) -> u16 {
        self.lent.get()
    }

    /// The size of one buffer.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Whether less than a quarter is left of a pool that cannot grow.
    pub(crate) fn is_scarce(&self) -> bool {
        let total = self.total.get();
        total == self.count_max && self.offered_count() < total.div_ceil(4)
    }

    fn circulate(&self, count: u16) {
        for _ in 0..count {
            let Some(id) = self.parked.borrow_mut().pop() else { return };
            self.total.set(self.total.get() + 1);
            self.offer(id);
        }
    }

    fn offer(&self, id: u16) {
        let tag = match self.group {
            Group::Small => 0,
            Group::Large => LARGE_BIT,
            Group::Datagram => DATAGRAM_BIT,
        };
        if let Some(ring) = &*self.ring.borrow() {
            ring.offer(self.address(id), self.size_bytes, id | tag);
        } else if let Some(list) = &mut *self.list.borrow_mut() {
            list.push(id);
        }
    }

    fn address(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count_max);
        // SAFETY: [pool-outlives-chunks] ids are below the count the mapping was made for.
        unsafe { self.memory.base.as_ptr().add(usize::from(id) * self.size_bytes) }
    }

    fn take(self: &Rc<Pool>, id: u16, length: usize) -> Chunk {
        let lent = self.lent.get() + 1;
        self.lent.set(lent);
        if lent > self.window_lent_max.get() {
            self.window_lent_max.set(lent);
        }
        let total = self.total.get();
        if self.offered_count() < total.div_ceil(4) && total < self.count_max {
            self.retiring.set(0);
            self.circulate(total);
        }
        Chunk { memory: Memory::Pooled { pool: Rc::clone(self), id }, start: 0, end: length }
    }

    fn give_back(&self, id: u16) {
        self.lent.set(self.lent.get() - 1);
        let returns = self.window_returns.get() + 1;
        self.window_returns.set(returns);
        if returns == WINDOW_RETURNS {
            self.judge_window();
        }
        if self.retiring.get() > 0 && self.total.get() > self.initial_count {
            self.retire(id);
        } else {
            self.offer(id);
        }
    }

    fn judge_window(&self) {
        let total = self.total.get();
        if self.window_lent_max.get() < total / 4 && total > self.initial_count {
            self.retiring.set(total / 2);
        }
        self.window_returns.set(0);
        self.window_lent_max.set(self.lent.get());
    }

    fn retire(&self, id: u16) {
        self.retiring.set(self.retiring.get() - 1);
        self.total.set(self.total.get() - 1);
        // SAFETY: [buffer-has-one-owner] the chunk that owned the buffer is being dropped, and it
        // is offered to nobody.
        unsafe { libc::madvise(self.address(id).cast(), self.size_bytes, libc::MADV_DONTNEED) };
        self.parked.borrow_mut().push(id);
    }
}

/// The pools of a core.
pub(crate) struct Pools {
    pub(crate) small: Rc<Pool>,
    pub(crate) large: Rc<Pool>,
    /// Made for the first socket of datagrams; `None` in it if the kernel would not have it.
    datagrams: OnceCell<Option<Rc<Pool>>>,
    /// For files past the page cache.
    pub(super) aligned: Rc<AlignedPool>,
}

impl Pools {
    pub(crate) fn new(config: &BufferConfig) -> io::Result<Pools> {
        let small =
            Pool::new(Group::Small, config.size_bytes, config.initial_count, config.count_max)?;
        let large = Pool::new(Group::Large, config.large_size_bytes, 16, config.large_count_max)?;
        Ok(Pools { small, large, datagrams: OnceCell::new(), aligned: Rc::default() })
    }

    pub(crate) fn pool(&self, group: Group) -> &Rc<Pool> {
        match group {
            Group::Small => &self.small,
            Group::Large => &self.large,
            Group::Datagram => {
                self.datagrams().expect("a datagram's buffer is of the pool that was offered")
            }
        }
    }

    /// The pool for datagrams, if it was made.
    pub(crate) fn datagrams(&self) -> Option<&Rc<Pool>> {
        self.datagrams.get()?.as_ref()
    }

    /// Makes the pool for datagrams if there is none yet, and has the driver offer it.
    pub(super) fn offer_datagrams(&self, offer: impl FnOnce(&Pool) -> io::Result<()>) {
        self.datagrams.get_or_init(|| {
            let (initial, max) = DATAGRAM_COUNTS;
            let pool = Pool::new(Group::Datagram, DATAGRAM_BYTES, initial, max).ok()?;
            if offer(&pool).is_err() {
                pool.drop_ring();
                return None;
            }
            pool.start();
            Some(pool)
        });
    }

    /// The chunk for a buffer that a completion named.
    pub(super) fn take(&self, tagged_id: u16, length: usize) -> Chunk {
        let group = match tagged_id {
            id if id & DATAGRAM_BIT != 0 => Group::Datagram,
            id if id & LARGE_BIT != 0 => Group::Large,
            _ => Group::Small,
        };
        self.pool(group).take(tagged_id & !(LARGE_BIT | DATAGRAM_BIT), length)
    }
}

/// Received bytes, owned, without a copy: `read_chunk` gives it, `write_owned` takes it.
///
/// A chunk is a view of one buffer of its core's pool (or of the heap, when the pool is scarce).
/// Dropping it gives the buffer back, so a chunk kept for long keeps a buffer from the core: turn
/// it into [`Bytes`] or a `Vec` for that. It stays on its thread; conversions copy.
///
/// ```
/// # corio::run(async {
/// let listener = corio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let client = corio::net::TcpStream::connect(listener.local_addr()?).await?;
/// client.write(b"hello").await?;
/// let mut server = listener.accept().await?;
/// let mut chunk = server.read_chunk().await?.expect("five bytes were sent");
/// chunk.advance(1);
/// assert_eq!(&chunk[..], b"ello");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct Chunk {
    memory: Memory,
    start: usize,
    end: usize,
}

enum Memory {
    Pooled { pool: Rc<Pool>, id: u16 },
    Heap(Vec<u8>),
}

impl Chunk {
    /// A chunk of heap memory.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Chunk {
        let end = bytes.len();
        Chunk { memory: Memory::Heap(bytes), start: 0, end }
    }

    /// Drops the first `count` bytes from the view.
    ///
    /// # Panics
    ///
    /// If the chunk is shorter than `count`.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "cannot advance a chunk of {} bytes by {count}", self.len());
        self.start += count;
    }

    /// Keeps only the first `length` bytes of the view; does nothing if it is not longer.
    pub fn truncate(&mut self, length: usize) {
        if length < self.len() {
            self.end = self.start + length;
        }
    }

    /// Copies the bytes out.
    pub fn to_vec(&self) -> Vec<u8> {
        self[..].to_vec()
    }

    /// The memory of the view, for a driver that receives into it.
    pub(super) fn room(&mut self) -> (*mut u8, usize) {
        let length = self.len();
        match &mut self.memory {
            Memory::Pooled { pool, id } => {
                // SAFETY: [pool-outlives-chunks] the start is inside the buffer.
                (unsafe { pool.address(*id).add(self.start) }, length)
            }
            Memory::Heap(bytes) => (bytes[self.start..].as_mut_ptr(), length),
        }
    }

    /// Whether a buffer of the core's pool is held.
    pub(crate) fn is_pooled(&self) -> bool {
        matches!(self.memory, Memory::Pooled { .. })
    }

    /// Whether the pool it came from wants its buffers back.
    pub(crate) fn is_scarce(&self) -> bool {
        match &self.memory {
            Memory::Pooled { pool, .. } => pool.is_scarce(),
            Memory::Heap(_) => false,
        }
    }

    /// Whether it fills so little of its buffer that a copy is better than keeping the buffer.
    pub(crate) fn is_little(&self) -> bool {
        self.len() < self.capacity() / LITTLE_PART
    }

    /// The room of the whole buffer, used or not.
    fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Pooled { pool, .. } => pool.size_bytes,
            Memory::Heap(bytes) => bytes.capacity(),
        }
    }

    /// Appends `bytes` behind the view if the buffer has the room, without moving what is there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if self.capacity() - self.end < bytes.len() {
            return false;
        }
        match &mut self.memory {
            Memory::Pooled { pool, id } => {
                // SAFETY: [pool-outlives-chunks] the end is inside the buffer.
                let place = unsafe { pool.address(*id).add(self.end) };
                // SAFETY: [buffer-has-one-owner] the room behind the view is this chunk's alone,
                // and `bytes`, a borrow of other memory, cannot overlap it.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
            }
            Memory::Heap(heap) => {
                heap.truncate(self.end);
                heap.extend_from_slice(bytes);
            }
        }
        self.end += bytes.len();
        true
    }

    /// Appends `bytes` to heap memory, moving it if it must grow; false for a pooled chunk.
    pub(crate) fn grow(&mut self, bytes: &[u8]) -> bool {
        let Memory::Heap(heap) = &mut self.memory else { return false };
        heap.truncate(self.end);
        heap.extend_from_slice(bytes);
        self.end = heap.len();
        true
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Pooled { pool, id } => {
                // SAFETY: [pool-outlives-chunks] the start is inside the buffer.
                let first = unsafe { pool.address(*id).add(self.start) };
                // SAFETY: [buffer-has-one-owner] the kernel filled these bytes before it named the
                // buffer, and nobody writes them while the chunk lives.
                unsafe { slice::from_raw_parts(first, self.end - self.start) }
            }
            Memory::Heap(bytes) => &bytes[self.start..self.end],
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Bytes {
        Bytes::copy_from_slice(&chunk)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Memory::Pooled { pool, id } = &self.memory {
            pool.give_back(*id);
        }
    }
}
