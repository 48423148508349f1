//! Writing the metadata: new protectors, removed ones, and copies that differ.
//!
//! The copies are written one after the other, each synced before the next begins; and of each the first sector last, so that it
//! is whole by its checksum only when all of it is there, and nothing of the old one is left behind it. So at every instant the first copy that is whole is the old or the new
//! one. The next open has the others follow it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::BitLockerStore;
use crate::ondisk::bitlocker::{AREA, Block, Draft};
use crate::volume::BlockDevice;
use crate::volume::headers::check_written;
use crate::{Error, Result, Secret, zeros};

/// The bytes that are written last.
const FIRST: usize = 512;

/// Seconds from 1601 to 1970.
const EPOCH: u64 = 11_644_473_600;

/// Now, as Windows counts: 100 ns from 1601 on.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = since.as_nanos() / 100 + u128::from(EPOCH) * 10_000_000;
    u64::try_from(ticks).unwrap_or_default()
}

/// Writes a copy to its place.
pub(super) fn write_copy(device: &dyn BlockDevice, place: u64, area: &[u8]) -> Result<()> {
    let failed = |e| Error::io("writing the metadata", e);
    let (first, rest) = area.split_at(FIRST.min(area.len()));
    device.write_at(place + FIRST as u64, rest).map_err(failed)?;
    device.sync().map_err(failed)?;
    device.write_at(place, first).map_err(failed)?;
    device.sync().map_err(failed)?;
    check_written(device, place, area).map_err(failed)
}

impl BitLockerStore {
    /// The master key, which proves what is written.
    fn master_key(&self) -> Result<&Secret> {
        self.master_key.get().ok_or_else(|| {
            let text = "the metadata of BitLocker is proved by the volume's master key: open the volume, and change its header";
            Error::InvalidOption(text.into())
        })
    }

    /// Changes the metadata, and writes all copies of it.
    pub(super) fn change(
        &mut self,
        device: &dyn BlockDevice,
        change: impl FnOnce(&mut Draft, &Secret) -> Result<()>,
    ) -> Result<()> {
        if self.found.block.version == 1 {
            return Err(Error::UnsupportedHeader("BitLocker: that of Windows Vista is only read".into()));
        }
        let mut draft = Draft::of(&self.found.area, now())?;
        change(&mut draft, self.master_key()?)?;
        let area = draft.finish(self.master_key()?)?;
        // What couldn't be read again is never written.
        let block = Block::parse(&area)?;
        self.tried = Some(area.clone());
        self.found.differ = self.found.block.copies.to_vec();
        self.write(device, &area)?;
        (self.found.block, self.found.area, self.tried) = (block, area, None);
        Ok(())
    }

    /// Writes the copies that differ.
    pub(super) fn write(&mut self, device: &dyn BlockDevice, area: &[u8]) -> Result<()> {
        while let Some(&place) = self.found.differ.first() {
            write_copy(device, place, area)?;
            self.found.differ.remove(0);
        }
        Ok(())
    }

    /// Refuses to write over what is no copy, nor the remains of one.
    pub(super) fn check_places(&self, device: &dyn BlockDevice) -> Result<()> {
        for place in &self.found.differ {
            let mut area = vec![0; AREA];
            device.read_at(*place, &mut area).map_err(|e| Error::io("reading the metadata", e))?;
            if !area.starts_with(b"-FVE-FS-") && !zeros::is_zero(&area) {
                return Err(Error::ForeignData(format!(
                    "the place of a copy of the metadata, at byte {place}, holds neither zeros nor a damaged copy: open the \
                     volume read-only; or if that may be destroyed, repair the header with `hazmat_repair` (which OpenOptions \
                     have too)"
                )));
            }
        }
        Ok(())
    }
}
