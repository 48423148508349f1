//! Buffers of operations, kept for the next ones.

use std::sync::{Mutex, PoisonError};

/// Buffers below this size are made anew: the allocator has them at hand. Larger ones it gets from the kernel page by page.
const LEAST: usize = 64 << 10;
/// How many are kept.
const MOST: usize = 32;

/// The buffers of a device, each as long as its longest piece.
pub(crate) struct Buffers {
    piece: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn new(piece: usize) -> Self {
        Buffers { piece, free: Mutex::default() }
    }

    /// A buffer of at least `len` bytes, and at most a piece. Its content is undefined.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        if len < LEAST {
            return vec![0; len];
        }
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; self.piece.max(len)])
    }

    /// Returns an unused buffer to the pool.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        if buffer.len() >= LEAST && buffer.len() >= self.piece {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < MOST {
                free.push(buffer);
            }
        }
    }
}
