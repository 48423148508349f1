//! A re-encryption in full: its keyslot, its backup segments and its digest (sections 3.2.2, 3.3 and 4.9).

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::edit::{set_list, with, without};
use super::json::{integer, member, numbered, objects, root, string, uint64};
use super::{Area, KeyslotKind, Metadata, Segment, SegmentKind, SegmentSize};
use crate::ondisk::luks::VolumeKeyDigest;
use crate::{Error, Result, Secret};

/// The kind of a re-encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From one key, cipher or sector size to another.
    Reencrypt,
    /// From plain data.
    Encrypt,
    /// To plain data.
    Decrypt,
}

/// Which end of the data is done first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The start.
    Forward,
    /// The end.
    Backward,
}

/// How sectors that were being rewritten at a crash are recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resilience {
    /// Not at all.
    None,
    /// By a copy of the old content.
    Journal,
    /// By checksums of the old content: a block that still has its checksum was not rewritten.
    Checksum {
        /// The hash's name.
        hash: String,
        /// The size of a block in bytes, which the device writes as a whole or not at all.
        block: u32,
    },
    /// By the data that is still at the old place.
    Shift {
        /// The distance to the old place in bytes.
        size: u64,
        /// How the start of the data is recovered, if it was moved beforehand and is rewritten in its new place. `None` if it
        /// has an old place, too.
        moved: Option<Box<Resilience>>,
    },
    /// Another way.
    Other(String),
}

/// A re-encryption that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The keyslot of type `reencrypt`.
    pub keyslot: u32,
    /// The kind of re-encryption.
    pub mode: Mode,
    /// The end that is done first.
    pub direction: Direction,
    /// The way to recover from a crash.
    pub resilience: Resilience,
    /// The area for the data that a crash is recovered from.
    pub area: Area,
    /// The data before.
    pub previous: Segment,
    /// The data afterwards.
    pub last: Segment,
    /// The start of the data, moved to make room for the header.
    pub moved: Option<Segment>,
    /// The digest of the old key.
    pub old: Option<u32>,
    /// The digest of the new key.
    pub new: Option<u32>,
}

/// A segment with the digests of its keys.
pub type Proven = (Segment, Vec<u32>);

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Reencrypt => "reencrypt",
            Mode::Encrypt => "encrypt",
            Mode::Decrypt => "decrypt",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Mode::Reencrypt, Mode::Encrypt, Mode::Decrypt].into_iter().find(|mode| mode.name() == name)
    }
}

impl Direction {
    fn name(self) -> &'static str {
        if self == Direction::Forward { "forward" } else { "backward" }
    }
}

impl Resilience {
    fn name(&self) -> &str {
        match self {
            Resilience::None => "none",
            Resilience::Journal => "journal",
            Resilience::Checksum { .. } => "checksum",
            Resilience::Shift { moved: None, .. } => "datashift",
            Resilience::Shift { moved: Some(moved), .. } if **moved == Resilience::Journal => "datashift-journal",
            Resilience::Shift { .. } => "datashift-checksum",
            Resilience::Other(name) => name,
        }
    }

    /// The hash of the checksums, and the size of their blocks.
    fn checksum(&self) -> Option<(&str, u32)> {
        match self {
            Resilience::Checksum { hash, block } => Some((hash, *block)),
            Resilience::Shift { moved, .. } => moved.as_ref()?.checksum(),
            _ => None,
        }
    }

    /// The distance in bytes by which data is moved.
    fn shift(&self) -> Option<u64> {
        if let Resilience::Shift { size, .. } = self { Some(*size) } else { None }
    }
}

impl Plan {
    fn keyslot_json(&self) -> Value {
        let mut area = json!({
            "type": self.resilience.name(),
            "offset": self.area.offset.to_string(),
            "size": self.area.size.to_string(),
        });
        if let Some((hash, block)) = self.resilience.checksum() {
            area["hash"] = json!(hash);
            area["sector_size"] = json!(block);
        }
        if let Some(size) = self.resilience.shift() {
            area["shift_size"] = json!(size.to_string());
        }
        json!({
            "type": "reencrypt",
            "key_size": 1,
            "mode": self.mode.name(),
            "direction": self.direction.name(),
            "priority": 0,
            "area": area,
        })
    }

    /// The version that a program must know, as a character. Version 3 has the same form, and also moves data forward.
    fn version(&self) -> u8 {
        if matches!(self.resilience, Resilience::Shift { moved: Some(_), .. }) { b'3' } else { b'2' }
    }

