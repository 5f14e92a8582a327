//! Memory whose address is a multiple of an alignment, as reads and writes past the page cache want
//! it, and the pool of it that each core keeps.
//!
//! ```text
//!             the first of a size            take                    drop
//!  (nothing) ─────────────────────▶ region ─────────▶ AlignedBuffer ───────▶ a free place again
//!                                     ▲  │ all places free, and there may be no more regions
//!                                     └──┘ cut anew, for another size
//! ```
//!
//! A region is a mapping that is cut into places of one size. It is registered with the ring where
//! that is possible: then the kernel looks its pages up once, and not with every read. What is too
//! large for a region, or finds none, is on the heap.
//!
//! `[aligned-buffer]`: a buffer's memory is its own alone until it is dropped, is all initialised
//! (the allocator and the kernel give zeroes), and stays while anybody holds the pool.
#![allow(unsafe_code)] // Memory by its address.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use crate::driver::buffers::Mapping;

/// The size of a region, and how many a core has at most.
const REGION_BYTES: usize = 256 << 10;
pub(in crate::driver) const REGIONS_MAX: u16 = 64;

/// The smallest place: a page, which is a multiple of all alignments that disks have.
const PLACE_BYTES_MIN: usize = 4096;

struct Region {
    memory: Mapping,
    place_bytes: usize,
    free: Vec<u16>,
    is_registered: bool,
}

impl Region {
    fn cut(&mut self, place_bytes: usize) {
        self.place_bytes = place_bytes;
        self.free.clear();
        self.free.extend(0..Region::places(place_bytes));
    }

    fn places(place_bytes: usize) -> u16 {
        (REGION_BYTES / place_bytes) as u16
    }

    fn is_whole(&self) -> bool {
        self.free.len() == usize::from(Region::places(self.place_bytes))
    }
}

/// The aligned memory of one core.
#[derive(Default)]
pub(crate) struct AlignedPool {
    regions: RefCell<Vec<Region>>,
}

impl AlignedPool {
    /// A buffer, if there is a place for it. `register` makes a new region known to the kernel
    /// under its number, if it can.
    pub(in crate::driver) fn take(
        self: &Rc<Self>,
        capacity: usize,
        alignment: usize,
        register: impl FnOnce(u16, *mut u8, usize) -> bool,
    ) -> Option<AlignedBuffer> {
        if capacity > REGION_BYTES || alignment > PLACE_BYTES_MIN {
            return None;
        }
        let place_bytes = capacity.next_power_of_two().max(PLACE_BYTES_MIN);
        let mut regions = self.regions.borrow_mut();
        let has_place = |it: &Region| it.place_bytes == place_bytes && !it.free.is_empty();
        let number = match regions.iter().position(has_place) {
            Some(number) => number,
            None => AlignedPool::another_region(&mut regions, place_bytes, register)?,
        };
        let region = &mut regions[number];
        let place = region.free.pop()?;
        let place_in = Place {
            pool: Rc::clone(self),
            region: number as u16,
            place,
            is_registered: region.is_registered,
        };
        // SAFETY: [aligned-buffer] the region is cut into places, of which this is one.
        let memory = unsafe { region.memory.base.add(usize::from(place) * place_bytes) };
        let origin = Origin::Pool(place_in);
        Some(AlignedBuffer { memory, capacity, alignment: PLACE_BYTES_MIN, length: 0, origin })
    }

    /// A new region, or one that nobody has a place of.
    fn another_region(
        regions: &mut Vec<Region>,
        place_bytes: usize,
        register: impl FnOnce(u16, *mut u8, usize) -> bool,
    ) -> Option<usize> {
        let number = regions.len();
        if number < usize::from(REGIONS_MAX) {
            let memory = Mapping::new(REGION_BYTES).ok()?;
            let is_registered = register(number as u16, memory.base.as_ptr(), REGION_BYTES);
            regions.push(Region { memory, place_bytes, free: Vec::new(), is_registered });
            regions[number].cut(place_bytes);
            return Some(number);
        }
        let number = regions.iter().position(Region::is_whole)?;
        regions[number].cut(place_bytes);
        Some(number)
    }

    fn give_back(&self, region: u16, place: u16) {
        self.regions.borrow_mut()[usize::from(region)].free.push(place);
    }
}

/// A place in a region.
struct Place {
    pool: Rc<AlignedPool>,
    region: u16,
    place: u16,
    is_registered: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.give_back(self.region, self.place);
    }
}

/// Memory allocated with a layout.
struct Block(NonNull<u8>, Layout);

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: [aligned-buffer] the memory was allocated with this layout and is this one's.
        unsafe { dealloc(self.0.as_ptr(), self.1) };
    }
}

/// Whose the memory is when the buffer is dropped.
enum Origin {
    #[expect(dead_code, reason = "it is kept for its drop")]
    Heap(Block),
    Pool(Place),
}

/// Memory whose address is a multiple of an alignment, as reads and writes past the page cache want
/// it ([`DirectFile`](crate::fs::DirectFile)).
///
/// It derefs to the bytes that are filled: those that the last read brought, or that were put there
/// by [`resize`](Self::resize) and writing to the slice.
///
/// ```
/// let mut buffer = corio::fs::AlignedBuffer::new(8192, 4096);
/// buffer.resize(4096);
/// buffer[..5].copy_from_slice(b"hello");
/// assert_eq!(buffer.as_ptr() as usize % 4096, 0);
/// assert_eq!(buffer.len(), 4096);
/// ```
pub struct AlignedBuffer {
    memory: NonNull<u8>,
    capacity: usize,
    alignment: usize,
    length: usize,
    origin: Origin,
}

