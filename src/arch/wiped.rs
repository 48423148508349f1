//! A value whose place is wiped whole.

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::slice;

use zeroize::Zeroize;

#[cfg(not(feature = "std"))]
use crate::Result;

/// Keys that wipe their place on drop: not only themselves, since where they take less than the largest variant, the rest
/// holds whatever was on the stack when they were put here.
#[repr(align(16))] // so that it is wiped by whole words on every machine
pub(crate) struct Wiped<T>(ManuallyDrop<T>);

impl<T> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        Wiped(ManuallyDrop::new(value))
    }

    /// A place of zeros.
    ///
    /// # Safety
    /// It is a `T`.
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) unsafe fn zeroed() -> Self {
        // SAFETY: the caller vouches for it.
        Wiped::new(unsafe { core::mem::zeroed() })
    }

    /// The value. It is always there; the other places for expanded keys can lose theirs.
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) fn get(&self) -> Result<&T> {
        Ok(self)
    }

    /// The value, to be changed. As [`get`](Self::get).
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        Ok(self)
    }
}

impl<T> Deref for Wiped<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Wiped<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: it is dropped here alone, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        let place = (&raw mut *self).cast::<MaybeUninit<u64>>();
        // SAFETY: the place is this value's own, its alignment and so its size are multiples of 16 bytes, and any bytes make
        // a number.
        unsafe { slice::from_raw_parts_mut(place, size_of::<Self>() / 8) }.zeroize();
    }
}
