//! From a write-back cache to the disk.
//!
//! The order: write the blocks to the disk; flush the disk; if a block was left out because a newer one exists, sync the
//! cache's file so that the newer one is durable; mark that the journal begins later; sync the mark. Only then may the slots be
//! used again. If this is cut off at any point, the journal still holds everything the disk may lack.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use atrest::Result;
use atrest::managed::WriteBack;

use super::error::CacheError;
use super::format::BLOCK;
use super::inner::{Inner, PIECE};
use super::keeper::KnownCache;
use super::keys::Keys;
use super::options::CacheMode;
use super::write_back::Failed;
use crate::buffer::Buffer;
use crate::disk::io;
use crate::sync::lock;

/// The most blocks that are written to the disk before the journal's tail moves on.
const MOST: usize = 1024;

impl Inner {
    /// Writes the oldest blocks of the journal to the disk. Returns whether there were any.
    pub(super) fn destage(&self) -> Result<bool, Failed> {
        self.destage_alone(&lock(&self.destaging))
    }

    fn destage_alone(&self, _one: &MutexGuard<'_, ()>) -> Result<bool, Failed> {
        let most = (self.most_dirty / 4).clamp(1, MOST);
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
        // Blocks beyond the end of a disk that was made smaller no longer belong to it.
        let size = self.disk.size();
        blocks.retain(|found| (found.place.block + 1) * BLOCK as u64 <= size);
        blocks.sort_unstable_by_key(|found| found.place.block);
        let mut buffer = Buffer::new(blocks.len().min(PIECE) * BLOCK);
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
        self.flush_disk()?;
        let marked = self.move_tail(&keys, end, overtaken);
        let mut state = self.state();
        if let Err(failed) = marked {
            if !state.retiring {
                return Err(failed);
            }
            // The file is given up; its contents don't matter if it can be made unreadable.
            state.unmarked = true;
        }
        state.tail = end;
        while state.pending.front().is_some_and(|pending| pending.record < end) {
            state.pending.pop_front();
        }
        self.changed.notify_all();
        Ok(true)
    }

    /// Flushes the disk for a caller other than the guest. If that fails, the guest's next flush fails, too: the disk reports it once.
    pub(super) fn flush_disk(&self) -> Result<()> {
        self.disk.flush().inspect_err(|_| {
            if self.direct.load(Ordering::Acquire) {
                self.state().unflushed = true;
            }
        })
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
        self.sync_file()
    }

    /// Writes to the disk the cache's versions of these blocks, and drops them.
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
            self.destage()?;
        }
    }

    /// Writes to the disk all that the cache has for it now.
    pub(super) fn drain(&self) -> Result<(), Failed> {
        let end = *lock(&self.journal);
        while self.state().pending.front().is_some_and(|pending| pending.record < end) {
            self.destage()?;
        }
        Ok(())
    }

    /// Writes to the disk all that the cache has for it now, and calls `act` before the disk gets anything else.
    fn settle_all(&self, act: &mut dyn FnMut()) -> Result<(), Failed> {
        let one = lock(&self.destaging);
        let _passing = self.passing.write().unwrap_or_else(PoisonError::into_inner);
        let end = *lock(&self.journal);
        while self.state().pending.front().is_some_and(|pending| pending.record < end) {
            self.destage_alone(&one)?;
        }
        act();
        Ok(())
    }

    /// Gives up the cache once the disk has all blocks: makes the file unreadable, and continues with the disk alone.
    ///
    /// # Errors
    /// Errors of the disk and its keeper. The cache then continues as before, unless its file lacks the mark of the disk's progress.
    pub(super) fn retire(&self) -> Result<()> {
        let _one = lock(&self.retiring);
        let mut state = self.state();
        if !state.is_on {
            return Ok(());
        }
        state.retiring = true;
        while state.reserved > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.forget().inspect_err(|_| {
            let mut state = self.state();
            state.retiring = state.unmarked;
        })
    }

    fn forget(&self) -> Result<()> {
        self.drain()?;
        if self.mode == CacheMode::WriteBack {
            // After this, the file is never taken for the last one, whatever it holds.
            self.keeper.note_cache(None)?;
        }
        if let Err(error) = self.wipe() {
            if self.state().unmarked && self.keeper.known_cache()? == KnownCache::NotKept {
                // Its journal would be written over newer data when it is attached again.
                return Err(error);
            }
            log::warn!("{error:#}");
        }
        self.state().is_on = false;
        Ok(())
    }

    /// Makes the file unreadable, if it isn't yet.
    pub(super) fn wipe(&self) -> Result<()> {
        if self.state().wiped {
            return Ok(());
        }
        self.file.wipe().map_err(|e| io(format!("wiping the host cache {}", self.name), e))?;
        self.state().wiped = true;
        Ok(())
    }
}

impl WriteBack for Inner {
    fn settled(&self, act: &mut dyn FnMut()) -> Result<()> {
        if let Err(failed) = self.settle_all(act) {
            // The cache's file fails: the disk has all blocks once it is given up.
            self.go_on_without(failed)?;
            self.settle_all(act)?;
        }
        Ok(())
    }
}
