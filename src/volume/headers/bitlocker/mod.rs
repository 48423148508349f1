//! The metadata of a BitLocker volume on its device: three copies, in three places within the volume.
//!
//! A checksum shows whether a copy is whole. The first whole copy counts, as in Windows. An attacker who can write to the disk can
//! compute a correct checksum. So the credential proves the copy: the master key, which each protector holds, seals the copy's
//! hash.

mod attempt;
mod change;
mod chunks;
mod copies;
mod found;
mod map;
mod new;
mod protector;

use core::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Attempt, Attempts, FirstProtector, Means, NewKeyslot, StoredHeader};
use crate::key::{HashAlgorithm, Kdf};
use crate::ondisk::bitlocker::{AREA, ExternalKey, ITERATIONS, Kind, NewProtector, Protector, State};
use crate::ondisk::luks::Priority;
use crate::volume::data_area::DataArea;
use crate::volume::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, SegmentInfo};
use crate::{Dek, Error, Result, Secret};
use attempt::{ByProtector, NoKey};
pub(in crate::volume) use copies::now;
use found::Found;
pub(in crate::volume) use new::{NewBitLocker, Room};
use protector::new_protector;

/// The metadata of a volume on a device.
#[derive(Clone)]
pub(super) struct BitLockerStore {
    found: Found,
    uuid: String,
    /// The master key, once a credential has opened it.
    master_key: Arc<OnceLock<Secret>>,
    /// The metadata whose writing failed, which the device may hold in place of copies. `found` stays as it was before, because a
    /// caller who repeats the call means the protectors of that state.
    tried: Vec<Vec<u8>>,
    /// Whether the next repair may write over foreign data.
    overwrite: bool,
}

impl BitLockerStore {
    /// Reads the metadata of a device that begins with `start`. Nothing is written.
    pub(super) fn load(device: &dyn BlockDevice, start: &[u8]) -> Result<Self> {
        let found = Found::load(device, start)?;
        let uuid = found.block.volume.to_string();
        Ok(BitLockerStore { found, uuid, master_key: Arc::default(), tried: Vec::new(), overwrite: false })
    }

    /// The protectors, numbered from 0.
    fn protectors(&self) -> impl Iterator<Item = (u32, &Protector)> {
        (0..).zip(&self.found.block.protectors)
    }

    /// The names of the protectors, for an error's text; `None` if there is none.
    fn names(&self) -> Option<String> {
        let names: Vec<String> = self.found.block.protectors.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// Whether a credential is for such a protector.
fn is_for(kind: Kind, by: Means) -> bool {
    match by {
        Means::Passphrase => kind == Kind::Password,
        Means::RecoveryPassword => kind == Kind::RecoveryPassword,
        Means::StartupKey => kind == Kind::StartupKey,
        Means::ClearKey => kind == Kind::ClearKey,
    }
}

impl StoredHeader for BitLockerStore {
    fn boxed(&self) -> Box<dyn StoredHeader> {
        Box::new(self.clone())
    }

    fn format(&self) -> HeaderFormat {
        HeaderFormat::BitLocker
    }

    fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The whole device, because the metadata lies within the volume.
    fn len(&self) -> u64 {
        self.found.device_size
    }

    fn check_backup(&self) -> Result<()> {
        Err(self.lacks("a backup: its metadata lies within the volume, which an image of the volume has"))
    }

    fn data_area(&self, _detached: bool) -> Result<DataArea> {
        map::data_area(&self.found)
    }

    /// False while chunks are converted: Windows keeps a log of them, and may write from it over new data.
    fn takes_writes(&self) -> bool {
        self.found.chunks.is_none()
    }

    fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let mut start = [0; 512];
        device.read_at(0, &mut start).map_err(|e| Error::io("reading the header", e))?;
        let found = Found::load(device, &start)?;
        if found.has(&self.found.area) {
            self.found = found;
        } else if self.tried.iter().any(|tried| found.has(tried)) {
            // All copies are to be written, and the one that counts now is the last.
            self.found.differ = found.in_order();
        } else {
            return Err(Error::Busy { what: "the metadata, which was changed since it was read,".into() });
        }
        Ok(())
    }

    fn verify(&self, _key: &Secret) -> Result<()> {
        Err(self.lacks("a proof of a DEK; open it by a password, a recovery password or a startup key"))
    }

    fn key_digest(&self) -> Vec<u8> {
        self.found.block.digest.to_vec()
    }

    fn digest_cost(&self) -> (u32, Duration) {
        (1, Duration::ZERO)
    }

    fn attempts(&self, named: Option<u32>, by: Means) -> Attempts {
        if self.found.block.state == State::Decrypted && by == Means::ClearKey && self.found.block.key.is_none() {
            return vec![(0, Ok(Box::new(NoKey)))];
        }
        let wanted = self
            .protectors()
            .filter(|(id, protector)| named.is_none_or(|named| named == *id) && is_for(protector.kind, by));
        let attempt = |protector| {
            ByProtector::new(&self.found.block, protector, by, &self.master_key)
                .map(|attempt| Box::new(attempt) as Box<dyn Attempt>)
        };
        wanted.map(|(id, protector)| (id, attempt(protector))).collect()
    }

    fn no_attempts(&self, named: Option<u32>, by: Means) -> String {
        if let Some(id) = named {
            return format!(
                "protector {id} of this BitLocker volume opens by no {by}, or there is none of this number"
            );
        }
        match self.names() {
            None => format!("this BitLocker volume has no protector, and so none that opens by a {by}"),
            Some(names) => format!("no protector of this BitLocker volume opens by a {by}; it has: {names}"),
        }
    }

    /// The file of a startup key names its protector.
    fn not_opened(&self, secret: &[u8], by: Means) -> Error {
        let file = if by == Means::StartupKey { ExternalKey::parse(secret).ok() } else { None };
        match file {
            Some(file) if self.protectors().all(|(_, protector)| protector.id != file.id) => {
                let names = self.names().unwrap_or_default();
                Error::NoSuchProtector(format!(
                    "this startup key is for the protector {{{}}}, which this BitLocker volume doesn't have; it has: {names}",
                    file.id
                ))
            }
            _ => Error::WrongPassphrase,
        }
    }

    fn passphrase_kind(&self) -> &'static str {
        Kind::Password.name()
    }

