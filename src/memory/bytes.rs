//! The storage of secrets: bytes with one owner.

use core::ptr::NonNull;
use core::slice;

use zeroize::Zeroize;

use super::{fork, heap, protection};
#[cfg(unix)]
use super::{mapping, pages};
use crate::{Error, Result};

/// Zeroed bytes with one owner, wiped when it is dropped.
pub(super) struct Memory {
    start: NonNull<u8>,
    len: usize,
    /// The generation of the process that allocated them. A child sees zeros, or a copy that it doesn't use.
    born: u32,
    home: Home,
}

enum Home {
    #[cfg(unix)]
    Slot(pages::Slot),
    #[cfg(unix)]
    Mapping { size: usize, locked: bool },
    /// Used if the kernel gives no pages.
    Heap,
}

// SAFETY: a `Memory` owns its bytes alone (a slot is handed out once, under a lock), as a `Box<[u8]>` does.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference the bytes are only read.
unsafe impl Sync for Memory {}

impl Memory {
    /// Inlined, so that it is made where it stays: a move waits until its fields are written.
    #[inline(always)]
    pub(super) fn zeroed(len: usize) -> Self {
        let born = fork::generation();
        let (start, home) = Self::place(len).unwrap_or_else(|| {
            protection::add_heap(len);
            (heap::take(len), Home::Heap)
        });
        Memory { start, len, born, home }
    }

    #[cfg(unix)]
    #[inline(always)]
    fn place(len: usize) -> Option<(NonNull<u8>, Home)> {
        if let Some((start, slot)) = pages::take(len) {
            return Some((start, Home::Slot(slot)));
        }
        let (start, size, locked) = mapping::take(len)?;
        Some((start, Home::Mapping { size, locked }))
    }

    #[cfg(not(unix))]
    fn place(_len: usize) -> Option<(NonNull<u8>, Home)> {
        None
    }

    /// Refuses memory that a parent process allocated.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.born == fork::generation() { Ok(()) } else { Err(Error::Forked) }
    }

    /// The bytes, in any process.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points to at least `len` bytes, initialised (zeroed by the kernel, the heap or their previous
        // owner) and owned by `self` until it is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the borrow unique.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The address of the bytes, aligned as [`alignment`](super::alignment) says.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let of_this_process = self.check().is_ok();
        if of_this_process {
            self.as_mut_slice().zeroize();
        }
        match &self.home {
            // A child has its own pages; the parent's slot is not in them.
            #[cfg(unix)]
            Home::Slot(slot) if of_this_process => pages::free(self.start, *slot),
            #[cfg(unix)]
            Home::Slot(_) => {}
            #[cfg(unix)]
            Home::Mapping { size, locked } => {
                // SAFETY: `place` took the mapping with these values, for this owner alone. A child has the same
                // mapping as its parent.
                unsafe { mapping::free(self.start, *size, *locked, of_this_process) };
            }
            Home::Heap => {
                // A child has a copy of the heap, so it has bytes to wipe too.
                self.as_mut_slice().zeroize();
                protection::remove_heap(self.len);
                // SAFETY: `zeroed` took it with this length, for this owner alone.
                unsafe { heap::free(self.start, self.len) };
            }
        }
    }
}
