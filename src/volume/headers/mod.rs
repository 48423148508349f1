//! The header of a device, of either version of LUKS: found, read, changed.

mod area;
mod describe;
mod luks1;
mod luks2;

use core::ops::Range;
use std::time::Duration;

use area::check_wipeable;
pub(super) use area::{read_area, rewrite};
pub(super) use luks1::Luks1Store;
pub(super) use luks2::Luks2Store;

use super::BlockDevice;
use super::data_area::DataArea;
use super::format::Prepared;
use crate::key::{HashAlgorithm, Kdf, self_test};
use crate::ondisk::luks::{LuksVersion, Material, Priority, Token, probe_version};
use crate::{Dek, Error, Result, Secret};

/// A header as a device has it.
#[derive(Debug, Clone)]
pub(super) enum StoredHeader {
    Luks1(Luks1Store),
    Luks2(Luks2Store),
}

/// How a passphrase is tried on a keyslot.
pub(super) struct Attempt {
    pub(super) kdf: Kdf,
    pub(super) material: Material,
    pub(super) salt: Vec<u8>,
    /// Where its area begins on the device of the header, in bytes.
    pub(super) offset: u64,
}

/// A keyslot that is to be made.
pub(super) struct NewKeyslot<'a> {
    pub(super) id: Option<u32>,
    pub(super) kdf: Kdf,
    pub(super) passphrase: &'a [u8],
    pub(super) priority: Priority,
}

impl StoredHeader {
    /// Reads the header, of LUKS2 the newest copy that is intact. Nothing is written.
    pub(super) fn load(device: &dyn BlockDevice) -> Result<Self> {
        self_test::hash(HashAlgorithm::Sha256)?; // for the checksums
        let mut start = [0; 4096];
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size >= start.len() as u64 {
            device.read_at(0, &mut start).map_err(|e| Error::io("reading the header", e))?;
        }
        // Also where there is an intact second copy of LUKS2: it may be what a conversion to LUKS1 has left.
        match probe_version(&start) {
            Some(LuksVersion::Luks1) => Luks1Store::load(device).map(StoredHeader::Luks1),
            _ => Luks2Store::load(device).map(StoredHeader::Luks2),
        }
    }

    pub(super) fn version(&self) -> LuksVersion {
        match self {
            StoredHeader::Luks1(_) => LuksVersion::Luks1,
            StoredHeader::Luks2(_) => LuksVersion::Luks2,
        }
    }

    pub(super) fn uuid(&self) -> &str {
        match self {
            StoredHeader::Luks1(stored) => &stored.header.uuid,
            StoredHeader::Luks2(stored) => &stored.binary.uuid,
        }
    }

    /// Where the data is; refuses what this library can't read.
    pub(super) fn data_area(&self, detached: bool) -> Result<DataArea> {
        match self {
            StoredHeader::Luks1(stored) if stored.header.payload_offset == 0 && !detached => {
                let what = "its data begins at byte 0, where the header is: it is detached from its data";
                Err(Error::UnsupportedHeader(what.into()))
            }
            StoredHeader::Luks1(stored) => {
                // What no credential can change, before any is tried.
                stored.header.checked_digest()?;
                Ok(DataArea::of_luks1(&stored.header))
            }
            StoredHeader::Luks2(stored) => {
                stored.check_requirements()?;
                let header_end = if detached { 0 } else { 2 * stored.binary.header_size };
                DataArea::of_luks2(&stored.metadata, header_end)
            }
        }
    }

    /// Proves the volume key by the header's digest.
    pub(super) fn verify(&self, data: &DataArea, key: &Secret) -> Result<()> {
        match self {
            StoredHeader::Luks1(stored) => stored.header.verify(key),
            StoredHeader::Luks2(stored) => {
                let digests = stored.metadata.digests();
                let digest = digests.iter().find(|d| d.id == data.digest).and_then(|d| d.pbkdf2.as_ref());
                digest.ok_or(Error::WrongKey)?.verify(key)
            }
        }
    }

    /// What proves the data's key: the same as long as the key is.
    pub(super) fn key_digest(&self) -> Vec<u8> {
        match self {
            StoredHeader::Luks1(stored) => [&stored.header.digest[..], &stored.header.digest_salt[..]].concat(),
            StoredHeader::Luks2(stored) => {
                let digests = stored.metadata.digests().iter();
                let proofs = digests.filter(|digest| digest.segments.contains(&0)).filter_map(|d| d.pbkdf2.as_ref());
                proofs.flat_map(|proof| [&proof.digest[..], &proof.salt[..]].concat()).collect()
            }
        }
    }

