//! Runs of sectors that lie in several pieces of memory: the vectors of `readv` and `writev`.

use super::SectorCipher;
use crate::{Error, Result, usage};

/// What is done with a segment.
type InPlace = fn(&SectorCipher, u64, &mut [u8]) -> Result<()>;

/// What is done with a piece that source and destination have in one.
type ToPiece = fn(&SectorCipher, u64, &[u8], &mut [u8]) -> Result<()>;

impl SectorCipher {
    /// Encrypts a run of consecutive sectors that lie in several segments, in place.
    ///
    /// The segments follow one another on the disk: the first sector of one has the number behind the last of the segment
    /// before. Each is a whole number of sectors; it may be empty.
    ///
    /// # Errors
    /// [`Error::PartialSector`] for the first segment that isn't a whole number of sectors; [`Error::SectorOverflow`];
    /// [`Error::KeyExhausted`]. All segments are untouched then.
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

    /// Encrypts a run of consecutive sectors from the segments of `src` to those of `dst`, each cut in its own way.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] when `src` and `dst` differ in their whole length; and those of
    /// [`encrypt_segments`](Self::encrypt_segments). All of `dst` is untouched then.
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

    /// Refuses what the key may not encrypt before any of it is.
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
                    // The lengths are equal, so there is one where a byte of `dst` is left.
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

    /// Says whether [`encrypt_segments`](Self::encrypt_segments) would take segments of these lengths, and returns how many
    /// bytes they have together.
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

    /// The number of the sector behind a run of `len` bytes that begins at `sector`. Behind the last sector that there is
    /// comes 0.
    pub fn sector_behind(&self, sector: u64, len: usize) -> u64 {
        let sectors = (len / self.sector_size.bytes() as usize) as u64;
        sector.wrapping_add(sectors * u64::from(self.unit.units_per_sector(self.sector_size)))
    }
}
