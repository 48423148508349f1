//! Metadata under construction: for a new volume, or for one that gets or loses a protector.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Defect;
use super::block::{AREA, ENCRYPTED, HEADER, MAGIC, Method, SET_HEADER};
use super::bytes::{crc32, u16_at, u32_at};
use super::entry::{self, CLEAR_KEY_METHOD, EXTERNAL_KEY_METHOD, Key, entries, make};
use super::external_key::{self, ExternalKey};
use super::guid::Guid;
use super::recovery::RecoveryPassword;
use super::sealed::Sealed;
use super::stretch::Stretch;
use crate::latch::Algorithm;
use crate::{Error, Result, Secret, hash, random};

/// The bytes behind the metadata itself: 8 with its size and checksum, and 80 with its sealed hash.
const PROOF: usize = 8 + 80;

// The purposes of keys.
const MASTER_KEY: u16 = 0x2003;
const HASH: u16 = 0x2005;
const OF_PASSWORD: u16 = 0x2007;
const RECOVERY: u16 = 0x1000;
const OF_RECOVERY: u16 = 0x2008;

// Roles within the salt of a recovery password.
const RECOVERY_ROLE: u16 = 0x12;
const OF_RECOVERY_ROLE: u16 = 0x13;

/// A new protector.
pub(crate) enum NewProtector {
    /// The first link of the chain of hashes.
    Password(Zeroizing<[u8; 32]>),
    RecoveryPassword(RecoveryPassword),
    StartupKey(ExternalKey),
    /// A new key, stored in the clear beside the master key that it seals.
    ClearKey,
}

/// A new volume.
pub(crate) struct NewVolume<'a> {
    pub(crate) method: Method,
    pub(crate) key: &'a Secret,
    pub(crate) description: &'a str,
    /// Its size in bytes, all of them encrypted.
    pub(crate) size: u64,
    pub(crate) header_sectors: u32,
    pub(crate) header_size: u64,
    pub(crate) header_offset: u64,
    pub(crate) copies: [u64; 3],
}

/// Metadata without its checksum and proof.
pub(crate) struct Draft {
    header: Vec<u8>,
    set: Vec<u8>,
    entries: Vec<Vec<u8>>,
    /// The current time as Windows counts: units of 100 ns since 1601.
    time: u64,
}

impl Draft {
    /// Takes the metadata from the place of a copy that was [read](super::Block::parse).
    pub(crate) fn of(area: &[u8], time: u64) -> Result<Self, Defect> {
        let cut = || Defect::Invalid("it is cut off".into());
        let header = area.get(..HEADER).ok_or_else(cut)?;
        let set = area.get(HEADER..HEADER + SET_HEADER).ok_or_else(cut)?;
        let end = u32_at(set, 12).ok_or_else(cut)? as usize;
        let mut left = area.get(HEADER + SET_HEADER..HEADER + end).ok_or_else(cut)?;
        let mut kept = Vec::new();
        while let Some(found) = entries(left).next() {
            let (entry, rest) = left.split_at(8 + found?.data.len());
            kept.push(entry.to_vec());
            left = rest;
        }
        Ok(Draft { header: header.to_vec(), set: set.to_vec(), entries: kept, time })
    }

    /// The metadata of a new volume, still without protectors.
    pub(crate) fn new(new: &NewVolume<'_>, master_key: &Secret, time: u64) -> Result<Self> {
        let mut header = MAGIC.to_vec();
        // The current and the wanted state: encrypted.
        header.extend([0, 2, ENCRYPTED, ENCRYPTED].iter().flat_map(|field: &u16| field.to_le_bytes()));
        header.extend(new.size.to_le_bytes());
        header.extend([0, new.header_sectors].iter().flat_map(|field| field.to_le_bytes()));
        header.extend(new.copies.iter().chain([&new.header_offset]).flat_map(|place| place.to_le_bytes()));
        let mut set: Vec<u8> = [0, 1, SET_HEADER as u32, 0].iter().flat_map(|field| field.to_le_bytes()).collect();
        set.extend(Guid::random()?.0);
        // Nonces count from 1.
        set.extend([1, u32::from(new.method.number())].iter().flat_map(|field| field.to_le_bytes()));
        set.extend(time.to_le_bytes());
        let mut draft = Draft { header, set, entries: Vec::new(), time };
        let text: Vec<u8> = new.description.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let key = draft.seal(entry::VOLUME_KEY, new.method.number(), new.key, master_key)?;
        let place = [new.header_offset, new.header_size].map(u64::to_le_bytes);
        draft.entries = vec![
            make(entry::DESCRIPTION, entry::TEXT, &text),
            key,
            make(entry::VOLUME_HEADER, entry::VOLUME_HEADER, place.as_flattened()),
        ];
        Ok(draft)
    }

