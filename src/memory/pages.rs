//! Pages for secrets on Unix: locked (not swapped), left out of core dumps, and zeros in a forked child.
//!
//! A process may lock little memory (8 MiB by default on Linux) and map few regions, and a disk service holds many
//! keys. So secrets share pages. A page has slots of one size, a multiple of 64 bytes. Pages come from arenas, and are
//! locked one by one on first use. A secret longer than a page gets a mapping of its own. If the kernel refuses to lock
//! a page, it is used unlocked and counted: an engine that can't start is worse than a key that may be swapped, unless
//! its owner demands locking.
//!
//! A thread keeps the slots that it freed last, one of each small size, and takes them again without a lock.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::alignment::ALIGNMENT;
use super::mapping::{PAGE, lock, map};
use super::{fork, protection};

/// The size of one mapping, a multiple of the kernel's page size on every system.
const ARENA: usize = 1 << 20;
const CLASSES: usize = PAGE / ALIGNMENT;

/// A part of a shared page, with one owner until it is [freed](free). It is small, so that it is returned in registers with its
/// start.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    page: u32,
    index: u8,
    /// Its size in units of `ALIGNMENT`.
    units: u8,
}

/// A slot and its start.
type Taken = (NonNull<u8>, Slot);

/// The pages of one process. They stay until it ends.
struct Pages {
    generation: u32,
    inner: Mutex<Inner>,
    /// The parent's pages, kept reachable so that leak checkers don't report them.
    _parents: *const Pages,
}

struct Inner {
    /// The rest of the newest arena.
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

/// The pages of this process. A parent's pages stay untouched: a thread that doesn't exist here may have been changing
/// them.
fn pages() -> MutexGuard<'static, Inner> {
    let generation = fork::generation();
    loop {
        let pages = PAGES.load(Ordering::Acquire);
        if !pages.is_null() {
            // SAFETY: `PAGES` points to the content of a box that is never freed.
            let pages = unsafe { &*pages };
            if pages.generation == generation {
                // Nothing panics under this lock, so a poisoned lock still guards consistent data.
                return pages.inner.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
        let inner = Inner { arena: ptr::null_mut(), left: 0, pages: Vec::new(), with_room: [const { Vec::new() }; _] };
        let new = Box::into_raw(Box::new(Pages { generation, inner: Mutex::new(inner), _parents: pages }));
        if PAGES.compare_exchange(pages, new, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // A child has locked nothing yet.
            protection::forget_pages();
        } else {
            // SAFETY: it came from `into_raw` above, and no other thread has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

/// A slot of at least `len` zeroed bytes; `None` if `len` is longer than a page or the kernel gives no memory.
pub(super) fn take(len: usize) -> Option<Taken> {
    let units = len.div_ceil(ALIGNMENT).max(1);
    if units > CLASSES {
        return None;
    }
    let kept = KEPT.try_with(|kept| kept.take(units)).ok().flatten();
    kept.or_else(|| take_shared(units))
}

fn take_shared(units: usize) -> Option<Taken> {
    let mut inner = pages();
    let number = match inner.with_room[units - 1].last() {
        Some(&number) => number,
        None => inner.add(units)?,
    };
    let page = &mut inner.pages[number];
    let index = page.used.trailing_ones();
    page.used |= 1 << index;
    // SAFETY: the page has this many slots, so the slot begins within it.
    let start = unsafe { page.start.add(index as usize * units * ALIGNMENT) };
    if page.used == Page::full(units) {
        inner.with_room[units - 1].pop();
    }
    Some((NonNull::new(start)?, Slot { page: number as u32, index: index as u8, units: units as u8 }))
}

/// Frees a slot that its owner has wiped.
pub(super) fn free(start: NonNull<u8>, slot: Slot) {
    // An ending thread keeps none any more.
    let before = KEPT.try_with(|kept| kept.keep(start, slot)).unwrap_or(Some(slot));
    if let Some(before) = before {
        free_shared(before);
    }
}

fn free_shared(slot: Slot) {
    let mut inner = pages();
    let page = &mut inner.pages[slot.page as usize];
    let (was, units) = (page.used, page.units);
    page.used &= !(1u64 << slot.index);
    if was == Page::full(units) {
        inner.with_room[units - 1].push(slot.page as usize);
    }
}

impl Inner {
    /// A new page for slots of this size.
    fn add(&mut self, units: usize) -> Option<usize> {
        if self.left == 0 {
            // The kernel may refuse a whole arena but still give one page.
            let (arena, size) = map(ARENA).map(|at| (at, ARENA)).or_else(|| Some((map(PAGE)?, PAGE)))?;
            (self.arena, self.left) = (arena.as_ptr(), size);
        }
        let start = self.arena;
        self.left -= PAGE;
        // SAFETY: `left` says that one more page lies in the mapping; its end is still a valid address.
        self.arena = unsafe { start.add(PAGE) };
        lock(start, PAGE);
        let number = self.pages.len();
        self.pages.push(Page { start, units, used: 0 });
        self.with_room[units - 1].push(number);
        Some(number)
    }
}

/// The largest slots that a thread keeps, in units of `ALIGNMENT`: 1 KiB, which is more than an expanded key.
const KEPT_UNITS: usize = 16;

thread_local! {
    static KEPT: Kept = const { Kept { generation: Cell::new(0), slots: [const { Cell::new(None) }; KEPT_UNITS] } };
}

/// The slot of each size that a thread freed last, at most 8.5 KiB in all. Taking it again needs no lock, which takes as long as
/// expanding a key.
struct Kept {
    /// The process that the slots belong to.
    generation: Cell<u32>,
    slots: [Cell<Option<Taken>>; KEPT_UNITS],
}

impl Kept {
    fn take(&self, units: usize) -> Option<Taken> {
        let place = self.slots.get(units - 1)?;
        self.forget_parents();
        place.take()
    }

    /// Returns the slot that has no place.
    fn keep(&self, start: NonNull<u8>, slot: Slot) -> Option<Slot> {
        let Some(place) = self.slots.get(usize::from(slot.units) - 1) else { return Some(slot) };
        self.forget_parents();
        place.replace(Some((start, slot))).map(|(_, before)| before)
    }

    /// In a child, drops what the parent's thread kept: those pages aren't locked here.
    fn forget_parents(&self) {
        let generation = fork::generation();
        if self.generation.replace(generation) != generation {
            self.slots.iter().for_each(|place| place.set(None));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget_parents();
        self.slots.iter().filter_map(Cell::take).for_each(|(_, slot)| free_shared(slot));
    }
}
