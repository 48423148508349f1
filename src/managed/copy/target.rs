//! The target of a copy. It takes all chunks; for an incremental snapshot, only those that differ from the snapshots
//! before it.

use super::chain::Chain;
use super::chunk_map::{CHUNK, ChunkMap, place};
use crate::Result;
use crate::managed::layers::Layers;

/// The progress of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A buffer for a chunk of the snapshots before it.
    spare: Vec<u8>,
}

impl Target {
    /// Takes every chunk.
    pub(in crate::managed) fn whole(layers: Layers, size: u64) -> Self {
        Target { layers, size, increment: None }
    }

    /// Takes the chunks that differ from `before`, or all chunks.
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

    /// Takes all chunks. `read` reads into a buffer from an offset.
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

    /// Writes the map into the snapshot.
    pub(in crate::managed) fn finish(self) -> Result<Layers> {
        if let Some(Increment { map, .. }) = self.increment {
            self.layers.write_at(self.size, &map.to_bytes(self.size))?;
        }
        self.layers.sync()?;
        Ok(self.layers)
    }
}
