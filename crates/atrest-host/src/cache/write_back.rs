//! Writes of a write-back cache: into the cache's file first.
//!
//! The order for each write: write the blocks into free slots; write the journal's record of them; answer. For each flush: sync
//! the file; write a mark that says so; answer.

use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atrest::{Error, Result};
use zeroize::Zeroizing;

use super::format::{BLOCK, ENTRIES, Layout, Mark, SECTOR, Written, record};
use super::inner::{Inner, PIECE, Pending, State, check, touched};
use super::keys::{Keys, Place};
use crate::disk::io;
use crate::sync::lock;

/// Why something didn't go into the cache.
pub(super) enum Failed {
    /// The cache is off, or its file fails. The disk may do.
    Cache(Option<std::io::Error>),
    /// The disk or the key fails.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Other(error)
    }
}

/// The cache's own key can encrypt no more.
fn sealing(error: Error) -> Failed {
    if matches!(error, Error::KeyExhausted { .. }) { Failed::Cache(None) } else { Failed::Other(error) }
}

/// The cache's file fails.
fn local(error: std::io::Error) -> Failed {
    Failed::Cache(Some(error))
}

impl Inner {
    pub(super) fn write_back(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        check(&*self.disk, offset, sectors.len() as u64)?;
        let size = self.disk.size();
        let _flight = self.begin_write(&touched(offset, sectors.len() as u64));
        let (mut at, end) = (offset, offset + sectors.len() as u64);
        while at < end {
            let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let rest = &mut sectors[(at - offset) as usize..];
            if (block + 1) * BLOCK as u64 > size {
                return self.write_direct(at, rest); // a disk may end with a part of a block, which is never cached
            }
            let (len, appended) = if within > 0 || rest.len() < BLOCK {
                let len = rest.len().min(BLOCK - within);
                (len, self.append_part(block, within, &rest[..len]))
            } else {
                let most = PIECE.min(self.most_dirty) * BLOCK;
                let len = rest.len().min(most) / BLOCK * BLOCK;
                (len, self.append(block, &mut rest[..len]))
            };
            match appended {
                Ok(()) => at += len as u64,
                Err(failed) => {
                    self.go_on_without(failed)?;
                    return self.write_direct(at, rest);
                }
            }
        }
        Ok(())
    }

    /// Changes a range of the disk itself. The cache holds nothing of it afterwards.
    pub(super) fn change_back(&self, range: Range<u64>, act: impl FnOnce() -> Result<()>) -> Result<()> {
        check(&*self.disk, range.start, range.end - range.start)?;
        let blocks = touched(range.start, range.end - range.start);
        let _flight = self.begin_write(&blocks);
        if let Err(failed) = self.settle(&blocks) {
            self.go_on_without(failed)?;
        }
        let _passing = self.passing.read().unwrap_or_else(PoisonError::into_inner);
        let changed = act();
        self.direct.store(true, Ordering::Release);
        changed
    }

