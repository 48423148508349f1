//! Operations in flight.

#![allow(unsafe_code)] // the boundary to C

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::errno::{self, Errno, checked};
use super::image::Image;
use crate::ends::Ends;

/// The receiver of an operation's end, and the number that identifies it.
pub(crate) type Told = (Arc<Ends>, u64);

/// An operation that was given to librbd. Its buffer belongs to it, and lives until librbd is done with it, even if the caller
/// waits no more.
pub(crate) struct Operation(Arc<Shared>);

struct Shared {
    /// Its return value, once it has ended.
    returned: Mutex<Option<i64>>,
    ended: Condvar,
    /// Only C uses it until the operation has ended; then only the waiting thread.
    buffer: UnsafeCell<Vec<u8>>,
    told: Option<Told>,
}

// SAFETY: the buffer is touched by C until `returned` is set, and by the one `Operation` after it has seen that, under the mutex.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Called by a thread of librbd, once for each operation.
unsafe extern "C" fn ended(completion: *mut c_void, argument: *mut c_void) {
    // SAFETY: `argument` is from `Arc::into_raw` in `start`, whose count this call takes over.
    let shared = unsafe { Arc::from_raw(argument.cast_const().cast::<Shared>()) };
    // The image may be closed already, but its functions are there for ever: the libraries are never unloaded.
    if let Ok(api) = super::api::api() {
        // SAFETY: the completion is live until it is released, which is done here and nowhere else after a start.
        let returned = unsafe { (api.rbd_aio_get_return_value)(completion) };
        // SAFETY: as above; it isn't used any more.
        unsafe { (api.rbd_aio_release)(completion) };
        *shared.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned as i64);
        match &shared.told {
            Some((ends, number)) => ends.tell(*number),
            None => shared.ended.notify_all(),
        }
    }
}

impl Operation {
    /// Reads `len` bytes into the beginning of a buffer.
    pub(crate) fn read(
        image: &Image,
        offset: u64,
        buffer: Vec<u8>,
        len: usize,
        told: Option<Told>,
    ) -> Result<Self, Errno> {
        assert!(len <= buffer.len());
        Self::start(image, buffer, told, |buffer, completion| {
            // SAFETY: image and completion are live; the buffer lives until the completion is called, and has this length at least.
            unsafe { (image.api().rbd_aio_read)(image.handle, offset, len, buffer.as_mut_ptr().cast(), completion) }
        })
    }

    /// Writes the first `len` bytes of a buffer.
    pub(crate) fn write(
        image: &Image,
        offset: u64,
        buffer: Vec<u8>,
        len: usize,
        told: Option<Told>,
    ) -> Result<Self, Errno> {
        assert!(len <= buffer.len());
        Self::start(image, buffer, told, |buffer, completion| {
            // SAFETY: as in `read`.
            unsafe { (image.api().rbd_aio_write)(image.handle, offset, len, buffer.as_ptr().cast(), completion) }
        })
    }

    pub(crate) fn discard(image: &Image, offset: u64, len: u64) -> Result<Self, Errno> {
        Self::start(image, Vec::new(), None, |_, completion| {
            // SAFETY: image and completion are live.
            unsafe { (image.api().rbd_aio_discard)(image.handle, offset, len, completion) }
        })
    }

    /// EINVAL where the library is too old to have it: see [`Image::has_write_zeroes`].
    pub(crate) fn write_zeroes(image: &Image, offset: u64, len: usize) -> Result<Self, Errno> {
        let write_zeroes = image.api().rbd_aio_write_zeroes.ok_or(errno::EINVAL)?;
        Self::start(image, Vec::new(), None, |_, completion| {
            // SAFETY: image and completion are live.
            unsafe { write_zeroes(image.handle, offset, len, completion, 0, 0) }
        })
    }

    pub(crate) fn flush(image: &Image) -> Result<Self, Errno> {
        Self::start(image, Vec::new(), None, |_, completion| {
            // SAFETY: image and completion are live.
            unsafe { (image.api().rbd_aio_flush)(image.handle, completion) }
        })
    }

    fn start(
        image: &Image,
        buffer: Vec<u8>,
        told: Option<Told>,
        submit: impl FnOnce(&mut Vec<u8>, *mut c_void) -> c_int,
    ) -> Result<Self, Errno> {
        let buffer = UnsafeCell::new(buffer);
        let shared = Arc::new(Shared { returned: Mutex::new(None), ended: Condvar::new(), buffer, told });
        let mut completion = null_mut();
        let argument = Arc::into_raw(shared.clone());
        // SAFETY: `completion` is a place for a handle; the argument is of the type that the callback takes.
        let made = checked(unsafe {
            (image.api().rbd_aio_create_completion)(argument.cast_mut().cast(), Some(ended), &mut completion)
        });
        if let Err(code) = made {
            // SAFETY: `argument` is from `into_raw` above; without a completion nothing else will take it.
            drop(unsafe { Arc::from_raw(argument) });
            return Err(code);
        }
        // SAFETY: nothing else uses the buffer yet: C gets it here.
        let buffer = unsafe { &mut *shared.buffer.get() };
        // A start that fails doesn't tell whether the callback will be called. The argument then leaks, rather than being freed
        // under a callback.
        checked(submit(buffer, completion))?;
        Ok(Operation(shared))
    }

    /// Waits until it has ended, and returns its return value with the buffer, once; `None` if the time comes first.
    pub(crate) fn wait(&mut self, until: Instant) -> Option<Result<(i64, Vec<u8>), Errno>> {
        let mut returned = self.0.returned.lock().unwrap_or_else(PoisonError::into_inner);
        while returned.is_none() {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let woken = self.0.ended.wait_timeout(returned, left);
            returned = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let value = (*returned)?;
        drop(returned);
        if value < 0 {
            return Some(Err(i32::try_from(value.saturating_neg()).unwrap_or(i32::MAX)));
        }
        // SAFETY: it has ended, so C is done with the buffer; this is the only `Operation` of it, and is borrowed mutably.
        let buffer = std::mem::take(unsafe { &mut *self.0.buffer.get() });
        Some(Ok((value, buffer)))
    }
}
