//! The areas of keyslots on a device.

use core::ops::Range;
use std::io;

use zeroize::Zeroizing;

use crate::volume::BlockDevice;
use crate::volume::signature::Signature;
use crate::{Error, Result, random, zeros};

/// The number of bytes wiped at once.
const PIECE: u64 = 1 << 20;

/// The usual allocation unit of a file system.
const BLOCK: usize = 4096;

/// Reads `len` bytes of an area.
pub(super) fn read_area(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut area = Zeroizing::new(vec![0; len]);
    device.read_at(offset, &mut area).map_err(|e| Error::io("reading the area of a keyslot", e))?;
    Ok(area)
}

/// Writes an area, padded to `size` bytes with random ones. Returns when it is on the disk and was read back.
pub(super) fn write_area(device: &dyn BlockDevice, offset: u64, mut area: Vec<u8>, size: u64) -> Result<()> {
    let used = area.len();
    area.resize(used.max(size as usize), 0);
    random::fill(&mut area[used..])?;
    let failed = |e| Error::io("writing the area of a keyslot", e);
    device.write_at(offset, &area).map_err(failed)?;
    device.sync().map_err(failed)?;
    check_written(device, offset, &area).map_err(failed)
}

/// Reads the bytes back, and fails if the device returns others.
pub(in crate::volume) fn check_written(device: &dyn BlockDevice, offset: u64, written: &[u8]) -> io::Result<()> {
    let mut back = vec![0; written.len().min(PIECE as usize)];
    for (at, piece) in (offset..).step_by(PIECE as usize).zip(written.chunks(PIECE as usize)) {
        let back = &mut back[..piece.len()];
        device.read_at(at, back)?;
        if back != piece {
            return Err(io::Error::other("the device returned other bytes than were written"));
        }
    }
    Ok(())
}

/// Refuses an automatic wipe over data that another program has put in a removed keyslot's place.
pub(super) fn check_wipeable(device: &dyn BlockDevice, area: Range<u64>) -> Result<()> {
    match Signature::find(device, area).map_err(|e| Error::io("looking at the areas of keyslots", e))? {
        None => Ok(()),
        Some(signature) => Err(Error::ForeignData(format!(
            "a keyslot that was removed is still to be wiped, which would destroy {signature}: open the volume read-only; \
             or if that may be destroyed, repair the header with `hazmat_repair` (which OpenOptions have too)"
        ))),
    }
}

/// Overwrites an area with random bytes, up to the end of the device. Zeros are skipped: they hide nothing, and in a
/// file they may be holes, which a full disk has no space to fill.
pub(super) fn wipe(device: &dyn BlockDevice, area: Range<u64>) -> Result<()> {
    let failed = |e| Error::io("wiping the areas of keyslots", e);
    let end = area.end.min(device.size().map_err(failed)?);
    rewrite(device, area.start..end, failed, true, random::fill)?;
    device.sync().map_err(failed)
}

/// Reserves space before a write by writing zeros into a file's holes. Otherwise a full disk could take the first copy
/// of a header but not the second.
pub(super) fn reserve(device: &dyn BlockDevice, place: Range<u64>) -> Result<()> {
    rewrite(device, place, |e| Error::io("making room for the header", e), false, |_| Ok(()))
}

/// Rewrites the blocks of a range that aren't zeros, or those that are, after `change` has changed them.
pub(in crate::volume) fn rewrite(
    device: &dyn BlockDevice,
    range: Range<u64>,
    failed: impl Fn(io::Error) -> Error + Copy,
    used: bool,
    change: impl Fn(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE.min(range.end.saturating_sub(range.start)) as usize];
    for start in range.clone().step_by(PIECE as usize) {
        let piece = &mut piece[..(range.end - start).min(PIECE) as usize];
        device.read_at(start, piece).map_err(failed)?;
        let mut at = 0;
        while at < piece.len() {
            let is_wanted = |block: &[u8]| zeros::is_zero(block) != used;
            let run = piece[at..].chunks(BLOCK).take_while(|block| is_wanted(block)).map(<[u8]>::len).sum::<usize>();
            if run > 0 {
                let bytes = &mut piece[at..at + run];
                change(bytes)?;
                device.write_at(start + at as u64, bytes).map_err(failed)?;
            }
            // Skip the block after the run: it doesn't match.
            at += run + BLOCK;
        }
    }
    Ok(())
}
