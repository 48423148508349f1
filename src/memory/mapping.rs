//! Memory mappings on Unix: map, lock, unmap.

use core::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

use super::protection;

/// The unit of locking. A larger page of the kernel is locked with its first unit.
pub(super) const PAGE: usize = 4096;

/// A mapping for one secret: its start, its size, and whether it is locked.
pub(super) fn take(len: usize) -> Option<(NonNull<u8>, usize, bool)> {
    let size = len.checked_next_multiple_of(PAGE)?;
    let start = map(size)?;
    let locked = lock(start.as_ptr(), size);
    Some((start, size, locked))
}

/// Unmaps a mapping.
///
/// # Safety
/// It came from [`take`] with these values, and is not used any more.
pub(super) unsafe fn free(start: NonNull<u8>, size: usize, locked: bool, of_this_process: bool) {
    // SAFETY: the caller guarantees that it owns the mapping.
    let unmapped = unsafe { munmap(start.as_ptr().cast(), size) };
    debug_assert!(unmapped.is_ok(), "munmap of an own mapping can't fail");
    if of_this_process {
        protection::remove_pages(size, locked);
    }
}

/// A page that reads as zeros in a child; `None` if the kernel can't do that.
pub(super) fn wiped_on_fork() -> Option<NonNull<u8>> {
    let start = map(PAGE)?;
    if wipe_on_fork(start.as_ptr(), PAGE) {
        return Some(start);
    }
    // SAFETY: the mapping was made above, and no reference to it exists.
    let _ = unsafe { munmap(start.as_ptr().cast(), PAGE) };
    None
}

/// Locks a part of a mapping, and counts it as locked or unlocked.
pub(super) fn lock(start: *mut u8, size: usize) -> bool {
    // SAFETY: the range is within a mapping of ours; locking it changes no memory.
    let locked = unsafe { mlock(start.cast(), size) }.is_ok();
    protection::add_pages(size, locked);
    locked
}

/// Maps `size` zeroed bytes, a multiple of `PAGE`. Keeps them out of core dumps and children if the kernel supports it.
pub(super) fn map(size: usize) -> Option<NonNull<u8>> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a private anonymous mapping at an address of the kernel's choice touches no memory in use.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) }.ok()?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: the range is the mapping just made; the advice changes core dumps only.
        let _ = unsafe { madvise(start, size, Advice::LinuxDontDump) };
        wipe_on_fork(start.cast(), size);
    }
    NonNull::new(start.cast())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn wipe_on_fork(start: *mut u8, size: usize) -> bool {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the range is a private anonymous mapping of ours; the advice only changes the view of a child.
    unsafe { madvise(start.cast(), size, Advice::LinuxWipeOnFork) }.is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn wipe_on_fork(_start: *mut u8, _size: usize) -> bool {
    false
}