    /// Adds a protector for the master key.
    pub(crate) fn add(&mut self, new: &NewProtector, master_key: &Secret) -> Result<()> {
        let (id, time) = match new {
            // The key's file holds the identifier of the protector.
            NewProtector::StartupKey(key) => (key.id, key.time),
            _ => (Guid::random()?, self.time),
        };
        let (number, properties, under) = match new {
            NewProtector::Password(initial) => {
                let (salt, derived) = stretched(initial)?;
                let inner = self.seal(0, OF_PASSWORD, &derived, master_key)?;
                (0x2000u16, stretch_entry(0x1001, &salt, &inner), derived)
            }
            NewProtector::RecoveryPassword(password) => {
                let (salt, derived) = stretched(&password.initial()?)?;
                // Sealed under the master key, so that an open volume can show the password.
                let password = self.seal(RECOVERY_ROLE, RECOVERY, &password.key(), master_key)?;
                let inner = self.seal(OF_RECOVERY_ROLE, OF_RECOVERY, &derived, master_key)?;
                (0x0800, stretch_entry(0x1000, &salt, &[password, inner].concat()), derived)
            }
            NewProtector::StartupKey(key) => {
                // Sealed under the master key, so that an open volume can write the file again.
                let inner = self.seal(0, EXTERNAL_KEY_METHOD, &key.key, master_key)?;
                let used = [&u32::from(EXTERNAL_KEY_METHOD).to_le_bytes()[..], &inner].concat();
                (0x0200, [external_key::name(), make(0, entry::USED, &used)].concat(), key.key.clone())
            }
            NewProtector::ClearKey => {
                let key = Secret::random(32)?;
                (0, Key::make(CLEAR_KEY_METHOD, &key, 1).expose().to_vec(), key)
            }
        };
        let sealed = self.seal(0, MASTER_KEY, master_key, &under)?;
        let fixed = [&id.0[..], &time.to_le_bytes(), &[0; 2], &number.to_le_bytes()].concat();
        self.entries.push(make(entry::PROTECTOR, entry::MASTER_KEY, &[fixed, properties, sealed].concat()));
        Ok(())
    }

    /// Removes the protector of this number. Identifiers don't suffice: nobody checks that they are unique.
    pub(crate) fn remove(&mut self, number: u32) {
        let mut numbers = 0..;
        self.entries.retain(|bytes| {
            let fields = (u16_at(bytes, 2), u16_at(bytes, 4));
            fields != (Some(entry::PROTECTOR), Some(entry::MASTER_KEY)) || numbers.next() != Some(number)
        });
    }

    /// The bytes of a copy's whole place, with checksum and proof.
    pub(crate) fn finish(mut self, master_key: &Secret) -> Result<Vec<u8>> {
        hash::check(Algorithm::Sha256)?;
        // Take the nonce first: the proof covers the metadata, which holds the number of the next nonce.
        let nonce = self.nonce()?;
        let entries = self.entries.concat();
        let end = SET_HEADER + entries.len();
        let size = (HEADER + end).next_multiple_of(16);
        if size > AREA - PROOF {
            return Err(Error::NoRoom("the metadata of a BitLocker volume has room for no more protectors".into()));
        }
        let mut area = [self.header, self.set, entries].concat();
        area[8..10].copy_from_slice(&((size / 16) as u16).to_le_bytes());
        for at in [0, 12] {
            area[HEADER + at..][..4].copy_from_slice(&(end as u32).to_le_bytes());
        }
        area.resize(size, 0);
        let digest = Secret::copy_from(&Sha256::digest(&area));
        let checksum = crc32(&area);
        area.extend([(AREA - size) as u16, 2].map(u16::to_le_bytes).as_flattened());
        area.extend(checksum.to_le_bytes());
        area.extend(make(0, entry::SEALED, &Sealed::seal(master_key, nonce, &Key::make(HASH, &digest, 0))?));
        area.resize(AREA, 0);
        Ok(area)
    }

    fn seal(&mut self, role: u16, method: u16, key: &Secret, under: &Secret) -> Result<Vec<u8>> {
        let nonce = self.nonce()?;
        Ok(make(role, entry::SEALED, &Sealed::seal(under, nonce, &Key::make(method, key, 0))?))
    }

    /// A nonce that was never used under any key of the volume: the time, and a number that the metadata counts up.
    fn nonce(&mut self) -> Result<[u8; 12]> {
        let number = u32_at(&self.set, 32).unwrap_or(u32::MAX);
        let next = number.checked_add(1).ok_or_else(|| {
            Error::NoRoom("the metadata of this BitLocker volume was changed as often as its nonces allow".into())
        })?;
        self.set[32..36].copy_from_slice(&next.to_le_bytes());
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.time.to_le_bytes());
        nonce[8..].copy_from_slice(&number.to_le_bytes());
        Ok(nonce)
    }
}

/// A new salt, and the key that it gives with the first link of a chain.
fn stretched(initial: &Zeroizing<[u8; 32]>) -> Result<([u8; 16], Secret)> {
    let salt = random::array()?;
    Ok((salt, Stretch(salt).derive(initial)?))
}

fn stretch_entry(method: u32, salt: &[u8; 16], inner: &[u8]) -> Vec<u8> {
    make(0, entry::STRETCHED, &[&method.to_le_bytes()[..], salt, inner].concat())
}
