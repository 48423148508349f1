//! Conversion to LUKS2 in place, as by `cryptsetup convert`, and safe to kill at any instant. The data isn't touched.
//!
//! Both copies of a LUKS2 header take 32 KiB. The keyslots of LUKS1 begin at byte 4096, so each has to move up by 28
//! KiB, which is less than it takes. So none can move in one step, and often there is no free room of a whole area:
//! with the usual offset of the data, 2 MiB, and keys of 512 bits, LUKS2 takes all of it. The only free room is then
//! the area of an unused keyslot. It must not be free in the header, since readers refuse a LUKS1 header in which the
//! area of any keyslot, used or not, overlaps another or the data. These facts give the order:
//!
//! 1. **Move the areas under LUKS1.** The field `key-material-offset` allows a keyslot to be anywhere. From the last
//!    keyslot to the first, each goes by way of an unused one: it is copied there, with its salt and iterations, so that
//!    both open by the same passphrase. Then it is deactivated and copied back to its new place, and the unused one is
//!    deactivated. A header always names disjoint areas, and each passphrase has an active keyslot with a whole area.
//! 2. **Wipe all between the areas,** which may hold the remains of others. From now on no active keyslot has anything
//!    in the first 32 KiB.
//! 3. **Write the secondary copy of LUKS2,** at 16 KiB. Nobody looks at it, because the first sector has the magic of
//!    LUKS1.
//! 4. **Replace the first sector** by that of a LUKS2 header whose checksum is wrong. Before this write the device is
//!    a whole LUKS1 volume, after it a LUKS2 volume by its secondary copy. The sectors behind it stay: together with
//!    the old first sector they are the LUKS1 header, and the write may be lost.
//! 5. **Write the primary copy,** as in any repair of a LUKS2 header.
//!
//! Each step is synced before the next. Within step 1, a change of the header is one field of one sector, or several
//! fields of an inactive keyslot, whose order on the disk doesn't matter. So each state is one that
//! [the store of LUKS1](super) knows: an inactive keyslot with iterations is a remnant, whose area is wiped by the next
//! open. Nothing records how far a conversion got. A second attempt sees it by the places of the areas, removes a copy
//! that the first left, and moves the others. If a process dies while a keyslot is in the unused one's place, it may
//! keep that number.

use super::{BLOCK, Luks1Store, SECTOR};
use crate::ondisk::luks::{BinaryHeader, HEADER_SIZES, Label, Luks1Header, Luks1Keyslot, SALT_LEN};
use crate::volume::BlockDevice;
use crate::volume::headers::area::{read_area, reserve, wipe, write_area};
use crate::volume::headers::luks2::Luks2Store;
use crate::volume::headers::{LuksAttempt, StoredHeader};
use crate::{Error, Result};

/// The keyslots of a header.
const KEYSLOTS: usize = 8;

/// The program luksmeta keeps data of its own directly after the areas, and clevis may need it to unlock the volume.
const LUKSMETA: &[u8; 8] = b"LUKSMETA";

impl Luks1Store {
    /// Replaces this header by one of LUKS2 and returns that. If it fails, the device holds the one or the other.
    pub(super) fn convert(&mut self, device: &dyn BlockDevice) -> Result<Luks2Store> {
        self.check_unchanged(device)?;
        self.check_convertible(device)?;
        self.finish_wiping(device)?;
        self.drop_copies(device)?;
        self.move_areas(device)?;
        self.wipe_gaps(device)?;
        self.finish_wiping(device)?;
        // In step 4, bytes behind the header could pass for another program's.
        let mut block = self.header.encode().to_vec();
        block.resize(BLOCK, 0);
        self.write_block(device, block)?;
        let mut new = self.luks2(device)?;
        new.store_over_luks1(device, &self.block)?;
        Ok(new)
    }

