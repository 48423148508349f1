//! A LUKS1 header on a device.
//!
//! There is one copy, in the first two sectors of the device, and a device may write a part of them only. So whatever
//! decides (that a keyslot counts, that this is a header at all) lies within one sector and is written last, or first where
//! something ends. A keyslot that doesn't count has no iterations, unless a killed process left it: then its area is to be
//! wiped, which the next open does.

use core::ops::Range;

use super::area::{check_written, wipe, write_area};
use super::{Attempt, NewKeyslot};
use crate::key::Kdf;
use crate::ondisk::luks::{Luks1Defect, Luks1Header};
use crate::volume::BlockDevice;
use crate::{Error, Result, Secret, random};

/// What is read and written at once: the header, and what follows it up to the first area.
const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// A header as a device has it.
#[derive(Debug, Clone)]
pub(in crate::volume) struct Luks1Store {
    pub(in crate::volume) header: Luks1Header,
    /// The first block as it was read or written last.
    block: Vec<u8>,
    /// A block whose writing failed: the device may hold sectors of it.
    tried: Option<Vec<u8>>,
}

impl Luks1Store {
    /// A header that no device has yet.
    pub(in crate::volume) fn new(header: Luks1Header) -> Self {
        Luks1Store { header, block: vec![0; BLOCK], tried: None }
    }

