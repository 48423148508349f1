//! The map of written chunks: sectors of a chunk that was never written read as zeros.
//!
//! The first write to a chunk defines the whole chunk: the rest of it is filled with encrypted zeros. Only then does the chunk
//! count as written, in memory. A [sync](crate::Volume::sync) first syncs the data, then records the chunk, and syncs that record.
//! So a chunk that a crash has lost reads as zeros, and a recorded chunk is defined from end to end.
//!
//! Reads and writes of written chunks look at the bits, and take no lock. A thread claims chunks before it adds or removes them.

mod bits;
mod claims;
mod freed;
mod pages;

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::BlockDevice;
use super::layout::Layout;
use crate::ondisk::luks::WrittenMap;
use crate::{Dek, Error, Result, TooSmall};
use bits::Bits;
use claims::{Claim, Claims};
use freed::{Freed, Pending};
use pages::Pages;

/// The map of a volume.
pub(super) struct Written {
    chunk_size: u32,
    capacity: u64,
    bits: Bits,
    claims: Claims,
    /// The changes that are on the disk.
    recorded: AtomicU64,
    pages: Mutex<Pages>,
    freed: Mutex<Pending>,
}

impl WrittenMap {
    /// Cuts a layout to whole chunks, so that a volume grows by whole ones, and to the chunks that the map has bits for.
    pub(super) fn fit(&self, layout: &mut Layout) -> Result<()> {
        fit(layout, self.chunk_size, self.capacity())
    }
}

impl Written {
    /// Makes a map without any written chunk, on the device of the header.
    pub(super) fn create(map: &WrittenMap, dek: &Dek, on: &dyn BlockDevice) -> Result<Self> {
        Ok(Self::new(map, Pages::create(map.clone(), dek, on)?))
    }

    /// Reads a map. The next [`sync`](Self::sync) repairs its damaged or older copies.
    pub(super) fn load(map: &WrittenMap, dek: &Dek, on: &dyn BlockDevice) -> Result<Self> {
        let (pages, stale) = Pages::load(map.clone(), dek, on)?;
        let written = Self::new(map, pages);
        stale.into_iter().for_each(|page| written.bits.touch(page));
        Ok(written)
    }

    fn new(map: &WrittenMap, pages: Pages) -> Self {
        Written {
            chunk_size: map.chunk_size,
            capacity: map.capacity(),
            bits: Bits::new(pages.words()),
            claims: Claims::default(),
            recorded: AtomicU64::new(0),
            pages: Mutex::new(pages),
            freed: Mutex::default(),
        }
    }

    /// The size of a chunk in bytes.
    pub(super) fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// As [`WrittenMap::fit`].
    pub(super) fn fit(&self, layout: &mut Layout) -> Result<()> {
        fit(layout, self.chunk_size, self.capacity)
    }

    /// The chunks that a run of bytes touches.
    #[inline]
    pub(super) fn touched(&self, offset: u64, len: u64) -> Range<u64> {
        let shift = self.chunk_size.trailing_zeros();
        if len == 0 { 0..0 } else { offset >> shift..((offset + len - 1) >> shift) + 1 }
    }

    /// The chunks that lie in a run of bytes as a whole.
    pub(super) fn covered(&self, offset: u64, len: u64) -> Range<u64> {
        let chunk = u64::from(self.chunk_size);
        offset.div_ceil(chunk)..(offset + len) / chunk
    }

    /// The range of chunks in the volume, in bytes.
    pub(super) fn place(&self, chunks: &Range<u64>) -> Range<u64> {
        let chunk = u64::from(self.chunk_size);
        chunks.start * chunk..chunks.end * chunk
    }

    /// Whether all chunks that a run of bytes touches were written.
    #[inline]
    pub(super) fn has_all(&self, offset: u64, len: u64) -> bool {
        self.bits.has_all(&self.touched(offset, len))
    }

    /// The parts of a run of bytes, and whether each was written.
    pub(super) fn runs(&self, offset: u64, len: u64) -> impl Iterator<Item = (Range<u64>, bool)> {
        let (end, chunks) = (offset + len, self.touched(offset, len));
        let mut at = offset;
        core::iter::from_fn(move || {
            let chunk = at / u64::from(self.chunk_size);
            (at < end).then(|| {
                let (is_written, last) = self.bits.run(chunk, chunks.end);
                let part = at..end.min(self.place(&(chunk..last)).end);
                at = part.end;
                (part, is_written)
            })
        })
    }

