//! The keyslots of a LUKS2 header, with their areas.
//!
//! A keyslot's area is written before the header names it. A keyslot is removed in two steps: the first header marks it
//! for wiping, the second is written after its area is wiped. So a header never names an area with other content, and
//! the next open wipes the remains of a killed process.

use core::ops::Range;

use super::segments::data_digest;
use super::store::Luks2Store;
use crate::cipher::CipherSpec;
use crate::key::{HashAlgorithm, Kdf};
use crate::ondisk::luks::{
    Area, Keyslot, KeyslotKdf, KeyslotKind, Material, PassphraseKeyslot, Priority, STRIPES, SegmentKind,
};
use crate::volume::BlockDevice;
use crate::volume::headers::area::{wipe, write_area};
use crate::volume::headers::{LuksAttempt, NewKeyslot};
use crate::{Error, Result, Secret, random};

const AREA_CIPHER: CipherSpec = CipherSpec::AesXtsPlain64;
/// The length of an area's key if the volume's own key isn't for XTS.
const AREA_KEY_LEN: usize = 64;
const AF_HASH: HashAlgorithm = HashAlgorithm::Sha256;
const ALIGNMENT: u64 = 4096;

impl Luks2Store {
    /// The keyslots of the data's key in the order of their priority, or only the one `named`. For each: how to try it,
    /// or why it can't be tried.
    pub(super) fn attempts(&self, named: Option<u32>) -> Vec<(u32, Result<LuksAttempt, String>)> {
        let wanted = |keyslot: &&Keyslot| named.map_or(keyslot.priority != Priority::Ignore, |id| id == keyslot.id);
        let mut keyslots: Vec<&Keyslot> = self.of_data_key().filter(wanted).collect();
        keyslots.sort_by_key(|keyslot| core::cmp::Reverse(keyslot.priority));
        keyslots.into_iter().map(|keyslot| (keyslot.id, attempt(keyslot))).collect()
    }

    /// The keyslots of the data's key that are tried only if the caller names them.
    pub(super) fn ignored(&self) -> Vec<u32> {
        self.of_data_key().filter(|keyslot| keyslot.priority == Priority::Ignore).map(|keyslot| keyslot.id).collect()
    }

    fn of_data_key(&self) -> impl Iterator<Item = &Keyslot> {
        let bound = data_digest(&self.metadata, self.under).map_or(&[][..], |digest| &digest.keyslots);
        self.metadata.keyslots().iter().filter(|keyslot| bound.contains(&keyslot.id))
    }

    /// The number of the digest that a new keyslot for `key` is bound to. It must verify the key, which isn't certain for a volume
    /// that a vault has opened: a keyslot bound to another key's digest would never open.
    fn digest_of(&self, key: &Secret) -> Result<u32> {
        let digest = data_digest(&self.metadata, self.under).ok_or(Error::WrongKey)?;
        digest.pbkdf2.as_ref().ok_or(Error::WrongKey)?.verify(key)?;
        Ok(digest.id)
    }

    /// Stores `key` in a new keyslot.
    pub(super) fn add_keyslot(&mut self, device: &dyn BlockDevice, key: &Secret, new: &NewKeyslot<'_>) -> Result<u32> {
        self.add_keyslot_with(device, key, new, |_, _| {})
    }

    /// As [`add_keyslot`](Self::add_keyslot). The same write of the header includes the changes that `also` makes.
    pub(super) fn add_keyslot_with(
        &mut self,
        device: &dyn BlockDevice,
        key: &Secret,
        new: &NewKeyslot<'_>,
        also: impl FnOnce(&mut Self, u32),
    ) -> Result<u32> {
        self.check_requirements()?;
        self.check_unchanged(device)?;
        let digest = self.digest_of(key)?;
        let (keyslot, area) = self.sealed_keyslot(key, new)?;
        // Check first: if this fails later, the key is on the device in an area that no header names.
        self.metadata.clone().set_keyslot(&keyslot, digest)?;
        self.later(1)?;
        write_area(device, keyslot.area.offset, area, keyslot.area.size)?;
        self.update(device, |header| {
            header.metadata.set_keyslot(&keyslot, digest)?;
            also(header, keyslot.id);
            Ok(())
        })?;
        Ok(keyslot.id)
    }

