//! Arguments: from pointers of C to checked Rust values.
//!
//! Only the bodies of `unsafe extern "C"` functions use these macros, on their own arguments. The macros rely on the
//! pointers being as the header demands. The header's first comment and the functions' own comments are the contract
//! that the SAFETY comments name.

use core::ffi::{CStr, c_char};
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::status::{ATREST_ERR_BAD_ENUM, ATREST_ERR_NOT_UTF8, ATREST_ERR_OVERLAP};

/// The object of a handle.
macro_rules! handle {
    ($handle:expr) => {{
        // SAFETY: by the header's contract (HANDLES, THREADS) the handle is this library's, and not freed meanwhile.
        unsafe { crate::handle::borrow($handle, stringify!($handle)) }?
    }};
}

/// Frees a handle.
macro_rules! free {
    ($handle:expr) => {{
        // SAFETY: by the header's contract (HANDLES, THREADS) the handle is this library's, and nobody uses it any more.
        unsafe { crate::handle::free($handle) }
    }};
}

/// A slice of an input.
macro_rules! bytes {
    ($start:expr, $len:expr) => {{
        // SAFETY: by the header's contract (BUFFERS, MEMORY) there are so many bytes, and nobody changes them meanwhile.
        unsafe { crate::buffers::bytes($start.cast(), $len, stringify!($start)) }?
    }};
}

/// A slice of a buffer that is read and written in place, or of an output without a capacity.
macro_rules! bytes_mut {
    ($start:expr, $len:expr) => {{
        // SAFETY: by the header's contract (BUFFERS, MEMORY) there are so many bytes, and nobody uses them meanwhile.
        unsafe { crate::buffers::bytes_mut($start.cast(), $len, stringify!($start)) }?
    }};
}

/// A slice of an input of structs.
macro_rules! slice {
    ($start:expr, $count:expr) => {{
        // SAFETY: by the header's contract (BUFFERS, MEMORY) there are so many, and nobody changes them meanwhile.
        unsafe { crate::buffers::slice($start, $count, stringify!($start)) }?
    }};
}

/// An array of an input.
macro_rules! array {
    ($start:expr) => {{
        // SAFETY: by the comment of the function there are all bytes of the array.
        *unsafe { crate::args::array($start, stringify!($start)) }?
    }};
}

/// A text.
macro_rules! text {
    ($text:expr) => {{
        // SAFETY: by the header's contract (TEXT, MEMORY) it ends with a zero byte and nobody changes it meanwhile.
        crate::args::utf8(unsafe { crate::args::c_str($text, stringify!($text)) }?, stringify!($text))?
    }};
}

/// The bytes of a text that need not be UTF-8.
macro_rules! c_bytes {
    ($text:expr) => {{
        // SAFETY: by the header's contract (TEXT, MEMORY) it ends with a zero byte and nobody changes it meanwhile.
        unsafe { crate::args::c_str($text, stringify!($text)) }?.to_bytes()
    }};
}

/// An optional text.
macro_rules! optional_text {
    ($text:expr) => {
        if $text.is_null() { None } else { Some(text!($text)) }
    };
}

/// A path.
macro_rules! path {
    ($path:expr) => {{
        // SAFETY: by the header's contract (TEXT, MEMORY) it ends with a zero byte and nobody changes it meanwhile.
        crate::args::path(unsafe { crate::args::c_str($path, stringify!($path)) }?, stringify!($path))?
    }};
}

/// A struct that C filled, of any size that it had in some version.
macro_rules! structure {
    ($structure:expr) => {{
        // SAFETY: by the header's contract (STRUCTS, MEMORY) its first member is the number of bytes there.
        unsafe { crate::structs::read($structure, stringify!($structure)) }?
    }};
}

/// An output for a value.
macro_rules! out {
    ($out:expr) => {{
        // SAFETY: by the header's contract (OUTPUTS, MEMORY) it can be written until the function returns.
        unsafe { crate::output::Out::new($out, stringify!($out)) }?
    }};
}

