//! Handles: the object of an opaque pointer, and detecting freed or foreign handles.
//!
//! A handle is a small header on the heap: a tag that names its type, and a pointer to the object. Freeing swaps the
//! tag and drops the object at once, but keeps the header for a while. So using or freeing the handle again reads a
//! header that says so, instead of memory of another owner.
//!
//! A header also records its process. In a forked child a parent's handle is refused before its object is touched: its
//! keys aren't there, and its locks may be held by threads that don't exist.

use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

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

/// How many freed headers are kept.
const QUARANTINE: usize = 4096;

struct Header {
    tag: AtomicU32,
    generation: u32,
    object: *mut (),
}

/// Makes a handle. [`free`] frees it.
pub(crate) fn new<H: Handle>(object: Box<H::Object>) -> *mut H {
    let object = Box::into_raw(object).cast();
    let (tag, generation) = (AtomicU32::new(u32::from_ne_bytes(H::TAG)), process_generation());
    Box::into_raw(Box::new(Header { tag, generation, object })).cast()
}

/// The object of a handle.
///
/// # Safety
/// `handle` is NULL or comes from [`new`], and if it was freed then not more than [`QUARANTINE`] handles ago.
/// Nobody frees it during `'a`.
#[inline]
pub(crate) unsafe fn borrow<'a, H: Handle>(handle: *const H, argument: &str) -> Result<&'a H::Object> {
    if handle.is_null() {
        return Err(Failure::null(argument));
    }
    let header = handle.cast::<Header>();
    if !header.is_aligned() {
        return Err(not_a::<H>(argument, 0));
    }
    // SAFETY: the caller guarantees that there is a header, live or in quarantine.
    let header = unsafe { &*header };
    let tag = header.tag.load(Ordering::Acquire);
    if tag != u32::from_ne_bytes(H::TAG) {
        return Err(not_a::<H>(argument, tag));
    }
    if header.generation != process_generation() {
        return Err(forked(argument));
    }
    // SAFETY: the tag says that `object` came from a `Box<H::Object>` in `new`, and that `free` has not taken it.
    Ok(unsafe { &*header.object.cast::<H::Object>() })
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
    // SAFETY: the caller guarantees that there is a header, live or in quarantine.
    let Header { tag, generation, object } = unsafe { &*header };
    if *generation != process_generation() {
        return Err(forked(argument));
    }
    let (live, freed) = (u32::from_ne_bytes(H::TAG), u32::from_ne_bytes(FREED));
    // If two threads free it at once, only one gets the object.
    if let Err(tag) = tag.compare_exchange(live, freed, Ordering::AcqRel, Ordering::Acquire) {
        return Err(not_a::<H>(argument, tag));
    }
    let object = *object;
    keep(header);
    // SAFETY: the tag said that `object` came from a `Box<H::Object>` in `new`, and only the exchange above takes it.
    Ok(unsafe { Box::from_raw(object.cast::<H::Object>()) })
}

/// A freed header in quarantine; its address from `Box::into_raw`.
struct Kept(*mut Header);

// SAFETY: `Kept` owns its header alone. Late calls of C only touch its atomic tag.
unsafe impl Send for Kept {}

static KEPT: Mutex<VecDeque<Kept>> = Mutex::new(VecDeque::new());

/// The process that `KEPT` belongs to.
static KEEPER: AtomicU32 = AtomicU32::new(0);

fn keep(header: *mut Header) {
    let generation = process_generation();
    let keeper = KEEPER.compare_exchange(0, generation, Ordering::AcqRel, Ordering::Acquire);
    if keeper.is_err_and(|keeper| keeper != generation) {
        // In a child, a thread of the parent may hold the lock for ever. So leak the header, which is marked as freed.
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push_back(Kept(header));
    if kept.len() > QUARANTINE
        && let Some(Kept(oldest)) = kept.pop_front()
    {
        // SAFETY: it came from a `Box` in `new`, and is in the queue once, because its tag changed to FREED once.
        drop(unsafe { Box::from_raw(oldest) });
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
