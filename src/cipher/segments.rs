//! Runs of sectors in several pieces of memory, like the vectors of `readv` and `writev`.

use super::SectorCipher;
use crate::{Error, Result, usage};

/// The operation on a segment.
type InPlace = fn(&SectorCipher, u64, &mut [u8]) -> Result<()>;

/// The operation on a piece that is contiguous in both source and destination.
type ToPiece = fn(&SectorCipher, u64, &[u8], &mut [u8]) -> Result<()>;

impl SectorCipher {
    /// Encrypts a run of consecutive sectors that lie in several segments, in place.
    ///
    /// The segments follow one another on the disk: the first sector of each has the number after the last sector of
    /// the segment before. Each is a whole number of sectors, and may be empty.
    ///
    /// # Errors
    /// [`Error::PartialSector`] for the first segment that isn't a whole number of sectors; [`Error::SectorOverflow`];
    /// [`Error::KeyExhausted`]. Then all segments are unchanged.
    pub fn encrypt_segments(&self, first_sector: u64, segments: &mut [&mut [u8]]) -> Result<()> {
        self.check_usage(segments.iter().map(|segment| segment.len()))?;
        self.segments(first_sector, segments, Self::encrypt)
    }

    /// Decrypts a run of consecutive sectors that lie in several segments, in place. As
    /// [`encrypt_segments`](Self::encrypt_segments).
    ///
    /// # Errors
    /// As [`encrypt_segments`](Self::encrypt_segments).
    pub fn decrypt_segments(&self, first_sector: u64, segments: &mut [&mut [u8]]) -> Result<()> {
        self.segments(first_sector, segments, Self::decrypt)
    }

    /// Encrypts a run of consecutive sectors from the segments of `src` to those of `dst`, which may be divided
    /// differently.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] if `src` and `dst` differ in their total length; the errors of
    /// [`encrypt_segments`](Self::encrypt_segments). Then all of `dst` is unchanged.
    pub fn encrypt_segments_to(&self, first_sector: u64, src: &[&[u8]], dst: &mut [&mut [u8]]) -> Result<()> {
        self.check_usage(src.iter().map(|segment| segment.len()))?;
        self.segments_to(first_sector, src, dst, Self::encrypt_to)
    }

    /// Decrypts a run of consecutive sectors from the segments of `src` to those of `dst`. As
    /// [`encrypt_segments_to`](Self::encrypt_segments_to).
    ///
    /// # Errors
    /// As [`encrypt_segments_to`](Self::encrypt_segments_to).
    pub fn decrypt_segments_to(&self, first_sector: u64, src: &[&[u8]], dst: &mut [&mut [u8]]) -> Result<()> {
        self.segments_to(first_sector, src, dst, Self::decrypt_to)
    }

    /// Refuses a run over the key's limit before any of it is encrypted.
    fn check_usage(&self, lengths: impl Iterator<Item = usize>) -> Result<()> {
        self.usage().check(lengths.map(usage::blocks).fold(0, u64::saturating_add))
    }

    fn segments(&self, first_sector: u64, segments: &mut [&mut [u8]], in_place: InPlace) -> Result<()> {
        self.check_segments(first_sector, segments.iter().map(|segment| segment.len()))?;
        let mut sector = first_sector;
        for segment in segments {
            in_place(self, sector, segment)?;
            sector = self.sector_behind(sector, segment.len());
        }
        Ok(())
    }

    fn segments_to(&self, first_sector: u64, src: &[&[u8]], dst: &mut [&mut [u8]], piece: ToPiece) -> Result<()> {
        let src_len = self.check_segments(first_sector, src.iter().map(|segment| segment.len()))?;
        let dst_len = self.check_segments(first_sector, dst.iter().map(|segment| segment.len()))?;
        if src_len != dst_len {
            return Err(Error::LengthMismatch { src: src_len, dst: dst_len });
        }
        let (mut sector, mut sources, mut from): (_, _, &[u8]) = (first_sector, src.iter(), &[]);
        for segment in dst {
            let mut to = &mut **segment;
            while !to.is_empty() {
                if from.is_empty() {
                    // The total lengths are equal, so there is a source for each byte of `dst`.
                    from = sources.next().copied().unwrap_or_default();
                    continue;
                }
                let len = from.len().min(to.len());
                let (now, later) = to.split_at_mut(len);
                piece(self, sector, &from[..len], now)?;
                sector = self.sector_behind(sector, len);
                (from, to) = (&from[len..], later);
            }
        }
        Ok(())
    }

    /// Checks whether [`encrypt_segments`](Self::encrypt_segments) would take segments of these lengths, and returns
    /// their total length.
    ///
    /// # Errors
    /// As [`encrypt_segments`](Self::encrypt_segments).
    pub fn check_segments(&self, first_sector: u64, lengths: impl IntoIterator<Item = usize>) -> Result<usize> {
        let mut all = 0usize;
        for len in lengths {
            self.check_run(first_sector, len)?;
            all = all.checked_add(len).ok_or(Error::SectorOverflow { first_sector })?;
        }
        self.check_run(first_sector, all)?;
        Ok(all)
    }

    /// The number of the sector after a run of `len` bytes that begins at `sector`. After the last possible sector it
    /// is 0.
    pub fn sector_behind(&self, sector: u64, len: usize) -> u64 {
        let sectors = (len / self.sector_size.bytes() as usize) as u64;
        sector.wrapping_add(sectors * u64::from(self.unit.units_per_sector(self.sector_size)))
    }
}
