//! What a header says, for a person or a program to look at.

use super::{Luks1Store, StoredHeader};
use crate::key::Kdf;
use crate::ondisk::luks::{
    Digest, Keyslot, KeyslotKdf, KeyslotKind, Luks1Header, Metadata, Priority, STRIPES, SegmentKind, SegmentSize,
    TOKEN_TYPE, WIPING_TYPE,
};
use crate::volume::{DigestInfo, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
use crate::{Error, Result};

impl StoredHeader {
    /// The label and the second label.
    pub(in crate::volume) fn labels(&self) -> (&[u8], &[u8]) {
        match self {
            StoredHeader::Luks1(_) => (&[], &[]),
            StoredHeader::Luks2(stored) => (stored.binary.label.bytes(), stored.binary.subsystem.bytes()),
        }
    }

    pub(in crate::volume) fn requirements(&self) -> Vec<String> {
        match self {
            StoredHeader::Luks1(_) => Vec::new(),
            StoredHeader::Luks2(stored) => stored.metadata.requirements().to_vec(),
        }
    }

    pub(in crate::volume) fn flags(&self) -> Vec<String> {
        match self {
            StoredHeader::Luks1(_) => Vec::new(),
            StoredHeader::Luks2(stored) => stored.metadata.flags(),
        }
    }

    pub(in crate::volume) fn epoch(&self) -> Option<u64> {
        match self {
            StoredHeader::Luks1(_) => None,
            StoredHeader::Luks2(stored) => Some(stored.binary.seqid),
        }
    }

    /// The size of one copy of the header without its keyslots.
    pub(in crate::volume) fn metadata_size(&self) -> u64 {
        match self {
            StoredHeader::Luks1(_) => Luks1Header::LEN as u64,
            StoredHeader::Luks2(stored) => stored.binary.header_size,
        }
    }

    pub(in crate::volume) fn keyslots_size(&self) -> u64 {
        match self {
            StoredHeader::Luks1(stored) => stored.len() - Luks1Header::LEN as u64,
            StoredHeader::Luks2(stored) => stored.metadata.keyslots_size(),
        }
    }

    pub(in crate::volume) fn digest_infos(&self) -> Vec<DigestInfo> {
        match self {
            StoredHeader::Luks1(stored) => vec![luks1_digest(stored)],
            StoredHeader::Luks2(stored) => {
                stored.metadata.digests().iter().map(|digest| luks2_digest(&stored.metadata, digest)).collect()
            }
        }
    }

    /// When a keyslot is tried.
    pub(in crate::volume) fn priority(&self, id: u32) -> Result<Priority> {
        let none = || Error::NoSuchProtector(format!("there is no keyslot {id}"));
        self.keyslot_infos()
            .into_iter()
            .find(|keyslot| keyslot.id == id)
            .map(|keyslot| keyslot.priority)
            .ok_or_else(none)
    }

    /// Whether the protector opens the volume, or is something else with a number; `None` where there is none.
    pub(in crate::volume) fn is_a_way_in(&self, id: ProtectorId) -> Option<bool> {
        match id {
            // Not listed, since LUKS1 has no word for it: to be wiped.
            ProtectorId::Keyslot(id) if matches!(self, StoredHeader::Luks1(stored) if stored.is_unwiped(id)) => {
                Some(false)
            }
            ProtectorId::Keyslot(id) => self.keyslot_infos().iter().find(|keyslot| keyslot.id == id).map(opens),
            ProtectorId::Token(id) => {
                self.token_infos().iter().find(|token| token.id == id).map(|token| token.kind == TOKEN_TYPE)
            }
        }
    }

    /// How many ways in there are: keyslots for passphrases, and tokens of ours.
    pub(in crate::volume) fn ways_in(&self) -> usize {
        let tokens = self.token_infos().iter().filter(|token| token.kind == TOKEN_TYPE).count();
        self.keyslot_infos().iter().filter(|keyslot| opens(keyslot)).count() + tokens
    }

    pub(in crate::volume) fn keyslot_infos(&self) -> Vec<KeyslotInfo> {
        match self {
            StoredHeader::Luks1(stored) => luks1_keyslots(stored),
            StoredHeader::Luks2(stored) => {
                let keyslots = stored.metadata.keyslots().iter();
                keyslots.map(|keyslot| luks2_keyslot(&stored.metadata, keyslot)).collect()
            }
        }
    }

    /// Whether a keyslot or token is what another state of this header has under that number, or in neither.
    pub(in crate::volume) fn has_same(&self, id: ProtectorId, other: &Self) -> bool {
        let keyslot = |stored: &Self, id| stored.keyslot_infos().into_iter().find(|keyslot| keyslot.id == id);
        let token = |stored: &Self, id| stored.token_infos().into_iter().find(|token| token.id == id);
        match id {
            ProtectorId::Keyslot(id) => keyslot(self, id) == keyslot(other, id),
            ProtectorId::Token(id) => token(self, id) == token(other, id),
        }
    }

    pub(in crate::volume) fn token_infos(&self) -> Vec<TokenInfo> {
        let StoredHeader::Luks2(stored) = self else { return Vec::new() };
        let ours = stored.metadata.tokens().unwrap_or_default();
        let key_url = |id| ours.iter().find(|(our, _)| *our == id).map(|(_, token)| token.wrapped.kek.to_string());
        let objects = stored.metadata.token_objects().into_iter();
        objects
            .map(|token| TokenInfo {
                id: token.id,
                kind: token.kind,
                keyslots: token.keyslots,
                key_url: key_url(token.id),
                json: String::from_utf8_lossy(&token.json).into_owned(),
                json_bytes: token.json,
            })
            .collect()
    }

    pub(in crate::volume) fn segment_infos(&self) -> Vec<SegmentInfo> {
        match self {
            StoredHeader::Luks1(stored) => vec![SegmentInfo {
                id: 0,
                kind: "crypt".into(),
                offset: u64::from(stored.header.payload_offset) * 512,
                size: None,
                cipher: stored.header.cipher.name().into(),
                sector_size: 512,
                iv_tweak: 0,
                flags: Vec::new(),
            }],
            StoredHeader::Luks2(stored) => stored.metadata.segments().iter().map(luks2_segment).collect(),
        }
    }
}

/// Whether a passphrase opens the volume by this keyslot, if it is the right one.
fn opens(keyslot: &KeyslotInfo) -> bool {
    ["luks1", "luks2"].contains(&&*keyslot.kind) && keyslot.holds_data_key
}

fn luks1_keyslots(stored: &Luks1Store) -> Vec<KeyslotInfo> {
    let attempts = stored.attempts(None).into_iter().filter_map(|(id, attempt)| Some((id, attempt.ok()?)));
    attempts
        .map(|(id, attempt)| {
            let (hash, iterations) = match attempt.kdf {
                Kdf::Pbkdf2 { hash, iterations } => (hash.name().into(), iterations),
                _ => Default::default(),
            };
            KeyslotInfo {
                id,
                kind: "luks1".into(),
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
                area_offset: attempt.offset,
                area_size: attempt.material.len() as u64,
                digests: vec![0],
                holds_data_key: true,
            }
        })
        .collect()
}

fn luks2_keyslot(metadata: &Metadata, keyslot: &Keyslot) -> KeyslotInfo {
    let proofs = || metadata.digests().iter().filter(|digest| digest.keyslots.contains(&keyslot.id));
    // A keyslot for a key of another use has a digest too, but one without segments.
    let mut data = metadata.segments().iter().filter(|segment| !segment.is_backup());
    let mut info = KeyslotInfo {
        id: keyslot.id,
        kind: String::new(),
        key_bits: keyslot.key_size.saturating_mul(8),
        priority: keyslot.priority,
        kdf: String::new(),
        hash: String::new(),
        iterations: 0,
        memory_kib: 0,
        lanes: 0,
        cipher: String::new(),
        area_key_bits: 0,
        salt: Vec::new(),
        af_hash: String::new(),
        af_stripes: 0,
        area_offset: keyslot.area.offset,
        area_size: keyslot.area.size,
        digests: proofs().map(|digest| digest.id).collect(),
        holds_data_key: data.any(|segment| proofs().any(|digest| digest.segments.contains(&segment.id))),
    };
    let slot = match &keyslot.kind {
        KeyslotKind::Passphrase(slot) => slot,
        other => {
            info.kind = match other {
                KeyslotKind::Reencrypt { .. } => "reencrypt".into(),
                KeyslotKind::Other(kind) => kind.clone(),
                _ => WIPING_TYPE.into(),
            };
            return info;
        }
    };
    info.kind = "luks2".into();
    (info.cipher, info.area_key_bits) = (slot.encryption.clone(), slot.area_key_size.saturating_mul(8));
    (info.salt, info.af_hash, info.af_stripes) = (slot.salt.clone(), slot.af_hash.clone(), slot.stripes);
    info.kdf = match &slot.kdf {
        KeyslotKdf::Pbkdf2 { hash, iterations } => {
            (info.hash, info.iterations) = (hash.clone(), *iterations);
            "pbkdf2"
        }
        KeyslotKdf::Argon2i { time, memory, cpus } => {
            (info.iterations, info.memory_kib, info.lanes) = (*time, *memory, *cpus);
            "argon2i"
        }
        KeyslotKdf::Argon2id { time, memory, cpus } => {
            (info.iterations, info.memory_kib, info.lanes) = (*time, *memory, *cpus);
            "argon2id"
        }
        KeyslotKdf::Other(kind) => kind,
    }
    .into();
    info
}

fn luks2_segment(segment: &crate::ondisk::luks::Segment) -> SegmentInfo {
    let mut info = SegmentInfo {
        id: segment.id,
        kind: String::new(),
        offset: segment.offset,
        size: if let SegmentSize::Bytes(size) = segment.size { Some(size) } else { None },
        cipher: String::new(),
        sector_size: 0,
        iv_tweak: 0,
        flags: segment.flags.clone(),
    };
    info.kind = match &segment.kind {
        SegmentKind::Crypt(crypt) => {
            info.cipher = crypt.encryption.clone();
            (info.sector_size, info.iv_tweak) = (crypt.sector_size, crypt.iv_tweak);
            "crypt".into()
        }
        SegmentKind::Other(kind) => kind.clone(),
    };
    info
}

fn luks1_digest(stored: &Luks1Store) -> DigestInfo {
    let header = &stored.header;
    DigestInfo {
        id: 0,
        kind: "pbkdf2".into(),
        hash: header.hash.name().into(),
        iterations: header.digest_iterations,
        salt: header.digest_salt.into(),
        digest: header.digest.into(),
        key_bits: header.key_len * 8,
        keyslots: stored.attempts(None).into_iter().map(|(id, _)| id).collect(),
        segments: vec![0],
    }
}

fn luks2_digest(metadata: &Metadata, digest: &Digest) -> DigestInfo {
    let (keyslots, segments) = (digest.keyslots.clone(), digest.segments.clone());
    let keyslot = metadata.keyslots().iter().find(|keyslot| keyslots.contains(&keyslot.id));
    let ours = || metadata.tokens().ok()?.first().map(|(_, token)| token.key_size);
    let key_size = keyslot.map(|keyslot| keyslot.key_size).or_else(|| if segments.is_empty() { None } else { ours() });
    let mut info = DigestInfo {
        id: digest.id,
        kind: String::new(),
        hash: String::new(),
        iterations: 0,
        salt: Vec::new(),
        digest: Vec::new(),
        key_bits: key_size.unwrap_or(0).saturating_mul(8),
        keyslots,
        segments,
    };
    if let Some(proof) = &digest.pbkdf2 {
        (info.kind, info.hash, info.iterations) = ("pbkdf2".into(), proof.hash.clone(), proof.iterations);
        (info.salt, info.digest) = (proof.salt.clone(), proof.digest.clone());
    }
    info
}
