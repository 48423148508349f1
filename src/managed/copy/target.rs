//! What is copied to: all chunks, or for an incremental snapshot those that differ from what is held before it.

use super::chain::Chain;
use super::chunk_map::{CHUNK, ChunkMap, place};
use crate::Result;
use crate::managed::layers::Layers;

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
