//! Zeroing a volume, and discarding parts of it.

use super::live::State;
use super::{BlockDevice, Volume};
use crate::{Error, Result};

/// Zeroing and discarding.
impl<D: BlockDevice> Volume<D> {
    /// Makes `len` bytes from `offset` zeros. Like any other data they are encrypted and written, so the device doesn't show
    /// where they are. The caller needs no buffer for them.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.check_pieces_of(offset, len)?;
        if let Some(written) = &self.written {
            return self.zero_chunks(written, offset, len);
        }
        pieces(offset, len, WRITTEN)
            .try_for_each(|(at, len)| self.store_zeros(&*self.open_for_write(at, len)?, at, len))
    }

    /// Encrypts zeros and writes them.
    pub(super) fn store_zeros(&self, state: &State, offset: u64, len: usize) -> Result<()> {
        let failed = |e| Error::io(format!("writing {len} zeros at offset {offset}"), e);
        self.with_scratch(|scratch| {
            state.layout.check_shown(offset, len, |shown, at, within| shown.is_zero(at, within.len()))?;
            state.layout.places(offset, len).filter(|place| place.shown.is_none()).try_for_each(|place| {
                let Some(cipher) = place.cipher else {
                    let len = place.within.len() as u64;
                    return self.device.write_zeroes(place.device_offset, len).map_err(failed);
                };
                let (mut at, mut sector, mut left) = (place.device_offset, place.first_sector, place.within.len());
                while left > 0 {
                    let now = left.min(scratch.len());
                    let sectors = &mut scratch[..now];
                    sectors.fill(0);
                    cipher.encrypt(sector, sectors)?;
                    self.device.write_in_place(at, sectors).map_err(failed)?;
                    (at, sector, left) = (at + now as u64, sector + now as u64 / 512, left - now);
                }
                Ok(())
            })
        })
    }

    /// Tells the device that nobody needs `len` bytes from `offset`, so that it can free their space: a hint, also known as
    /// trim. Until they are written again, they read as their old content or as noise, because zeros on the device are decrypted
    /// too. To get zeros, use [`write_zeroes`](Self::write_zeroes).
    ///
    /// It reaches the device only if [`OpenOptions::discard`](crate::OpenOptions::discard) allows it. Otherwise nothing happens,
    /// and the call succeeds, so callers needn't treat such a volume in another way.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Misaligned`] and [`Error::OutOfBounds`], whether it is allowed or not; [`Error::Io`], after
    /// which a part may have been discarded.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.check_pieces_of(offset, len)?;
        if let Some(written) = &self.written {
            self.discard_chunks(written, offset, len);
            return Ok(());
        }
        if !self.discards {
            return Ok(());
        }
        pieces(offset, len, MOST).try_for_each(|(at, piece)| {
            let state = self.live.to_write(at, piece)?;
            state.layout.places(at, piece).filter(|place| place.shown.is_none()).try_for_each(|place| {
                let discarded = self.device.discard(place.device_offset, place.within.len() as u64);
                discarded.map_err(|e| Error::io(format!("discarding {len} bytes at offset {offset}"), e))
            })
        })
    }

    /// Refuses a range if any part of it is unavailable, before anything is done.
    fn check_pieces_of(&self, offset: u64, len: u64) -> Result<()> {
        let state = self.live.get();
        state.keys.check()?;
        pieces(offset, len, MOST).try_for_each(|(at, len)| state.layout.check(at, len))
    }

    /// Whether [`discard`](Self::discard) reaches the device.
    pub fn discards(&self) -> bool {
        self.discards && !self.read_only
    }
}

/// The most bytes written at once, since a re-encryption waits for them.
const WRITTEN: usize = 16 << 20;
/// Whole sectors of any size.
const MOST: usize = usize::MAX / 4096 * 4096;

/// A range in pieces that a `usize` counts.
fn pieces(offset: u64, len: u64, most: usize) -> impl Iterator<Item = (u64, usize)> {
    let pieces = core::iter::successors(Some((offset, len)), move |(offset, len)| {
        let later = len.checked_sub(most as u64).filter(|later| *later > 0)?;
        Some((offset.saturating_add(most as u64), later))
    });
    pieces.map(move |(offset, len)| (offset, usize::try_from(len).map_or(most, |len| len.min(most))))
}
