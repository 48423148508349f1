//! The same volume under LUKS2, with the layout and the JSON that `cryptsetup convert` gives it.

use super::{KEYSLOT_ALIGNMENT, KEYSLOTS, Luks1Header, SECTOR};
use crate::ondisk::luks::{
    Area, HEADER_SIZES, Keyslot, KeyslotKdf, KeyslotKind, Metadata, NewMetadata, PassphraseKeyslot, Priority,
    SegmentSize, VolumeKeyDigest,
};
use crate::{Error, Result, TooSmall};

/// The first sector after both copies of a LUKS2 header.
const LUKS2_KEYSLOTS: u32 = 2 * HEADER_SIZES[0] as u32 / SECTOR as u32;

/// The most bytes of LUKS2's keyslots area: the reference implementation's limit.
const MAX_KEYSLOTS_SIZE: u64 = 128 << 20;

impl Luks1Header {
    /// The first sector of a keyslot's area where every program that makes LUKS1 puts it. `slot` is at most 8.
    pub(crate) fn usual_place(&self, slot: usize) -> u32 {
        KEYSLOT_ALIGNMENT + slot as u32 * self.stride()
    }

    /// The first sector of a keyslot's area under LUKS2; for slot 8, the sector after the last area.
    pub(crate) fn luks2_place(&self, slot: usize) -> u32 {
        LUKS2_KEYSLOTS + slot as u32 * self.stride()
    }

    /// The sectors from one area to the next.
    fn stride(&self) -> u32 {
        ((self.material(0).len() / SECTOR) as u32).next_multiple_of(KEYSLOT_ALIGNMENT)
    }

    /// The metadata of LUKS2, with the active keyslots in their [places under LUKS2](Self::luks2_place). `device_size`
    /// limits the room for keyslots where the data doesn't.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the areas don't end before the data; [`Error::DeviceTooSmall`].
    pub(crate) fn to_luks2(&self, device_size: u64) -> Result<Metadata> {
        let data_offset = u64::from(self.payload_offset) * SECTOR as u64;
        let needed = u64::from(self.luks2_place(KEYSLOTS)) * SECTOR as u64;
        let is_detached = self.payload_offset == 0;
        if !is_detached && data_offset < needed {
            return Err(Error::NoRoom(format!(
                "a header of LUKS2 with these keyslots takes {needed} bytes, and the data begins at byte {data_offset}: \
                 copy the data to a new volume instead"
            )));
        }
        if device_size < needed {
            return Err(Error::DeviceTooSmall { what: TooSmall::NewHeader, needed, size: device_size });
        }
        let first = u64::from(LUKS2_KEYSLOTS) * SECTOR as u64;
        let end = if is_detached { device_size } else { data_offset.min(device_size) };
        let digest = VolumeKeyDigest { hash: self.hash_name().into(), ..self.checked_digest()? };
        let mut metadata = NewMetadata::new(HEADER_SIZES[0], data_offset, SECTOR as u32, digest);
        metadata.keyslots_size = Some((end - first).min(MAX_KEYSLOTS_SIZE) / 4096 * 4096);
        metadata.detached = is_detached;
        metadata.encryption = self.cipher_name();
        metadata.segment_size = SegmentSize::Dynamic;
        let mut metadata = Metadata::new(&metadata)?;
        for slot in (0..KEYSLOTS).filter(|&slot| self.keyslots[slot].active) {
            metadata.set_keyslot(&self.luks2_keyslot(slot), 0)?;
        }
        Ok(metadata)
    }

    fn luks2_keyslot(&self, slot: usize) -> Keyslot {
        let keyslot = &self.keyslots[slot];
        let bytes = |sectors: u32| u64::from(sectors) * SECTOR as u64;
        Keyslot {
            id: slot as u32,
            key_size: self.key_len,
            priority: Priority::Normal,
            area: Area { offset: bytes(self.luks2_place(slot)), size: bytes(self.stride()) },
            kind: KeyslotKind::Passphrase(PassphraseKeyslot {
                kdf: KeyslotKdf::Pbkdf2 { hash: self.hash_name().into(), iterations: keyslot.iterations },
                salt: keyslot.salt.to_vec(),
                af_hash: self.hash_name().into(),
                stripes: keyslot.stripes,
                encryption: self.cipher_name(),
                area_key_size: self.key_len,
            }),
        }
    }

    /// The hash as it was read.
    fn hash_name(&self) -> &str {
        name(&self.names.hash)
    }

    /// The cipher as it was read, in dm-crypt's notation.
    fn cipher_name(&self) -> String {
        [name(&self.names.cipher), name(&self.names.mode)].join("-")
    }
}

/// The text of a field that was checked.
fn name(field: &[u8]) -> &str {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    str::from_utf8(&field[..end]).expect("it was found to be ASCII")
}
