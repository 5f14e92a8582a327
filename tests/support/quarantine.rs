//! An allocator that sees writes into freed memory, whoever makes them.
//!
//! A sanitizer checks the loads and stores that it compiled. It does not see the kernel's, which
//! writes through a bare pointer long after a system call returned: into the memory of a receive
//! whose slot was given up too early, say. Here a freed block is filled with a pattern and kept for
//! a while; before it is really given back, the pattern is looked at.
//!
//! ```text
//!           free: fill           room is needed, or `check`: look
//!  in use ─────────▶ quarantine ───────────────────────────────▶ given back
//!                                    └─▶ the pattern is gone: abort, and say where
//! ```
//!
//! What is kept is bounded in blocks and in bytes, oldest first; what is left at the process's end
//! is looked at then. Nothing in here allocates.
#![allow(unsafe_code)] // An allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What freed memory is filled with.
const PATTERN: u8 = 0xd5;

/// How much is kept at most.
const BLOCKS_MAX: usize = 1 << 16;
const BYTES_MAX: usize = 64 << 20;

/// The allocator. One for each binary, as its `#[global_allocator]`.
pub struct Quarantine;

#[derive(Clone, Copy)]
struct Block {
    address: usize,
    layout: Layout,
}

struct Ring {
    blocks: [Block; BLOCKS_MAX],
    first: usize,
    count: usize,
    bytes: usize,
    /// Blocks that were looked at so far.
    looks: u64,
}

static RING: Mutex<Ring> = Mutex::new(Ring {
    blocks: [Block { address: 0, layout: Layout::new::<()>() }; BLOCKS_MAX],
    first: 0,
    count: 0,
    bytes: 0,
    looks: 0,
});

fn ring() -> MutexGuard<'static, Ring> {
    RING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at everything that is kept. Returns how many blocks were looked at since the start.
pub fn check() -> u64 {
    let mut ring = ring();
    for index in 0..ring.count {
        ring.blocks[(ring.first + index) % BLOCKS_MAX].look();
    }
    ring.looks += ring.count as u64;
    ring.looks
}

extern "C" fn check_at_exit() {
    check();
}

impl Block {
    /// Ends the process if the pattern is not whole.
    fn look(self) {
        // SAFETY: [quarantined] the block is freed, and nobody else has it until it is given back.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.address as *const u8, self.layout.size()) };
        // Each byte is as the one before it: one comparison in bulk, quick in a debug build, too.
        let is_sound = match bytes {
            [] => true,
            [first, rest @ ..] => *first == PATTERN && *rest == bytes[..rest.len()],
        };
        if !is_sound {
            let at = bytes.iter().position(|byte| *byte != PATTERN).unwrap_or(0);
            report(self, at, bytes[at]);
        }
    }

    fn give_back(self) {
        // SAFETY: [quarantined] it came from this allocator with this layout, and leaves once.
        unsafe { System.dealloc(self.address as *mut u8, self.layout) };
    }
}

/// Without an allocation: the heap is not to be trusted any more.
fn report(block: Block, at: usize, found: u8) -> ! {
    use std::io::Write;
    let mut text = [0; 160];
    let mut rest = &mut text[..];
    let size = block.layout.size();
    let written = writeln!(
        rest,
        "quarantine: a freed block of {size} bytes was written to: byte {at} is {found:#04x}"
    );
    let unused = rest.len();
    if written.is_ok() {
        // SAFETY: [plain-call] the text is valid for its length.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len() - unused) };
    }
    std::process::abort()
}

impl Ring {
    fn is_full(&self) -> bool {
        self.count == BLOCKS_MAX || self.bytes > BYTES_MAX
    }

    fn push(&mut self, block: Block) {
        self.blocks[(self.first + self.count) % BLOCKS_MAX] = block;
        self.count += 1;
        self.bytes += block.layout.size();
    }

    fn pop(&mut self) -> Block {
        let block = self.blocks[self.first];
        self.first = (self.first + 1) % BLOCKS_MAX;
        self.count -= 1;
        self.bytes -= block.layout.size();
        self.looks += 1;
        block
    }
}

// SAFETY: [quarantined] memory comes from the system's allocator, under the same layout, and goes
// back to it once, after its time in the ring; nobody gets it meanwhile.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: [quarantined] the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: [quarantined] the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: [quarantined] the block is valid for its size until it is given back.
        unsafe { std::ptr::write_bytes(address, PATTERN, layout.size()) };
        let mut ring = ring();
        if ring.looks == 0 && ring.count == 0 {
            // SAFETY: [plain-call] a function without arguments, which is there for ever.
            unsafe { libc::atexit(check_at_exit) };
        }
        while ring.is_full() {
            let oldest = ring.pop();
            oldest.look();
            oldest.give_back();
        }
        ring.push(Block { address: address as usize, layout });
    }
}
