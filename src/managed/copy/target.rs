//! The target of a copy. It takes all chunks; for an incremental snapshot, only those that differ from the snapshots
//! before it.

use super::chain::Chain;
use crate::managed::chunk_map::{CHUNK, ChunkMap, place};
use crate::managed::layers::Layers;
use crate::{Result, zeros};

/// The progress of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// The bytes that were copied or needed no copy.
    pub done: u64,
    /// The size of the disk in bytes.
    pub total: u64,
}

/// The target of a copy.
pub(in crate::managed) struct Target {
    pub(in crate::managed) layers: Layers,
    size: u64,
    /// For an incremental snapshot: the snapshots before it, if any, and its map.
    increment: Option<Increment>,
}

struct Increment {
    before: Option<Chain>,
    map: ChunkMap,
}

impl Target {
    /// Takes every chunk.
    pub(in crate::managed) fn whole(layers: Layers, size: u64) -> Self {
        Target { layers, size, increment: None }
    }

    /// Takes chunks that differ from those in `before`, or all chunks without `before`.
    pub(in crate::managed) fn increment(layers: Layers, size: u64, before: Option<Chain>) -> Self {
        Target { layers, size, increment: Some(Increment { before, map: ChunkMap::new(size) }) }
    }

    /// Takes a chunk, from any thread.
    pub(in crate::managed) fn put(&self, chunk: u64, bytes: &[u8]) -> Result<()> {
        if let Some(Increment { before, map }) = &self.increment {
            // Chunks that the earlier snapshots lack lie beyond the end that the disk had then.
            if let Some(before) = before.as_ref().filter(|before| before.has(chunk, bytes.len())) {
                let mut held = vec![0; bytes.len()];
                before.read_chunk(chunk, &mut held)?;
                if held == bytes {
                    return Ok(());
                }
            }
            map.add(chunk);
        }
        // A new volume with a map of written chunks has these zeros already.
        if self.layers.reads_zeros() && zeros::is_zero(bytes) {
            return Ok(());
        }
        self.layers.write_at(chunk * CHUNK, bytes)
    }

    /// Takes all chunks. `read` reads into a buffer from an offset.
    pub(in crate::managed) fn fill(
        &self,
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

    /// Writes the map into the snapshot.
    pub(in crate::managed) fn finish(self) -> Result<Layers> {
        if let Some(Increment { map, .. }) = self.increment {
            self.layers.write_at(self.size, &map.to_bytes(self.size))?;
        }
        self.layers.sync()?;
        Ok(self.layers)
    }
}
