//! Where the data is, as a header says it, and as a device has it.

use super::layout::{Extent, Layout};
use crate::cipher::CipherSpec;
use crate::ondisk::luks::{CryptSegment, Luks1Header, Metadata, Segment, SegmentKind, SegmentSize};
use crate::{Dek, Error, Result, SectorSize};

/// What opens what this library doesn't. OPAL drives came with cryptsetup 2.7.
const ELSEWHERE: &str = "`cryptsetup open` may, on a kernel that has what it needs";

/// The data as a header describes it, checked for what this library can do.
#[derive(Debug, Clone)]
pub(super) struct DataArea {
    /// Pieces in the order in which the volume shows them: at least one that is encrypted.
    pieces: Vec<Piece>,
    /// The cipher of all that is encrypted.
    pub(super) cipher: CipherSpec,
    /// The number of the digest that proves its key; of no meaning in LUKS1, which has one.
    pub(super) digest: u32,
}

#[derive(Debug, Clone)]
struct Piece {
    offset: u64,
    size: SegmentSize,
    /// `None` for a piece that is not encrypted.
    crypt: Option<Crypt>,
}

#[derive(Debug, Clone, Copy)]
struct Crypt {
    iv_tweak: u64,
    sector_size: SectorSize,
}

impl DataArea {
    /// The data of a LUKS1 header, which has been checked.
    pub(super) fn of_luks1(header: &Luks1Header) -> Self {
        let crypt = Crypt { iv_tweak: 0, sector_size: SectorSize::B512 };
        let offset = u64::from(header.payload_offset) * 512;
        let piece = Piece { offset, size: SegmentSize::Dynamic, crypt: Some(crypt) };
        DataArea { pieces: vec![piece], cipher: header.cipher, digest: 0 }
    }

    /// The data of a LUKS2 header, on a device where it can't begin before `header_end`.
    pub(super) fn of_luks2(metadata: &Metadata, header_end: u64) -> Result<Self> {
        let no = |text: String| Err(Error::UnsupportedHeader(text));
        let mut pieces = Vec::new();
        let (mut cipher, mut digest) = (None, None);
        for segment in metadata.segments() {
            let crypt = match &segment.kind {
                SegmentKind::Other(kind) if kind == "linear" => None,
                SegmentKind::Crypt(crypt) => {
                    let spec = spec(crypt)?;
                    let proof =
                        metadata.digests().iter().find(|d| d.pbkdf2.is_some() && d.segments.contains(&segment.id));
                    let Some(proof) = proof else { return no("no digest of a known type proves its key".into()) };
                    if *cipher.get_or_insert(spec) != spec || *digest.get_or_insert(proof.id) != proof.id {
                        return no("its segments have different ciphers or keys".into());
                    }
                    Some(checked(crypt)?)
                }
                SegmentKind::Other(kind) => {
                    return no(format!("its segment is of type {kind:?}, not \"crypt\"; {ELSEWHERE}"));
                }
            };
            check_place(segment, crypt.map_or(512, |crypt| crypt.sector_size.bytes()), header_end)?;
            pieces.push(Piece { offset: segment.offset, size: segment.size, crypt });
        }
        let open_ended = pieces.iter().rev().skip(1).any(|piece| piece.size == SegmentSize::Dynamic);
        if open_ended {
            return no("a segment that isn't the last has no size".into());
        }
        let (Some(cipher), Some(digest)) = (cipher, digest) else {
            return no("none of its segments is encrypted: they are of type \"linear\"".into());
        };
        let proof = metadata.digests().iter().find(|d| d.id == digest).and_then(|d| d.pbkdf2.as_ref());
        proof.map_or(Ok(()), |proof| proof.check())?;
        Ok(DataArea { pieces, cipher, digest })
    }

    /// Refuses data of which a part is not encrypted. Nothing authenticates a header of LUKS, so that whoever can write
    /// to the disk can say of any part that it isn't.
    pub(super) fn check_encrypted(&self) -> Result<()> {
        if self.pieces.iter().all(|piece| piece.crypt.is_some()) {
            return Ok(());
        }
        Err(Error::UnsupportedHeader(
            "a part of its data, a segment of type \"linear\", is not encrypted; `hazmat_allow_unencrypted` opens it \
             all the same"
                .into(),
        ))
    }

    /// The data of a device of `device_size` bytes.
    pub(super) fn layout(&self, device_size: u64, dek: &Dek) -> Result<Layout> {
        let sizes = self.pieces.iter().filter_map(|piece| piece.crypt).map(|crypt| crypt.sector_size);
        let sector_size = sizes.max_by_key(|size| size.bytes()).unwrap_or(SectorSize::B512);
        let unit = u64::from(sector_size.bytes());
        let mut extents = Vec::new();
        let mut size = 0u64;
        for piece in &self.pieces {
            let wanted = if let SegmentSize::Bytes(size) = piece.size { size } else { unit };
            let room = device_size.saturating_sub(piece.offset);
            if room < wanted {
                return Err(Error::DeviceTooSmall { needed: piece.offset.saturating_add(wanted), size: device_size });
            }
            let len = if let SegmentSize::Bytes(size) = piece.size { size } else { room / unit * unit };
            if !len.is_multiple_of(unit) {
                return Err(Error::UnsupportedHeader(format!(
                    "a segment of {len} bytes is no whole number of sectors"
                )));
            }
            let iv_tweak = piece.crypt.map_or(0, |crypt| crypt.iv_tweak);
            // Neither an offset nor a sector number may go over 2^64 - 1 anywhere.
            let end = size.checked_add(len).filter(|_| piece.offset.checked_add(len).is_some());
            let end = end.filter(|_| iv_tweak.checked_add(len / 512).is_some());
            let end = end.ok_or(Error::SectorOverflow { first_sector: iv_tweak })?;
            let cipher = piece.crypt.map(|crypt| dek.dm_cipher(self.cipher, crypt.sector_size)).transpose()?;
            extents.push(Extent { range: size..end, device_offset: piece.offset, iv_tweak, cipher });
            size = end;
        }
        Ok(Layout { extents, size, sector_size })
    }
}

fn spec(crypt: &CryptSegment) -> Result<CipherSpec> {
    let spec = CipherSpec::from_name(&crypt.encryption);
    let unknown = || format!("its cipher is {:?}, which is not known; {ELSEWHERE}", crypt.encryption);
    spec.ok_or_else(|| Error::UnsupportedHeader(unknown()))
}

fn checked(crypt: &CryptSegment) -> Result<Crypt> {
    if crypt.integrity {
        return Err(Error::UnsupportedHeader(format!("its sectors carry integrity tags; {ELSEWHERE}")));
    }
    match crypt.sector_size {
        size @ (512 | 1024 | 2048 | 4096) => {
            Ok(Crypt { iv_tweak: crypt.iv_tweak, sector_size: SectorSize::new(size)? })
        }
        size => Err(Error::UnsupportedHeader(format!("its sectors have {size} bytes"))),
    }
}

fn check_place(segment: &Segment, sector_size: u32, header_end: u64) -> Result<()> {
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