    /// Reads the header. Nothing is written.
    pub(in crate::volume) fn load(device: &dyn BlockDevice) -> Result<Self> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < BLOCK as u64 {
            return Err(Error::DeviceTooSmall { needed: BLOCK as u64, size });
        }
        let mut block = vec![0; BLOCK];
        device.read_at(0, &mut block).map_err(|e| Error::io("reading the header", e))?;
        let header = Luks1Header::parse(&block).map_err(|defect| match defect {
            Luks1Defect::Invalid(what) => Error::InvalidHeader(format!("LUKS1: {what}")),
            Luks1Defect::Unsupported(what) => Error::UnsupportedHeader(format!("LUKS1: {what}")),
        })?;
        Ok(Luks1Store { header, block, tried: None })
    }

    /// Writes the header of a new volume: all but its beginning, then all of it.
    pub(in crate::volume) fn store_new(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let header = self.header.clone();
        self.block[..SECTOR].fill(0);
        self.write_block(device, self.block.clone())?;
        self.write(device, header)
    }

    /// The keyslots, or the one that is `named`; for each how to try it.
    pub(in crate::volume) fn attempts(&self, named: Option<u32>) -> Vec<(u32, Result<Attempt, String>)> {
        let active = (0..8).filter(|&id| self.header.keyslots[id as usize].active);
        let wanted = active.filter(|id| named.is_none_or(|named| named == *id));
        wanted.map(|id| (id, Ok(self.attempt(id as usize)))).collect()
    }

    /// Puts `key` into a new keyslot.
    pub(in crate::volume) fn add_keyslot(
        &mut self,
        device: &dyn BlockDevice,
        key: &Secret,
        new: &NewKeyslot<'_>,
    ) -> Result<u32> {
        let Kdf::Pbkdf2 { hash, iterations } = new.kdf else {
            return Err(Error::InvalidOption(format!("a keyslot of LUKS1 takes PBKDF2, not {}", new.kdf.name())));
        };
        if hash != self.header.hash {
            let (own, other) = (self.header.hash.name(), hash.name());
            return Err(Error::InvalidOption(format!("this header's hash is {own}; a keyslot can't have {other}")));
        }
        self.check_unchanged(device)?;
        let taken = |id: usize| self.header.keyslots.get(id).is_none_or(|keyslot| keyslot.active);
        let id = match new.id.map(|id| id as usize) {
            Some(id) if taken(id) => {
                return Err(Error::NoRoom(format!("keyslot {id} is taken, or is none of LUKS1's 8")));
            }
            Some(id) => id,
            None => (0..8).find(|&id| !taken(id)).ok_or_else(|| Error::NoRoom("all 8 keyslots are taken".into()))?,
        };
        // First as one that doesn't count.
        let mut header = self.header.clone();
        header.keyslots[id].iterations = iterations;
        header.keyslots[id].salt = random::array()?;
        self.write(device, header.clone())?;
        let Attempt { kdf, material, salt, offset } = self.attempt(id);
        let area = material.seal(key, &kdf, new.passphrase, &salt)?;
        write_area(device, offset, area, material.len() as u64)?;
        header.keyslots[id].active = true;
        self.write(device, header)?;
        Ok(id as u32)
    }

    /// Destroys a keyslot: what it is, and what its area holds.
    pub(in crate::volume) fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        self.check_unchanged(device)?;
        let mut header = self.header.clone();
        // Also one that an attempt which failed has left to be wiped.
        let keyslot = header.keyslots.get_mut(id as usize).filter(|keyslot| keyslot.active || keyslot.iterations != 0);
        keyslot.ok_or_else(|| Error::NoSuchProtector(format!("there is no keyslot {id}")))?.active = false;
        self.write(device, header)?;
        self.finish_wiping(device)
    }

    /// Whether a killed process has left a keyslot that is still to be wiped.
    pub(in crate::volume) fn has_unwiped(&self) -> bool {
        (0..8).any(|id| self.is_unwiped(id))
    }

    pub(in crate::volume) fn is_unwiped(&self, id: u32) -> bool {
        self.header.keyslots.get(id as usize).is_some_and(|keyslot| !keyslot.active && keyslot.iterations != 0)
    }

    /// The areas that [`finish_wiping`](Self::finish_wiping) wipes, in bytes on the device.
    pub(in crate::volume) fn unwiped_areas(&self) -> Vec<Range<u64>> {
        let unwiped = (0..8).filter(|id| self.is_unwiped(*id));
        let attempts = unwiped.map(|id| self.attempt(id as usize));
        attempts.map(|attempt| attempt.offset..attempt.offset + attempt.material.len() as u64).collect()
    }

    /// Wipes the areas of keyslots that count no more, or not yet.
    pub(in crate::volume) fn finish_wiping(&mut self, device: &dyn BlockDevice) -> Result<()> {
        if !self.has_unwiped() {
            return Ok(());
        }
        let mut header = self.header.clone();
        for (id, keyslot) in header.keyslots.iter_mut().enumerate() {
            if !keyslot.active && keyslot.iterations != 0 {
                let Attempt { material, offset, .. } = self.attempt(id);
                wipe(device, offset, material.len() as u64)?;
                (keyslot.iterations, keyslot.salt) = (0, [0; 32]);
            }
        }
        self.write(device, header)
    }

    /// Destroys every way in.
    pub(in crate::volume) fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.check_unchanged(device)?;
        let mut header = self.header.clone();
        for keyslot in &mut header.keyslots {
            // Those that never were in use too: their areas are wiped with the others.
            (keyslot.active, keyslot.iterations) = (false, keyslot.iterations.max(1));
        }
        self.write(device, header)?;
        self.finish_wiping(device)
    }

    /// Writes the keyslots of a backup, from which this header was read, then the header. Over a header there is always a
    /// header with its UUID, so that who is killed can do it again.
    pub(in crate::volume) fn restore(
        &mut self,
        device: &dyn BlockDevice,
        backup: &[u8],
        current: Option<&Self>,
    ) -> Result<()> {
        let failed = |e| Error::io("restoring the header", e);
        device.write_at(BLOCK as u64, &backup[BLOCK..]).map_err(failed)?;
        device.sync().map_err(failed)?;
        // All but the first sector, which stays until the others are there; if both go together.
        let mixed = current.map(|current| [&current.block[..SECTOR], &self.block[SECTOR..]].concat());
        match mixed.filter(|mixed| Luks1Header::parse(mixed).is_ok()) {
            Some(mixed) => {
                self.write_block(device, mixed)?;
                self.write(device, self.header.clone())
            }
            None => self.store_new(device),
        }
    }

    /// How many bytes the header takes with its keyslots: what a backup holds.
    pub(in crate::volume) fn len(&self) -> u64 {
        let areas = (0..8).map(|id| {
            let Attempt { material, offset, .. } = self.attempt(id);
            offset + material.len() as u64
        });
        areas.max().unwrap_or(BLOCK as u64).next_multiple_of(BLOCK as u64)
    }

    /// Makes sure that nobody else has written the header since it was read or written here; theirs would be lost.
    pub(in crate::volume) fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let found = Self::load(device)?;
        let tried = self.tried.as_ref().unwrap_or(&self.block);
        let ours = found.block.chunks(SECTOR).zip(self.block.chunks(SECTOR).zip(tried.chunks(SECTOR)));
        if !ours.into_iter().all(|(found, (old, tried))| found == old || found == tried) {
            return Err(Error::Busy { what: "the header, which was changed since it was read,".into() });
        }
        *self = found;
        Ok(())
    }

    fn attempt(&self, id: usize) -> Attempt {
        let keyslot = &self.header.keyslots[id];
        let (kdf, material) = (self.header.kdf(id), self.header.material(id));
        let offset = u64::from(keyslot.material_offset) * SECTOR as u64;
        Attempt { kdf, material, salt: keyslot.salt.to_vec(), offset }
    }

    fn write(&mut self, device: &dyn BlockDevice, header: Luks1Header) -> Result<()> {
        let mut block = self.block.clone();
        block[..Luks1Header::LEN].copy_from_slice(&header.encode());
        self.write_block(device, block)?;
        self.header = header;
        Ok(())
    }

    fn write_block(&mut self, device: &dyn BlockDevice, block: Vec<u8>) -> Result<()> {
        let failed = |e| Error::io("writing the header", e);
        self.tried = Some(block.clone());
        device.write_at(0, &block).map_err(failed)?;
        device.sync().map_err(failed)?;
        check_written(device, 0, &block).map_err(failed)?;
        (self.block, self.tried) = (block, None);
        Ok(())
    }
}
