//! The areas of keyslots on a device.

use core::ops::Range;
use std::io;

use zeroize::Zeroizing;

use crate::volume::BlockDevice;
use crate::volume::signature::Signature;
use crate::{Error, Result, random};

/// How much is wiped at once, in bytes.
const PIECE: u64 = 1 << 20;

/// Reads `len` bytes of an area.
pub(in crate::volume) fn read_area(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut area = Zeroizing::new(vec![0; len]);
    device.read_at(offset, &mut area).map_err(|e| Error::io("reading the area of a keyslot", e))?;
    Ok(area)
}

/// Writes an area, filled to `size` bytes with random ones, and returns when it is on the disk and can be read back.
pub(in crate::volume) fn write_area(device: &dyn BlockDevice, offset: u64, mut area: Vec<u8>, size: u64) -> Result<()> {
    let used = area.len();
    area.resize(used.max(size as usize), 0);
    random::fill(&mut area[used..])?;
    let failed = |e| Error::io("writing the area of a keyslot", e);
    device.write_at(offset, &area).map_err(failed)?;
    device.sync().map_err(failed)?;
    check_written(device, offset, &area).map_err(failed)
}

/// Reads back what was written, and refuses a device that returns something else.
pub(in crate::volume) fn check_written(device: &dyn BlockDevice, offset: u64, written: &[u8]) -> io::Result<()> {
    let mut back = vec![0; written.len()];
    device.read_at(offset, &mut back)?;
    if back == written { Ok(()) } else { Err(io::Error::other("the device returned other bytes than were written")) }
}

/// Refuses to wipe on its own account what another program has put where a keyslot was.
pub(in crate::volume) fn check_wipeable(device: &dyn BlockDevice, area: Range<u64>) -> Result<()> {
    match Signature::find(device, area).map_err(|e| Error::io("looking at the areas of keyslots", e))? {
        None => Ok(()),
        Some(signature) => Err(Error::ForeignData(format!(
            "a keyslot that was removed is still to be wiped, which would destroy {signature}: open the volume read-only; \
             or if that may be destroyed, repair the header with `hazmat_repair` (which OpenOptions have too)"
        ))),
    }
}

/// Overwrites `size` bytes with random ones, up to the end of the device.
pub(in crate::volume) fn wipe(device: &dyn BlockDevice, offset: u64, size: u64) -> Result<()> {
    let failed = |e| Error::io("wiping the areas of keyslots", e);
    let end = (offset + size).min(device.size().map_err(failed)?);
    let mut piece = vec![0; PIECE.min(size) as usize];
    let mut at = offset;
    while at < end {
        let len = (end - at).min(PIECE) as usize;
        random::fill(&mut piece[..len])?;
        device.write_at(at, &piece[..len]).map_err(failed)?;
        at += len as u64;
    }
    device.sync().map_err(failed)
}
