//! Pages of the kernel on Unix: mapped, locked, given back.

use core::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

use super::protection;

/// What is locked at once. Larger pages of the kernel are locked by the first of these.
pub(super) const PAGE: usize = 4096;

/// A mapping for one secret: its start, its size, and whether it is locked.
pub(super) fn take(len: usize) -> Option<(NonNull<u8>, usize, bool)> {
    let size = len.checked_next_multiple_of(PAGE)?;
    let start = map(size)?;
    let locked = lock(start.as_ptr(), size);
    Some((start, size, locked))
}

/// Ends a mapping.
///
/// # Safety
/// It came from [`take`] as it is told here, and nobody uses it any more.
pub(super) unsafe fn free(start: NonNull<u8>, size: usize, locked: bool, of_this_process: bool) {
    // SAFETY: the caller vouches that the mapping is its own.
    let unmapped = unsafe { munmap(start.as_ptr().cast(), size) };
    debug_assert!(unmapped.is_ok(), "munmap of an own mapping can't fail");
    if of_this_process {
        protection::remove_pages(size, locked);
    }
}

/// A page that a child finds full of zeros; `None` where the kernel can't do that.
pub(super) fn wiped_on_fork() -> Option<NonNull<u8>> {
    let start = map(PAGE)?;
    if wipe_on_fork(start.as_ptr(), PAGE) {
        return Some(start);
    }
    // SAFETY: the mapping was made above, and nobody has seen it.
    let _ = unsafe { munmap(start.as_ptr().cast(), PAGE) };
    None
}

/// Locks a part of a mapping, and counts whether the kernel agreed.
pub(super) fn lock(start: *mut u8, size: usize) -> bool {
    // SAFETY: the range is within a mapping of ours; locking it changes no memory.
    let locked = unsafe { mlock(start.cast(), size) }.is_ok();
    protection::add_pages(size, locked);
    locked
}

/// Maps `size` zeroed bytes, a multiple of `PAGE`, kept out of core dumps and from children where the kernel agrees.
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
    // SAFETY: the range is a private anonymous mapping of ours; the advice changes what a child sees only.
    unsafe { madvise(start.cast(), size, Advice::LinuxWipeOnFork) }.is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn wipe_on_fork(_start: *mut u8, _size: usize) -> bool {
    false
}
