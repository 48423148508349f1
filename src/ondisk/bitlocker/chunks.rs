//! Maps of chunks, in which Windows 8 and later record the encrypted part while they encrypt or decrypt a volume in use.
//!
//! The volume is cut into regions, and a region into chunks. A bitmap for each region says which chunks are encrypted. It is
//! recorded twice, and the newer record counts. Beside it is a log of the chunks that are being converted.

use core::ops::Range;

use super::bytes::{crc32, u16_at, u32_at, u64_at};

const INFORMATION: &[u8] = b"FVE-EOW\0";
const BITMAP: &[u8] = b"FVE-EOWBM\0";
const RECORD: &[u8] = b"FVE-EOWBR\0";

const INFORMATION_HEADER: usize = 56;
const BITMAP_HEADER: usize = 60;
const RECORD_HEADER: usize = 36;

/// The most bytes of an [`Information`].
pub(crate) const MAX_INFORMATION: usize = 64 << 10;
/// The most bytes of a [`Bitmap`]. One of Windows has 1536.
pub(crate) const MAX_BITMAP: usize = 1 << 20;

/// The places of the bitmaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Information {
    /// Its own bytes.
    pub(crate) size: u64,
    pub(crate) chunk: u64,
    /// The bytes of the log beside each bitmap.
    pub(crate) log: u64,
    pub(crate) bitmaps: Vec<u64>,
}

impl Information {
    /// Whether the bytes begin like one, sound or not.
    pub(crate) fn is_here(bytes: &[u8]) -> bool {
        bytes.starts_with(INFORMATION)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let cut = "the map of its chunks is cut off";
        let (header, size) = (u16_at(bytes, 8).ok_or(cut)?, usize::from(u16_at(bytes, 10).ok_or(cut)?));
        if usize::from(header) != INFORMATION_HEADER || size < INFORMATION_HEADER {
            return Err(format!("the map of its chunks has {size} bytes, and a header of {header}"));
        }
        let bytes = bytes.get(..size).ok_or(cut)?;
        check(bytes, 36)?;
        let field = |at| u32_at(bytes, at).map(u64::from).ok_or(cut);
        let bitmaps =
            bytes[INFORMATION_HEADER..].as_chunks().0.iter().map(|place| u64::from_le_bytes(*place)).collect();
        Ok(Information { size: size as u64, chunk: field(20)?, log: field(24)?, bitmaps })
    }
}

/// The chunks of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    /// Its own bytes.
    pub(crate) size: u64,
    pub(crate) region: Range<u64>,
    /// The first byte of its log.
    pub(crate) log: u64,
    /// A bit for each chunk, the lowest bit first, and perhaps further bits.
    bits: Vec<u8>,
}

impl Bitmap {
    /// Reads a bitmap with a bit for each `chunk` bytes.
    pub(crate) fn parse(bytes: &[u8], chunk: u64) -> Result<Self, String> {
        let cut = "a map of a region's chunks is cut off";
        let field = |at| u32_at(bytes, at).map(|field| field as usize).ok_or(cut);
        let number = |at| u64_at(bytes, at).ok_or(cut);
        if !bytes.starts_with(BITMAP) || u16_at(bytes, 10).map(usize::from) != Some(BITMAP_HEADER) {
            return Err("a map of a region's chunks is missing".into());
        }
        let (size, records, record) = (field(12)?, [field(44)?, field(48)?], field(52)?);
        let bytes = bytes.get(..size).ok_or(cut)?;
        if records[0] < BITMAP_HEADER || records[1] < records[0] {
            return Err(format!("a map of a region's chunks has records at bytes {} and {}", records[0], records[1]));
        }
        check(bytes.get(..records[0]).ok_or(cut)?, 56)?;
        let (start, len) = (number(20)?, number(28)?);
        let region = start..start.checked_add(len).ok_or("a region of chunks has no end")?;
        let mut newest = None;
        for at in records {
            let end = at.checked_add(record).ok_or(cut)?;
            if let Some(found) = Record::parse(bytes.get(at..end).ok_or(cut)?) {
                newest = newest.filter(|newest: &Record<'_>| newest.number > found.number).or(Some(found));
            }
        }
        let newest = newest.ok_or("both records of a map of a region's chunks are damaged")?;
        if len.div_ceil(chunk) > newest.count.min(newest.bits.len() as u64 * 8) {
            return Err(format!("the map of a region of {len} bytes has {} chunks of {chunk} bytes", newest.count));
        }
        Ok(Bitmap { size: size as u64, region, log: number(36)?, bits: newest.bits.to_vec() })
    }

    /// The runs of chunks that are encrypted.
    pub(crate) fn encrypted(&self, chunk: u64) -> impl Iterator<Item = Range<u64>> {
        let Range { start, end } = self.region;
        let count = (end - start).div_ceil(chunk);
        let is_set = move |i: u64| self.bits[(i / 8) as usize] >> (i % 8) & 1 == 1;
        let mut next = 0;
        core::iter::from_fn(move || {
            let first = (next..count).find(|i| is_set(*i))?;
            let last = (first..count).find(|i| !is_set(*i)).unwrap_or(count);
            next = last;
            // Within the region, no product exceeds its end by more than a chunk.
            Some(start + first * chunk..end.min(start.saturating_add(last.saturating_mul(chunk))))
        })
    }
}

struct Record<'a> {
    number: u64,
    /// The number of valid bits.
    count: u64,
    bits: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` if it is damaged, because it was being written when the machine stopped.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let size = u32_at(bytes, 12)? as usize;
        let bytes = bytes.get(..size).filter(|_| size >= RECORD_HEADER)?;
        let is_whole = bytes.starts_with(RECORD) && u16_at(bytes, 10)? as usize == RECORD_HEADER;
        check(bytes, 32).ok().filter(|()| is_whole)?;
        let (count, number) = (u64::from(u32_at(bytes, 16)?), u64_at(bytes, 20)?);
        Some(Record { number, count, bits: &bytes[RECORD_HEADER..] })
    }
}

/// Verifies a checksum over bytes in which its own field counts as zeros.
fn check(bytes: &[u8], at: usize) -> Result<(), String> {
    let mut copy = bytes.to_vec();
    let wrong = "the checksum of a map of its chunks is wrong";
    copy.get_mut(at..at + 4).ok_or(wrong)?.fill(0);
    if u32_at(bytes, at) == Some(crc32(&copy)) { Ok(()) } else { Err(wrong.into()) }
}
