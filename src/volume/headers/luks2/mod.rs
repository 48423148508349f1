//! LUKS2.

mod describe;
mod keyslots;
mod moving;
mod place;
mod reencrypt;
mod segments;
mod store;

pub(super) use store::Luks2Store;

use core::any::Any;
use core::ops::Range;
use std::time::Duration;

use super::{
    Attempt, Attempts, FirstProtector, Means, NewDecryption, NewEncryption, NewHeader, NewKeyslot, NewReencryption,
    NewWritten, StoredHeader,
};
use crate::key::HashAlgorithm;
use crate::ondisk::luks::{
    BinaryHeader, HEADER_SIZES, Label, LuksVersion, Metadata, NewMetadata, Plan, Priority, SALT_LEN, Token,
    VolumeKeyDigest, WrittenMap,
};
use crate::volume::data_area::DataArea;
use crate::volume::keys::Under;
use crate::volume::moving::Moving;
use crate::volume::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, SegmentInfo, TokenInfo};
use crate::{Dek, Error, Result, Secret, random};
use segments::data_digest;

/// The default offset of the data, the same as in the reference implementation.
const DATA_OFFSET: u64 = 16 << 20;
const MAX_LABEL: usize = 47;

/// A header that is not on a device yet.
pub(super) fn create(new: &NewHeader<'_>) -> Result<Luks2Store> {
    if !HEADER_SIZES.contains(&new.metadata_size) {
        let text = "the metadata size must be a power of two from 16 KiB to 4 MiB";
        return Err(Error::InvalidOption(text.into()));
    }
    check_labels(new.label, new.subsystem)?;
    let digest = VolumeKeyDigest::new(new.key, random::array()?)?;
    let written = new.written.as_ref().map(|written| WrittenMap::new(0, written.chunk_size, written.size));
    let written = written.transpose()?;
    let room = written.as_ref().map_or(0, WrittenMap::len);
    let usual = if new.detached { 0 } else { (DATA_OFFSET + room).next_multiple_of(1 << 20) };
    let data_offset = new.data_offset.unwrap_or(usual);
    let mut metadata = NewMetadata::new(new.metadata_size, data_offset, new.sector_size.bytes(), digest);
    metadata.detached = new.detached;
    metadata.encryption = new.cipher.name().into();
    if written.is_some() && !new.detached {
        metadata.keyslots_size = Some(before_map(data_offset.min(DATA_OFFSET + room), room, new.metadata_size)?);
    }
    let binary = BinaryHeader {
        header_size: new.metadata_size,
        seqid: 0,
        label: Label::new(new.label.as_bytes()),
        salt: [0; SALT_LEN],
        uuid: new.uuid.clone(),
        subsystem: Label::new(new.subsystem.as_bytes()),
    };
    let mut metadata = Metadata::new(&metadata)?;
    if let (Some(mut map), Some(NewWritten { dek, .. })) = (written, &new.written) {
        map.offset = 2 * new.metadata_size + metadata.keyslots_size();
        metadata.add_written_map(&map, dek, &new.uuid)?;
    }
    Luks2Store::new(binary, metadata)
}

/// The size of the keyslots area before a map that takes `room` bytes and ends at `end`.
fn before_map(end: u64, room: u64, metadata_size: u64) -> Result<u64> {
    let size = end.checked_sub(room).and_then(|start| start.checked_sub(2 * metadata_size));
    size.ok_or_else(|| {
        let text = format!("the map of written chunks takes {room} bytes, which aren't there before the data");
        Error::InvalidOption(format!("{text}; take larger chunks or a larger `data_offset`"))
    })
}

fn check_labels(label: &str, subsystem: &str) -> Result<()> {
    if [label, subsystem].iter().any(|text| text.len() > MAX_LABEL || text.contains('\0')) {
        return Err(Error::InvalidOption("a label or subsystem has at most 47 bytes, none of them zero".into()));
    }
    Ok(())
}

