//! The place of a volume's data on a device.

use core::ops::Range;
use std::sync::Arc;

use crate::cipher::DmCipher;
use crate::{Error, Result, SectorSize, zeros};

/// The places of the data, and the numbers of its sectors.
#[derive(Clone)]
pub(super) struct Layout {
    /// At least one, in the order of the volume's data, without gaps.
    pub(super) extents: Vec<Extent>,
    /// The size of the data in bytes, a multiple of the sector size.
    pub(super) size: u64,
    pub(super) sector_size: SectorSize,
    /// The part that a re-encryption is about to rewrite.
    pub(super) closed: Option<Closed>,
    /// Whether any extent shows other content than the device's.
    pub(super) shows: bool,
}

/// A part of a volume that can't be written, or not be read either, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// In the volume, in bytes.
    pub(super) range: Range<u64>,
    pub(super) why: Why,
}

/// Why a part is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is about to be rewritten, and must not change; it can be read.
    Kept,
    /// It is being rewritten.
    Rewritten,
    /// Rewriting it failed. It stays closed until somebody tries again.
    Failed,
}

/// A contiguous part of the data on the device.
#[derive(Clone)]
pub(super) struct Extent {
    /// Its range in the volume, in bytes.
    pub(super) range: Range<u64>,
    /// Its first byte on the device.
    pub(super) device_offset: u64,
    /// The number of its first sector, in units of 512 bytes.
    pub(super) iv_tweak: u64,
    /// `None` if it is not encrypted.
    pub(super) cipher: Option<Arc<DmCipher>>,
    /// The content that is read here in place of the device's.
    pub(super) shown: Option<Shown>,
}

/// The content that a volume shows in place of the device's, such as metadata. It can't be changed.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "bitlocker"), allow(dead_code))] // LUKS has no such places
pub(super) enum Shown {
    Zeros,
    Bytes(Arc<[u8]>),
}

impl Shown {
    /// Copies the content from byte `at` on.
    pub(super) fn read(&self, at: u64, to: &mut [u8]) {
        match self {
            Shown::Zeros => to.fill(0),
            Shown::Bytes(bytes) => to.copy_from_slice(&bytes[at as usize..at as usize + to.len()]),
        }
    }

    /// Whether zeros are shown.
    pub(super) fn is_zero(&self, at: u64, len: usize) -> bool {
        match self {
            Shown::Zeros => true,
            Shown::Bytes(bytes) => zeros::is_zero(&bytes[at as usize..at as usize + len]),
        }
    }

    /// Whether it already equals the bytes to be written.
    pub(super) fn is(&self, at: u64, written: &[u8]) -> bool {
        match self {
            Shown::Zeros => zeros::is_zero(written),
            Shown::Bytes(bytes) => bytes[at as usize..at as usize + written.len()] == *written,
        }
    }
}

/// The place of a read or write, or of a part of it.
pub(super) struct Place<'a> {
    /// The part of the buffer.
    pub(super) within: Range<usize>,
    pub(super) device_offset: u64,
    pub(super) first_sector: u64,
    pub(super) cipher: Option<&'a DmCipher>,
    /// The content to read there, and the first byte within it.
    pub(super) shown: Option<(&'a Shown, u64)>,
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

    /// Cuts off everything beyond `size`, which is a whole number of sectors, and not zero.
    pub(super) fn cut(&mut self, size: u64) {
        self.extents.retain(|extent| extent.range.start < size);
        if let Some(last) = self.extents.last_mut() {
            last.range.end = last.range.end.min(size);
        }
        self.size = size;
    }

    /// The parts of a range that passed [`check`](Self::check). No sum can overflow, because the whole size doesn't.
    pub(super) fn places(&self, offset: u64, len: usize) -> impl Iterator<Item = Place<'_>> {
        let end = offset + len as u64;
        let first = self.extents.partition_point(|extent| extent.range.end <= offset);
        let extents = self.extents[first..].iter().take_while(move |extent| extent.range.start < end);
        extents.map(move |extent| extent.place(offset..end))
    }

    /// The place of a range that passed [`check`](Self::check), if all of it lies in one extent; only volumes of several segments
    /// have more. `None` for content that isn't the device's.
    pub(super) fn one_place(&self, offset: u64, len: usize) -> Option<Place<'_>> {
        let end = offset + len as u64;
        let extent = self.extents.iter().find(|extent| end <= extent.range.end)?;
        (extent.range.start <= offset && extent.shown.is_none()).then(|| extent.place(offset..end))
    }

    /// Refuses a write of `len` bytes that would change shown content, before any of it is written. `stays` says whether the shown
    /// content, from a byte within it on, equals that part of the request.
    pub(super) fn check_shown(
        &self,
        offset: u64,
        len: usize,
        stays: impl Fn(&Shown, u64, Range<usize>) -> bool,
    ) -> Result<()> {
        if !self.shows {
            return Ok(());
        }
        for place in self.places(offset, len) {
            if place.shown.is_some_and(|(shown, at)| !stays(shown, at, place.within.clone())) {
                let (start, len) = (offset + place.within.start as u64, place.within.len());
                return Err(Error::UnsupportedHeader(format!(
                    "what it shows in the {len} bytes at offset {start}, where its own metadata lies, can't be changed"
                )));
            }
        }
        Ok(())
    }
}

impl Extent {
    /// The place of the part of a request that lies in this extent.
    fn place(&self, request: Range<u64>) -> Place<'_> {
        let (from, to) = (self.range.start.max(request.start), self.range.end.min(request.end));
        let into = from - self.range.start;
        Place {
            within: (from - request.start) as usize..(to - request.start) as usize,
            device_offset: self.device_offset + into,
            first_sector: self.iv_tweak + into / 512,
            cipher: self.cipher.as_deref(),
            shown: self.shown.as_ref().map(|shown| (shown, into)),
        }
    }
}
