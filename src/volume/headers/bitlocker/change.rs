//! Changes of the metadata: new protectors, removed ones, and copies that differ.

use super::BitLockerStore;
use super::copies::{now, write_copy};
use crate::ondisk::bitlocker::{AREA, Block, Defect, Draft, State};
use crate::volume::BlockDevice;
use crate::{Error, Result, Secret, zeros};

/// How a copy begins.
const SIGNATURE: &[u8; 8] = b"-FVE-FS-";
/// The bytes of the boot sector.
const BOOT: u64 = 512;
/// Where a copy has its version.
const VERSION_AT: core::ops::Range<usize> = 10..12;

impl BitLockerStore {
    /// The master key, which proves the metadata that is written.
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
        let mut draft = self.draft()?;
        change(&mut draft, self.master_key()?)?;
        let area = draft.finish(self.master_key()?)?;
        self.replace(device, area, Self::write)
    }

    /// Removes all protectors, without any of them: from all copies that can be written, also where one can't.
    pub(super) fn remove_all(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let mut draft = self.draft()?;
        // Data that isn't encrypted can be read without a protector.
        if self.found.block.state != State::Encrypted || self.found.chunks.is_some() {
            let text = "BitLocker: a volume that isn't encrypted as a whole keeps data in the clear, which no change of its header \
                        destroys";
            return Err(Error::UnsupportedHeader(text.into()));
        }
        for id in (0..self.found.block.protectors.len() as u32).rev() {
            draft.remove(id);
        }
        // The master key proves the metadata when the volume is opened. Nobody can open it from here on, so any key will do.
        let area = draft.finish(&Secret::random(32)?)?;
        self.replace(device, area, Self::erase_all)
    }

    fn draft(&self) -> Result<Draft> {
        if self.found.block.version == 1 {
            return Err(Error::UnsupportedHeader("BitLocker: that of Windows Vista is only read".into()));
        }
        Ok(Draft::of(&self.found.area, now())?)
    }

    /// Replaces the metadata: all copies of it, which `write` does.
    fn replace(
        &mut self,
        device: &dyn BlockDevice,
        area: Vec<u8>,
        write: impl FnOnce(&mut Self, &dyn BlockDevice, &[u8]) -> Result<()>,
    ) -> Result<()> {
        // Never write metadata that couldn't be read again.
        let block = Block::parse(&area)?;
        // Keep only those earlier attempts that are still on the device.
        if !self.tried.is_empty() {
            let copies = self.found.copies_on(device);
            self.tried.retain(|tried| copies.iter().any(|copy| copy.starts_with(tried)));
        }
        self.tried.push(area.clone());
        self.found.differ = self.found.in_order();
        write(self, device, &area)?;
        (self.found.block, self.found.area) = (block, area);
        self.tried.clear();
        Ok(())
    }

    /// Overwrites each copy that is still in its place. Returns the first error once all were tried.
    fn erase_all(&mut self, device: &dyn BlockDevice, area: &[u8]) -> Result<()> {
        let mut first = Ok(());
        let mut failed = Vec::new();
        for &place in &self.found.differ {
            let erased = self.room_of_copy(device, place).and_then(|room| match room {
                0 => Ok(()),
                room => write_copy(device, place, &area[..room]),
            });
            if let Err(e) = erased {
                failed.push(place);
                first = first.and(Err(e));
            }
        }
        self.found.differ = failed;
        first
    }

    /// The number of bytes for a copy at a place that the metadata names. It is 0 where no copy can be: over the boot sector,
    /// behind the device, and behind the volume, unless a copy is there. Forged metadata may name such places.
    fn room_of_copy(&self, device: &dyn BlockDevice, place: u64) -> Result<usize> {
        let room = self.found.device_size.saturating_sub(place).min(AREA as u64) as usize;
        if place < BOOT || room < SIGNATURE.len() {
            return Ok(0);
        }
        if self.found.block.encrypted != 0 && place.saturating_add(AREA as u64) > self.found.block.encrypted {
            let mut start = [0; SIGNATURE.len()];
            device.read_at(place, &mut start).map_err(|e| Error::io("reading the metadata", e))?;
            if start != *SIGNATURE {
                return Ok(0);
            }
        }
        Ok(room)
    }

    /// Refuses a place where no copy can be, which only forged metadata names. Not even a repair that may destroy foreign data
    /// must write over the boot sector or behind the volume, or make a file grow.
    fn check_room(&self, device: &dyn BlockDevice, place: u64) -> Result<()> {
        if self.room_of_copy(device, place)? == AREA {
            return Ok(());
        }
        let is_on_device =
            place >= BOOT && place.checked_add(AREA as u64).is_some_and(|end| end <= self.found.device_size);
        if is_on_device {
            let mut area = vec![0; AREA];
            device.read_at(place, &mut area).map_err(|e| Error::io("reading the metadata", e))?;
            if zeros::is_zero(&area) {
                return Ok(());
            }
        }
        Err(Error::ForeignData(format!(
            "the metadata of BitLocker name byte {place} as the place of a copy, which can't be there; nothing was written. They \
             are damaged or forged: open the volume read-only, and copy its data"
        )))
    }

    /// Writes the copies that differ.
    pub(super) fn write(&mut self, device: &dyn BlockDevice, area: &[u8]) -> Result<()> {
        self.found.differ.iter().try_for_each(|place| self.check_room(device, *place))?;
        while let Some(&place) = self.found.differ.first() {
            write_copy(device, place, area)?;
            self.found.differ.remove(0);
        }
        Ok(())
    }

    /// Refuses to write over anything but zeros, a copy, or the remains of one.
    pub(super) fn check_places(&self, device: &dyn BlockDevice) -> Result<()> {
        for place in &self.found.differ {
            self.check_room(device, *place)?;
            let mut area = vec![0; AREA];
            device.read_at(*place, &mut area).map_err(|e| Error::io("reading the metadata", e))?;
            if let Some(why) = unreadable(&area) {
                return Err(Error::ForeignData(format!(
                    "the copy of the metadata at byte {place} isn't damaged, but can't be read here ({why}), and repairing it \
                     from another copy would destroy it: use a version that reads it; or open the volume read-only; or if that \
                     may be destroyed, repair the header with `hazmat_repair` (which OpenOptions have too)"
                )));
            }
            if !area.starts_with(SIGNATURE) && !zeros::is_zero(&area) {
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

/// Why a copy that somebody may have written whole can't be read here; `None` for one that can, or that is torn or flipped.
fn unreadable(area: &[u8]) -> Option<String> {
    let Err(Defect::Invalid(why) | Defect::Unsupported(why)) = Block::parse(area) else { return None };
    let version = area.get(VERSION_AT).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    // Nothing says where the checksum of a newer version would be. A flipped copy is whole once its version is put back.
    let may_be_newer = || {
        let mut known = area.to_vec();
        area.starts_with(SIGNATURE)
            && (3..=0xFF).contains(&version)
            && (1..=2u16).all(|version| {
                known[VERSION_AT].copy_from_slice(&version.to_le_bytes());
                !Block::is_whole(&known)
            })
    };
    (Block::is_whole(area) || may_be_newer()).then_some(why)
}
