//! How far ahead of their work kernels fetch memory.

use super::vector::Vector;

/// The length from which a run is long: its memory lies beyond the cache.
const LONG: usize = 512 << 10;

/// The bytes of a cache line.
pub(super) const LINE: usize = 64;

/// The distance in bytes for a run of `len` bytes that goes by chunks of `chunk` bytes. A short run fetches its next chunk.
///
/// Prefetches are spread over the rounds: a CPU has few buffers for lines in flight, and many requests at once would delay the
/// reads that are needed now.
#[inline(always)]
pub(super) fn distance<V: Vector>(len: usize, chunk: usize) -> usize {
    let far = V::far();
    if len >= LONG { far } else { chunk.min(far) }
}
