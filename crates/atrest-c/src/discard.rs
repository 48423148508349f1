//! ZEROS AND FREE BLOCKS
//!
//! Zeros without a buffer, and hints that nobody needs a range any more. A discard shows anyone who can read the device which
//! blocks are free, so it does nothing unless that is allowed: by ATREST_OPEN_DISCARD for a volume, and by the option
//! `discard` of a service for its disks.
//!
//! A volume with a map of written chunks (`written_chunk_size` of atrest_format_options) has zeros where nothing was written.
//! Whole chunks that are made zeros or discarded there are not written, and read as zeros.

use crate::disk::atrest_disk;
use crate::failure::run;
use crate::status::atrest_status;
use crate::volume::atrest_volume;

/// Makes `len` bytes at `offset` from the start of the data zeros. Both are multiples of the sector size. They are encrypted
/// like any data: nobody sees on the device where they are.
///
/// Errors: those of atrest_volume_write_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_write_zeroes(
    volume: *mut atrest_volume,
    offset: u64,
    len: u64,
) -> atrest_status {
    run(|| Ok(handle!(volume).write_zeroes(offset, len)?))
}

/// Tells the device that nobody needs `len` bytes at `offset`, so that it can give their room to others. Their content is
/// undefined until they are written again: the old data, or noise. Without ATREST_OPEN_DISCARD the device is not told; only
/// whole chunks of a map of written chunks then read as zeros.
///
/// Errors: those of atrest_volume_write_at, whether discards are allowed or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_discard(volume: *mut atrest_volume, offset: u64, len: u64) -> atrest_status {
    run(|| Ok(handle!(volume).discard(offset, len)?))
}

/// 1 if discards reach the device, otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_discards(volume: *const atrest_volume, out: *mut u32) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.discards().into());
        Ok(())
    })
}

/// The size in bytes of the chunks of the volume's map of written chunks; 0 if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_written_chunk_size(
    volume: *const atrest_volume,
    out: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.written_chunk_size().unwrap_or(0));
        Ok(())
    })
}

/// Finds how many bytes from `offset` on are alike: `is_written` is 1 if they were written, or 0 if they read as zeros, so that
/// a copy need not read them. `len` is 0 at the end of the volume. Without a map of written chunks all bytes count as written.
///
/// Errors: ATREST_ERR_OUT_OF_BOUNDS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_extent(
    volume: *const atrest_volume,
    offset: u64,
    len: *mut u64,
    is_written: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, len, is_written) = (handle!(volume), out!(len), out!(is_written));
        let first = volume.extents(offset, volume.size().saturating_sub(offset))?.next();
        len.set(first.as_ref().map_or(0, |extent| extent.range.end - offset));
        is_written.set(first.is_some_and(|extent| extent.is_written).into());
        Ok(())
    })
}

/// As atrest_volume_write_zeroes. A snapshot that begins meanwhile may hold a part of the zeros.
///
/// Errors: those of atrest_disk_write_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_write_zeroes(disk: *mut atrest_disk, offset: u64, len: u64) -> atrest_status {
    run(|| Ok(handle!(disk).write_zeroes(offset, len)?))
}

/// As atrest_volume_discard. A snapshot in progress copies the range before. Without the option `discard` of the service
/// nothing happens.
///
/// Errors: those of atrest_disk_write_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_discard(disk: *mut atrest_disk, offset: u64, len: u64) -> atrest_status {
    run(|| Ok(handle!(disk).discard(offset, len)?))
}

/// 1 if discards reach the device, otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_discards(disk: *const atrest_disk, out: *mut u32) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(out));
        out.set(disk.discards().into());
        Ok(())
    })
}