    /// Writes the header of a new volume, with its first keyslot.
    pub(super) fn store_with_keyslot(
        &mut self,
        device: &dyn BlockDevice,
        key: &Secret,
        new: &NewKeyslot<'_>,
    ) -> Result<()> {
        let (keyslot, area) = self.sealed_keyslot(key, new)?;
        write_area(device, keyslot.area.offset, area, keyslot.area.size)?;
        self.metadata.set_keyslot(&keyslot, self.digest_of(key)?)?;
        self.store(device)
    }

    /// A keyslot for `key` in a free place, and the bytes of its area.
    pub(super) fn sealed_keyslot(&self, key: &Secret, new: &NewKeyslot<'_>) -> Result<(Keyslot, Vec<u8>)> {
        let taken = |id: u32| self.metadata.keyslots().iter().any(|keyslot| keyslot.id == id);
        let id = match new.id {
            Some(id) if taken(id) => return Err(Error::NoRoom(format!("there is a keyslot {id} already"))),
            Some(id) => id,
            None => self.metadata.free_keyslot_id().ok_or_else(|| Error::NoRoom("all 32 keyslots are taken".into()))?,
        };
        // An area under AES-192-XTS would need the kernel's cipher in programs that have none of their own.
        let area_key_len = if self.is_xts() && matches!(key.len(), 32 | 64) { key.len() } else { AREA_KEY_LEN };
        let material =
            Material { cipher: AREA_CIPHER, area_key_len, af_hash: AF_HASH, stripes: STRIPES, key_len: key.len() };
        let size = (material.len() as u64).next_multiple_of(ALIGNMENT);
        let full = || Error::NoRoom(format!("the keyslots area has no {size} bytes left for another keyslot"));
        let offset = self.metadata.free_area(size).ok_or_else(full)?;
        let salt: [u8; 32] = random::array()?;
        let area = material.seal(key, &new.kdf, new.passphrase.bytes(), &salt)?;
        let keyslot = Keyslot {
            id,
            key_size: key.len() as u32,
            priority: new.priority,
            area: Area { offset, size },
            kind: KeyslotKind::Passphrase(PassphraseKeyslot {
                kdf: named(&new.kdf),
                salt: salt.to_vec(),
                af_hash: AF_HASH.name().into(),
                stripes: STRIPES,
                encryption: AREA_CIPHER.name().into(),
                area_key_size: area_key_len as u32,
            }),
        };
        Ok((keyslot, area))
    }

    /// Whether the data is under XTS. Then its key and the key of a keyslot's area have the same length, as in the
    /// reference implementation; some readers support nothing else.
    fn is_xts(&self) -> bool {
        self.metadata.segments().iter().any(
            |segment| matches!(&segment.kind, SegmentKind::Crypt(crypt) if crypt.encryption.starts_with("aes-xts-")),
        )
    }

    /// Destroys a keyslot and the content of its area.
    pub(super) fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        self.check_requirements()?;
        self.later(2)?;
        self.update(device, |header| header.metadata.mark_wiping(id))?;
        self.finish_wiping(device)
    }

    /// The keyslots still to be wiped, with the ranges of their areas on the device in bytes.
    pub(super) fn unwiped(&self) -> Vec<(u32, Range<u64>)> {
        let unwiped = self.metadata.keyslots().iter().filter(|keyslot| keyslot.kind == KeyslotKind::Wiping);
        unwiped.map(|Keyslot { id, area, .. }| (*id, area.offset..area.offset + area.size)).collect()
    }

    /// Wipes the areas of removed keyslots, then drops them from the header.
    pub(super) fn finish_wiping(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let unwiped = self.unwiped();
        if unwiped.is_empty() {
            return Ok(());
        }
        self.later(1)?;
        for (_, area) in &unwiped {
            wipe(device, area.clone())?;
        }
        self.update(device, |header| unwiped.iter().try_for_each(|(id, _)| header.metadata.remove_keyslot(*id)))
    }

    /// Removes a token. With the last token of ours it also removes the keyslot that they name, which nobody could open any more.
    pub(super) fn remove_token(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        let bound = self.metadata.token_keyslots();
        self.later(2)?;
        self.update(device, |header| {
            header.metadata.remove_token(id)?;
            let named: Vec<u32> =
                header.metadata.token_objects().into_iter().flat_map(|token| token.keyslots).collect();
            let unbound = bound.into_iter().filter(|keyslot| !named.contains(keyslot));
            unbound.into_iter().try_for_each(|keyslot| header.metadata.mark_wiping(keyslot))
        })?;
        self.finish_wiping(device)
    }

    /// Destroys every way in: all keyslots with their whole room, and all tokens.
    pub(super) fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.later(2)?;
        self.update(device, |header| {
            for keyslot in header.metadata.keyslots().to_vec() {
                header.metadata.mark_wiping(keyslot.id)?;
            }
            let mut tokens = header.metadata.token_objects();
            // It is no way in, and an owner of the DEK still needs it.
            tokens.retain(|token| !header.metadata.is_of_written_map(token.id));
            tokens.iter().try_for_each(|token| header.metadata.remove_token(token.id))
        })?;
        // Also wipe the gaps, which may hold former keyslots.
        let (first, size) = self.keyslots_area();
        wipe(device, first..first + size)?;
        self.finish_wiping(device)
    }

    /// The place of the keyslots' areas: the first byte, and the number of bytes.
    pub(super) fn keyslots_area(&self) -> (u64, u64) {
        (2 * self.binary.header_size, self.metadata.keyslots_size())
    }
}

