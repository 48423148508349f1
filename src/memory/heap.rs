//! Memory for secrets from the heap: where there is no way to lock pages, or where the kernel gives none.

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
/// `start` came from [`take`] of `len` bytes, and nobody uses it any more.
pub(super) unsafe fn free(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller vouches that the block was allocated with this layout, and is given back once.
    unsafe { dealloc(start.as_ptr(), layout(len)) };
}

fn layout(len: usize) -> Layout {
    // As a slice can't be, a layout can't be longer than `isize::MAX`.
    Layout::from_size_align(len.max(1), ALIGNMENT).expect("a secret is shorter than the address space")
}