impl Luks2Store {
    /// Stores tokens in this header, with their MACs. They name the keyslots that our tokens named before.
    fn seal(&mut self, dek: &Dek, tokens: impl IntoIterator<Item = (u32, Token)>) {
        let keyslots = self.metadata.token_keyslots();
        self.seal_naming(dek, tokens, &keyslots);
    }

    /// As [`seal`](Self::seal), but they name `keyslots`.
    fn seal_naming(&mut self, dek: &Dek, tokens: impl IntoIterator<Item = (u32, Token)>, keyslots: &[u32]) {
        for (id, mut token) in tokens {
            token.seal(dek, &self.binary.uuid, &self.metadata);
            self.metadata.set_token(id, &token, keyslots);
        }
    }

    /// Seals a token in this header under a free number, replacing the tokens `instead_of`. Returns its number.
    fn put_token(&mut self, dek: &Dek, token: Token, instead_of: &[u32]) -> Result<u32> {
        let keyslots = self.metadata.token_keyslots();
        instead_of.iter().try_for_each(|old| self.metadata.remove_token(*old))?;
        let full = || Error::NoRoom("all 32 tokens are taken".into());
        let id = self.metadata.free_token_id().ok_or_else(full)?;
        self.seal_naming(dek, [(id, token)], &keyslots);
        Ok(id)
    }
}

impl StoredHeader for Luks2Store {
    fn boxed(&self) -> Box<dyn StoredHeader> {
        Box::new(self.clone())
    }

    fn format(&self) -> HeaderFormat {
        HeaderFormat::Luks(LuksVersion::Luks2)
    }

    fn uuid(&self) -> &str {
        &self.binary.uuid
    }

    fn len(&self) -> u64 {
        let (first, size) = self.keyslots_area();
        first + size
    }

    fn data_area(&self, detached: bool) -> Result<DataArea> {
        self.check_readable()?;
        let header_end = if detached { 0 } else { 2 * self.binary.header_size };
        let requirements = || self.metadata.requirements().join(", ");
        let odd = |what| Error::UnsupportedHeader(format!("{what}, though the header requires {}", requirements()));
        match self.metadata.plan().map_err(odd)? {
            Some(plan) => moving::data_area(&self.metadata, plan, header_end),
            None => segments::data_area(&self.metadata, header_end),
        }
    }

    fn written_map(&self, dek: &Dek) -> Result<Option<WrittenMap>> {
        self.metadata.written_map(dek, &self.binary.uuid)
    }

    fn check_requirements(&self) -> Result<()> {
        Luks2Store::check_requirements(self)
    }

    fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()> {
        Luks2Store::check_unchanged(self, device)
    }

    #[cfg(feature = "managed")]
    fn renew(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.update(device, |_| Ok(()))
    }

    fn verify(&self, key: &Secret) -> Result<()> {
        let digest = data_digest(&self.metadata, self.under).and_then(|digest| digest.pbkdf2.as_ref());
        digest.ok_or(Error::WrongKey)?.verify(key)
    }

    fn key_digest(&self) -> Vec<u8> {
        let digests = self.metadata.digests().iter();
        let proofs = digests.filter(|digest| digest.segments.contains(&0)).filter_map(|d| d.pbkdf2.as_ref());
        proofs.flat_map(|proof| [&proof.digest[..], &proof.salt[..]].concat()).collect()
    }

    fn digest_cost(&self) -> (u32, Duration) {
        let Some(digest) = data_digest(&self.metadata, self.under).and_then(|digest| digest.pbkdf2.as_ref()) else {
            return (0, Duration::ZERO);
        };
        // A digest with an unknown hash verifies nothing, so it costs nothing.
        let hash = HashAlgorithm::from_name(&digest.hash);
        let cost = hash.map_or(Duration::ZERO, |hash| hash.pbkdf2_cost(digest.iterations, digest.digest.len()));
        (digest.iterations, cost)
    }

