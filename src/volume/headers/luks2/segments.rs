//! The data of a LUKS2 header: its segments, and the digest that verifies their key.

use crate::cipher::CipherSpec;
use crate::ondisk::luks::{CryptSegment, Digest, Metadata, Segment, SegmentKind, SegmentSize};
use crate::volume::data_area::{Crypt, DataArea, Piece};
use crate::volume::keys::Under;
use crate::{Error, Result, SectorSize};

/// Advice for features that this library doesn't have.
const ELSEWHERE: &str = "`cryptsetup open` may open it, if the kernel supports it";

/// The digest that verifies one of the data's keys; but for a re-encryption there is only one. The header's
/// [data area](data_area) must be readable: then all encrypted segments have the same digest.
pub(super) fn data_digest(metadata: &Metadata, under: Under) -> Option<&Digest> {
    if let Ok(Some(plan)) = metadata.plan() {
        let id = if under == Under::Previous { plan.old } else { plan.new.or(plan.old) };
        return metadata.digests().iter().find(|digest| Some(digest.id) == id && digest.pbkdf2.is_some());
    }
    let encrypted = metadata.segments().iter().find(|segment| matches!(segment.kind, SegmentKind::Crypt(_)));
    encrypted.and_then(|segment| proof(metadata, segment))
}

/// The place of the data, without a re-encryption, which can't begin before `header_end`.
pub(super) fn data_area(metadata: &Metadata, header_end: u64) -> Result<DataArea> {
    let no = |text: String| Err(Error::UnsupportedHeader(text));
    let mut pieces = Vec::new();
    let (mut cipher, mut digest) = (None, None);
    for segment in metadata.segments() {
        let crypt = match &segment.kind {
            SegmentKind::Other(kind) if kind == "linear" => None,
            SegmentKind::Crypt(crypt) => {
                let spec = spec(crypt)?;
                let Some(proof) = proof(metadata, segment) else {
                    return no("no digest of a known type proves its key".into());
                };
                if *cipher.get_or_insert(spec) != spec || digest.get_or_insert(proof).id != proof.id {
                    return no("its segments have different ciphers or keys".into());
                }
                Some(checked(crypt, spec)?)
            }
            SegmentKind::Other(kind) if kind.starts_with("hw-opal") => {
                return no(format!(
                    "its segment is of type {kind:?}: the drive itself encrypts (OPAL), and only commands to the drive unlock it; \
                     `cryptsetup open` of version 2.7 or later opens it"
                ));
            }
            SegmentKind::Other(kind) => {
                return no(format!("its segment is of type {kind:?}, not \"crypt\"; {ELSEWHERE}"));
            }
        };
        check_place(segment, crypt.map_or(512, |crypt| crypt.sector_size.bytes()), header_end)?;
        let size = if let SegmentSize::Bytes(size) = segment.size { Some(size) } else { None };
        pieces.push(Piece { offset: segment.offset, size, crypt, shown: None });
    }
    let open_ended = pieces.iter().rev().skip(1).any(|piece| piece.size.is_none());
    if open_ended {
        return no("a segment that isn't the last has no size".into());
    }
    let (Some(cipher), Some(digest)) = (cipher, digest) else {
        return no("none of its segments is encrypted: they are of type \"linear\"".into());
    };
    digest.pbkdf2.as_ref().map_or(Ok(()), |proof| proof.check())?;
    Ok(DataArea { pieces, cipher, moving: None })
}

/// The digest of a known type that verifies a segment's key.
fn proof<'m>(metadata: &'m Metadata, segment: &Segment) -> Option<&'m Digest> {
    metadata.digests().iter().find(|digest| digest.pbkdf2.is_some() && digest.segments.contains(&segment.id))
}

pub(super) fn spec(crypt: &CryptSegment) -> Result<CipherSpec> {
    let spec = CipherSpec::from_name(&crypt.encryption);
    let refusal = || format!("its cipher is {:?}, {}", crypt.encryption, CipherSpec::why_unknown(&crypt.encryption));
    spec.ok_or_else(|| Error::UnsupportedHeader(refusal()))
}

pub(super) fn checked(crypt: &CryptSegment, cipher: CipherSpec) -> Result<Crypt> {
    if let Some(kind) = &crypt.integrity {
        return Err(Error::UnsupportedHeader(format!(
            "its sectors carry integrity tags ({kind}), which dm-integrity keeps beside them; `cryptsetup open` opens it on Linux"
        )));
    }
    match crypt.sector_size {
        size @ (512 | 1024 | 2048 | 4096) => {
            let sector_size = SectorSize::new(size)?;
            Ok(Crypt { iv_tweak: crypt.iv_tweak, sector_size, cipher, under: Under::Current })
        }
        size => Err(Error::UnsupportedHeader(format!("its sectors have {size} bytes"))),
    }
}

pub(super) fn check_place(segment: &Segment, sector_size: u32, header_end: u64) -> Result<()> {
    let no = |text: String| Err(Error::UnsupportedHeader(text));
    if !segment.flags.is_empty() {
        return no(format!("its segment carries the flags {}", segment.flags.join(", ")));
    }
    if !segment.offset.is_multiple_of(512) || segment.offset < header_end {
        return no(format!("its data begins at byte {}, within the header or a sector", segment.offset));
    }
    if matches!(segment.size, SegmentSize::Bytes(n) if n == 0 || !n.is_multiple_of(u64::from(sector_size))) {
        return no("the size of its segment is no whole number of sectors".into());
    }
    Ok(())
}
