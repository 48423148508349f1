//! How well the memory of secrets is protected.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Bytes of pages that are locked, and of pages that the kernel refused to lock.
static LOCKED: AtomicU64 = AtomicU64::new(0);
static UNLOCKED: AtomicU64 = AtomicU64::new(0);

/// Bytes of secrets on the heap.
static HEAP: AtomicU64 = AtomicU64::new(0);

/// How well the operating system protects the secrets of this process, as a total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryProtection {
    /// The bytes of pages that hold secrets and stay in memory.
    pub locked: u64,
    /// The bytes of pages that hold secrets and may be written to swap: the operating system refused to lock them.
    pub unlocked: u64,
}

impl MemoryProtection {
    /// Whether no secret can be swapped.
    pub fn is_whole(&self) -> bool {
        self.unlocked == 0
    }

    /// Refuses unless no secret can be swapped. Call it after opening a vault, file or cipher; for a volume,
    /// [`OpenOptions::require_locked_memory`](crate::OpenOptions::require_locked_memory) does it.
    ///
    /// # Errors
    /// [`Error::MemoryNotLocked`].
    pub fn require(&self) -> Result<()> {
        if self.is_whole() { Ok(()) } else { Err(Error::MemoryNotLocked { unlocked: self.unlocked }) }
    }
}

/// How well the secrets of this process are protected: keys, expanded keys and the inputs that they are derived from.
///
/// A process may lock as much as `RLIMIT_MEMLOCK` says (`ulimit -l`): 8 MiB by default on Linux, often 64 KiB in
/// containers. An open volume takes about 1 KiB, a vault about 1 KiB. Memory that can't be locked is still used, and
/// counted here; [`OpenOptions::require_locked_memory`](crate::OpenOptions::require_locked_memory) refuses instead.
///
/// ```
/// let secret = atrest::Secret::random(32)?;
/// let memory = atrest::memory_protection();
/// if !memory.is_whole() {
///     eprintln!("{} bytes of secrets may be swapped: raise RLIMIT_MEMLOCK", memory.unlocked);
/// }
/// # Ok::<(), atrest::Error>(())
/// ```
pub fn memory_protection() -> MemoryProtection {
    let [locked, unlocked, heap] = [&LOCKED, &UNLOCKED, &HEAP].map(|count| count.load(Ordering::Relaxed));
    MemoryProtection { locked, unlocked: unlocked + heap }
}

/// Refuses when a secret may be swapped.
pub(crate) fn require_locked() -> Result<()> {
    memory_protection().require()
}

#[cfg(unix)]
pub(super) fn add_pages(size: usize, locked: bool) {
    pages(locked).fetch_add(size as u64, Ordering::Relaxed);
}

#[cfg(unix)]
pub(super) fn remove_pages(size: usize, locked: bool) {
    pages(locked).fetch_sub(size as u64, Ordering::Relaxed);
}

/// Called in a child, which has no pages of its own yet.
#[cfg(unix)]
pub(super) fn forget_pages() {
    LOCKED.store(0, Ordering::Relaxed);
    UNLOCKED.store(0, Ordering::Relaxed);
}

#[cfg(unix)]
fn pages(locked: bool) -> &'static AtomicU64 {
    if locked { &LOCKED } else { &UNLOCKED }
}

pub(super) fn add_heap(len: usize) {
    HEAP.fetch_add(len as u64, Ordering::Relaxed);
}

pub(super) fn remove_heap(len: usize) {
    HEAP.fetch_sub(len as u64, Ordering::Relaxed);
}
