//! Where on a device the data of a volume is.

use core::ops::Range;

use crate::cipher::DmCipher;
use crate::{Error, Result, SectorSize};

/// Where the data is and how its sectors are numbered.
pub(super) struct Layout {
    /// In the order of the volume's data, which they cover without a gap; at least one.
    pub(super) extents: Vec<Extent>,
    /// The size of the data in bytes, a multiple of the sector size.
    pub(super) size: u64,
    pub(super) sector_size: SectorSize,
}

/// A part of the data that lies in one place of the device.
pub(super) struct Extent {
    /// Where it is in the volume, in bytes.
    pub(super) range: Range<u64>,
    /// Where it begins on the device, in bytes.
    pub(super) device_offset: u64,
    /// The number of its first sector, in units of 512 bytes.
    pub(super) iv_tweak: u64,
    /// `None` for what is not encrypted.
    pub(super) cipher: Option<Box<DmCipher>>,
}

/// Where a read or write lands, or a part of it.
pub(super) struct Place<'a> {
    /// Which part of the buffer.
    pub(super) within: Range<usize>,
    pub(super) device_offset: u64,
    pub(super) first_sector: u64,
    pub(super) cipher: Option<&'a DmCipher>,
}

impl Layout {
    pub(super) fn check(&self, offset: u64, len: usize) -> Result<()> {
        let sector_size = self.sector_size.bytes();
        if !offset.is_multiple_of(u64::from(sector_size)) || !len.is_multiple_of(sector_size as usize) {
            return Err(Error::Misaligned { offset, len, sector_size });
        }
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(Error::OutOfBounds { offset, len, size: self.size });
        }
        Ok(())
    }

    /// The parts of what [`check`](Self::check) has passed. No sum can wrap: it can't for the whole size either.
    pub(super) fn places(&self, offset: u64, len: usize) -> impl Iterator<Item = Place<'_>> {
        let end = offset + len as u64;
        let first = self.extents.partition_point(|extent| extent.range.end <= offset);
        let extents = self.extents[first..].iter().take_while(move |extent| extent.range.start < end);
        extents.map(move |extent| extent.place(offset..end))
    }

    /// The place of what [`check`](Self::check) has passed, if all of it lies in one, as it does but for volumes of several
    /// segments.
    pub(super) fn one_place(&self, offset: u64, len: usize) -> Option<Place<'_>> {
        let end = offset + len as u64;
        let extent = self.extents.iter().find(|extent| end <= extent.range.end)?;
        (extent.range.start <= offset).then(|| extent.place(offset..end))
    }
}

impl Extent {
    /// Where that part of a request lands which is here.
    fn place(&self, request: Range<u64>) -> Place<'_> {
        let (from, to) = (self.range.start.max(request.start), self.range.end.min(request.end));
        let into = from - self.range.start;
        Place {
            within: (from - request.start) as usize..(to - request.start) as usize,
            device_offset: self.device_offset + into,
            first_sector: self.iv_tweak + into / 512,
            cipher: self.cipher.as_deref(),
        }
    }
}
