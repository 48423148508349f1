//! The guest's memory, lent to a disk, so that the cipher reads and writes it in place.
#![allow(unsafe_code)]

use vm_memory::VolatileSlice;

/// Calls with the bytes of a piece of the guest's memory, to be read.
pub(super) fn read<T>(memory: &VolatileSlice<'_>, call: impl FnOnce(&[u8]) -> T) -> T {
    let guard = memory.ptr_guard();
    // SAFETY: the guard's range is mapped while it lives, and no object of this process lies in it, for it was mapped for the
    // guest alone. The guest may write there meanwhile, which no lock of ours can forbid: a disk that takes shared memory
    // (`Disk::takes_shared_memory`) hands the bytes to system calls and cipher kernels, which take any value, and makes no
    // decision by them. The guest then has stored one or the other.
    call(unsafe { std::slice::from_raw_parts(guard.as_ptr(), memory.len()) })
}

/// Calls with the bytes of a piece of the guest's memory, to be written.
pub(super) fn write<T>(memory: &VolatileSlice<'_>, call: impl FnOnce(&mut [u8]) -> T) -> T {
    let guard = memory.ptr_guard_mut();
    // SAFETY: as in `read`. A thread lends one piece at a time, and pieces of other requests, which a guest may have put at the
    // same place, are lent by calls that don't know of each other: no value is kept from one access to the next.
    call(unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), memory.len()) })
}
