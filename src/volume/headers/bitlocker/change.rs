//! Changes of the metadata: new protectors, removed ones, and copies that differ.

use super::BitLockerStore;
use super::copies::{now, write_copy};
use crate::ondisk::bitlocker::{AREA, Block, Draft, State};
use crate::volume::BlockDevice;
use crate::{Error, Result, Secret, zeros};

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
        let mut draft = self.draft()?;
        change(&mut draft, self.master_key()?)?;
        let area = draft.finish(self.master_key()?)?;
        self.replace(device, area)
    }

    /// Removes all protectors, without any of them.
    pub(super) fn remove_all(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let mut draft = self.draft()?;
        // What isn't encrypted can be read without a protector.
        if self.found.block.state != State::Encrypted || self.found.chunks.is_some() {
            let text = "BitLocker: a volume that isn't encrypted as a whole keeps data in the clear, which no change of its header \
                        destroys";
            return Err(Error::UnsupportedHeader(text.into()));
        }
        for id in (0..self.found.block.protectors.len() as u32).rev() {
            draft.remove(id);
        }
        // The master key proves metadata to whoever has opened the volume, which nobody does from here on.
        let area = draft.finish(&Secret::random(32)?)?;
        self.replace(device, area)
    }

    fn draft(&self) -> Result<Draft> {
        if self.found.block.version == 1 {
            return Err(Error::UnsupportedHeader("BitLocker: that of Windows Vista is only read".into()));
        }
        Ok(Draft::of(&self.found.area, now())?)
    }

    /// Replaces the metadata: all copies of it.
    fn replace(&mut self, device: &dyn BlockDevice, area: Vec<u8>) -> Result<()> {
        // What couldn't be read again is never written.
        let block = Block::parse(&area)?;
        // Of what earlier attempts have written, only what is still there.
        if !self.tried.is_empty() {
            let copies = self.found.copies_on(device);
            self.tried.retain(|tried| copies.iter().any(|copy| copy.starts_with(tried)));
        }
        self.tried.push(area.clone());
        self.found.differ = self.found.in_order();
        self.write(device, &area)?;
        (self.found.block, self.found.area) = (block, area);
        self.tried.clear();
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