/// An output for a struct that the library fills. Its first member is its size.
macro_rules! struct_out {
    ($out:expr) => {{
        // SAFETY: by the header's contract (STRUCTS, OUTPUTS, MEMORY) its first member is the number of bytes there,
        // which can be written until the function returns.
        unsafe { crate::output::StructOut::new($out, stringify!($out)) }?
    }};
}

/// An output for bytes, with its capacity and length.
macro_rules! bytes_out {
    ($buffer:expr, $capacity:expr, $len:expr) => {{
        // SAFETY: by the header's contract (BUFFERS, MEMORY) both can be written until the function returns.
        unsafe { crate::output::BytesOut::new($buffer.cast(), $capacity, $len, stringify!($buffer)) }?
    }};
}

/// An output for a text, with its capacity and length.
macro_rules! text_out {
    ($buffer:expr, $capacity:expr, $len:expr) => {{
        // SAFETY: by the header's contract (TEXT, MEMORY) both can be written until the function returns.
        unsafe { crate::output::TextOut::new($buffer, $capacity, $len, stringify!($buffer)) }?
    }};
}

/// An optional output for a text (NULL for none), which must have room for any text.
macro_rules! whole_text_out {
    ($buffer:expr, $capacity:expr, $needed:expr) => {{
        // SAFETY: by the header's contract (TEXT, MEMORY) it can be written until the function returns.
        unsafe { crate::output::TextOut::whole($buffer, $capacity, $needed, stringify!($buffer)) }?
    }};
}

/// # Safety
/// If `start` isn't NULL, `N` bytes from there can be read during `'a`, and nobody writes them.
#[inline]
pub(crate) unsafe fn array<'a, const N: usize>(start: *const u8, argument: &str) -> Result<&'a [u8; N]> {
    // SAFETY: an array of bytes has no alignment; the caller guarantees that it is there if it isn't NULL.
    unsafe { start.cast::<[u8; N]>().as_ref() }.ok_or_else(|| Failure::null(argument))
}

/// # Safety
/// If `text` isn't NULL, it ends with a zero byte, and up to there nobody writes it during `'a`.
pub(crate) unsafe fn c_str<'a>(text: *const c_char, argument: &str) -> Result<&'a CStr> {
    if text.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: `text` isn't NULL, checked above; the caller guarantees the rest.
    Ok(unsafe { CStr::from_ptr(text) })
}

pub(crate) fn utf8<'a>(text: &'a CStr, argument: &str) -> Result<&'a str> {
    text.to_str().map_err(|_| Failure::new(ATREST_ERR_NOT_UTF8, format!("`{argument}` isn't UTF-8")))
}

#[cfg(unix)]
pub(crate) fn path<'a>(path: &'a CStr, _: &str) -> Result<&'a Path> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
pub(crate) fn path<'a>(path: &'a CStr, argument: &str) -> Result<&'a Path> {
    utf8(path, argument).map(Path::new)
}

/// Whether source and destination of `len` bytes are the same memory.
///
/// Rust has no slice for memory that overlaps other memory being written, so source and destination must otherwise be
/// separate.
#[inline]
pub(crate) fn in_place(src: *const u8, dst: *const u8, len: usize) -> Result<bool> {
    if src != dst && src.addr().abs_diff(dst.addr()) < len {
        return Err(Failure::new(ATREST_ERR_OVERLAP, "`src` and `dst` overlap in part"));
    }
    Ok(src == dst)
}

/// Refuses unknown flags.
pub(crate) fn check_flags(flags: u32, known: u32) -> Result {
    if flags & !known != 0 {
        let text = format!("`flags` is {flags:#x}, in which {:#x} isn't known", flags & !known);
        return Err(Failure::new(ATREST_ERR_BAD_ENUM, text));
    }
    Ok(())
}

/// A number that means yes or no.
pub(crate) fn flag(argument: &str, value: u32) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::bad_enum(argument, other)),
    }
}
