//! A value in the memory of secrets, for expanded keys.

use core::marker::PhantomData;
use core::mem::{ManuallyDrop, needs_drop};

use super::alignment::ALIGNMENT;
use super::bytes::Memory;
use crate::Result;

/// A value in the memory of secrets, wiped when it is dropped.
///
/// A value moved into it leaves a copy on the stack: expand keys in place, or wipe the stack afterwards.
pub(crate) struct Locked<T> {
    memory: Memory,
    holds: PhantomData<T>,
}

// SAFETY: it owns its value alone, as a box does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as a box's.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        let memory = Memory::zeroed(size_of::<T>());
        let value = ManuallyDrop::new(value);
        let place = memory.start().as_ptr().cast::<ManuallyDrop<T>>();
        // SAFETY: the memory is as long as a `T` and aligned for it, by the check above; it holds nothing yet.
        unsafe { place.write(value) };
        Locked { memory, holds: PhantomData }
    }

    /// A place of zeros, to be filled where it is.
    ///
    /// # Safety
    /// It is a `T`.
    #[inline(always)]
    pub(crate) unsafe fn zeroed() -> Self {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        Locked { memory: Memory::zeroed(size_of::<T>()), holds: PhantomData }
    }

    /// The value.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked) in a child of the process that made it: the value is zeros there.
    #[inline(always)]
    pub(crate) fn get(&self) -> Result<&T> {
        self.memory.check()?;
        // SAFETY: there is a `T` from the start, which stays until `drop`, and this is the process that made it.
        Ok(unsafe { self.memory.start().cast::<T>().as_ref() })
    }

    /// The value, for changing. As [`get`](Self::get).
    #[inline(always)]
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        self.memory.check()?;
        // SAFETY: as in `get`; `&mut self` makes the borrow unique.
        Ok(unsafe { self.memory.start().cast::<T>().as_mut() })
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() && self.memory.check().is_ok() {
            // SAFETY: there is a `T`, and only this line drops it. In a child there is no `T` any more.
            unsafe { self.memory.start().cast::<T>().drop_in_place() };
        }
    }
}