    /// Makes earlier writes durable, in the cache's file or on the disk.
    pub(super) fn flush_back(&self) -> Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.unflushed) {
            return Err(io("flushing the disk", std::io::Error::other("a flush before this one has failed")));
        }
        let (is_on, broken) = (state.is_on, state.broken);
        drop(state);
        if !is_on {
            return self.disk.flush();
        }
        if broken {
            return self.retire();
        }
        let keys = self.keys()?;
        let flushed = {
            let _one = lock(&self.flushing);
            if self.direct.swap(false, Ordering::AcqRel)
                && let Err(error) = self.disk.flush()
            {
                self.direct.store(true, Ordering::Release);
                return Err(error);
            }
            self.sync_journal(&keys)
        };
        flushed.or_else(|failed| self.go_on_without(failed))
    }

    /// Writes to the disk itself. The journal must hold nothing of the range that could be written over it later.
    fn write_direct(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let _passing = self.passing.read().unwrap_or_else(PoisonError::into_inner);
        let written = self.disk.write_at(offset, sectors);
        self.direct.store(true, Ordering::Release);
        written
    }

    /// If the cache is what failed, writes its blocks to the disk and gives it up. Other errors are returned.
    pub(super) fn go_on_without(&self, failed: Failed) -> Result<()> {
        match failed {
            Failed::Other(error) => Err(error),
            Failed::Cache(why) => {
                if let Some(error) = why {
                    log::warn!("the host cache {} fails, and its disk goes on without: {error}", self.name);
                }
                self.retire()
            }
        }
    }

    /// Writes a part of a block.
    fn append_part(&self, block: u64, within: usize, sectors: &[u8]) -> Result<(), Failed> {
        let mut whole = Zeroizing::new([0; BLOCK]);
        self.read(block * BLOCK as u64, &mut *whole)?;
        whole[within..within + sectors.len()].copy_from_slice(sectors);
        self.append(block, &mut *whole)
    }

    /// Writes a run of whole blocks. They are encrypted in place. If that fails, they are as they were.
    fn append(&self, first: u64, run: &mut [u8]) -> Result<(), Failed> {
        let keys = self.keys()?;
        let places = self.room(first, run.len() / BLOCK)?;
        let mut written = Vec::with_capacity(places.len());
        let mut write = || {
            for (&place, block) in places.iter().zip(run.chunks_exact_mut(BLOCK)) {
                let tag = keys.seal(place, block).map_err(sealing)?;
                written.push(Written { place, tag });
            }
            self.file.write_slots(&places, run).map_err(local)?;
            self.tell(&keys, &written)
        };
        let Err(failed) = write() else { return Ok(()) };
        let mut state = self.state();
        places.iter().for_each(|place| state.index.give_back(place.slot));
        self.use_up(&mut state, places.len());
        drop(state);
        for (sealed, block) in written.iter().zip(run.chunks_exact_mut(BLOCK)) {
            keys.unseal(sealed.place, block)?;
        }
        Err(failed)
    }

    /// Counts reserved blocks as used: written, or never to be. Giving up the cache waits for this count, and not for the whole
    /// write: the rest of the write may wait for the end of the cache.
    fn use_up(&self, state: &mut State, count: usize) {
        state.reserved -= count;
        self.changed.notify_all();
    }

    /// Slots for a run of blocks, once few enough wait to be written to the disk.
    fn room(&self, first: u64, count: usize) -> Result<Vec<Place>, Failed> {
        loop {
            let mut state = self.state();
            if !state.is_on || state.retiring || state.broken {
                return Err(Failed::Cache(None));
            }
            if state.pending.len() + state.reserved + count <= self.most_dirty {
                let tail = state.tail;
                let blocks = first..first + count as u64;
                let places: Vec<_> = blocks.map_while(|block| state.index.take(block, tail)).collect();
                if places.len() == count {
                    state.reserved += count;
                    return Ok(places);
                }
                places.iter().for_each(|place| state.index.give_back(place.slot));
            }
            drop(state);
            if !self.destage()? {
                // Others have the room, and are writing.
                let state = self.state();
                let waited = self.changed.wait_timeout(state, Duration::from_millis(10));
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Writes the records of blocks. From then on the blocks are found, and survive a crash of the process.
    fn tell(&self, keys: &Keys, written: &[Written]) -> Result<(), Failed> {
        let mut next = lock(&self.journal);
        let mut records = [0; PIECE.div_ceil(ENTRIES) * SECTOR];
        let count = written.len().div_ceil(ENTRIES);
        for (number, (told, bytes)) in (*next..).zip(written.chunks(ENTRIES).zip(records.chunks_exact_mut(SECTOR))) {
            bytes.copy_from_slice(&record(keys, number, told).map_err(sealing)?);
        }
        self.file.write_records(*next, &records[..count * SECTOR]).map_err(local)?;
        let mut state = self.state();
        for (number, told) in (*next..).zip(written.chunks(ENTRIES)) {
            for &Written { place, tag } in told {
                state.index.link(place, tag, number);
                state.pending.push_back(Pending { record: number, slot: place.slot });
            }
        }
        self.use_up(&mut state, written.len());
        *next += count as u64;
        Ok(())
    }

    /// Makes all records durable, with their blocks. The caller holds `flushing`.
    pub(super) fn sync_journal(&self, keys: &Keys) -> Result<(), Failed> {
        let next = *lock(&self.journal);
        if lock(&self.mark).durable >= next {
            return Ok(());
        }
        self.sync_file()?;
        // The mark itself needn't be durable: without it, more of the journal counts as possibly torn.
        self.mark(keys, |mark| mark.durable = next)
    }

    pub(super) fn sync_file(&self) -> Result<(), Failed> {
        self.file.device.sync().map_err(|error| {
            self.state().broken = true;
            local(error)
        })
    }

    pub(super) fn mark(&self, keys: &Keys, change: impl FnOnce(&mut Mark)) -> Result<(), Failed> {
        let mut mark = lock(&self.mark);
        let mut changed = Mark { number: mark.number + 1, ..*mark };
        change(&mut changed);
        let bytes = changed.to_bytes(keys).map_err(sealing)?;
        self.file.device.write_at(Layout::mark(changed.number), &bytes).map_err(local)?;
        *mark = changed;
        Ok(())
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Other(error) => error,
            Failed::Cache(error) => {
                io("writing the host cache", error.unwrap_or_else(|| std::io::Error::other("it is being given up")))
            }
        }
    }
}
