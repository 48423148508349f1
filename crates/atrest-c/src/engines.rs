//! ENGINES
//!
//! Functions for engines that need more than whole buffers and calls that wait: buffers that may be changed, the vectors of
//! readv and writev, and I/O that the caller does itself, in a queue of io_uring, vhost-user or SPDK. Between the beginning
//! and the completion of a request the caller reads or writes the device, at an offset that it is told:
//!
//!   atrest_volume_begin_write(volume, offset, sectors, len, &device_offset);  // sectors hold ciphertext now
//!   ... write len bytes of sectors at device_offset of the device ...
//!
//!   atrest_volume_begin_read(volume, offset, len, &device_offset);
//!   ... read len bytes at device_offset of the device into sectors ...
//!   atrest_volume_complete_read(volume, offset, sectors, len);

use core::ffi::c_void;
use std::io::{IoSlice, IoSliceMut};

use crate::args::in_place;
use crate::buffers::has_bytes;
use crate::disk::atrest_disk;
use crate::failure::{Failure, Result, run};
use crate::segments::atrest_segment;
use crate::status::{ATREST_ERR_INVALID_OPTION, ATREST_ERR_OVERLAP, atrest_status};
use crate::volume::atrest_volume;

/// Segments that are read from, as Rust has them.
macro_rules! slices {
    ($segments:expr, $count:expr) => {{
        let segments = slice!($segments, $count);
        let mut slices = Vec::with_capacity(segments.len());
        for &atrest_segment { base, len } in segments {
            slices.push(IoSlice::new(bytes!(base, len)));
        }
        slices
    }};
}

/// Segments that are written to.
macro_rules! slices_mut {
    ($segments:expr, $count:expr) => {{
        let segments = slice!($segments, $count);
        check_apart(segments)?;
        let mut slices = Vec::with_capacity(segments.len());
        for &atrest_segment { base, len } in segments {
            slices.push(IoSliceMut::new(bytes_mut!(base, len)));
        }
        slices
    }};
}

/// Encrypts for a write that the caller does: in place where both buffers are the same.
macro_rules! begin_write_from {
    ($handle:expr, $offset:expr, $sectors:expr, $ciphertext:expr, $len:expr) => {{
        // Checked before they are compared.
        has_bytes($sectors.cast(), $len, stringify!($sectors))?;
        has_bytes($ciphertext.cast(), $len, stringify!($ciphertext))?;
        if in_place($sectors.cast(), $ciphertext.cast(), $len)? {
            $handle.begin_write($offset, bytes_mut!($ciphertext, $len))?
        } else {
            $handle.begin_write_from($offset, bytes!($sectors, $len), bytes_mut!($ciphertext, $len))?
        }
    }};
}

/// Encrypts `sectors` where they lie, and writes them at `offset` in one piece. Afterwards `sectors` hold
/// ciphertext.
///
/// Errors: those of atrest_volume_write_at. `sectors` are untouched then, but for ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_write_in_place(
    volume: *mut atrest_volume,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).write_in_place(offset, bytes_mut!(sectors, len))?))
}

/// As atrest_volume_read_at, into `count` segments one after the other, each a whole number of sectors.
///
/// Errors: those of atrest_volume_read_at; ATREST_ERR_OVERLAP for segments that do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_read_vectored_at(
    volume: *const atrest_volume,
    offset: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).read_vectored_at(offset, &mut slices_mut!(segments, count))?))
}

/// As atrest_volume_write_at, from `count` segments one after the other, each a whole number of sectors.
///
/// Errors: those of atrest_volume_write_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_write_vectored_at(
    volume: *mut atrest_volume,
    offset: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).write_vectored_at(offset, &slices!(segments, count))?))
}

/// Says where on the volume's device `len` bytes from `offset` are. The caller reads them, and hands them to
/// atrest_volume_complete_read. Nothing is held meanwhile: a read may be given up.
///
/// Errors: those of atrest_volume_read_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several
/// segments of the volume.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_read(
    volume: *const atrest_volume,
    offset: u64,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(device_offset));
        out.set(volume.begin_read(offset, len)?);
        Ok(())
    })
}

/// Decrypts `len` bytes in place that were read from where those at `offset` are.
///
/// Errors: those of atrest_volume_begin_read. `sectors` are ciphertext then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_complete_read(
    volume: *const atrest_volume,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).complete_read(offset, bytes_mut!(sectors, len))?))
}

/// Encrypts `sectors` where they lie, and says where on the volume's device the caller is to write them.
/// They are on the disk for sure once that is done, and the device is synced.
///
/// Errors: those of atrest_volume_write_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
/// `sectors` are untouched then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_write(
    volume: *mut atrest_volume,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(device_offset));
        out.set(volume.begin_write(offset, bytes_mut!(sectors, len))?);
        Ok(())
    })
}