    /// The segments that record the old and the future state of the data, with their digests. They follow those of the data.
    fn backups(&self) -> Vec<Proven> {
        let flagged = |segment: &Segment, flag: &str, digest: Option<u32>| {
            let is_crypt = matches!(segment.kind, SegmentKind::Crypt(_));
            let segment = Segment { flags: vec![flag.into()], ..segment.clone() };
            (segment, if is_crypt { Vec::from_iter(digest) } else { Vec::new() })
        };
        let moved = self.moved.iter().map(|moved| flagged(moved, "backup-moved-segment", self.old));
        let ends =
            [flagged(&self.previous, "backup-previous", self.old), flagged(&self.last, "backup-final", self.new)];
        // In the reference implementation's order.
        ends.into_iter().chain(moved).collect()
    }

    /// The bytes that the digest of a re-encryption covers (figure 6): the keys, and the parameters of the re-encryption.
    fn proof(&self, version: u8, old: Option<&Secret>, new: Option<&Secret>) -> Secret {
        // Large enough that it never grows: growing would leave keys behind in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2048));
        bytes.extend([b'v', version]);
        bytes.extend_from_slice(old.map_or(&[], Secret::expose));
        if self.old != self.new {
            bytes.extend_from_slice(new.map_or(&[], Secret::expose));
        }
        let Area { offset, size } = self.area;
        for text in [self.mode.name(), self.direction.name(), self.resilience.name()] {
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&[offset.to_be_bytes(), size.to_be_bytes()].concat());
        if let Some((hash, block)) = self.resilience.checksum() {
            bytes.extend_from_slice(hash.as_bytes());
            bytes.extend_from_slice(&block.to_be_bytes());
        }
        bytes.extend(self.resilience.shift().into_iter().flat_map(u64::to_be_bytes));
        for segment in [Some(&self.previous), Some(&self.last), self.moved.as_ref()].into_iter().flatten() {
            serialise(segment, &mut bytes);
        }
        Secret::copy_from(&bytes)
    }
}

fn serialise(segment: &Segment, bytes: &mut Vec<u8>) {
    let kind = match &segment.kind {
        SegmentKind::Crypt(_) => "crypt",
        SegmentKind::Other(kind) => kind,
    };
    bytes.extend_from_slice(kind.as_bytes());
    bytes.extend_from_slice(&segment.offset.to_be_bytes());
    match segment.size {
        SegmentSize::Dynamic => bytes.extend_from_slice(b"dynamic"),
        SegmentSize::Bytes(size) => bytes.extend_from_slice(&size.to_be_bytes()),
    }
    if let SegmentKind::Crypt(crypt) = &segment.kind {
        bytes.extend_from_slice(&crypt.iv_tweak.to_be_bytes());
        bytes.extend_from_slice(crypt.encryption.as_bytes());
        bytes.extend_from_slice(&crypt.sector_size.to_be_bytes());
    }
}

impl Metadata {
    /// The re-encryption that has begun, in full, if there is one.
    ///
    /// # Errors
    /// A text that says which part of it is missing.
    pub fn plan(&self) -> Result<Option<Plan>, String> {
        if self.reencryption_version().is_none() {
            return Ok(None);
        }
        let found = self.keyslots().iter().find_map(|keyslot| match &keyslot.kind {
            KeyslotKind::Reencrypt { mode, direction } => Some((keyslot, mode, direction)),
            _ => None,
        });
        let (keyslot, mode, direction) = found.ok_or("its re-encryption has no keyslot")?;
        let flagged = |name: &str| {
            let found = self.segments().iter().find(|segment| segment.flags.iter().any(|flag| flag == name));
            found.map(|segment| (Segment { flags: Vec::new(), ..segment.clone() }, self.digest_of(segment.id)))
        };
        let (previous, old) = flagged("backup-previous").ok_or("its re-encryption doesn't say what was before")?;
        let (last, new) = flagged("backup-final").ok_or("its re-encryption doesn't say what will be")?;
        Ok(Some(Plan {
            keyslot: keyslot.id,
            mode: Mode::from_name(mode).ok_or("its re-encryption has an unknown mode")?,
            direction: if direction == "forward" { Direction::Forward } else { Direction::Backward },
            resilience: self.resilience(keyslot.id)?,
            area: keyslot.area,
            previous,
            last,
            moved: flagged("backup-moved-segment").map(|(moved, _)| moved),
            old,
            new,
        }))
    }

