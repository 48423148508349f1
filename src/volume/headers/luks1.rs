//! A LUKS1 header on a device.
//!
//! There is one copy, in the first two sectors, and a device may write only some of them. So each deciding field
//! (whether a keyslot is active, whether this is a header) lies within one sector. It is written last to begin
//! something, and first to end it. An inactive keyslot has no iterations. If it has some, a killed process left it, and
//! the next open wipes its area.

mod convert;

use core::any::Any;
use core::ops::Range;
use std::time::Duration;

use super::area::{check_written, wipe, write_area};
use super::{
    Attempt, Attempts, BAD_DATA_OFFSET, FirstProtector, LuksAttempt, Means, NewHeader, NewKeyslot, StoredHeader,
};
use crate::cipher::CipherSpec;
use crate::key::{HashAlgorithm, Kdf};
use crate::ondisk::luks::{HEADER_SIZES, Luks1Defect, Luks1Header, LuksVersion, Priority, STRIPES};
use crate::volume::data_area::{Crypt, DataArea, Piece};
use crate::volume::keys::Under;
use crate::volume::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, SegmentInfo};
use crate::{Dek, Error, Result, Secret, SectorSize, TooSmall, random};

/// The unit of reading and writing: the header, and the bytes up to the first area.
const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// The cost of a new header's digest: the least that the reference implementation accepts, because the key is random.
const ITERATIONS: u32 = 1000;

/// The `kind` of every keyslot.
const KIND: &str = "luks1";

/// A header on a device.
#[derive(Debug, Clone)]
pub(super) struct Luks1Store {
    header: Luks1Header,
    /// The first block as last read or written.
    block: Vec<u8>,
    /// A block whose write failed. The device may hold some of its sectors.
    tried: Option<Vec<u8>>,
}

/// A header that is not on a device yet.
pub(super) fn create(new: &NewHeader<'_>) -> Result<Luks1Store> {
    let bad = |text: &str| Err(Error::InvalidOption(text.into()));
    if new.sector_size != SectorSize::B512 {
        return Err(Error::SectorSize { size: u64::from(new.sector_size.bytes()) });
    }
    if new.cipher != CipherSpec::AesXtsPlain64 {
        return bad("a new volume of LUKS1 is encrypted by XTS");
    }
    if new.metadata_size != HEADER_SIZES[0] {
        return bad("LUKS1 has no other metadata size");
    }
    if !(new.label.is_empty() && new.subsystem.is_empty()) {
        return bad("LUKS1 has no labels");
    }
    // The header and the areas of its 8 keyslots take more than 1 MiB.
    if !new.detached && new.data_offset.is_some_and(|offset| offset < 2 << 20) {
        return bad(BAD_DATA_OFFSET);
    }
    let payload = new.data_offset.map(|offset| u32::try_from(offset / SECTOR as u64)).transpose();
    let payload = payload.map_err(|_| Error::InvalidOption("the data of LUKS1 begins below 2 TiB".into()))?;
    let hash = HashAlgorithm::Sha256;
    let header = Luks1Header::new(new.cipher, hash, new.key, payload, new.detached, &new.uuid, ITERATIONS)?;
    Ok(Luks1Store { header, block: vec![0; BLOCK], tried: None })
}

