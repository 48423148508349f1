//! The memory that data passes through between a client and a disk.

use zeroize::Zeroize;

/// A buffer for data in the clear, aligned for direct I/O, and wiped when it goes.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// The start of the aligned part.
    start: usize,
    /// As much of that was given out. The rest was never touched, and costs no memory.
    used: usize,
}

/// As large as any device's alignment is.
const ALIGNMENT: usize = 4096;

impl Buffer {
    /// `len` is the most it holds. Longer requests are served in pieces of this size, so that a client can't have more memory.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Buffer { start: if start < ALIGNMENT { start } else { 0 }, bytes, used: 0 }
    }

    /// The first `len` bytes.
    pub(crate) fn of(&mut self, len: usize) -> &mut [u8] {
        self.used = self.used.max(len);
        &mut self.bytes[self.start..self.start + len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes[self.start..self.start + self.used].zeroize();
    }
}