    fn digest_of(&self, segment: u32) -> Option<u32> {
        self.digests().iter().find(|digest| digest.segments.contains(&segment)).map(|digest| digest.id)
    }

    fn resilience(&self, id: u32) -> Result<Resilience, String> {
        let keyslots = objects(&root(self.text()), "keyslots")?;
        let (_, keyslot) = keyslots.into_iter().find(|(number, _)| *number == id).ok_or("it is missing")?;
        let area = member(&keyslot, "area")?;
        let checksum = || -> Result<Resilience, String> {
            let (hash, block) = (string(&area, "hash")?.into_owned(), integer(&area, "sector_size")?);
            Ok(Resilience::Checksum { hash, block })
        };
        let shift = |moved: Option<Resilience>| -> Result<Resilience, String> {
            Ok(Resilience::Shift { size: uint64(&area, "shift_size")?, moved: moved.map(Box::new) })
        };
        match &*string(&area, "type")? {
            "none" => Ok(Resilience::None),
            "journal" => Ok(Resilience::Journal),
            "checksum" => checksum(),
            "datashift" => shift(None),
            "datashift-journal" => shift(Some(Resilience::Journal)),
            "datashift-checksum" => shift(Some(checksum()?)),
            other => Ok(Resilience::Other(other.into())),
        }
    }

    /// The last character of the requirement of a re-encryption, as in `online-reencrypt-v2`.
    fn reencryption_version(&self) -> Option<u8> {
        let version = |name: &String| match name.as_bytes() {
            [before @ .., version @ (b'2' | b'3')] if before == b"online-reencrypt-v" => Some(*version),
            _ => None,
        };
        self.requirements().iter().find_map(version)
    }

    /// Verifies by its digest that an owner of both keys has begun the re-encryption with these parameters.
    ///
    /// # Errors
    /// [`Error::TamperedHeader`].
    pub(crate) fn verify_plan(&self, plan: &Plan, old: Option<&Secret>, new: Option<&Secret>) -> Result<()> {
        let digest = self.digests().iter().find(|digest| digest.keyslots.contains(&plan.keyslot));
        let digest = digest.and_then(|digest| digest.pbkdf2.as_ref()).ok_or(Error::TamperedHeader)?;
        let version = self.reencryption_version().ok_or(Error::TamperedHeader)?;
        digest.verify(&plan.proof(version, old, new)).map_err(|e| match e {
            Error::WrongKey => Error::TamperedHeader,
            other => other,
        })
    }

    /// Records that a re-encryption has begun. `data` are the segments of the data as they are.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::InvalidOption`] for parts that don't fit together; [`Error::SelfTest`].
    pub(crate) fn begin(
        &mut self,
        plan: &Plan,
        data: &[Proven],
        keys: (Option<&Secret>, Option<&Secret>),
        salt: [u8; 32],
    ) -> Result<()> {
        self.edit(|text| with(&text, "keyslots", plan.keyslot, plan.keyslot_json().to_string().as_bytes()))?;
        self.set_segments(plan, data)?;
        self.require(|names| names.push(format!("online-reencrypt-v{}", char::from(plan.version()))))?;
        self.add_proof(plan, keys, salt)
    }

    /// Changes the way in which a re-encryption that has begun is recovered from a crash.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::InvalidOption`] for parts that don't fit together; [`Error::SelfTest`].
    pub(crate) fn set_resilience(
        &mut self,
        plan: &Plan,
        keys: (Option<&Secret>, Option<&Secret>),
        salt: [u8; 32],
    ) -> Result<()> {
        self.edit(|text| with(&text, "keyslots", plan.keyslot, plan.keyslot_json().to_string().as_bytes()))?;
        let proofs = self.digests().iter().filter(|digest| digest.keyslots.contains(&plan.keyslot));
        for digest in proofs.map(|digest| digest.id).collect::<Vec<_>>() {
            self.edit(|text| without(&text, "digests", digest))?;
        }
        self.add_proof(plan, keys, salt)
    }

    fn add_proof(&mut self, plan: &Plan, keys: (Option<&Secret>, Option<&Secret>), salt: [u8; 32]) -> Result<()> {
        let version = self.reencryption_version().unwrap_or(plan.version());
        let proof = VolumeKeyDigest::new(&plan.proof(version, keys.0, keys.1), salt)?;
        let digest = self.add_digest(&proof)?;
        self.edit(|text| set_list(&text, "digests", digest, "keyslots", &[plan.keyslot]))
    }

