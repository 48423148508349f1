//! SEGMENTS
//!
//! Runs of sectors in several pieces of memory, like the vectors of readv and writev.

use core::ffi::c_void;

use atrest::{Error, SectorCipher};

use crate::args::in_place;
use crate::buffers::has_bytes;
use crate::failure::{Result, compute};
use crate::sector_cipher::atrest_sector_cipher;
use crate::status::atrest_status;

/// The body of a function on segments in place.
macro_rules! segments {
    ($cipher:expr, $first_sector:expr, $segments:expr, $count:expr, $in_place:ident) => {
        compute(move || {
            let (cipher, segments) = (handle!($cipher), slice!($segments, $count));
            check(cipher, $first_sector, segments)?;
            let mut sector = $first_sector;
            for &atrest_segment { base, len } in segments {
                cipher.$in_place(sector, bytes_mut!(base, len))?;
                sector = cipher.sector_behind(sector, len);
            }
            Ok(())
        })
    };
}

/// The body of a function from segments to segments.
macro_rules! segments_to {
    ($cipher:expr, $first_sector:expr, $src:expr, $src_count:expr, $dst:expr, $dst_count:expr, $in_place:ident, $to:ident) => {
        compute(move || {
            let (cipher, src, dst) = (handle!($cipher), slice!($src, $src_count), slice!($dst, $dst_count));
            let (src_len, dst_len) = (check(cipher, $first_sector, src)?, check(cipher, $first_sector, dst)?);
            if src_len != dst_len {
                return Err(Error::LengthMismatch { src: src_len, dst: dst_len }.into());
            }
            for Piece { src, dst, len } in pieces(src, dst) {
                in_place(src.cast(), dst.cast(), len)?;
            }
            let mut sector = $first_sector;
            for Piece { src, dst, len } in pieces(src, dst) {
                if src == dst {
                    cipher.$in_place(sector, bytes_mut!(dst, len))?;
                } else {
                    cipher.$to(sector, bytes!(src, len), bytes_mut!(dst, len))?;
                }
                sector = cipher.sector_behind(sector, len);
            }
            Ok(())
        })
    };
}

/// A piece of a run of sectors in memory, like a `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_segment {
    /// Its first byte. NULL if it is empty.
    pub base: *mut c_void,
    /// Its length: whole sectors, or 0.
    pub len: usize,
}

/// Encrypts a run of consecutive sectors in `count` segments, in place.
///
/// The segments follow one another on the disk: the first sector of each has the number after the last sector of the
/// segment before. They must not overlap. All lengths are checked before the first segment is changed.
///
/// Errors: those of atrest_sector_cipher_encrypt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_segments(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    segments!(cipher, first_sector, segments, count, encrypt)
}

/// Decrypts segments in place, as atrest_sector_cipher_encrypt_segments encrypts them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_segments(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    segments: *const atrest_segment,
    count: usize,
) -> atrest_status {
    segments!(cipher, first_sector, segments, count, decrypt)
}

/// Encrypts a run of consecutive sectors from the segments `src` to the segments `dst`, which may be divided
/// differently.
///
/// Both follow the rules of atrest_sector_cipher_encrypt_segments, and have the same total length. A piece whose source
/// and destination are the same memory is encrypted in place. Otherwise source and destination must not overlap; this
/// is only checked for each piece and its own destination. All checks are made before the first segment is changed.
///
/// Errors: ATREST_ERR_LENGTH_MISMATCH; ATREST_ERR_OVERLAP; those of atrest_sector_cipher_encrypt_segments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_segments_to(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const atrest_segment,
    src_count: usize,
    dst: *const atrest_segment,
    dst_count: usize,
) -> atrest_status {
    segments_to!(cipher, first_sector, src, src_count, dst, dst_count, encrypt, encrypt_to)
}

/// Decrypts from segments to segments, as atrest_sector_cipher_encrypt_segments_to encrypts them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_segments_to(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const atrest_segment,
    src_count: usize,
    dst: *const atrest_segment,
    dst_count: usize,
) -> atrest_status {
    segments_to!(cipher, first_sector, src, src_count, dst, dst_count, decrypt, decrypt_to)
}

/// Checks all segments before the first is changed, and returns their total length.
fn check(cipher: &SectorCipher, first_sector: u64, segments: &[atrest_segment]) -> Result<usize> {
    for segment in segments {
        has_bytes(segment.base.cast(), segment.len, "base")?;
    }
    Ok(cipher.check_segments(first_sector, segments.iter().map(|segment| segment.len))?)
}

/// A piece that is contiguous in both source and destination.
struct Piece {
    src: *mut c_void,
    dst: *mut c_void,
    len: usize,
}

/// Cuts two runs of segments of equal length wherever either has a boundary.
fn pieces<'a>(src: &'a [atrest_segment], dst: &'a [atrest_segment]) -> impl Iterator<Item = Piece> + 'a {
    let full = |segments: &'a [atrest_segment]| segments.iter().copied().filter(|segment| segment.len > 0);
    let (mut sources, mut destinations) = (full(src), full(dst));
    let (mut from, mut to) = (sources.next(), destinations.next());
    core::iter::from_fn(move || {
        let (Some(f), Some(t)) = (from, to) else { return None };
        let len = f.len.min(t.len);
        let rest = |segment: atrest_segment| {
            // It can't wrap, because it stays within the segment.
            let base = segment.base.cast::<u8>().wrapping_add(len).cast();
            (segment.len > len).then_some(atrest_segment { base, len: segment.len - len })
        };
        from = rest(f).or_else(|| sources.next());
        to = rest(t).or_else(|| destinations.next());
        Some(Piece { src: f.base, dst: t.base, len })
    })
}
