//! Buffers that are used again: new memory is slow to touch for the first time.

use std::sync::{Arc, Mutex, PoisonError};

/// The smallest buffer, as a power of two.
const SMALLEST: u32 = 9;

/// Buffers whose lengths are powers of two.
pub(crate) struct Pool {
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    by_size: [Vec<Vec<u8>>; 18],
}

impl Pool {
    /// Keeps up to `limit` bytes of unused buffers.
    pub(crate) fn new(limit: usize) -> Self {
        Pool { limit, held: Mutex::default() }
    }

    /// An empty buffer with room for `len` bytes.
    pub(crate) fn take(&self, len: usize) -> Vec<u8> {
        let size = len.next_power_of_two().max(1 << SMALLEST);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.by_size.get_mut((size.ilog2() - SMALLEST) as usize).and_then(Vec::pop);
        if let Some(buffer) = found {
            held.bytes -= size;
            return buffer;
        }
        drop(held);
        Vec::with_capacity(size)
    }

    /// Takes a buffer back, if this is its last reference.
    pub(crate) fn give(&self, buffer: Option<Arc<Vec<u8>>>) {
        let Some(mut buffer) = buffer.and_then(Arc::into_inner) else { return };
        let size = buffer.capacity();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if size < 1 << SMALLEST || !size.is_power_of_two() || held.bytes + size > self.limit {
            return;
        }
        let Some(of_size) = held.by_size.get_mut((size.ilog2() - SMALLEST) as usize) else { return };
        buffer.clear();
        of_size.push(buffer);
        held.bytes += size;
    }
}