    fn attempts(&self, named: Option<u32>, by: Means) -> Attempts {
        let attempts = if by == Means::Passphrase { Luks2Store::attempts(self, named) } else { Vec::new() };
        attempts
            .into_iter()
            .map(|(id, attempt)| (id, attempt.map(|attempt| Box::new(attempt) as Box<dyn Attempt>)))
            .collect()
    }

    fn ignored(&self) -> Vec<u32> {
        Luks2Store::ignored(self)
    }

    fn passphrase_kind(&self) -> &'static str {
        describe::KIND
    }

    fn store_new(&mut self, device: &dyn BlockDevice, dek: &Dek, protector: FirstProtector<'_>) -> Result<()> {
        match protector {
            FirstProtector::Token(token) => {
                self.seal(dek, [(0, token)]);
                self.store(device)
            }
            FirstProtector::Keyslot(new) => self.store_with_keyslot(device, dek.secret(), &new),
        }
    }

    fn add_keyslot(&mut self, device: &dyn BlockDevice, key: &Secret, new: &NewKeyslot<'_>) -> Result<u32> {
        Luks2Store::add_keyslot(self, device, key, new)
    }

    fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        Luks2Store::remove_keyslot(self, device, id)
    }

    fn set_priority(&mut self, device: &dyn BlockDevice, id: u32, priority: Priority) -> Result<()> {
        self.check_requirements()?;
        self.update(device, |new| new.metadata.set_priority(id, priority))
    }

    fn erase(&mut self, device: &dyn BlockDevice) -> Result<()> {
        Luks2Store::erase(self, device)
    }

    fn tokens(&self) -> Result<Vec<(u32, Token)>> {
        self.metadata.tokens()
    }

    fn proves(&self, token: &Token, dek: &Dek) -> Result<()> {
        token.verify(dek, &self.binary.uuid, &self.metadata)
    }

    fn check_takes_tokens(&self) -> Result<()> {
        self.check_requirements()
    }

    fn put_tokens(&mut self, device: &dyn BlockDevice, dek: &Dek, tokens: Vec<(u32, Token)>) -> Result<()> {
        self.update(device, |new| {
            new.seal(dek, tokens);
            Ok(())
        })
    }

    fn add_token(&mut self, device: &dyn BlockDevice, dek: &Dek, token: Token, instead_of: &[u32]) -> Result<u32> {
        self.update(device, |new| new.put_token(dek, token, instead_of))
    }

    #[cfg(feature = "managed")]
    fn check_token_fits(&self, dek: &Dek, token: Token, instead_of: &[u32]) -> Result<()> {
        let mut new = self.clone();
        new.put_token(dek, token, instead_of)?;
        new.metadata.encode(new.binary.header_size).map(drop)
    }

    fn import_token(&mut self, device: &dyn BlockDevice, json: &[u8]) -> Result<u32> {
        self.check_requirements()?;
        self.update(device, |new| new.metadata.add_foreign_token(json))
    }

    fn token_keyslots(&self) -> Vec<u32> {
        self.metadata.token_keyslots()
    }

    fn bind_tokens(&mut self, device: &dyn BlockDevice, dek: &Dek, new: &NewKeyslot<'_>) -> Result<u32> {
        let tokens = self.genuine(dek)?;
        self.add_keyslot_with(device, dek.secret(), new, |header, id| header.seal_naming(dek, tokens, &[id]))
    }

    fn remove_token(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()> {
        self.check_requirements()?;
        if self.metadata.is_of_written_map(id) {
            let text = "it says where the map of written chunks is, without which the volume doesn't open";
            return Err(Error::InvalidOption(format!("token {id} can't be removed: {text}")));
        }
        Luks2Store::remove_token(self, device, id)
    }

    fn needs_repair(&self) -> bool {
        Luks2Store::needs_repair(self)
    }

    fn unwiped(&self) -> Vec<(u32, Range<u64>)> {
        Luks2Store::unwiped(self)
    }

    fn repair_and_wipe(&mut self, device: &dyn BlockDevice) -> Result<()> {
        self.later(u64::from(!self.unwiped().is_empty()))?;
        self.repair(device)?;
        self.finish_wiping(device)
    }

    fn check_foreign(&self) -> Result<()> {
        Luks2Store::check_foreign(self)
    }

    fn overwrite_foreign(&mut self) {
        Luks2Store::overwrite_foreign(self);
    }

    fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&dyn StoredHeader>) -> Result<()> {
        Luks2Store::restore(self, device, backup, current.and_then(|current| <dyn Any>::downcast_ref(current)))
    }

    fn of_previous_key(&self) -> Option<Box<dyn StoredHeader>> {
        let mut header = self.clone();
        header.under = Under::Previous;
        Some(Box::new(header))
    }

    fn previous_key(&self, new: &Dek) -> Result<Option<Secret>> {
        self.metadata.previous_key(new)
    }

    fn verify_reencryption(&self, plan: &Plan, old: Option<&Secret>, new: Option<&Secret>) -> Result<()> {
        self.metadata.verify_plan(plan, old, new)
    }

    fn begin_reencryption(&mut self, device: &dyn BlockDevice, new: NewReencryption<'_>) -> Result<Plan> {
        Luks2Store::begin_reencryption(self, device, new)
    }

    fn store_encryption(
        &mut self,
        device: &dyn BlockDevice,
        dek: &Dek,
        protector: FirstProtector<'_>,
        new: NewEncryption,
    ) -> Result<()> {
        Luks2Store::store_encryption(self, device, dek, protector, new)
    }

    fn begin_decryption(&mut self, device: &dyn BlockDevice, dek: &Dek, new: NewDecryption) -> Result<Plan> {
        Luks2Store::begin_decryption(self, device, dek, new)
    }

    fn record_progress(&mut self, device: &dyn BlockDevice, dek: &Dek, moving: &Moving, size: u64) -> Result<()> {
        Luks2Store::record_progress(self, device, dek, moving, size)
    }

    fn set_resilience(&mut self, device: &dyn BlockDevice, dek: &Dek, plan: &Plan, old: Option<&Dek>) -> Result<()> {
        Luks2Store::set_resilience(self, device, dek, plan, old)
    }

    fn finish_reencryption(&mut self, device: &dyn BlockDevice, dek: &Dek, plan: &Plan) -> Result<()> {
        Luks2Store::finish_reencryption(self, device, dek, plan)
    }

    fn labels(&self) -> (&[u8], &[u8]) {
        (self.binary.label.bytes(), self.binary.subsystem.bytes())
    }

    fn set_labels(&mut self, device: &dyn BlockDevice, label: &str, subsystem: &str) -> Result<()> {
        check_labels(label, subsystem)?;
        self.check_requirements()?;
        self.update(device, |new| {
            new.binary.label = Label::new(label.as_bytes());
            new.binary.subsystem = Label::new(subsystem.as_bytes());
            Ok(())
        })
    }

    fn requirements(&self) -> Vec<String> {
        self.metadata.requirements().to_vec()
    }

    fn flags(&self) -> Vec<String> {
        self.metadata.flags()
    }

    fn epoch(&self) -> Option<u64> {
        Some(self.binary.seqid)
    }

    fn metadata_json(&self) -> Option<&[u8]> {
        Some(self.metadata.text())
    }

    fn metadata_size(&self) -> u64 {
        self.binary.header_size
    }

    fn keyslots_size(&self) -> u64 {
        self.metadata.keyslots_size()
    }

    fn keyslot_infos(&self) -> Vec<KeyslotInfo> {
        self.metadata.keyslots().iter().map(|keyslot| describe::keyslot(&self.metadata, keyslot)).collect()
    }

    fn token_infos(&self) -> Vec<TokenInfo> {
        describe::tokens(&self.metadata)
    }

    fn segment_infos(&self) -> Vec<SegmentInfo> {
        self.metadata.segments().iter().map(describe::segment).collect()
    }

    fn digest_infos(&self) -> Vec<DigestInfo> {
        self.metadata.digests().iter().map(|digest| describe::digest(&self.metadata, digest)).collect()
    }
}
