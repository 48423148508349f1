//! Writing the copies of the metadata.
//!
//! The copies are written one after the other, each synced before the next begins. The first sector of a copy is invalidated first
//! and written last. So a copy has a correct checksum only when all of it is there, without remains of another behind it, such as
//! a clear key that nobody knows of. At every instant the first intact copy is the old or the new one. The next open makes the
//! others equal to it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ondisk::bitlocker::VOID;
use crate::volume::BlockDevice;
use crate::volume::headers::check_written;
use crate::{Error, Result};

/// The bytes that are written last.
const FIRST: usize = 512;

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;

/// Now, as Windows counts: 100 ns from 1601 on.
pub(in crate::volume) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = since.as_nanos() / 100 + u128::from(EPOCH) * 10_000_000;
    u64::try_from(ticks).unwrap_or_default()
}

/// Writes a copy to its place.
pub(super) fn write_copy(device: &dyn BlockDevice, place: u64, area: &[u8]) -> Result<()> {
    let failed = |e| Error::io("writing the metadata", e);
    let (first, rest) = area.split_at(FIRST.min(area.len()));
    let mut void = [0; FIRST];
    void[..VOID.len()].copy_from_slice(&VOID);
    device.write_at(place, &void[..first.len()]).map_err(failed)?;
    device.sync().map_err(failed)?;
    device.write_at(place + FIRST as u64, rest).map_err(failed)?;
    device.sync().map_err(failed)?;
    device.write_at(place, first).map_err(failed)?;
    device.sync().map_err(failed)?;
    check_written(device, place, area).map_err(failed)
}
