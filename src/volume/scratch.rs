//! Room for bytes on their way to and from a device, kept by each thread, so that reads and writes allocate nothing.

use core::cell::RefCell;

/// How many bytes are encrypted and handed to the device at once: a whole number of sectors of every size.
pub(super) const CHUNK: usize = 128 << 10;

thread_local! {
    /// One for each device that lies on another: a volume on a volume, on one that takes whole blocks only.
    static SCRATCH: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Does something with `len` bytes, which begin at a multiple of `alignment` in memory. They are taken out of their place
/// meanwhile: the device may come here again.
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

/// What is had without asking again: a page, which most devices are content with.
const LEAST_ALIGNMENT: usize = 4096;
