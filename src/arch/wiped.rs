//! A value whose whole place is wiped.

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::slice;

use zeroize::Zeroize;

#[cfg(not(feature = "std"))]
use crate::Result;

/// Keys that wipe their place on drop. They wipe the whole place and not only their own bytes: if the keys are smaller
/// than the largest variant, the rest of the place still holds old bytes of the stack.
#[repr(align(16))] // so that it is wiped by whole words on every machine
pub(crate) struct Wiped<T>(ManuallyDrop<T>);

impl<T> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        Wiped(ManuallyDrop::new(value))
    }

    /// A place of zeros.
    ///
    /// # Safety
    /// All bytes zero is a valid `T`.
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) unsafe fn zeroed() -> Self {
        // SAFETY: the caller vouches for it.
        Wiped::new(unsafe { core::mem::zeroed() })
    }

    /// The value. It is always there. Other places for expanded keys can lose theirs.
    #[cfg(not(feature = "std"))]
    #[inline(always)]
    pub(crate) fn get(&self) -> Result<&T> {
        Ok(self)
    }

    /// The value, mutably. As [`get`](Self::get).
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
        // SAFETY: the value is dropped only here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        let place = (&raw mut *self).cast::<MaybeUninit<u64>>();
        // SAFETY: the place belongs to this value. Its alignment, and so its size, is a multiple of 16 bytes. Any bytes
        // are a valid number.
        unsafe { slice::from_raw_parts_mut(place, size_of::<Self>() / 8) }.zeroize();
    }
}