    fn store_new(&mut self, _: &dyn BlockDevice, _: &Dek, _: FirstProtector<'_>) -> Result<()> {
        Err(self.lacks("changes by this library"))
    }

    fn check_means(&self, _by: Means) -> Result<()> {
        Ok(())
    }

    fn fixed_kdf(&self) -> Option<Kdf> {
        Some(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: ITERATIONS })
    }

    fn number_after(&self, number: u32, removed: u32) -> u32 {
        if number > removed { number - 1 } else { number }
    }

    fn is_way_in(&self, _keyslot: &KeyslotInfo) -> bool {
        true // some for this library, all for Windows
    }

    fn add_keyslot(&mut self, device: &dyn BlockDevice, _key: &Secret, new: &NewKeyslot<'_>) -> Result<u32> {
        if new.id.is_some() || new.priority != Priority::Normal {
            return Err(Error::InvalidOption(
                "protectors of BitLocker have no numbers of their own, nor priorities".into(),
            ));
        }
        let protector = new_protector(new.by, new.passphrase.bytes())?;
        self.check_unchanged(device)?;
        if let NewProtector::StartupKey(key) = &protector
            && self.found.block.protectors.iter().any(|protector| protector.id == key.id)
        {
            let text = "the volume has a protector of this startup key's identifier; take another file";
            return Err(Error::InvalidOption(text.into()));
        }
        self.change(device, |draft, master_key| draft.add(&protector, master_key))?;
        Ok(self.found.block.protectors.len() as u32 - 1)
    }

    fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        self.check_unchanged(device)?;
        if self.found.block.protectors.len() <= id as usize {
            return Err(Error::NoSuchProtector(format!("there is no protector {id}")));
        }
        self.change(device, |draft, _| {
            draft.remove(id);
            Ok(())
        })
    }

    fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.check_unchanged(device)?;
        self.remove_all(device)
    }

    fn unwiped(&self) -> Vec<(u32, Range<u64>)> {
        Vec::new()
    }

    /// Whether copies differ. Those of Windows Vista are only read, and so are those of a volume that is being converted.
    fn needs_repair(&self) -> bool {
        self.found.block.version != 1 && self.takes_writes() && !self.found.differ.is_empty()
    }

    fn overwrite_foreign(&mut self) {
        self.overwrite = true;
    }

    fn repair_and_wipe(&mut self, device: &dyn BlockDevice) -> Result<()> {
        if !self.needs_repair() {
            return Ok(());
        }
        if !self.overwrite {
            self.check_places(device)?;
        }
        let area = self.found.area.clone();
        self.write(device, &area)?;
        self.tried.clear();
        Ok(())
    }

    fn restore(&mut self, _: &dyn BlockDevice, _: &[u8], _: Option<&dyn StoredHeader>) -> Result<()> {
        Err(self.lacks("changes by this library"))
    }

    fn wipe(&self, _device: &dyn BlockDevice) -> Result<()> {
        Err(self.lacks("changes by this library"))
    }

    fn labels(&self) -> (&[u8], &[u8]) {
        (self.found.block.description.as_bytes(), &[])
    }

    fn metadata_size(&self) -> u64 {
        AREA as u64
    }

    fn keyslots_size(&self) -> u64 {
        0
    }

    fn keyslot_infos(&self) -> Vec<KeyslotInfo> {
        self.protectors().map(|(id, protector)| describe(id, protector)).collect()
    }

    fn segment_infos(&self) -> Vec<SegmentInfo> {
        map::describe(&self.found)
    }

    fn digest_infos(&self) -> Vec<DigestInfo> {
        Vec::new()
    }
}

fn describe(id: u32, protector: &Protector) -> KeyslotInfo {
    let stretched = protector.stretch.as_ref();
    KeyslotInfo {
        id,
        kind: protector.kind.name().into(),
        key_bits: 256,
        priority: Priority::Normal,
        kdf: String::new(),
        hash: stretched.map_or("", |_| "sha256").into(),
        iterations: stretched.map_or(0, |_| ITERATIONS),
        memory_kib: 0,
        lanes: 0,
        cipher: "aes-ccm".into(),
        area_key_bits: 256,
        salt: stretched.map_or_else(Vec::new, |stretch| stretch.0.to_vec()),
        af_hash: String::new(),
        af_stripes: 0,
        area_offset: 0,
        area_size: 0,
        digests: Vec::new(),
        holds_data_key: true,
    }
}
