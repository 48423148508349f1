//! Files that a front end gives to be mapped.

use std::fs::File;

/// Whether a file has all of a range, as far as can be said now. A mapping that goes beyond its file would kill this process when
/// it is touched, for which a front end could be at fault. One that makes its file shorter afterwards still can; QEMU seals its
/// memory against that (`memory-backend-memfd`).
pub(super) fn has(file: &File, offset: u64, len: u64) -> bool {
    let end = offset.checked_add(len);
    file.metadata().is_ok_and(|found| found.is_file() && end.is_some_and(|end| end <= found.len()))
}