    /// Refuses a volume that no second attempt could convert either. Nothing is written.
    fn check_convertible(&self, device: &dyn BlockDevice) -> Result<()> {
        self.luks2(device)?;
        let header = &self.header;
        let is_usual = |slot: usize| {
            [header.usual_place(slot), header.luks2_place(slot)].contains(&header.keyslots[slot].material_offset)
        };
        if !(0..KEYSLOTS).all(is_usual) {
            let what = "its keyslots aren't where other programs put them, so they can't be moved for LUKS2: copy the \
                        data to a new volume instead";
            return Err(Error::UnsupportedHeader(what.into()));
        }
        let mut behind = [0; SECTOR];
        let failed = |e| Error::io("looking at what follows the keyslots", e);
        device.read_at(bytes(header.usual_place(KEYSLOTS)), &mut behind).map_err(failed)?;
        if behind.starts_with(LUKSMETA) {
            return Err(Error::ForeignData(
                "the metadata of luksmeta, which clevis may need, is where LUKS2 has keyslots; if nothing needs it, \
                 remove it with `luksmeta nuke`"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The header of LUKS2.
    fn luks2(&self, device: &dyn BlockDevice) -> Result<Luks2Store> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let binary = BinaryHeader {
            header_size: HEADER_SIZES[0],
            seqid: 0,
            label: Label::new(b""),
            salt: [0; SALT_LEN],
            uuid: self.header.uuid.clone(),
            subsystem: Label::new(b""),
        };
        Luks2Store::new(binary, self.header.to_luks2(size)?)
    }

    /// Deactivates keyslots that repeat another to the last byte: a killed conversion left them.
    fn drop_copies(&mut self, device: &dyn BlockDevice) -> Result<()> {
        for slot in self.active() {
            for earlier in self.active().into_iter().take_while(|earlier| *earlier < slot) {
                let same = |a: &Luks1Keyslot, b: &Luks1Keyslot| (a.salt, a.iterations) == (b.salt, b.iterations);
                if same(&self.header.keyslots[earlier], &self.header.keyslots[slot])
                    && self.read_material(device, earlier)? == self.read_material(device, slot)?
                {
                    self.deactivate(device, slot)?;
                    break;
                }
            }
        }
        self.finish_wiping(device)
    }

    /// Step 1.
    fn move_areas(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let is_moved =
            |header: &Luks1Header, slot: usize| header.keyslots[slot].material_offset == header.luks2_place(slot);
        if (0..KEYSLOTS).all(|slot| is_moved(&self.header, slot)) {
            return Ok(());
        }
        // The last one: the others keep their numbers even if a copy of one of them is all that is left.
        let unused = (0..KEYSLOTS).rfind(|&slot| !self.header.keyslots[slot].active);
        let unused = unused.ok_or_else(|| {
            Error::NoRoom("all 8 keyslots are taken, and each moves by way of an unused one: remove one first".into())
        })?;
        reserve(device, 0..bytes(self.header.luks2_place(KEYSLOTS)))?;
        for slot in (0..KEYSLOTS).rev().filter(|&slot| !is_moved(&self.header, slot)).collect::<Vec<_>>() {
            let place = self.header.luks2_place(slot);
            if self.header.keyslots[slot].active {
                self.copy(device, slot, unused, self.header.keyslots[unused].material_offset)?;
                self.copy(device, unused, slot, place)?;
            } else {
                let mut header = self.header.clone();
                header.keyslots[slot].material_offset = place;
                self.write(device, header)?;
            }
        }
        Ok(())
    }

    /// Moves an active keyslot, salt and iterations included, to an inactive one, whose area is then at `place`.
    fn copy(&mut self, device: &dyn BlockDevice, from: usize, to: usize, place: u32) -> Result<()> {
        let material = self.read_material(device, from)?;
        let mut header = self.header.clone();
        header.keyslots[to] = Luks1Keyslot { active: false, material_offset: place, ..self.header.keyslots[from] };
        self.write(device, header.clone())?;
        write_area(device, bytes(place), material, 0)?;
        header.keyslots[to].active = true;
        self.write(device, header)?;
        self.deactivate(device, from)
    }

    fn deactivate(&mut self, device: &dyn BlockDevice, slot: usize) -> Result<()> {
        let mut header = self.header.clone();
        header.keyslots[slot].active = false;
        self.write(device, header)
    }

    /// Step 2.
    fn wipe_gaps(&self, device: &dyn BlockDevice) -> Result<()> {
        let mut at = bytes(self.header.luks2_place(0));
        for slot in self.active() {
            let area = self.attempt(slot).area();
            wipe(device, at..area.start)?;
            at = area.end;
        }
        wipe(device, at..bytes(self.header.luks2_place(KEYSLOTS)))
    }

    fn active(&self) -> Vec<usize> {
        (0..KEYSLOTS).filter(|&slot| self.header.keyslots[slot].active).collect()
    }

    /// The bytes of an area: ciphertext, as on the disk.
    fn read_material(&self, device: &dyn BlockDevice, slot: usize) -> Result<Vec<u8>> {
        let LuksAttempt { material, offset, .. } = self.attempt(slot);
        read_area(device, offset, material.len()).map(|mut area| core::mem::take(&mut *area))
    }
}

fn bytes(sectors: u32) -> u64 {
    u64::from(sectors) * SECTOR as u64
}
