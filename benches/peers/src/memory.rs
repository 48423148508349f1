//! Buffers, and the two passes over memory that bound every cipher out of cache.

/// The page in which offsets vary.
pub const PAGE: usize = 4096;

/// Memory that can start at any offset within a page.
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` bytes that were written to, so that all pages are mapped.
    pub fn new(len: usize) -> Self {
        let memory = vec![0x5a; len + 2 * PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Buffer { memory, start, len }
    }

    /// The buffer, `offset` bytes after the start of a page.
    pub fn at(&mut self, offset: usize) -> &mut [u8] {
        assert!(offset < PAGE);
        &mut self.memory[self.start + offset..][..self.len]
    }
}

/// Reads and writes all of `data`, with nearly no work between. Encryption in place can't be faster.
pub fn xor(data: &mut [u8]) {
    const AHEAD: usize = 8192;
    const LINES: usize = 256;
    let (chunks, rest) = data.as_chunks_mut::<LINES>();
    for chunk in chunks {
        for line in (0..LINES).step_by(64) {
            prefetch(chunk.as_ptr().wrapping_add(AHEAD + line));
        }
        for byte in chunk {
            *byte ^= 0x5a;
        }
    }
    for byte in rest {
        *byte ^= 0x5a;
    }
}

#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless, and SSE belongs to x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