impl AlignedBuffer {
    /// Zeroed memory on the heap for `capacity` bytes, none of them filled.
    ///
    /// # Panics
    ///
    /// If `capacity` is zero, `alignment` is no power of two, or both are too large together.
    #[track_caller]
    pub fn new(capacity: usize, alignment: usize) -> AlignedBuffer {
        assert!(capacity > 0, "an aligned buffer of no bytes is of no use");
        let layout = Layout::from_size_align(capacity, alignment)
            .expect("the alignment is a power of two, and the capacity fits an address");
        // SAFETY: [aligned-buffer] the layout's size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
        let origin = Origin::Heap(Block(memory, layout));
        AlignedBuffer { memory, capacity, alignment, length: 0, origin }
    }

    /// How many bytes it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What its address is a multiple of.
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// How many bytes from the start count as filled. Those that were never written are zero, or in
    /// a buffer of [`DirectFile::buffer`](crate::fs::DirectFile::buffer) what an earlier one held.
    ///
    /// # Panics
    ///
    /// If there is no room for so many.
    #[track_caller]
    pub fn resize(&mut self, length: usize) {
        let capacity = self.capacity();
        assert!(length <= capacity, "an aligned buffer of {capacity} bytes has none for {length}");
        self.length = length;
    }

    /// The memory itself, for a read.
    pub(super) fn as_room(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// The number of the registered region of this pool that it lies in.
    pub(super) fn region(&self, pool: &Rc<AlignedPool>) -> Option<u16> {
        match &self.origin {
            Origin::Pool(place) if place.is_registered && Rc::ptr_eq(&place.pool, pool) => {
                Some(place.region)
            }
            _ => None,
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: [aligned-buffer] all of the memory is initialised, and the length is within it.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: [aligned-buffer] as above, and the buffer is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, capacity) = (self.length, self.capacity());
        write!(f, "AlignedBuffer({length} of {capacity} bytes, aligned to {})", self.alignment())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pool: &Rc<AlignedPool>, capacity: usize) -> Option<AlignedBuffer> {
        pool.take(capacity, 512, |_, _, _| true)
    }

    fn range(buffer: &AlignedBuffer) -> std::ops::Range<usize> {
        let start = buffer.memory.as_ptr().addr();
        start..start + buffer.capacity()
    }

    #[test]
    fn buffers_of_all_sizes_are_apart_from_each_other() {
        let pool = Rc::<AlignedPool>::default();
        let sizes = [512, 4096, 5000, 16 << 10, 100_000, 256 << 10];
        let buffers: Vec<_> =
            sizes.iter().cycle().take(120).map_while(|size| take(&pool, *size)).collect();
        assert_eq!(buffers.len(), 120);
        let mut ranges: Vec<_> = buffers.iter().map(range).collect();
        ranges.sort_by_key(|it| it.start);
        assert!(ranges.iter().all(|it| it.start.is_multiple_of(PLACE_BYTES_MIN)));
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }

    #[test]
    fn an_exhausted_pool_gives_none_until_one_comes_back() {
        let pool = Rc::<AlignedPool>::default();
        let mut all: Vec<_> = std::iter::from_fn(|| take(&pool, REGION_BYTES)).collect();
        assert_eq!(all.len(), usize::from(REGIONS_MAX));
        assert!(take(&pool, 512).is_none(), "every region is in use, and of another size");
        let freed = range(&all.pop().expect("there are some"));
        let small = take(&pool, 512).expect("a region is free, and cut anew");
        assert!(freed.contains(&range(&small).start));
        assert!(take(&pool, REGION_BYTES).is_none(), "the small one is in it");
        drop(small);
        assert!(take(&pool, REGION_BYTES).is_some());
    }

    #[test]
    fn what_no_place_is_large_or_even_enough_for_is_not_of_the_pool() {
        let pool = Rc::<AlignedPool>::default();
        assert!(take(&pool, REGION_BYTES + 1).is_none());
        assert!(pool.take(4096, 8192, |_, _, _| true).is_none());
        assert!(pool.regions.borrow().is_empty(), "and it costs nothing");
    }

    #[test]
    fn a_region_is_registered_once_and_is_a_number_to_its_own_pool_alone() {
        let (pool, other) = (Rc::<AlignedPool>::default(), Rc::<AlignedPool>::default());
        let mut registered = Vec::new();
        let mut buffers = Vec::new();
        for _ in 0..2 * REGION_BYTES / 4096 {
            buffers.extend(pool.take(4096, 512, |number, _, length| {
                registered.push((number, length));
                number == 0
            }));
        }
        assert_eq!(registered, [(0, REGION_BYTES), (1, REGION_BYTES)]);
        assert_eq!(buffers[0].region(&pool), Some(0));
        assert_eq!(buffers[0].region(&other), None);
        let last = buffers.last().expect("there are some");
        assert_eq!(last.region(&pool), None, "the kernel would not have it");
        assert_eq!(AlignedBuffer::new(512, 512).region(&pool), None);
    }

    #[test]
    fn a_buffer_outlives_its_pool() {
        let pool = Rc::<AlignedPool>::default();
        let mut buffer = take(&pool, 4096).expect("there is room");
        drop(pool);
        buffer.resize(4096);
        buffer.fill(7);
        assert!(buffer.iter().all(|byte| *byte == 7));
    }
}