/// As atrest_volume_begin_write, of `sectors` that must not be changed, such as a guest's memory. The caller is to write
/// `ciphertext`, which has `len` bytes, too.
///
/// Errors: those of atrest_volume_begin_write; ATREST_ERR_OVERLAP for buffers that overlap in part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_write_from(
    volume: *mut atrest_volume,
    offset: u64,
    sectors: *const c_void,
    ciphertext: *mut c_void,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(device_offset));
        out.set(begin_write_from!(volume, offset, sectors, ciphertext, len));
        Ok(())
    })
}

/// Encrypts `sectors` where they lie, and writes them at `offset` in one piece. Afterwards `sectors` hold
/// ciphertext.
///
/// Errors: those of atrest_disk_write_at. `sectors` are untouched then, but for ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_write_in_place(
    disk: *mut atrest_disk,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).write_in_place(offset, bytes_mut!(sectors, len))?))
}

/// As atrest_disk_read_at, into `count` segments one after the other, each a whole number of sectors.
///
/// Errors: those of atrest_disk_read_at; ATREST_ERR_OVERLAP for segments that do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_read_vectored_at(
    disk: *const atrest_disk,
    offset: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).read_vectored_at(offset, &mut slices_mut!(segments, count))?))
}

/// As atrest_disk_write_at, from `count` segments one after the other, each a whole number of sectors.
///
/// Errors: those of atrest_disk_write_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_write_vectored_at(
    disk: *mut atrest_disk,
    offset: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).write_vectored_at(offset, &slices!(segments, count))?))
}

/// Says where on the disk's device, the one that the backend opens for it, below all layers, `len` bytes from `offset` are. The caller reads them, and hands them
/// to atrest_disk_complete_read. Nothing is held meanwhile: a read may be given up.
///
/// Errors: those of atrest_disk_read_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_begin_read(
    disk: *const atrest_disk,
    offset: u64,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(device_offset));
        out.set(disk.begin_read(offset, len)?);
        Ok(())
    })
}

/// Decrypts `len` bytes in place that were read from where those at `offset` are.
///
/// It is only decrypted while the disk's key may be used: after a revocation this fails, even for a read that began
/// before.
///
/// Errors: those of atrest_disk_begin_read. `sectors` are ciphertext then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_complete_read(
    disk: *const atrest_disk,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).complete_read(offset, bytes_mut!(sectors, len))?))
}

/// Encrypts `sectors` where they lie, and says where on the disk's device the caller is to write them.
/// When the device has answered, be it with a failure, atrest_disk_complete_write ends the write.
///
/// A snapshot that begins waits for the writes that are under way. This call itself writes those that begin meanwhile; writing
/// the same once more does no harm.
///
/// Errors: those of atrest_disk_write_at but for the device's; ATREST_ERR_UNSUPPORTED_HEADER where they lie in several segments of the volume.
/// `sectors` are untouched then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_begin_write(
    disk: *mut atrest_disk,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(device_offset));
        out.set(disk.begin_write(offset, bytes_mut!(sectors, len))?);
        Ok(())
    })
}

/// As atrest_disk_begin_write, of `sectors` that must not be changed, such as a guest's memory. The caller is to write
/// `ciphertext`, which has `len` bytes, too.
///
/// Errors: those of atrest_disk_begin_write; ATREST_ERR_OVERLAP for buffers that overlap in part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_begin_write_from(
    disk: *mut atrest_disk,
    offset: u64,
    sectors: *const c_void,
    ciphertext: *mut c_void,
    len: usize,
    device_offset: *mut u64,
) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(device_offset));
        out.set(begin_write_from!(disk, offset, sectors, ciphertext, len));
        Ok(())
    })
}

/// Ends one write that this handle of the disk began. Any one will do: none is under way once as many were ended as were
/// begun. atrest_disk_free ends all that are left.
///
/// Errors: ATREST_ERR_INVALID_OPTION where none is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_complete_write(disk: *mut atrest_disk) -> atrest_status {
    run(|| {
        let none =
            || Failure::new(ATREST_ERR_INVALID_OPTION, "no write that this handle of the disk began is under way");
        handle!(disk).end_write().ok_or_else(none)
    })
}

/// Refuses segments that are to be written and overlap: Rust has no slices for them.
fn check_apart(segments: &[atrest_segment]) -> Result {
    let mut ranges: Vec<_> = segments.iter().filter(|segment| segment.len > 0).collect();
    ranges.sort_unstable_by_key(|segment| segment.base.addr());
    let overlap = |pair: &[&atrest_segment]| pair[1].base.addr() - pair[0].base.addr() < pair[0].len;
    if ranges.windows(2).any(overlap) {
        return Err(Failure::new(ATREST_ERR_OVERLAP, "two of `segments` overlap"));
    }
    Ok(())
}
