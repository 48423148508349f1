//! Buffers for I/O, kept by each thread, so that reads and writes allocate nothing.

use core::cell::RefCell;

/// How many bytes are encrypted and handed to the device at once: a whole number of sectors of every size.
pub(super) const CHUNK: usize = 128 << 10;

thread_local! {
    /// One for each layer of devices, such as a volume on a volume on a device that takes only whole blocks.
    static SCRATCH: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `act` with `len` bytes that begin at a multiple of `alignment` in memory. The buffer is taken from the thread's list
/// meanwhile, because the device may call this again.
pub(super) fn with_scratch<T>(len: usize, alignment: usize, act: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    let room = len + alignment.max(LEAST_ALIGNMENT);
    if scratch.len() < room {
        scratch = vec![0; room];
    }
    let start = scratch.as_ptr().addr();
    let before = start.next_multiple_of(alignment) - start;
    let done = act(&mut scratch[before..][..len]);
    SCRATCH.with_borrow_mut(|spare| spare.push(scratch));
    done
}

/// The least alignment to allocate for: a page, which suffices for most devices.
const LEAST_ALIGNMENT: usize = 4096;
