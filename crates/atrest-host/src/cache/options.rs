//! Options of a cache: its mode and its place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atrest::BlockDevice;

use super::format::BLOCK;

/// How a cache treats writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// Writes go to the disk, and the cache drops its copies of these blocks: for data that is read more than written.
    ReadOnly,
    /// Writes go to the disk and to the cache. A write is done when the disk has it.
    WriteThrough,
    /// Writes go to the cache, and to the disk later. A write is done when the cache has it, and a flush when the cache's
    /// file has it on stable storage.
    WriteBack,
}

/// The place of a cache.
#[derive(Clone)]
#[non_exhaustive]
pub enum CachePlace {
    /// A file, which the cache makes, and removes when it is detached.
    File(PathBuf),
    /// A local device, such as a partition, whose first MiB is zeros if it never had a cache. It must take reads and
    /// writes of any alignment.
    Device(Arc<dyn BlockDevice>),
}

impl<P: Into<PathBuf>> From<P> for CachePlace {
    fn from(path: P) -> Self {
        CachePlace::File(path.into())
    }
}

/// Options of a cache.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    pub(super) mode: CacheMode,
    pub(super) size: u64,
    pub(super) dirty: Option<u64>,
    pub(super) destage_after: Duration,
    pub(super) adopt: bool,
    pub(super) give_up: bool,
}

impl CacheOptions {
    /// A cache in a file of at most `size` bytes. It takes [`Cache::BYTES_PER_BLOCK`](super::Cache::BYTES_PER_BLOCK) bytes of
    /// memory for each 4096 bytes of it.
    pub fn new(mode: CacheMode, size: u64) -> Self {
        CacheOptions { mode, size, dirty: None, destage_after: Duration::from_secs(1), adopt: false, give_up: false }
    }

    /// How many bytes of a write-back cache may wait to be written to the disk: a quarter of it by default, and at most a GiB;
    /// never more than half of it. Attaching a cache again after a crash takes as long as writing these.
    pub fn dirty(mut self, bytes: u64) -> Self {
        self.dirty = Some(bytes);
        self
    }

    /// How long at most written data waits before it is written to the disk, if the disk keeps up: a second by default.
    pub fn destage_after(mut self, duration: Duration) -> Self {
        self.destage_after = duration;
        self
    }

    /// Accepts the file's write-back cache, and writes it to the disk, although it isn't the one that the service's store
    /// names. **An older copy writes old data over new.** Use it when the store was lost, or restored from a backup.
    pub fn hazmat_adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// Continues although acknowledged writes are in a cache that is missing, foreign, not the last, or damaged. Intact blocks
    /// of this disk's last cache are written to the disk. **The other writes are lost.**
    pub fn hazmat_give_up(mut self, give_up: bool) -> Self {
        self.give_up = give_up;
        self
    }

    /// How many blocks may wait to be written to the disk.
    pub(super) fn most_dirty(&self) -> u32 {
        const GIB: u64 = 1 << 30;
        if self.mode != CacheMode::WriteBack {
            return 0;
        }
        let bytes = self.dirty.unwrap_or((self.size / 4).min(GIB)).min(self.size / 2);
        u32::try_from(bytes / BLOCK as u64).unwrap_or(u32::MAX).max(8)
    }
}
