//! The places of a volume's data: its first sectors are kept elsewhere, its metadata shows as zeros, and a part may be plain.

use core::ops::Range;
use std::sync::Arc;

use super::found::{Found, VISTA_PLAIN};
use crate::cipher::CipherSpec;
use crate::ondisk::bitlocker::{AREA, Defect, Generation, Method, State};
use crate::volume::SegmentInfo;
use crate::volume::data_area::{Crypt, DataArea, Piece};
use crate::volume::keys::Under;
use crate::volume::layout::Shown;
use crate::{Error, Result, SectorSize, TooSmall};

/// The least room of a copy in Windows Vista, where clusters are larger.
const VISTA_AREA: u64 = 16 << 10;

/// The place of the data.
pub(super) fn data_area(found: &Found) -> Result<DataArea> {
    let map = Map::new(found)?;
    let pieces = map.pieces()?;
    Ok(DataArea { pieces, cipher: map.crypt.cipher, moving: None })
}

/// The pieces, for people; none for a volume that can't be opened.
pub(super) fn describe(found: &Found) -> Vec<SegmentInfo> {
    let pieces = data_area(found).map_or_else(|_| Vec::new(), |data| data.pieces);
    (0..).zip(pieces).map(|(id, piece)| segment(id, piece)).collect()
}

fn segment(id: u32, piece: Piece) -> SegmentInfo {
    SegmentInfo {
        id,
        kind: match (&piece.shown, &piece.crypt) {
            (Some(_), _) => "hidden",
            (None, Some(_)) => "crypt",
            (None, None) => "linear",
        }
        .into(),
        offset: piece.offset,
        size: piece.size,
        cipher: piece.crypt.map_or("", |crypt| crypt.cipher.name()).into(),
        sector_size: piece.crypt.map_or(0, |crypt| crypt.sector_size.bytes()),
        iv_tweak: piece.crypt.map_or(0, |crypt| crypt.iv_tweak),
        flags: Vec::new(),
    }
}

struct Map {
    sector: u64,
    /// The size of the volume in bytes.
    end: u64,
    /// The bytes at the start of the volume that are kept elsewhere, or are plain.
    start: u64,
    kept: Kept,
    /// The ranges that show as zeros, in order.
    hidden: Vec<Range<u64>>,
    /// The encrypted ranges of the device, in order.
    encrypted: Vec<Range<u64>>,
    crypt: Crypt,
}

/// The place of the first sectors.
enum Kept {
    /// From a byte of the device on.
    At(u64),
    /// Here.
    Here(Arc<[u8]>),
}

impl Map {
    fn new(found: &Found) -> Result<Self> {
        let (block, sector_size) = (&found.block, found.boot.sector_size);
        let sector = u64::from(sector_size.bytes());
        let mut end = found.device_size / sector * sector;
        if block.state == State::Encrypted && block.encrypted != 0 {
            // The volume ends there. A device that ends before it is refused before a credential is tried.
            if found.device_size < block.encrypted {
                return Err(Error::DeviceTooSmall {
                    what: TooSmall::Data,
                    needed: block.encrypted,
                    size: found.device_size,
                });
            }
            end = block.encrypted;
        }
        let encrypted = match block.state {
            State::Encrypted => 0..end,
            State::Decrypted => 0..0,
            State::Partly => 0..block.encrypted,
        };
        if !encrypted.end.is_multiple_of(sector) || encrypted.end > end {
            let text = format!("of {end} bytes it says that the first {} are encrypted", encrypted.end);
            return Err(Defect::Invalid(text).into());
        }
        let (start, kept, area) = match found.boot.generation {
            Generation::Vista { cluster, .. } => {
                let first = first_sectors(&found.start, block.header_offset);
                (VISTA_PLAIN, Kept::Here(first.into()), VISTA_AREA.next_multiple_of(cluster))
            }
            Generation::Seven { .. } => {
                let start = u64::from(block.header_sectors) * sector;
                (start, Kept::At(block.header_offset), (AREA as u64).next_multiple_of(sector))
            }
        };
        let mut hidden: Vec<Range<u64>> = block.copies.iter().map(|copy| *copy..copy.saturating_add(area)).collect();
        if let Kept::At(offset) = kept {
            hidden.push(offset..offset.saturating_add(start));
        }
        let mut encrypted = if encrypted.is_empty() { Vec::new() } else { vec![encrypted] };
        if let Some(chunks) = &found.chunks {
            if chunks.covered != (start..end) {
                let Range { start: first, end: last } = chunks.covered;
                let text = format!("the map of its chunks is of bytes {first} to {last}, not of {start} to {end}");
                return Err(Defect::Invalid(text).into());
            }
            hidden.extend(chunks.own.iter().cloned());
            encrypted.clone_from(&chunks.encrypted);
        }
        hidden.retain(|range| !range.is_empty());
        hidden.sort_by_key(|range| range.start);
        let cipher = block.method.map_or(CipherSpec::AesXtsPlain64, |method| cipher(method, sector_size));
        let crypt = Crypt { iv_tweak: 0, sector_size, cipher, under: Under::Current };
        let map = Map { sector, end, start, kept, hidden, encrypted, crypt };
        map.check()?;
        Ok(map)
    }

