//! Memory of the caller's that goes into an operation and comes back with its result.

use bytes::BytesMut;

use crate::driver::{AlignedBuffer, Memory, Payload, memory_of};

/// Memory that [`File::read_at_into`](crate::fs::File::read_at_into) and its like take and give
/// back: `Vec<u8>`, `BytesMut`, `Box<[u8]>`, [`AlignedBuffer`].
///
/// A read fills it from its start, up to its capacity, and makes its length what was read; a boxed
/// slice keeps its length. A write writes its length. The trait cannot be implemented elsewhere:
/// the kernel uses the memory while nobody watches.
pub trait OwnedBuffer: sealed::IsMemory {}

impl OwnedBuffer for Vec<u8> {}
impl OwnedBuffer for BytesMut {}
impl OwnedBuffer for Box<[u8]> {}
impl OwnedBuffer for AlignedBuffer {}

mod sealed {
    use super::{AlignedBuffer, BytesMut, Memory};

    /// Nobody outside can name this.
    pub trait IsMemory: Sized + 'static {
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "nobody outside can call it either")]
        fn into_memory(self) -> Memory;

        /// The same, from what `into_memory` made; without it, an empty one.
        #[doc(hidden)]
        #[expect(private_interfaces, reason = "nobody outside can call it either")]
        fn from_memory(memory: Option<Memory>) -> Self;
    }

    macro_rules! is_memory {
        ($type:ty, $kind:ident, $empty:expr) => {
            #[expect(private_interfaces, reason = "nobody outside can call it either")]
            impl IsMemory for $type {
                fn into_memory(self) -> Memory {
                    Memory::$kind(self)
                }

                fn from_memory(memory: Option<Memory>) -> Self {
                    match memory {
                        Some(Memory::$kind(memory)) => memory,
                        _ => $empty,
                    }
                }
            }
        };
    }

    is_memory!(Vec<u8>, Vec, Vec::new());
    is_memory!(BytesMut, Bytes, BytesMut::new());
    is_memory!(Box<[u8]>, Slice, Box::default());
    is_memory!(AlignedBuffer, Aligned, AlignedBuffer::new(1, 1));
}

pub(super) fn into_memory(buffer: impl OwnedBuffer) -> Memory {
    sealed::IsMemory::into_memory(buffer)
}

pub(super) fn from_payload<B: OwnedBuffer>(payload: Payload) -> B {
    sealed::IsMemory::from_memory(memory_of(payload))
}

/// The several ones that a vectored operation took, as many as there are.
pub(super) fn all_from_payload<B: OwnedBuffer>(payload: Payload) -> Vec<B> {
    let memories = match payload {
        Payload::Memories(memories) => memories.memories,
        _ => Vec::new(),
    };
    memories.into_iter().map(|memory| sealed::IsMemory::from_memory(Some(memory))).collect()
}