    /// What it takes to prove a key: iterations of PBKDF2, and the time that they cost.
    pub(super) fn digest_cost(&self, data: &DataArea) -> (u32, Duration) {
        let (hash, iterations, len) = match self {
            StoredHeader::Luks1(stored) => {
                (Some(stored.header.hash), stored.header.digest_iterations, stored.header.digest.len())
            }
            StoredHeader::Luks2(stored) => {
                let digests = stored.metadata.digests().iter();
                match digests.filter(|d| d.id == data.digest).find_map(|d| d.pbkdf2.as_ref()) {
                    Some(digest) => (HashAlgorithm::from_name(&digest.hash), digest.iterations, digest.digest.len()),
                    None => (None, 0, 0),
                }
            }
        };
        // By a hash that isn't known nothing is proved.
        (iterations, hash.map_or(Duration::ZERO, |hash| hash.pbkdf2_cost(iterations, len)))
    }

    /// The tokens of type `atrest` with their numbers: none in LUKS1.
    pub(super) fn tokens(&self) -> Result<Vec<(u32, Token)>> {
        match self {
            StoredHeader::Luks1(_) => Ok(Vec::new()),
            StoredHeader::Luks2(stored) => stored.metadata.tokens(),
        }
    }

    /// The tokens whose MAC is right. Anybody can put others into a header: to seal one of those would make them genuine.
    pub(super) fn genuine_tokens(&self, dek: &Dek) -> Vec<(u32, Token)> {
        // Tokens that aren't sound were refused when the volume was opened.
        let tokens = self.tokens().unwrap_or_default();
        tokens.into_iter().filter(|(_, token)| self.proves(token, dek).is_ok()).collect()
    }

    /// Proves by its MAC that whoever has the DEK wrote a token of this header, and this header.
    pub(super) fn proves(&self, token: &Token, dek: &Dek) -> Result<()> {
        match self {
            StoredHeader::Luks1(_) => Err(Error::TamperedHeader),
            StoredHeader::Luks2(stored) => stored.proves(token, dek),
        }
    }

    /// The keyslots of the data's key in the order in which they are tried, or the one that is `named`; for each how to
    /// try it, or why that can't be done.
    pub(super) fn attempts(&self, data: &DataArea, named: Option<u32>) -> Vec<(u32, Result<Attempt, String>)> {
        match self {
            StoredHeader::Luks1(stored) => stored.attempts(named),
            StoredHeader::Luks2(stored) => stored.attempts(data.digest, named),
        }
    }

    /// The keyslots of the data's key that are tried only when they are named.
    pub(super) fn ignored(&self, data: &DataArea) -> Vec<u32> {
        match self {
            StoredHeader::Luks1(_) => Vec::new(),
            StoredHeader::Luks2(stored) => stored.ignored(data.digest),
        }
    }

    /// The hash that a new keyslot of PBKDF2 has to have.
    pub(super) fn required_hash(&self) -> Option<HashAlgorithm> {
        match self {
            StoredHeader::Luks1(stored) => Some(stored.header.hash),
            StoredHeader::Luks2(_) => None,
        }
    }

    /// Writes the header of a new volume, with the one way in that it has.
    pub(super) fn store_new(
        &mut self,
        device: &dyn BlockDevice,
        data: &DataArea,
        dek: &Dek,
        protector: Prepared<'_>,
    ) -> Result<()> {
        let (kdf, passphrase, options) = match protector {
            Prepared::Token(mut token) => {
                let stored = self.luks2("a vault's token")?;
                token.seal(dek, &stored.binary.uuid, &stored.metadata);
                stored.metadata.set_token(0, &token);
                return stored.store(device);
            }
            Prepared::Keyslot { kdf, passphrase, options } => (kdf, passphrase, options),
        };
        let new = options.keyslot(kdf, passphrase.bytes());
        match self {
            StoredHeader::Luks1(stored) => {
                stored.store_new(device)?;
                stored.add_keyslot(device, dek.secret(), &new).map(drop)
            }
            StoredHeader::Luks2(stored) => stored.store_new(device, dek.secret(), data.digest, &new),
        }
    }

