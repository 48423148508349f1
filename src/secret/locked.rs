//! Memory for secrets on Unix: pages of their own, locked (not swapped) and left out of core dumps.
//!
//! A process may lock little memory (8 MiB by default on Linux) and map few regions, and a disk service holds many
//! keys; so short secrets share pages, 64 slots of 64 bytes in each. Longer ones get a mapping of their own. Where the
//! kernel refuses to lock, the page is used unlocked: an engine that can't start is worse than a key that may be
//! swapped. Where it refuses to map, the heap serves.
//!
//! A process that was forked inherits pages, but not that they are locked (mlock(2)). A daemon may fork after it has had
//! secrets, so the child locks the shared pages again before it puts a secret of its own there.

#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::slice;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};

const SLOT: usize = 64;
const SLOTS: usize = 64;
const PAGE: usize = SLOT * SLOTS;

/// Zeroed bytes that one owner holds.
pub(super) struct Memory {
    start: NonNull<u8>,
    len: usize,
    home: Home,
}

enum Home {
    /// A slot of a shared page.
    Slot,
    /// A mapping of this many bytes.
    Mapping(usize),
    /// The heap, after the kernel refused a mapping.
    Heap,
}

// SAFETY: a `Memory` owns its bytes alone (a slot is handed out once, under the lock of `PAGES`), as a `Box<[u8]>` does.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference the bytes are only read.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn zeroed(len: usize) -> Self {
        let placed = if len <= SLOT {
            take_slot().map(|start| (start, Home::Slot))
        } else {
            len.checked_next_multiple_of(PAGE).and_then(|size| Some((map(size)?, Home::Mapping(size))))
        };
        let (start, home) = placed.unwrap_or_else(|| {
            let start = Box::into_raw(vec![0u8; len].into_boxed_slice()).cast::<u8>();
            (NonNull::new(start).expect("a box is never null"), Home::Heap)
        });
        Memory { start, len, home }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points to at least `len` bytes, initialised (zeroed by the kernel, the heap or `free_slot`) and
        // owned by `self` until it is dropped.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the borrow unique.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.home {
            Home::Slot => free_slot(self.start),
            Home::Mapping(size) => {
                // SAFETY: `start` is the beginning of a mapping of `size` bytes that `map` made for this owner alone.
                let unmapped = unsafe { munmap(self.start.as_ptr().cast(), size) };
                debug_assert!(unmapped.is_ok(), "munmap of an own mapping can't fail");
            }
            Home::Heap => {
                let bytes = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len);
                // SAFETY: `bytes` came from `Box::into_raw` of a slice of the same length and is given back once.
                drop(unsafe { Box::from_raw(bytes) });
            }
        }
    }
}

/// Shared pages, which stay for the life of the process.
struct Pages {
    /// The process that locked them.
    locked_by: u32,
    /// By address, with a bit for each slot in use.
    list: Vec<(usize, u64)>,
}

static PAGES: Mutex<Pages> = Mutex::new(Pages { locked_by: 0, list: Vec::new() });

fn take_slot() -> Option<NonNull<u8>> {
    // A panic can't happen under this lock, so what a poisoned lock guards is whole.
    let mut pages = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    pages.lock_in_this_process();
    let list = &mut pages.list;
    // The newest pages are the likeliest to have room.
    let index = match list.iter().rposition(|(_, used)| *used != u64::MAX) {
        Some(index) => index,
        None => {
            list.push((map(PAGE)?.as_ptr().expose_provenance(), 0));
            list.len() - 1
        }
    };
    let (page, used) = &mut list[index];
    let slot = used.trailing_ones() as usize;
    *used |= 1 << slot;
    NonNull::new(ptr::with_exposed_provenance_mut(*page + slot * SLOT))
}

fn free_slot(start: NonNull<u8>) {
    // SAFETY: a slot is `SLOT` bytes long and still belongs to the owner that is being dropped. The whole slot is zeroed,
    // so that the next owner finds zeros.
    unsafe { ptr::write_bytes(start.as_ptr(), 0, SLOT) };
    let mut pages = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let address = start.as_ptr().addr();
    for (page, used) in &mut pages.list {
        if (*page..*page + PAGE).contains(&address) {
            *used &= !(1 << ((address - *page) / SLOT));
        }
    }
}

impl Pages {
    fn lock_in_this_process(&mut self) {
        let process = std::process::id();
        if self.locked_by == process {
            return;
        }
        self.locked_by = process;
        for (page, _) in &self.list {
            // SAFETY: a page of the list is a mapping of `PAGE` bytes that is never unmapped; locking it changes no memory.
            let _ = unsafe { mlock(ptr::with_exposed_provenance_mut(*page), PAGE) };
        }
    }
}

/// Maps `size` zeroed bytes, a multiple of `PAGE`, locked and kept out of core dumps where the kernel agrees.
fn map(size: usize) -> Option<NonNull<u8>> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a private anonymous mapping at an address of the kernel's choice touches no memory in use.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) }.ok()?;
    // SAFETY: locking pages of the mapping just made changes no memory.
    let _ = unsafe { mlock(start, size) };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: the range is the mapping just made; the advice changes core dumps only.
    let _ = unsafe { madvise(start, size, Advice::LinuxDontDump) };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (madvise, Advice::Normal);
    NonNull::new(start.cast())
}
