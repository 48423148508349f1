//! The chunks of a disk that were written since its last incremental snapshot, so that the next one needn't read the others.
//!
//! The map is kept in memory, and only as long as the volumes stay open. After they are closed or the process is killed, the next
//! snapshot knows nothing and reads all, so changes made to the device meanwhile can't be missed. A stored map could be older than
//! the data beside it, when a store or a device comes back from a backup, and call a changed chunk unchanged.

use crate::managed::chunk_map::{ChunkMap, touched};

/// The chunks that were written since an incremental snapshot.
pub(super) struct Changes {
    /// The snapshot's place among those of the disk. A snapshot that takes the place of a deleted one begins its own map. One that
    /// was made anew, to take over the chunks of the one before it, still holds the same.
    since: u64,
    size: u64,
    chunks: ChunkMap,
}

impl Changes {
    /// Nothing was written yet since the snapshot at a place, of a disk of `size` bytes.
    pub(super) fn new(since: u64, size: u64) -> Self {
        Changes { since, size, chunks: ChunkMap::new(size) }
    }

    /// Notes a range that is about to be written, before the device has any of it.
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
