//! The header of a device: finds, reads and changes it. Each format has its own folder or file; the files next to them
//! are common to all. Only this file lists the formats.

mod area;
#[cfg(feature = "bitlocker")]
mod bitlocker;
mod keyslot;
mod luks1;
mod luks2;
mod new;
mod plain;
mod stored;

pub(super) use area::{check_written, rewrite};
pub(super) use keyslot::{Attempt, Attempts, FirstProtector, LuksAttempt, Means, NewKeyslot};
pub(super) use new::{BAD_DATA_OFFSET, NewDecryption, NewEncryption, NewHeader, NewKey, NewReencryption, NewWritten};
pub(super) use plain::NoHeader;
pub(super) use stored::StoredHeader;

use super::{BlockDevice, HeaderFormat};
#[cfg(feature = "managed")]
use crate::key::KeyId;
use crate::key::{HashAlgorithm, self_test};
#[cfg(feature = "bitlocker")]
use crate::ondisk::bitlocker::BootSector;
use crate::ondisk::luks::{LuksVersion, probe_version};
use crate::{Error, Result};
#[cfg(feature = "bitlocker")]
use bitlocker::BitLockerStore;
#[cfg(feature = "bitlocker")]
pub(super) use bitlocker::{NewBitLocker, Room, now as bitlocker_time};
use luks1::Luks1Store;
use luks2::Luks2Store;

/// Reads the header of a device; for LUKS2, the newest intact copy. Nothing is written.
pub(super) fn load(device: &dyn BlockDevice) -> Result<Box<dyn StoredHeader>> {
    self_test::hash(HashAlgorithm::Sha256)?; // for the checksums
    let mut start = [0; 4096];
    let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
    if size >= start.len() as u64 {
        device.read_at(0, &mut start).map_err(|e| Error::io("reading the header", e))?;
    }
    // LUKS1 wins even if there is an intact second copy of LUKS2, which may be left from a conversion to LUKS1.
    #[cfg(feature = "bitlocker")]
    if BootSector::probe(&start) {
        return Ok(Box::new(BitLockerStore::load(device, &start)?));
    }
    match probe_version(&start) {
        Some(LuksVersion::Luks1) => Ok(Box::new(Luks1Store::load(device)?)),
        _ => Ok(Box::new(Luks2Store::load(device)?)),
    }
}

/// A header of LUKS2 as another program has read it: its JSON, and its UUID. It is on no device.
pub(super) fn read_metadata(json: &[u8], uuid: &str) -> Result<Box<dyn StoredHeader>> {
    Ok(Box::new(Luks2Store::of_json(json, uuid)?))
}

/// Converts a header to LUKS2. Also finishes an attempt that failed or was killed.
pub(super) fn convert_to_luks2(stored: &mut Box<dyn StoredHeader>, device: &dyn BlockDevice) -> Result<()> {
    if !matches!(stored.format(), HeaderFormat::Luks(_)) {
        let text = format!("{} isn't converted to LUKS2; copy its data to a new volume", stored.format());
        return Err(Error::UnsupportedHeader(text));
    }
    follow(stored, device)?;
    if stored.needs_recovery() {
        stored.recover(device, false)?;
    }
    match stored.convert_to_luks2(device) {
        Ok(Some(new)) => *stored = new,
        Ok(None) => {}
        Err(error) => {
            // If this fails too, the next attempt does it.
            let _ = follow(stored, device);
            return Err(error);
        }
    }
    Ok(())
}

/// Takes the header of LUKS2 that a failed conversion may have left on the device.
fn follow(stored: &mut Box<dyn StoredHeader>, device: &dyn BlockDevice) -> Result<()> {
    if stored.format() == LuksVersion::Luks1 {
        let found = load(device)?;
        let identity = |header: &dyn StoredHeader| (header.uuid().to_owned(), header.key_digest());
        if found.format() == LuksVersion::Luks2 && identity(&*found) == identity(&**stored) {
            *stored = found;
        }
    }
    Ok(())
}

/// The keys that the header of a device names. They are not proven. Nothing is written.
#[cfg(feature = "managed")]
pub(super) fn keks(device: &dyn BlockDevice) -> Result<Vec<KeyId>> {
    self_test::hash(HashAlgorithm::Sha256)?; // for the checksums
    let tokens = match Luks2Store::glance(device)? {
        Some(tokens) => tokens,
        None => load(device)?.tokens(),
    };
    // Opening the volume reports unsound tokens.
    Ok(tokens.unwrap_or_default().into_iter().map(|(_, token)| token.wrapped.kek).collect())
}

/// As [`keks`], but it checks less: where both copies of the header are damaged, it may tell what they name.
#[cfg(feature = "managed")]
pub(super) fn keks_skimmed(device: &dyn BlockDevice) -> Result<Vec<KeyId>> {
    let Some(tokens) = Luks2Store::skim(device)? else { return keks(device) };
    Ok(tokens.unwrap_or_default().into_iter().map(|(_, token)| token.wrapped.kek).collect())
}

/// A header that no device has yet.
pub(super) fn create(version: LuksVersion, new: &NewHeader<'_>) -> Result<Box<dyn StoredHeader>> {
    match version {
        LuksVersion::Luks1 => Ok(Box::new(luks1::create(new)?)),
        LuksVersion::Luks2 => Ok(Box::new(luks2::create(new)?)),
    }
}

#[cfg(all(test, feature = "managed"))]
mod tests;
