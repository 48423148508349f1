//! From a write-back cache to the disk.
//!
//! The order: blocks to the disk; a flush of the disk; where a block was left out since there is a newer one, a sync of the
//! cache's file, so that the newer one is durable; a mark that the journal begins later; a sync of it. Only then may the slots
//! be used again. Whenever that is cut off, the journal still has what the disk may lack.

use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use atrest::Result;

use super::error::CacheError;
use super::format::BLOCK;
use super::inner::{Inner, PIECE, lock};
use super::keeper::KnownCache;
use super::keys::Keys;
use super::options::CacheMode;
use super::write_back::{BATCH, Failed};
use crate::buffer::Buffer;

impl Inner {
    /// Writes the oldest blocks of the journal to the disk, `most` of them or a few more. Returns whether there were any.
    pub(super) fn destage(&self, most: usize) -> Result<bool, Failed> {
        let _one = lock(&self.destaging);
        let keys = self.keys()?;
        let (mut blocks, mut overtaken, mut end) = (Vec::new(), false, 0);
        {
            let state = self.state();
            for pending in &state.pending {
                if blocks.len() >= most && pending.record >= end {
                    break; // the tail moves by whole records
                }
                match state.index.of_record(pending.slot, pending.record) {
                    Some(found) => blocks.push(found),
                    None => overtaken = true,
                }
                end = pending.record + 1;
            }
        }
        if end == 0 {
            return Ok(false);
        }
        // What lies beyond the end of a disk that was made smaller is nobody's any more.
        let size = self.disk.size();
        blocks.retain(|found| (found.place.block + 1) * BLOCK as u64 <= size);
        blocks.sort_unstable_by_key(|found| found.place.block);
        let mut buffer = Buffer::new(PIECE * BLOCK);
        for run in blocks.chunk_by(|a, b| a.place.block + 1 == b.place.block).flat_map(|run| run.chunks(PIECE)) {
            let bytes = buffer.of(run.len() * BLOCK);
            for (found, block) in run.iter().zip(bytes.chunks_exact_mut(BLOCK)) {
                self.file.read_slot(found.place.slot, block).map_err(|error| Failed::Cache(Some(error)))?;
                if !keys.open(found.place, &found.tag, block)? {
                    return Err(CacheError::Damaged { offset: Some(found.place.block * BLOCK as u64) }
                        .at(&self.name)
                        .into());
                }
            }
            self.disk.write_at(run[0].place.block * BLOCK as u64, bytes)?;
        }
        self.disk.flush()?;
        let marked = self.move_tail(&keys, end, overtaken);
        let mut state = self.state();
        if let Err(failed) = marked {
            if !state.retiring {
                return Err(failed);
            }
            // The file is given up; what it says doesn't matter if it can be made unreadable.
            state.unmarked = true;
        }
        state.tail = end;
        while state.pending.front().is_some_and(|pending| pending.record < end) {
            state.pending.pop_front();
        }
        self.changed.notify_all();
        Ok(true)
    }

    fn move_tail(&self, keys: &Keys, end: u64, overtaken: bool) -> Result<(), Failed> {
        if overtaken {
            let _one = lock(&self.flushing);
            self.sync_journal(keys)?;
        }
        self.mark(keys, |mark| {
            mark.tail = end;
            // They needn't be intact any more.
            mark.durable = mark.durable.max(end);
        })?;
        self.file.device.sync().map_err(|error| Failed::Cache(Some(error)))
    }

    /// Writes to the disk what the cache has of these blocks, and drops them.
    pub(super) fn settle(&self, blocks: &Range<u64>) -> Result<(), Failed> {
        loop {
            let mut state = self.state();
            if !state.is_on {
                return Ok(());
            }
            let waits = |pending: &super::inner::Pending| blocks.contains(&state.index.block_of(pending.slot));
            if !state.pending.iter().any(waits) {
                state.index.unlink_all(blocks);
                return Ok(());
            }
            drop(state);
            self.destage(BATCH)?;
        }
    }

    /// Writes to the disk all that the cache has for it now.
    pub(super) fn drain(&self) -> Result<(), Failed> {
        let end = *lock(&self.journal);
        while self.state().pending.front().is_some_and(|pending| pending.record < end) {
            self.destage(BATCH)?;
        }
        Ok(())
    }

    /// Gives up the cache once the disk has all: makes the file unreadable, and goes on with the disk alone. The error inside is
    /// of a file that couldn't be wiped, of a cache that nobody will take for the last one.
    pub(super) fn retire(&self) -> Result<Option<std::io::Error>> {
        let _one = lock(&self.retiring);
        let mut state = self.state();
        if !state.is_on {
            return Ok(None);
        }
        state.retiring = true;
        while state.reserved > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.forget().inspect_err(|_| {
            let mut state = self.state();
            // If the file doesn't know how far the disk is, it must take no more.
            state.retiring = state.unmarked;
        })
    }

    fn forget(&self) -> Result<Option<std::io::Error>> {
        self.drain()?;
        let mut is_safe = self.mode != CacheMode::WriteBack;
        if !is_safe && self.keeper.known_cache()? != KnownCache::NotKept {
            self.keeper.note_cache(None)?;
            is_safe = true;
        }
        let wiped = self.file.wipe();
        if let Err(error) = wiped {
            // Its journal might be written over newer data when it is attached again.
            if !is_safe && self.state().unmarked {
                return Err(crate::disk::io(format!("wiping the host cache {}", self.name), error));
            }
            log::warn!("the host cache {} can't be wiped: {error}", self.name);
            self.state().is_on = false;
            return Ok(Some(error));
        }
        self.direct.store(false, Ordering::Release);
        self.state().is_on = false;
        Ok(None)
    }
}
