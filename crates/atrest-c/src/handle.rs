//! Handles: the object of an opaque pointer, and detecting freed or foreign handles.
//!
//! A handle is a small header on the heap: a tag that names its type, and a pointer to the object. Freeing swaps the
//! tag and drops the object at once. The header stays a header for the rest of the process, so that using or freeing the
//! handle again, however late, never reads memory of another owner. It serves another handle only when its thread has
//! freed [`QUARANTINE`] others since, and until then it says that it was freed.
//!
//! A header also records its process. In a forked child a parent's handle is refused before its object is touched: its
//! keys aren't there, and its locks may be held by threads that don't exist.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atrest::{Error, process_generation};

use crate::failure::{Failure, Result, run};
use crate::status::{ATREST_ERR_FORKED, ATREST_ERR_INVALID_HANDLE};

/// An opaque type of the C header.
pub(crate) trait Handle {
    /// The Rust object.
    type Object: Send + Sync;
    /// A tag of four letters, unique to the type.
    const TAG: [u8; 4];
    /// Its name in C.
    const NAME: &'static str;
}

const FREED: [u8; 4] = *b"free";

/// How many freed headers wait before the first of them is used again.
const QUARANTINE: usize = 4096;

/// A late call of C may read it while it serves another handle, so all of it is atomic.
struct Header {
    tag: AtomicU32,
    generation: AtomicU32,
    object: AtomicPtr<()>,
}

/// Makes a handle. [`free`] frees it.
pub(crate) fn new<H: Handle>(object: Box<H::Object>) -> *mut H {
    let blank = || Header { tag: AtomicU32::new(0), generation: AtomicU32::new(0), object: AtomicPtr::default() };
    let header = spare().unwrap_or_else(|| Box::leak(Box::new(blank())));
    header.object.store(Box::into_raw(object).cast(), Ordering::Relaxed);
    header.generation.store(process_generation(), Ordering::Relaxed);
    header.tag.store(u32::from_ne_bytes(H::TAG), Ordering::Release);
    ptr::from_ref(header).cast::<H>().cast_mut()
}

/// The object of a handle.
///
/// # Safety
/// `handle` is NULL or comes from [`new`]. Nobody frees it during `'a`.
#[inline]
pub(crate) unsafe fn borrow<'a, H: Handle>(handle: *const H, argument: &str) -> Result<&'a H::Object> {
    if handle.is_null() {
        return Err(Failure::null(argument));
    }
    let header = handle.cast::<Header>();
    if !header.is_aligned() {
        return Err(not_a::<H>(argument, 0));
    }
    // SAFETY: the caller guarantees that there is a header, which is never freed.
    let header = unsafe { &*header };
    let tag = header.tag.load(Ordering::Acquire);
    if tag != u32::from_ne_bytes(H::TAG) {
        return Err(not_a::<H>(argument, tag));
    }
    if header.generation.load(Ordering::Relaxed) != process_generation() {
        return Err(forked(argument));
    }
    // SAFETY: the tag says that `object` came from a `Box<H::Object>` in `new`, and that `free` has not taken it.
    Ok(unsafe { &*header.object.load(Ordering::Relaxed).cast::<H::Object>() })
}

/// Drops the object of a handle. It leaves alone NULL, and handles that were freed, have another type or belong to a
/// parent process; the latter three leave a message.
///
/// # Safety
/// As [`borrow`]; and the object is not used any more.
pub(crate) unsafe fn free<H: Handle>(handle: *mut H) {
    if handle.is_null() {
        return;
    }
    run(|| {
        // SAFETY: this function demands what `take` does.
        drop(unsafe { take(handle, "handle") }?);
        Ok(())
    });
}

