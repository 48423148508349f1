//! Writes of caches that never hold data the disk lacks.

use std::ops::Range;

use atrest::Result;

use super::format::BLOCK;
use super::inner::{Inner, PIECE, check, touched, whole};
use super::options::CacheMode;

impl Inner {
    /// Writes to the disk, and to the cache if it keeps writes.
    pub(super) fn write_through(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        check(&*self.disk, offset, sectors.len() as u64)?;
        let blocks = touched(offset, sectors.len() as u64);
        let _flight = self.begin_write(&blocks);
        self.state().index.unlink_all(&blocks);
        // The disk encrypts the sectors in place, so the cache comes first. The cache holds nothing there until the disk is done.
        let mut kept = Vec::new();
        if self.mode == CacheMode::WriteThrough {
            let (first, bytes) = whole(offset, sectors);
            for (piece, bytes) in bytes.chunks(PIECE * BLOCK).enumerate() {
                let first = first + (piece * PIECE) as u64;
                let slots = self.take(first, bytes.len() / BLOCK);
                let Some(mut put) = self.put(&slots, first, bytes) else { break };
                kept.append(&mut put);
            }
        }
        let written = self.disk.write_at(offset, sectors);
        let mut state = self.state();
        for (place, tag) in kept {
            match &written {
                Ok(()) => state.index.link(place, tag, 0),
                Err(_) => state.index.give_back(place.slot),
            }
        }
        drop(state);
        written
    }

    /// Changes a range of the disk by other means than a write. The cache holds nothing of it afterwards.
    pub(super) fn change_through(&self, range: Range<u64>, act: impl FnOnce() -> Result<()>) -> Result<()> {
        check(&*self.disk, range.start, range.end - range.start)?;
        let blocks = touched(range.start, range.end - range.start);
        let _flight = self.begin_write(&blocks);
        self.state().index.unlink_all(&blocks);
        act()
    }
}
