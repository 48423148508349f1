//! Copies a disk as of one instant while the disk is written: before a chunk is overwritten, it is copied.

use std::sync::{Arc, Mutex};

use super::chunk_map::{CHUNK, ChunkMap, place};
use super::target::{CopyProgress, Target};
use crate::managed::layers::Layers;
use crate::managed::live::BeforeWrite;
use crate::managed::sync::{into_inner, lock};
use crate::{Error, Result};

/// A copy in progress of a disk in use.
pub(in crate::managed) struct Capture {
    state: Mutex<State>,
}

struct State {
    target: Target,
    size: u64,
    copied: ChunkMap,
    /// All chunks before this one are copied.
    next: u64,
    done: u64,
    /// The error that stopped it. Writes to the disk continue.
    failure: Option<Error>,
    chunk: Vec<u8>,
}

impl Capture {
    pub(in crate::managed) fn new(target: Target, size: u64) -> Self {
        let (copied, chunk) = (ChunkMap::new(size), vec![0; CHUNK as usize]);
        Capture { state: Mutex::new(State { target, size, copied, next: 0, done: 0, failure: None, chunk }) }
    }

    /// Copies one more chunk, and returns the progress; `None` if none is left.
    pub(in crate::managed) fn copy_next(&self, disk: &Layers) -> Result<Option<CopyProgress>> {
        let state = &mut *lock(&self.state);
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        while state.next < state.copied.chunks() && state.copied.has(state.next) {
            state.next += 1;
        }
        if state.next == state.copied.chunks() {
            return Ok(None);
        }
        state.copy(disk, state.next)?;
        Ok(Some(CopyProgress { done: state.done, total: state.size }))
    }

    /// The copy, if it is complete.
    pub(in crate::managed) fn into_target(self: Arc<Self>) -> Result<Target> {
        let all = Arc::into_inner(self).ok_or_else(|| Error::Busy { what: "a copy that was not ended".into() })?;
        let state = into_inner(all.state);
        state.failure.map_or(Ok(state.target), Err)
    }
}

impl BeforeWrite for Capture {
    fn before_write(&self, disk: &Layers, offset: u64, len: usize) {
        let state = &mut *lock(&self.state);
        let end = offset.saturating_add(len as u64).min(state.size);
        for chunk in offset / CHUNK..end.div_ceil(CHUNK) {
            if state.failure.is_some() {
                return;
            }
            state.failure = state.copy(disk, chunk).err();
        }
    }
}

impl State {
    fn copy(&mut self, disk: &Layers, chunk: u64) -> Result<()> {
        if self.copied.has(chunk) {
            return Ok(());
        }
        let (offset, len) = place(chunk, self.size);
        let bytes = &mut self.chunk[..len];
        disk.read_at(offset, bytes)?;
        self.target.put(chunk, bytes)?;
        self.copied.add(chunk);
        self.done += len as u64;
        Ok(())
    }
}
