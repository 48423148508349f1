//! A copy of a disk as it was at one instant, made while the disk is written: what is about to be overwritten is copied
//! first.

use std::sync::Mutex;

use super::chain::Chain;
use super::chunk_map::{CHUNK, ChunkMap, place};
use crate::managed::layers::Layers;
use crate::managed::sync::{into_inner, lock};
use crate::{Error, Result};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes that were copied, or found to need no copy.
    pub done: u64,
    /// Bytes of the disk.
    pub total: u64,
}

/// What is copied to.
pub(in crate::managed) struct Target {
    pub(in crate::managed) layers: Layers,
    size: u64,
    /// For an incremental snapshot: those before it, if there are any, and what this one holds.
    increment: Option<Increment>,
}

struct Increment {
    before: Option<Chain>,
    map: ChunkMap,
    /// Room for a chunk of those before it.
    spare: Vec<u8>,
}

impl Target {
    /// Takes every chunk.
    pub(in crate::managed) fn whole(layers: Layers, size: u64) -> Self {
        Target { layers, size, increment: None }
    }

    /// Takes chunks that differ from what `before` holds, or all.
    pub(in crate::managed) fn increment(layers: Layers, size: u64, before: Option<Chain>) -> Self {
        let increment = Increment { before, map: ChunkMap::new(size), spare: vec![0; CHUNK as usize] };
        Target { layers, size, increment: Some(increment) }
    }

    pub(in crate::managed) fn put(&mut self, chunk: u64, bytes: &[u8]) -> Result<()> {
        if let Some(Increment { before, map, spare }) = &mut self.increment {
            if let Some(before) = before {
                let spare = &mut spare[..bytes.len()];
                before.read_chunk(chunk, spare)?;
                if spare == bytes {
                    return Ok(());
                }
            }
            map.add(chunk);
        }
        self.layers.write_at(chunk * CHUNK, bytes)
    }

    /// Takes all that `read` reads into a buffer from an offset.
    pub(in crate::managed) fn fill(
        &mut self,
        progress: &dyn Fn(CopyProgress),
        read: impl Fn(u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = vec![0; CHUNK as usize];
        for chunk in 0..self.size.div_ceil(CHUNK) {
            let (offset, len) = place(chunk, self.size);
            read(offset, &mut bytes[..len])?;
            self.put(chunk, &bytes[..len])?;
            progress(CopyProgress { done: offset + len as u64, total: self.size });
        }
        Ok(())
    }

    /// Says in the snapshot what it holds.
    pub(in crate::managed) fn finish(self) -> Result<Layers> {
        if let Some(Increment { map, .. }) = self.increment {
            self.layers.write_at(self.size, &map.to_bytes(self.size))?;
        }
        self.layers.sync()?;
        Ok(self.layers)
    }
}

/// A copy that is being made of a disk that is in use.
pub(in crate::managed) struct Capture {
    state: Mutex<State>,
}

struct State {
    target: Target,
    size: u64,
    copied: ChunkMap,
    /// Before this chunk all were copied.
    next: u64,
    done: u64,
    /// What stopped it. Writes to the disk go on.
    failure: Option<Error>,
    chunk: Vec<u8>,
}

impl Capture {
    pub(in crate::managed) fn new(target: Target, size: u64) -> Self {
        let (copied, chunk) = (ChunkMap::new(size), vec![0; CHUNK as usize]);
        Capture { state: Mutex::new(State { target, size, copied, next: 0, done: 0, failure: None, chunk }) }
    }

    /// Copies what is about to be overwritten, as far as it wasn't yet.
    pub(in crate::managed) fn before_write(&self, disk: &Layers, offset: u64, len: usize) {
        let state = &mut *lock(&self.state);
        let end = offset.saturating_add(len as u64).min(state.size);
        for chunk in offset / CHUNK..end.div_ceil(CHUNK) {
            if state.failure.is_some() {
                return;
            }
            state.failure = state.copy(disk, chunk).err();
        }
    }

    /// Copies one more chunk, and says how far it is; `None` when there is none left.
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

    /// The copy, if all of it was made.
    pub(in crate::managed) fn into_target(self) -> Result<Target> {
        let state = into_inner(self.state);
        state.failure.map_or(Ok(state.target), Err)
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