fn attempt(keyslot: &Keyslot) -> Result<LuksAttempt, String> {
    let id = keyslot.id;
    let slot = match &keyslot.kind {
        KeyslotKind::Passphrase(slot) => slot,
        KeyslotKind::Reencrypt { .. } => return Err(format!("keyslot {id} is of a reencryption")),
        KeyslotKind::Wiping => return Err(format!("keyslot {id} was removed")),
        KeyslotKind::Other(kind) => return Err(format!("keyslot {id} is of type {kind:?}")),
    };
    let hash = |name: &str| {
        let why = || format!("keyslot {id} uses the hash {name:?}, {}", HashAlgorithm::why_unknown(name));
        HashAlgorithm::from_name(name).ok_or_else(why)
    };
    let (named, key_len) = (CipherSpec::from_name(&slot.encryption), slot.area_key_size as usize);
    let cipher = named.filter(|cipher| cipher.takes_key(key_len)).ok_or_else(|| {
        let why = named.map_or(CipherSpec::why_unknown(&slot.encryption), |cipher| cipher.why_no_key(key_len));
        format!("keyslot {id} is encrypted with {:?} and {} bits of key, {why}", slot.encryption, 8 * key_len as u64)
    })?;
    let kdf = match &slot.kdf {
        KeyslotKdf::Pbkdf2 { hash: name, iterations } => Kdf::Pbkdf2 { hash: hash(name)?, iterations: *iterations },
        &KeyslotKdf::Argon2i { time, memory, cpus } => Kdf::Argon2i { memory_kib: memory, passes: time, lanes: cpus },
        &KeyslotKdf::Argon2id { time, memory, cpus } => Kdf::Argon2id { memory_kib: memory, passes: time, lanes: cpus },
        KeyslotKdf::Other(kind) => {
            return Err(format!("keyslot {id} has the key derivation {kind:?}, which is not known"));
        }
    };
    let material = Material {
        cipher,
        area_key_len: slot.area_key_size as usize,
        af_hash: hash(&slot.af_hash)?,
        stripes: slot.stripes,
        key_len: keyslot.key_size as usize,
    };
    if material.len() as u64 > keyslot.area.size {
        return Err(format!("keyslot {id} has an area of {} bytes, too few for its key", keyslot.area.size));
    }
    Ok(LuksAttempt { kdf, material, salt: slot.salt.clone(), offset: keyslot.area.offset })
}

fn named(kdf: &Kdf) -> KeyslotKdf {
    match *kdf {
        Kdf::Pbkdf2 { hash, iterations } => KeyslotKdf::Pbkdf2 { hash: hash.name().into(), iterations },
        Kdf::Argon2i { memory_kib, passes, lanes } => {
            KeyslotKdf::Argon2i { time: passes, memory: memory_kib, cpus: lanes }
        }
        Kdf::Argon2id { memory_kib, passes, lanes } => {
            KeyslotKdf::Argon2id { time: passes, memory: memory_kib, cpus: lanes }
        }
    }
}