    /// Replaces the segments of the data while a re-encryption goes on.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::InvalidOption`] for segments that no header can have.
    pub(crate) fn set_segments(&mut self, plan: &Plan, data: &[Proven]) -> Result<()> {
        self.put_segments(data.iter().cloned().chain(plan.backups()))
    }

    /// Records the end of a re-encryption: `data` is one segment of the new kind. The old key's keyslots, and that of the
    /// re-encryption, are marked to be wiped.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a segment that no header can have.
    pub(crate) fn finish(&mut self, plan: &Plan, data: Proven) -> Result<()> {
        self.put_segments([data].into_iter())?;
        let gone = |id: &u32| Some(*id) == plan.old && plan.old != plan.new;
        let proof =
            self.digests().iter().find(|digest| digest.keyslots.contains(&plan.keyslot)).map(|digest| digest.id);
        let ended: Vec<u32> = plan.old.iter().copied().filter(gone).chain(proof).collect();
        for digest in ended {
            let keyslots = self.digests().iter().find(|found| found.id == digest).map(|found| found.keyslots.clone());
            keyslots.unwrap_or_default().into_iter().try_for_each(|keyslot| self.mark_wiping(keyslot))?;
            self.edit(|text| without(&text, "digests", digest))?;
        }
        self.require(|names| names.retain(|name| !name.starts_with("online-reencrypt")))
    }

    /// Inserts a digest that is bound to nothing yet, and returns its number.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn add_digest(&mut self, digest: &VolumeKeyDigest) -> Result<u32> {
        let full = || Error::NoRoom("all 32 digests are taken".into());
        let id = super::json::free_id(self.digests().iter().map(|digest| digest.id)).ok_or_else(full)?;
        let object = json!({
            "type": "pbkdf2",
            "keyslots": [],
            "segments": [],
            "hash": digest.hash,
            "iterations": digest.iterations,
            "salt": Base64::encode_string(&digest.salt),
            "digest": Base64::encode_string(&digest.digest),
        });
        self.edit(|text| with(&text, "digests", id, object.to_string().as_bytes()))?;
        Ok(id)
    }

    fn put_segments(&mut self, segments: impl Iterator<Item = Proven>) -> Result<()> {
        let (mut object, mut named) = (serde_json::Map::new(), Vec::new());
        for (id, (segment, digests)) in segments.enumerate() {
            object.insert(id.to_string(), segment.to_json());
            named.extend(digests.into_iter().map(|digest| (digest, id as u32)));
        }
        self.edit(|text| {
            let mut text = root(&text).with("segments", Value::Object(object).to_string().as_bytes())?;
            let numbers: Vec<u32> = numbered(&root(&text), "digests")?.into_iter().map(|(number, _)| number).collect();
            for number in numbers {
                let of: Vec<u32> = named.iter().filter(|(digest, _)| *digest == number).map(|(_, id)| *id).collect();
                text = set_list(&text, "digests", number, "segments", &of)?;
            }
            Ok(text)
        })
    }

    pub(in crate::ondisk::luks) fn require(&mut self, change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
        let mut names = self.requirements().to_vec();
        change(&mut names);
        self.edit(|text| {
            let config = member(&root(&text), "config")?;
            let config = match names.as_slice() {
                [] => config.without("requirements")?,
                names => config.with("requirements", json!({ "mandatory": names }).to_string().as_bytes())?,
            };
            root(&text).with("config", &config)
        })
    }

    /// The largest gap in the keyslots area, aligned to 4096 bytes.
    pub(crate) fn largest_free_area(&self) -> Area {
        let end = self.config.keyslots.offset + self.config.keyslots.size;
        let mut taken: Vec<Area> = self.keyslots().iter().map(|keyslot| keyslot.area).collect();
        taken.push(Area { offset: end, size: 0 });
        taken.sort_by_key(|area| area.offset);
        let (mut from, mut largest) = (self.config.keyslots.offset, Area { offset: end, size: 0 });
        for area in taken {
            let size = area.offset.saturating_sub(from) / 4096 * 4096;
            if size > largest.size {
                largest = Area { offset: from, size };
            }
            from = from.max((area.offset + area.size).next_multiple_of(4096));
        }
        largest
    }
}