    pub(super) fn add_keyslot(
        &mut self,
        device: &dyn BlockDevice,
        data: &DataArea,
        key: &Secret,
        new: &NewKeyslot<'_>,
    ) -> Result<u32> {
        match self {
            StoredHeader::Luks1(stored) => stored.add_keyslot(device, key, new),
            StoredHeader::Luks2(stored) => stored.add_keyslot(device, key, data.digest, new),
        }
    }

    pub(super) fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        match self {
            StoredHeader::Luks1(stored) => stored.remove_keyslot(device, id),
            StoredHeader::Luks2(stored) => stored.remove_keyslot(device, id),
        }
    }

    /// Destroys every way in.
    pub(super) fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        match self {
            StoredHeader::Luks1(stored) => stored.erase(device),
            StoredHeader::Luks2(stored) => stored.erase(device),
        }
    }

    /// Whether a killed process, or damage, has left something to be done.
    pub(super) fn needs_recovery(&self) -> bool {
        match self {
            StoredHeader::Luks1(stored) => stored.has_unwiped(),
            StoredHeader::Luks2(stored) => stored.needs_repair() || stored.has_unwiped(),
        }
    }

    /// Refuses to write where something stands that is no header's.
    pub(super) fn check_foreign(&self) -> Result<()> {
        match self {
            StoredHeader::Luks1(_) => Ok(()),
            StoredHeader::Luks2(stored) => stored.check_foreign(),
        }
    }

    /// Does it: repairs a copy that is damaged or older, finishes the removal of keyslots. Not where somebody else has
    /// written the header since: they may have put another keyslot where one was to be wiped. Nor where something stands
    /// that is no header's, unless told to `overwrite` it.
    pub(super) fn recover(&mut self, device: &dyn BlockDevice, overwrite: bool) -> Result<()> {
        if let (StoredHeader::Luks2(stored), true) = (&mut *self, overwrite) {
            stored.overwrite_foreign();
        }
        self.check_unchanged(device)?;
        if !overwrite {
            self.check_foreign()?;
            self.unwiped_areas().into_iter().try_for_each(|area| check_wipeable(device, area))?;
        }
        match self {
            StoredHeader::Luks1(stored) => stored.finish_wiping(device),
            StoredHeader::Luks2(stored) => {
                stored.later(stored.has_unwiped().into())?;
                stored.repair(device)?;
                stored.finish_wiping(device)
            }
        }
    }

    /// The areas of keyslots that are still to be wiped, in bytes on the device.
    fn unwiped_areas(&self) -> Vec<Range<u64>> {
        match self {
            StoredHeader::Luks1(stored) => stored.unwiped_areas(),
            StoredHeader::Luks2(stored) => stored.unwiped_areas(),
        }
    }

    /// Makes sure that nobody else has written the header since it was read or written here.
    pub(super) fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()> {
        match self {
            StoredHeader::Luks1(stored) => stored.check_unchanged(device),
            StoredHeader::Luks2(stored) => stored.check_unchanged(device),
        }
    }

    /// The LUKS2 header, for what LUKS1 has no place for.
    pub(super) fn luks2(&mut self, what: &str) -> Result<&mut Luks2Store> {
        match self {
            StoredHeader::Luks1(_) => {
                Err(Error::UnsupportedHeader(format!("LUKS1 has no place for {what}; convert the volume to LUKS2")))
            }
            StoredHeader::Luks2(stored) => Ok(stored),
        }
    }

    /// How many bytes at the start of its device the header takes with its keyslots.
    pub(super) fn len(&self) -> u64 {
        match self {
            StoredHeader::Luks1(stored) => stored.len(),
            StoredHeader::Luks2(stored) => {
                let (first, size) = stored.keyslots_area();
                first + size
            }
        }
    }

    /// Refuses to change a header that demands what this library does not know.
    pub(super) fn check_requirements(&self) -> Result<()> {
        match self {
            StoredHeader::Luks1(_) => Ok(()),
            StoredHeader::Luks2(stored) => stored.check_requirements(),
        }
    }

    /// Writes this header, which was read from a backup, with the keyslots of the backup.
    pub(super) fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&Self>) -> Result<()> {
        match self {
            StoredHeader::Luks1(stored) => stored.restore(
                device,
                backup,
                if let Some(StoredHeader::Luks1(current)) = current { Some(current) } else { None },
            ),
            StoredHeader::Luks2(stored) => stored.restore(
                device,
                backup,
                if let Some(StoredHeader::Luks2(current)) = current { Some(current) } else { None },
            ),
        }
    }
}
