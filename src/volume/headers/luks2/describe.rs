//! Describes a LUKS2 header for people and programs.

use crate::ondisk::luks::{
    Digest, Keyslot, KeyslotKdf, KeyslotKind, Metadata, Segment, SegmentKind, SegmentSize, WIPING_TYPE,
};
use crate::volume::{DigestInfo, KeyslotInfo, SegmentInfo, TokenInfo};

/// The `kind` of a keyslot for a passphrase.
pub(super) const KIND: &str = "luks2";

pub(super) fn keyslot(metadata: &Metadata, keyslot: &Keyslot) -> KeyslotInfo {
    let proofs = || metadata.digests().iter().filter(|digest| digest.keyslots.contains(&keyslot.id));
    // A keyslot for a key of another use also has a digest, but one without segments.
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
    info.kind = KIND.into();
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

pub(super) fn tokens(metadata: &Metadata) -> Vec<TokenInfo> {
    let ours = metadata.tokens().unwrap_or_default();
    let key_url = |id| ours.iter().find(|(our, _)| *our == id).map(|(_, token)| token.wrapped.kek.to_string());
    let objects = metadata.token_objects().into_iter();
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

pub(super) fn segment(segment: &Segment) -> SegmentInfo {
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

pub(super) fn digest(metadata: &Metadata, digest: &Digest) -> DigestInfo {
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