    /// Claims chunks, to add them or to take them away. The caller must use no state of the volume.
    pub(super) fn claim(&self, chunks: Range<u64>) -> Claim<'_> {
        self.claims.claim(chunks)
    }

    /// Marks claimed chunks as written.
    pub(super) fn add(&self, claim: &Claim<'_>) {
        self.bits.set(claim.chunks(), true);
    }

    /// Makes claimed chunks read as zeros. If `tell` is set, their space on the device is freed after the next sync.
    pub(super) fn remove(&self, claim: &Claim<'_>, tell: bool) {
        let chunks = claim.chunks();
        let mut at = chunks.start;
        while at < chunks.end {
            let (is_written, end) = self.bits.run(at, chunks.end);
            if is_written {
                self.bits.set(at..end, false);
            }
            if is_written && tell {
                self.freed.lock().unwrap_or_else(PoisonError::into_inner).add(at..end);
            }
            at = end;
        }
    }

    /// Makes all chunks from a byte on read as zeros. Returns whether any was written.
    pub(super) fn remove_from(&self, size: u64) -> bool {
        let claim = self.claim(size.div_ceil(u64::from(self.chunk_size))..self.chunks());
        let any = self.bits.run(claim.chunks().start, claim.chunks().end) != (false, claim.chunks().end);
        self.remove(&claim, false);
        any
    }

    /// The chunks whose space the device may free: those that were removed before the last sync, and not written since.
    pub(super) fn freed(&self) -> Freed<'_> {
        let pending = self.freed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let claims: Vec<_> = pending.into_iter().map(|chunks| self.claims.claim(chunks)).collect();
        let mut runs = Pending::default();
        if !claims.is_empty() {
            let pages = self.lock();
            let chunks = claims.iter().flat_map(Claim::chunks);
            let is_free = |chunk: &u64| !pages.has(*chunk) && !self.bits.run(*chunk, chunk + 1).0;
            chunks.filter(is_free).for_each(|chunk| runs.add(chunk..chunk + 1));
        }
        Freed { runs: runs.take(), _claims: claims }
    }

    fn chunks(&self) -> u64 {
        self.capacity / u64::from(self.chunk_size)
    }

    /// Whether there is something to be recorded.
    pub(super) fn has_changed(&self) -> bool {
        self.recorded.load(Ordering::Acquire) != self.bits.changes()
    }

    /// Syncs the data, and then records which chunks were written. `on` is the device of the map, if that is another.
    pub(super) fn sync(&self, data: &dyn BlockDevice, on: Option<&dyn BlockDevice>) -> Result<()> {
        let synced = self.recorded_sync(data, on);
        if synced.is_err() {
            self.forget_unrecorded();
        }
        synced
    }

    fn recorded_sync(&self, data: &dyn BlockDevice, on: Option<&dyn BlockDevice>) -> Result<()> {
        let sync = |device: &dyn BlockDevice| device.sync().map_err(|e| Error::io("syncing the device", e));
        if !self.has_changed() {
            return sync(data);
        }
        let mut pages = self.lock();
        let changes = self.bits.changes();
        let numbers = self.bits.take_changed();
        let changed: Vec<_> = numbers.iter().map(|&number| (number, self.bits.page(number))).collect();
        let record = || {
            sync(data)?;
            if changed.is_empty() {
                return Ok(());
            }
            // Together with the data, or by its own sync: the second copies of the last time must be on the disk before the first
            // copies are changed.
            on.map_or(Ok(()), sync)?;
            pages.record(on.unwrap_or(data), changed)
        };
        let recorded = record();
        match &recorded {
            Ok(()) => self.recorded.store(changes, Ordering::Release),
            Err(_) => numbers.into_iter().for_each(|number| self.bits.touch(number)),
        }
        recorded
    }

    /// After a failed sync nobody knows which data the device has lost. Chunks that were first written since the last sync read as
    /// zeros again, since they may hold noise.
    fn forget_unrecorded(&self) {
        let all = self.claims.claim(0..self.chunks());
        let pages = self.lock();
        let mut at = 0;
        while at < all.chunks().end {
            let (is_written, end) = self.bits.run(at, all.chunks().end);
            if is_written {
                (at..end).filter(|chunk| !pages.has(*chunk)).for_each(|chunk| self.bits.set(chunk..chunk + 1, false));
            }
            at = end;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fit(layout: &mut Layout, chunk_size: u32, capacity: u64) -> Result<()> {
    let chunk = u64::from(chunk_size);
    let size = layout.size.min(capacity) / chunk * chunk;
    if size == 0 {
        let start = layout.extents[0].device_offset;
        return Err(Error::DeviceTooSmall {
            what: TooSmall::Data,
            needed: start.saturating_add(chunk),
            size: start + layout.size,
        });
    }
    layout.cut(size);
    Ok(())
}
