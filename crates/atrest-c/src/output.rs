//! Outputs. They are checked before the work begins, and written after it has succeeded.
//!
//! No Rust reference to an output is made. So C may pass uninitialised memory, or memory that overlaps an input.

use core::ffi::c_char;
use core::ptr;

use crate::buffers::has_bytes;
use crate::failure::{Failure, Result};
use crate::handle::{self, Handle};
use crate::structs::{self, SizedStruct};

/// An output for one value.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// If `out` isn't NULL, a `T` can be written there for as long as this lives.
    pub(crate) unsafe fn new(out: *mut T, argument: &str) -> Result<Self> {
        if out.is_null() { Err(Failure::null(argument)) } else { Ok(Out(out)) }
    }

    pub(crate) fn set(self, value: T) {
        // SAFETY: `new` checked that it isn't NULL; the caller of `new` guarantees the rest.
        unsafe { self.0.write(value) }
    }
}

impl<H: Handle> Out<*mut H> {
    pub(crate) fn handle(self, object: H::Object) {
        self.boxed(Box::new(object));
    }

    pub(crate) fn boxed(self, object: Box<H::Object>) {
        self.set(handle::new(object));
    }
}

/// An output for a struct of any size that it had in some version.
pub(crate) struct StructOut<T> {
    out: *mut T,
    size: usize,
}

impl<T: SizedStruct> StructOut<T> {
    /// # Safety
    /// If `out` isn't NULL, it points to a `usize`, and that many bytes can be written there for as long as this lives.
    pub(crate) unsafe fn new(out: *mut T, argument: &str) -> Result<Self> {
        // SAFETY: the caller guarantees a `usize` there.
        let size = unsafe { structs::size(out, argument) }?;
        Ok(StructOut { out, size })
    }

    /// Fills the members that the caller's version has. The size member stays.
    pub(crate) fn set(self, value: T) {
        let first = size_of::<usize>();
        let from = ptr::from_ref(&value).cast::<u8>();
        // SAFETY: `size` is that of a version, so it is at least a `usize` and at most a `T`; since `new`, that
        // many bytes can be written.
        unsafe { ptr::copy_nonoverlapping(from.add(first), self.out.cast::<u8>().add(first), self.size - first) };
    }
}

/// An output for bytes.
pub(crate) struct BytesOut<'a> {
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
    argument: &'a str,
}

impl<'a> BytesOut<'a> {
    /// # Safety
    /// If they aren't NULL, `capacity` bytes can be written from `buffer`, and `len`, for as long as this lives.
    pub(crate) unsafe fn new(buffer: *mut u8, capacity: usize, len: *mut usize, argument: &'a str) -> Result<Self> {
        has_bytes(buffer, capacity, argument)?;
        if len.is_null() {
            return Err(Failure::null(&format!("{argument}_len")));
        }
        Ok(BytesOut { buffer, capacity, len, argument })
    }

    /// Refuses a buffer without room for `needed` bytes, and stores the needed length.
    pub(crate) fn check(&self, needed: usize) -> Result {
        if needed > self.capacity {
            // SAFETY: `new` checked that `len` isn't NULL; the caller of `new` guarantees the rest.
            unsafe { self.len.write(needed) };
            return Err(Failure::too_short(self.argument, needed));
        }
        Ok(())
    }

    pub(crate) fn put(self, bytes: &[u8]) -> Result {
        self.check(bytes.len())?;
        // SAFETY: `new` checked that `len` isn't NULL; the caller of `new` guarantees the rest.
        unsafe { self.len.write(bytes.len()) };
        // SAFETY: the buffer has room: checked above, and guaranteed by the caller of `new`. `copy` allows an overlap, and
        // a NULL buffer has capacity 0, so that nothing is copied.
        unsafe { ptr::copy(bytes.as_ptr(), self.buffer, bytes.len()) };
        Ok(())
    }
}

/// An output for a text, which gets a final zero byte.
pub(crate) struct TextOut<'a> {
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
    argument: &'a str,
}

impl<'a> TextOut<'a> {
    /// # Safety
    /// If they aren't NULL, `capacity` bytes can be written from `buffer`, and `len`, for as long as this lives.
    pub(crate) unsafe fn new(buffer: *mut c_char, capacity: usize, len: *mut usize, argument: &'a str) -> Result<Self> {
        has_bytes(buffer.cast(), capacity, argument)?;
        Ok(TextOut { buffer: buffer.cast(), capacity, len, argument })
    }

    /// An optional output for a text that must not be lost: it is refused at once if it is too short.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub(crate) unsafe fn whole(
        buffer: *mut c_char,
        capacity: usize,
        needed: usize,
        argument: &'a str,
    ) -> Result<Option<Self>> {
        if buffer.is_null() {
            return Ok(None);
        }
        if capacity < needed {
            return Err(Failure::too_short(argument, needed));
        }
        // SAFETY: this function demands what `new` does.
        unsafe { Self::new(buffer, capacity, ptr::null_mut(), argument) }.map(Some)
    }

    pub(crate) fn put(self, text: &str) -> Result {
        self.put_bytes(text.as_bytes())
    }

    /// A text of another program in any encoding, without a zero byte.
    pub(crate) fn put_bytes(self, text: &[u8]) -> Result {
        if !self.len.is_null() {
            // SAFETY: it isn't NULL; the caller of `new` guarantees the rest.
            unsafe { self.len.write(text.len()) };
        }
        if text.len() >= self.capacity {
            return Err(Failure::too_short(self.argument, text.len() + 1));
        }
        // SAFETY: the buffer has room: checked above, and guaranteed by the caller of `new`.
        unsafe { ptr::copy(text.as_ptr(), self.buffer, text.len()) };
        // SAFETY: `text.len()` is below the capacity, so the place is within the buffer.
        let end = unsafe { self.buffer.add(text.len()) };
        // SAFETY: as the line above.
        unsafe { end.write(0) };
        Ok(())
    }
}
