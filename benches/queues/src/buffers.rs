//! Blocks of memory at addresses that `O_DIRECT` takes.

use crate::BLOCK;

pub struct Buffers {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffers {
    pub fn new(count: usize) -> Self {
        let bytes = vec![7; (count + 1) * BLOCK];
        let start = bytes.as_ptr().addr().next_multiple_of(BLOCK) - bytes.as_ptr().addr();
        Buffers { bytes, start }
    }

    pub fn block(&mut self, n: usize) -> &mut [u8] {
        &mut self.bytes[self.start + n * BLOCK..][..BLOCK]
    }

    pub fn all(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..len]
    }
}