/// Frees a handle and returns its object.
///
/// # Safety
/// As [`free`].
pub(crate) unsafe fn take<H: Handle>(handle: *mut H, argument: &str) -> Result<Box<H::Object>> {
    if handle.is_null() {
        return Err(Failure::null(argument));
    }
    let header = handle.cast::<Header>();
    if !header.is_aligned() {
        return Err(not_a::<H>(argument, 0));
    }
    // SAFETY: the caller guarantees that there is a header, which is never freed.
    let header: &'static Header = unsafe { &*header };
    if header.generation.load(Ordering::Relaxed) != process_generation() {
        return Err(forked(argument));
    }
    let (live, freed) = (u32::from_ne_bytes(H::TAG), u32::from_ne_bytes(FREED));
    // If two threads free it at once, only one gets the object.
    if let Err(tag) = header.tag.compare_exchange(live, freed, Ordering::AcqRel, Ordering::Acquire) {
        return Err(not_a::<H>(argument, tag));
    }
    let object = header.object.load(Ordering::Relaxed);
    keep(header);
    // SAFETY: the tag said that `object` came from a `Box<H::Object>` in `new`, and only the exchange above takes it.
    Ok(unsafe { Box::from_raw(object.cast::<H::Object>()) })
}

/// Freed headers, the oldest first.
type Freed = VecDeque<&'static Header>;

/// The headers that this thread freed. They need no lock.
struct Own(Freed);

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own(VecDeque::new())) };
}

/// Freed headers of threads that have ended, or that free more handles than they make.
static SHARED: Mutex<Freed> = Mutex::new(VecDeque::new());

/// The length of `SHARED`, so that a thread takes the lock for a header only if there is one.
static SHARED_LEN: AtomicUsize = AtomicUsize::new(0);

/// The process that `SHARED` belongs to.
static KEEPER: AtomicU32 = AtomicU32::new(0);

/// A header that was freed long ago.
fn spare() -> Option<&'static Header> {
    let own = OWN.try_with(|own| {
        let Own(own) = &mut *own.borrow_mut();
        if own.len() > QUARANTINE { own.pop_front() } else { None }
    });
    own.ok().flatten().or_else(|| {
        if SHARED_LEN.load(Ordering::Relaxed) <= QUARANTINE {
            return None;
        }
        let mut shared = shared()?;
        let spare = if shared.len() > QUARANTINE { shared.pop_front() } else { None };
        SHARED_LEN.store(shared.len(), Ordering::Relaxed);
        spare
    })
}

fn keep(header: &'static Header) {
    let kept = OWN.try_with(|own| {
        let Own(own) = &mut *own.borrow_mut();
        own.push_back(header);
        if own.len() > 2 * QUARANTINE {
            share(own.drain(..QUARANTINE));
        }
    });
    if kept.is_err() {
        // This thread is ending.
        share(core::iter::once(header));
    }
}

fn share(freed: impl Iterator<Item = &'static Header>) {
    if let Some(mut shared) = shared() {
        shared.extend(freed);
        SHARED_LEN.store(shared.len(), Ordering::Relaxed);
    }
}

/// `None` in a child, where a thread of the parent may hold the lock for ever. There, the headers leak.
fn shared() -> Option<MutexGuard<'static, Freed>> {
    let generation = process_generation();
    let keeper = KEEPER.compare_exchange(0, generation, Ordering::AcqRel, Ordering::Acquire);
    let is_child = keeper.is_err_and(|keeper| keeper != generation);
    if is_child { None } else { Some(SHARED.lock().unwrap_or_else(PoisonError::into_inner)) }
}

impl Drop for Own {
    fn drop(&mut self) {
        share(self.0.drain(..));
    }
}

#[cold]
fn forked(argument: &str) -> Failure {
    let text = format!("`{argument}`: {}", Error::Forked);
    Failure::new(ATREST_ERR_FORKED, text)
}

#[cold]
fn not_a<H: Handle>(argument: &str, tag: u32) -> Failure {
    let why = if tag == u32::from_ne_bytes(FREED) { "was freed already" } else { "is of another type" };
    Failure::new(ATREST_ERR_INVALID_HANDLE, format!("`{argument}` is no {}: it {why}", H::NAME))
}
