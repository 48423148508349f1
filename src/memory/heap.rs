//! Heap memory for secrets: used if pages can't be locked or the kernel gives none.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error};

use super::alignment::ALIGNMENT;

/// `len` zeroed bytes.
pub(super) fn take(len: usize) -> NonNull<u8> {
    let layout = layout(len);
    // SAFETY: the layout has at least one byte.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
/// `start` came from [`take`] with `len` bytes, and is not used any more.
pub(super) unsafe fn free(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller guarantees that the block was allocated with this layout and is freed once.
    unsafe { dealloc(start.as_ptr(), layout(len)) };
}

fn layout(len: usize) -> Layout {
    // A layout, like a slice, can't be longer than `isize::MAX`.
    Layout::from_size_align(len.max(1), ALIGNMENT).expect("a secret is shorter than the address space")
}
