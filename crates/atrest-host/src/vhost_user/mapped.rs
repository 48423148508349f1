//! Files that a front end gives to be mapped.

use std::fs::File;

/// Whether a file now contains all of a range. Touching a mapping beyond its file's end would kill this process, and a faulty
/// front end could cause that. One that makes its file shorter afterwards still can; QEMU seals its memory against that
/// (`memory-backend-memfd`).
pub(super) fn has(file: &File, offset: u64, len: u64) -> bool {
    let end = offset.checked_add(len);
    file.metadata().is_ok_and(|found| found.is_file() && end.is_some_and(|end| end <= found.len()))
}
