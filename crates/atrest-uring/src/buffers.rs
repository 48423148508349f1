//! The memory of a queue's requests.

use zeroize::Zeroize;

/// As large as any disk's alignment is, as a rule; and a page.
const ALIGNMENT: usize = 4096;

/// A buffer that is aligned for `O_DIRECT`. It holds sectors in the clear, and is wiped when it goes.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = vec![0; size + ALIGNMENT];
        let start = bytes.as_ptr().addr().next_multiple_of(ALIGNMENT) - bytes.as_ptr().addr();
        Buffer { bytes, start }
    }

    /// The first `len` bytes.
    pub(crate) fn of(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