impl Luks1Store {
    /// Reads the header. Nothing is written.
    pub(super) fn load(device: &dyn BlockDevice) -> Result<Self> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < BLOCK as u64 {
            return Err(Error::DeviceTooSmall { what: TooSmall::Header, needed: BLOCK as u64, size });
        }
        let mut block = vec![0; BLOCK];
        device.read_at(0, &mut block).map_err(|e| Error::io("reading the header", e))?;
        let header = Luks1Header::parse(&block).map_err(|defect| match defect {
            Luks1Defect::Invalid(what) => Error::InvalidHeader(format!("LUKS1: {what}")),
            Luks1Defect::Unsupported(what) => Error::UnsupportedHeader(format!("LUKS1: {what}")),
        })?;
        Ok(Luks1Store { header, block, tried: None })
    }

    /// Wipes the areas of keyslots that are inactive but not wiped.
    fn finish_wiping(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let unwiped = self.unwiped();
        if unwiped.is_empty() {
            return Ok(());
        }
        let mut header = self.header.clone();
        for (id, area) in unwiped {
            wipe(device, area)?;
            let keyslot = &mut header.keyslots[id as usize];
            (keyslot.iterations, keyslot.salt) = (0, [0; 32]);
        }
        self.write(device, header)
    }

    /// Writes the header of a new volume: first without its beginning, then whole.
    fn write_new(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let header = self.header.clone();
        self.block[..SECTOR].fill(0);
        self.write_block(device, self.block.clone())?;
        self.write(device, header)
    }

    /// The active keyslots.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..8).filter(|&id| self.header.keyslots[id as usize].active)
    }

    fn attempt(&self, id: usize) -> LuksAttempt {
        let keyslot = &self.header.keyslots[id];
        let (kdf, material) = (self.header.kdf(id), self.header.material(id));
        let offset = u64::from(keyslot.material_offset) * SECTOR as u64;
        LuksAttempt { kdf, material, salt: keyslot.salt.to_vec(), offset }
    }

    /// The first byte of the data.
    fn data_offset(&self) -> u64 {
        u64::from(self.header.payload_offset) * SECTOR as u64
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

impl StoredHeader for Luks1Store {
    fn boxed(&self) -> Box<dyn StoredHeader> {
        Box::new(self.clone())
    }

    fn format(&self) -> HeaderFormat {
        HeaderFormat::Luks(LuksVersion::Luks1)
    }

    fn uuid(&self) -> &str {
        &self.header.uuid
    }

    fn len(&self) -> u64 {
        let ends = (0..8).map(|id| self.attempt(id).area().end);
        ends.max().unwrap_or(BLOCK as u64).next_multiple_of(BLOCK as u64)
    }

    fn data_area(&self, detached: bool) -> Result<DataArea> {
        if self.header.payload_offset == 0 && !detached {
            let what = "its data begins at byte 0, where the header is: it is detached from its data";
            return Err(Error::UnsupportedHeader(what.into()));
        }
        // Check the digest before any credential is tried, because no credential can change it.
        self.header.checked_digest()?;
        let cipher = self.header.cipher;
        let crypt = Crypt { iv_tweak: 0, sector_size: SectorSize::B512, cipher, under: Under::Current };
        let piece = Piece { offset: self.data_offset(), size: None, crypt: Some(crypt), shown: None };
        Ok(DataArea { pieces: vec![piece], cipher, moving: None })
    }

    fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()> {
        let found = Self::load(device)?;
        let tried = self.tried.as_ref().unwrap_or(&self.block);
        let ours = found.block.chunks(SECTOR).zip(self.block.chunks(SECTOR).zip(tried.chunks(SECTOR)));
        if !ours.into_iter().all(|(found, (old, tried))| found == old || found == tried) {
            return Err(Error::Busy { what: "the header, which was changed since it was read,".into() });
        }
        *self = found;
        Ok(())
    }

    fn verify(&self, key: &Secret) -> Result<()> {
        self.header.verify(key)
    }

    fn key_digest(&self) -> Vec<u8> {
        [&self.header.digest[..], &self.header.digest_salt[..]].concat()
    }

    fn digest_cost(&self) -> (u32, Duration) {
        let Luks1Header { hash, digest_iterations, digest, .. } = &self.header;
        (*digest_iterations, hash.pbkdf2_cost(*digest_iterations, digest.len()))
    }

    fn attempts(&self, named: Option<u32>, by: Means) -> Attempts {
        let wanted = self.numbers().filter(|id| named.is_none_or(|named| named == *id) && by == Means::Passphrase);
        wanted.map(|id| (id, Ok(Box::new(self.attempt(id as usize)) as Box<dyn Attempt>))).collect()
    }

    fn passphrase_kind(&self) -> &'static str {
        KIND
    }

    fn required_hash(&self) -> Option<HashAlgorithm> {
        Some(self.header.hash)
    }

    fn store_new(&mut self, device: &dyn BlockDevice, dek: &Dek, protector: FirstProtector<'_>) -> Result<()> {
        match protector {
            FirstProtector::Token(_) => Err(self.lacks("a vault's token")),
            FirstProtector::Keyslot(new) => {
                self.write_new(device)?;
                self.add_keyslot(device, dek.secret(), &new).map(drop)
            }
        }
    }

    fn add_keyslot(&mut self, device: &dyn BlockDevice, key: &Secret, new: &NewKeyslot<'_>) -> Result<u32> {
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
        // First write it as inactive.
        let mut header = self.header.clone();
        header.keyslots[id].iterations = iterations;
        header.keyslots[id].salt = random::array()?;
        self.write(device, header.clone())?;
        let LuksAttempt { kdf, material, salt, offset } = self.attempt(id);
        let area = material.seal(key, &kdf, new.passphrase.bytes(), &salt)?;
        write_area(device, offset, area, material.len() as u64)?;
        header.keyslots[id].active = true;
        self.write(device, header)?;
        Ok(id as u32)
    }

    fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        self.check_unchanged(device)?;
        let mut header = self.header.clone();
        // Also accept one that a failed attempt left to be wiped.
        let keyslot = header.keyslots.get_mut(id as usize).filter(|keyslot| keyslot.active || keyslot.iterations != 0);
        keyslot.ok_or_else(|| Error::NoSuchProtector(format!("there is no keyslot {id}")))?.active = false;
        self.write(device, header)?;
        self.finish_wiping(device)
    }

    fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.check_unchanged(device)?;
        let mut header = self.header.clone();
        for keyslot in &mut header.keyslots {
            // Also mark keyslots that were never used, so that their areas are wiped with the others.
            (keyslot.active, keyslot.iterations) = (false, keyslot.iterations.max(1));
        }
        self.write(device, header)?;
        self.finish_wiping(device)
    }

    fn unwiped(&self) -> Vec<(u32, Range<u64>)> {
        let keyslots = (0..8).zip(&self.header.keyslots);
        let unwiped = keyslots.filter(|(_, keyslot)| !keyslot.active && keyslot.iterations != 0);
        unwiped.map(|(id, _)| (id, self.attempt(id as usize).area())).collect()
    }

    fn repair_and_wipe(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.finish_wiping(device)
    }

    fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&dyn StoredHeader>) -> Result<()> {
        // The header always stays one with this UUID, so that a killed restore can be repeated.
        let failed = |e| Error::io("restoring the header", e);
        device.write_at(BLOCK as u64, &backup[BLOCK..]).map_err(failed)?;
        device.sync().map_err(failed)?;
        // If both headers fit together, write all but the first sector first. It stays until the others are written.
        let current = current.and_then(|current| <dyn Any>::downcast_ref::<Self>(current));
        let mixed = current.map(|current| [&current.block[..SECTOR], &self.block[SECTOR..]].concat());
        match mixed.filter(|mixed| Luks1Header::parse(mixed).is_ok()) {
            Some(mixed) => {
                self.write_block(device, mixed)?;
                self.write(device, self.header.clone())
            }
            None => self.write_new(device),
        }
    }

    fn convert_to_luks2(&mut self, device: &dyn BlockDevice) -> Result<Option<Box<dyn StoredHeader>>> {
        // Refuses a volume that couldn't be opened afterwards.
        self.data_area(true)?;
        Ok(Some(Box::new(self.convert(device)?)))
    }

    fn metadata_size(&self) -> u64 {
        Luks1Header::LEN as u64
    }

    fn keyslots_size(&self) -> u64 {
        self.len() - self.metadata_size()
    }

    fn keyslot_infos(&self) -> Vec<KeyslotInfo> {
        self.numbers().map(|id| describe(id, self.attempt(id as usize))).collect()
    }

    fn segment_infos(&self) -> Vec<SegmentInfo> {
        vec![SegmentInfo {
            id: 0,
            kind: "crypt".into(),
            offset: self.data_offset(),
            size: None,
            cipher: self.header.cipher.name().into(),
            sector_size: SECTOR as u32,
            iv_tweak: 0,
            flags: Vec::new(),
        }]
    }

    fn digest_infos(&self) -> Vec<DigestInfo> {
        let header = &self.header;
        vec![DigestInfo {
            id: 0,
            kind: "pbkdf2".into(),
            hash: header.hash.name().into(),
            iterations: header.digest_iterations,
            salt: header.digest_salt.into(),
            digest: header.digest.into(),
            key_bits: header.key_len * 8,
            keyslots: self.numbers().collect(),
            segments: vec![0],
        }]
    }
}

fn describe(id: u32, attempt: LuksAttempt) -> KeyslotInfo {
    let (hash, iterations) = match attempt.kdf {
        Kdf::Pbkdf2 { hash, iterations } => (hash.name().into(), iterations),
        _ => Default::default(),
    };
    let area = attempt.area();
    KeyslotInfo {
        id,
        kind: KIND.into(),
        key_bits: attempt.material.key_len as u32 * 8,
        priority: Priority::Normal,
        kdf: attempt.kdf.name().into(),
        hash,
        iterations,
        memory_kib: 0,
        lanes: 0,
        cipher: attempt.material.cipher.name().into(),
        area_key_bits: attempt.material.area_key_len as u32 * 8,
        salt: attempt.salt,
        af_hash: attempt.material.af_hash.name().into(),
        af_stripes: STRIPES,
        area_offset: area.start,
        area_size: area.end - area.start,
        digests: vec![0],
        holds_data_key: true,
    }
}