    /// Checks that the hidden ranges lie within the volume, in whole sectors, one behind the other, and not at its start.
    fn check(&self) -> Result<(), Defect> {
        if self.start == 0 || self.start > self.end {
            return Err(Defect::Invalid(format!("{} bytes of its {} bytes are kept elsewhere", self.start, self.end)));
        }
        let mut free = self.start;
        for Range { start, end } in &self.hidden {
            let is_whole = start.is_multiple_of(self.sector) && end.is_multiple_of(self.sector);
            if !is_whole || *start < free || *end > self.end {
                return Err(Defect::Invalid(format!(
                    "bytes {start} to {end} are its own; they overlap others, or are no whole sectors of its {} bytes",
                    self.end
                )));
            }
            free = *end;
        }
        Ok(())
    }

    fn pieces(&self) -> Result<Vec<Piece>, Defect> {
        let mut pieces = Vec::new();
        match &self.kept {
            Kept::At(offset) => self.data(&mut pieces, *offset..offset + self.start),
            Kept::Here(bytes) => pieces.push(Piece {
                offset: 0,
                size: Some(self.start),
                crypt: None,
                shown: Some(Shown::Bytes(bytes.clone())),
            }),
        }
        let mut at = self.start;
        // Hidden ranges at the end of the volume are left out of its size: a new file system would use that room.
        let mut end = self.end;
        while let Some(last) = self.hidden.iter().rev().find(|range| range.end == end) {
            end = last.start;
        }
        for range in self.hidden.iter().filter(|range| range.start < end) {
            self.data(&mut pieces, at..range.start);
            let size = Some(range.end - range.start);
            pieces.push(Piece { offset: range.start, size, crypt: None, shown: Some(Shown::Zeros) });
            at = range.end;
        }
        self.data(&mut pieces, at..end);
        Ok(pieces)
    }

    /// Data that lies at a range of the device, cut where encryption begins or ends.
    fn data(&self, pieces: &mut Vec<Piece>, range: Range<u64>) {
        let mut at = range.start;
        let from = self.encrypted.partition_point(|encrypted| encrypted.end <= at);
        for encrypted in &self.encrypted[from..] {
            if encrypted.start >= range.end {
                break;
            }
            self.push(pieces, at..encrypted.start.max(at), false);
            let (start, end) = (encrypted.start.max(at), encrypted.end.min(range.end));
            self.push(pieces, start..end, true);
            at = end;
        }
        self.push(pieces, at..range.end, false);
    }

    fn push(&self, pieces: &mut Vec<Piece>, range: Range<u64>, is_encrypted: bool) {
        if range.is_empty() {
            return;
        }
        let crypt = Crypt { iv_tweak: range.start / 512, ..self.crypt };
        let crypt = is_encrypted.then_some(crypt);
        pieces.push(Piece { offset: range.start, size: Some(range.end - range.start), crypt, shown: None });
    }
}

/// The first sectors of the file system of Windows Vista: the boot sector, with the name and the field that BitLocker replaced.
fn first_sectors(start: &[u8], cluster: u64) -> Vec<u8> {
    let mut first = start.to_vec();
    first[3..11].copy_from_slice(b"NTFS    ");
    first[56..64].copy_from_slice(&cluster.to_le_bytes());
    first
}

fn cipher(method: Method, sector_size: SectorSize) -> CipherSpec {
    match method {
        Method::Cbc128Elephant | Method::Cbc256Elephant => CipherSpec::AesCbcElephant,
        Method::Cbc128 | Method::Cbc256 => CipherSpec::AesCbcEboiv,
        Method::Xts128 | Method::Xts256 if sector_size == SectorSize::B512 => CipherSpec::AesXtsPlain64,
        Method::Xts128 | Method::Xts256 => CipherSpec::AesXtsPlain64Large,
    }
}
