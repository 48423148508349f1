//! Which chunks of a disk were written since an incremental snapshot of it, so that the next one needn't read the others.
//!
//! This is kept in memory, and for as long only as the volumes stay open. Whatever is killed or closed, and whatever is done
//! to the device meanwhile, the next snapshot then knows nothing and reads all. A map that is stored could be older than
//! the data beside it, when a store or a device comes back from a backup, and say of a chunk that it is as it was.

use crate::managed::chunk_map::{ChunkMap, touched};

/// Which chunks were written since an incremental snapshot.
pub(super) struct Changes {
    /// Its place among those of the disk. What takes the place of one that was deleted begins a map of its own; one that was
    /// made anew, to take over what the one before it held, still holds the same.
    since: u64,
    size: u64,
    chunks: ChunkMap,
}

impl Changes {
    /// Nothing was written yet since the snapshot at a place, of a disk of `size` bytes.
    pub(super) fn new(since: u64, size: u64) -> Self {
        Changes { since, size, chunks: ChunkMap::new(size) }
    }

    /// Notes what is about to be written, before the device has any of it.
    pub(super) fn note(&self, offset: u64, len: u64) {
        for chunk in touched(offset, len, self.size) {
            self.chunks.add(chunk);
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn are_since(&self, place: u64) -> bool {
        self.since == place
    }

    pub(super) fn into_chunks(self) -> ChunkMap {
        self.chunks
    }
}
