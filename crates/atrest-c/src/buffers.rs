//! Checked buffers of C, for both inputs and outputs.

use core::slice;

use crate::failure::{Failure, Result};
use crate::status::ATREST_ERR_LENGTH;

/// # Safety
/// If `start` isn't NULL, `len` bytes from there can be read during `'a`, and nobody writes them.
#[inline]
pub(crate) unsafe fn bytes<'a>(start: *const u8, len: usize, argument: &str) -> Result<&'a [u8]> {
    if !has_bytes(start, len, argument)? {
        return Ok(&[]);
    }
    // SAFETY: `start` isn't NULL and `len` isn't over `isize::MAX`, checked above; the caller guarantees the rest.
    Ok(unsafe { slice::from_raw_parts(start, len) })
}

/// # Safety
/// If `start` isn't NULL, `len` bytes from there can be read and written during `'a`, and nobody else does.
#[inline]
pub(crate) unsafe fn bytes_mut<'a>(start: *mut u8, len: usize, argument: &str) -> Result<&'a mut [u8]> {
    if !has_bytes(start, len, argument)? {
        return Ok(&mut []);
    }
    // SAFETY: `start` isn't NULL and `len` isn't over `isize::MAX`, checked above; the caller guarantees the rest.
    Ok(unsafe { slice::from_raw_parts_mut(start, len) })
}

/// # Safety
/// If `start` isn't NULL, `count` values from there can be read during `'a`, and nobody writes them.
#[inline]
pub(crate) unsafe fn slice<'a, T>(start: *const T, count: usize, argument: &str) -> Result<&'a [T]> {
    let len = count.saturating_mul(size_of::<T>());
    if !has_bytes(start.cast(), len, argument)? {
        return Ok(&[]);
    }
    // SAFETY: `start` isn't NULL and the length isn't over `isize::MAX`, checked above; the caller guarantees the rest.
    Ok(unsafe { slice::from_raw_parts(start, count) })
}

/// Whether the buffer has any bytes. NULL is a buffer only if it is empty.
#[inline]
pub(crate) fn has_bytes(start: *const u8, len: usize, argument: &str) -> Result<bool> {
    if len > isize::MAX as usize {
        return Err(Failure::new(ATREST_ERR_LENGTH, format!("no buffer has {len} bytes, as `{argument}` should")));
    }
    if start.is_null() && len > 0 {
        return Err(Failure::null(argument));
    }
    Ok(len > 0)
}
