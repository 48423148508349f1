//! Structs filled by C or by the library. Their first member is their size.

use core::mem::{MaybeUninit, size_of};
use core::ptr;

use crate::failure::{Failure, Result};
use crate::status::ATREST_ERR_STRUCT_SIZE;

/// A `repr(C)` struct whose first member is `struct_size: usize`.
///
/// # Safety
/// The first member is as said, and a value of only zero bytes is valid.
pub(crate) unsafe trait SizedStruct: Copy {
    /// Its sizes in earlier versions, before members were added at its end.
    const EARLIER: &'static [usize] = &[];
}

/// The size of a C struct, if some version had it.
///
/// # Safety
/// If `from` isn't NULL, it points to a `usize`.
pub(crate) unsafe fn size<T: SizedStruct>(from: *const T, argument: &str) -> Result<usize> {
    if from.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: the caller guarantees a `usize` there, the first member.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    if size != size_of::<T>() && !T::EARLIER.contains(&size) {
        let text = format!("`{argument}` has struct_size {size}, not {}: begin with the _INIT macro", size_of::<T>());
        return Err(Failure::new(ATREST_ERR_STRUCT_SIZE, text));
    }
    Ok(size)
}

/// Copies a struct. Members that its version doesn't have are zero.
///
/// # Safety
/// If `from` isn't NULL, it points to a `usize` and to that many bytes, of a `T` of some version.
pub(crate) unsafe fn read<T: SizedStruct>(from: *const T, argument: &str) -> Result<T> {
    // SAFETY: the caller guarantees more than this demands.
    let size = unsafe { size(from, argument) }?;
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller guarantees `size` readable bytes, and they fit, because no version was larger.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast(), size) };
    // SAFETY: every member is one that C wrote, or zero, which `SizedStruct` allows.
    Ok(unsafe { copy.assume_init() })
}
