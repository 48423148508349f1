//! Detects a fork: a forked child has none of its parent's secrets.
//!
//! fork(2) copies the memory of all threads, but only the thread that called it. A lock that another thread held stays
//! locked in the child for ever, and the data under it may be half changed. So a child throws shared state away and
//! makes it anew, and refuses its parent's secrets. The kernel reveals a fork without a system call of ours: in a
//! child, it replaces a page that has `MADV_WIPEONFORK` (Linux 4.14) with zeros. Elsewhere, the process id reveals it.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::mapping;

/// The mark of this process: a word in a page that is zeros in a child.
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The last generation given out. A child inherits its parent's.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The process id that `LAST` belongs to, if no page has a mark.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Stands in for a mark if the kernel can't wipe pages.
static UNMARKED: AtomicU32 = AtomicU32::new(0);

/// The number of this process among those of its ancestors that had secrets. It is never 0 and differs after each fork.
#[inline]
pub(crate) fn generation() -> u32 {
    let mark = MARK.load(Ordering::Acquire);
    if !mark.is_null() && !ptr::eq(mark, &UNMARKED) {
        // SAFETY: a mark is a word of a page that is never unmapped.
        let generation = unsafe { &*mark }.load(Ordering::Acquire);
        if generation != 0 {
            return generation;
        }
    }
    renew(mark)
}

#[cold]
fn renew(mark: *mut AtomicU32) -> u32 {
    if mark.is_null() {
        let page = mapping::wiped_on_fork().map_or((&raw const UNMARKED).cast_mut(), |page| page.as_ptr().cast());
        // If two threads come first at once, one sets the mark. The other's page stays mapped, once in a process's
        // life.
        let _ = MARK.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire);
        return generation();
    }
    if ptr::eq(mark, &UNMARKED) {
        let process = std::process::id();
        if PROCESS.swap(process, Ordering::AcqRel) != process {
            LAST.fetch_add(1, Ordering::AcqRel);
        }
        return LAST.load(Ordering::Acquire).max(1);
    }
    let next = LAST.load(Ordering::Acquire) + 1;
    // SAFETY: as in `generation`.
    match unsafe { &*mark }.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            LAST.store(next, Ordering::Release);
            next
        }
        Err(of_another_thread) => of_another_thread,
    }
}
