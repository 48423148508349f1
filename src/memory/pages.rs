//! Pages for secrets on Unix: locked (not swapped), left out of core dumps, and zeros in a child that is forked.
//!
//! A process may lock little memory (8 MiB by default on Linux) and map few regions, and a disk service holds many keys;
//! so secrets share pages, each cut into slots of one size, a multiple of 64 bytes. Pages come from arenas, and are locked
//! one by one when they are first used. A secret longer than a page gets a mapping of its own. Where the kernel refuses to
//! lock, the page is used unlocked and counted: an engine that can't start is worse than a key that may be swapped, unless
//! its owner says otherwise.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

use super::fork;
use super::memory::ALIGNMENT;

/// What is locked at once. Larger pages of the kernel are locked by the first of these.
const PAGE: usize = 4096;
/// What is mapped at once, a multiple of the kernel's page everywhere.
const ARENA: usize = 1 << 20;
const CLASSES: usize = PAGE / ALIGNMENT;

/// Bytes of pages that are locked, and of those that the kernel refused to lock.
pub(super) static LOCKED: AtomicU64 = AtomicU64::new(0);
pub(super) static UNLOCKED: AtomicU64 = AtomicU64::new(0);

/// A part of a shared page, which belongs to one owner until it is [freed](free).
pub(super) struct Slot {
    page: usize,
    index: u32,
}

/// The pages of one process, which stay for its life.
struct Pages {
    generation: u32,
    inner: Mutex<Inner>,
    /// Those of the parent, kept in sight of who looks for leaks.
    _parents: *const Pages,
}

struct Inner {
    /// What is left of the newest arena.
    arena: *mut u8,
    left: usize,
    pages: Vec<Page>,
    /// For each size of slot, in units of `ALIGNMENT` less one, the pages that have room.
    with_room: [Vec<usize>; CLASSES],
}

// SAFETY: the pointer is to a mapping that no thread owns; it is used under the lock alone.
unsafe impl Send for Inner {}

struct Page {
    start: *mut u8,
    /// The size of its slots in units of `ALIGNMENT`.
    units: usize,
    /// A bit for each slot in use.
    used: u64,
}

// SAFETY: as for `Inner`.
unsafe impl Send for Page {}

impl Page {
    fn full(units: usize) -> u64 {
        u64::MAX >> (u64::BITS as usize - CLASSES / units)
    }
}

static PAGES: AtomicPtr<Pages> = AtomicPtr::new(ptr::null_mut());

/// The pages of this process. What a parent had is left alone: a thread that isn't here may have been changing it.
fn pages() -> MutexGuard<'static, Inner> {
    let generation = fork::generation();
    loop {
        let pages = PAGES.load(Ordering::Acquire);
        if !pages.is_null() {
            // SAFETY: what `PAGES` points to came from a box that is never given back.
            let pages = unsafe { &*pages };
            if pages.generation == generation {
                // A panic can't happen under this lock, so what a poisoned lock guards is whole.
                return pages.inner.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
        let inner = Inner { arena: ptr::null_mut(), left: 0, pages: Vec::new(), with_room: [const { Vec::new() }; _] };
        let new = Box::into_raw(Box::new(Pages { generation, inner: Mutex::new(inner), _parents: pages }));
        if PAGES.compare_exchange(pages, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // A child has locked nothing yet.
            LOCKED.store(0, Ordering::Relaxed);
            UNLOCKED.store(0, Ordering::Relaxed);
        } else {
            // SAFETY: it came from `into_raw` above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// A slot of at least `len` bytes, which are zeros; `None` when it is longer than a page, or the kernel gives none.
pub(super) fn take(len: usize) -> Option<(NonNull<u8>, Slot)> {
    let units = len.div_ceil(ALIGNMENT).max(1);
    if units > CLASSES {
        return None;
    }
    let mut inner = pages();
    let number = match inner.with_room[units - 1].last() {
        Some(&number) => number,
        None => inner.add(units)?,
    };
    let page = &mut inner.pages[number];
    let index = page.used.trailing_ones();
    page.used |= 1 << index;
    // SAFETY: a page has this many slots, so that the slot begins within it.
    let start = unsafe { page.start.add(index as usize * units * ALIGNMENT) };
    if page.used == Page::full(units) {
        inner.with_room[units - 1].pop();
    }
    Some((NonNull::new(start)?, Slot { page: number, index }))
}

/// Gives a slot back, whose owner has wiped it.
pub(super) fn free(slot: &Slot) {
    let mut inner = pages();
    let page = &mut inner.pages[slot.page];
    let (was, units) = (page.used, page.units);
    page.used &= !(1 << slot.index);
    if was == Page::full(units) {
        inner.with_room[units - 1].push(slot.page);
    }
}

impl Inner {
    /// A new page for slots of this size.
    fn add(&mut self, units: usize) -> Option<usize> {
        if self.left == 0 {
            // The kernel may refuse as much, where it gives a page.
            let (arena, size) = map(ARENA).map(|at| (at, ARENA)).or_else(|| Some((map(PAGE)?, PAGE)))?;
            (self.arena, self.left) = (arena.as_ptr(), size);
        }
        let start = self.arena;
        self.left -= PAGE;
        // SAFETY: `left` says that a page more lies in the mapping; its end is still a valid address.
        self.arena = unsafe { start.add(PAGE) };
        lock(start, PAGE);
        let number = self.pages.len();
        self.pages.push(Page { start, units, used: 0 });
        self.with_room[units - 1].push(number);
        Some(number)
    }
}

/// A mapping for one secret: its start, its size, and whether it is locked.
pub(super) fn take_mapping(len: usize) -> Option<(NonNull<u8>, usize, bool)> {
    let size = len.checked_next_multiple_of(PAGE)?;
    let start = map(size)?;
    let locked = lock(start.as_ptr(), size);
    Some((start, size, locked))
}

/// Ends a mapping.
///
/// # Safety
/// It came from [`take_mapping`] as it is told here, and nobody uses it any more.
pub(super) unsafe fn free_mapping(start: NonNull<u8>, size: usize, locked: bool, of_this_process: bool) {
    // SAFETY: the caller vouches that the mapping is its own.
    let unmapped = unsafe { munmap(start.as_ptr().cast(), size) };
    debug_assert!(unmapped.is_ok(), "munmap of an own mapping can't fail");
    if of_this_process {
        let count = if locked { &LOCKED } else { &UNLOCKED };
        count.fetch_sub(size as u64, Ordering::Relaxed);
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

fn lock(start: *mut u8, size: usize) -> bool {
    // SAFETY: the range is within a mapping of ours; locking it changes no memory.
    let locked = unsafe { mlock(start.cast(), size) }.is_ok();
    let count = if locked { &LOCKED } else { &UNLOCKED };
    count.fetch_add(size as u64, Ordering::Relaxed);
    locked
}

/// Maps `size` zeroed bytes, a multiple of `PAGE`, kept out of core dumps and from children where the kernel agrees.
fn map(size: usize) -> Option<NonNull<u8>> {
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
