//! An open disk.

use std::sync::Arc;

use super::resource::LiveResource;
use crate::managed::layers::Layers;
use crate::{Error, Result};

/// An open disk, for any number of threads. Only the requested sectors are in memory in the clear, and the DEK while
/// the disk's key may be used. A clone is another handle of the same disk.
#[derive(Clone)]
pub struct OpenDisk {
    live: Arc<LiveResource>,
    /// Counts as a user while it lives.
    _user: Arc<()>,
    size: u64,
    sector_size: u32,
}

impl OpenDisk {
    pub(in crate::managed) fn new(live: Arc<LiveResource>, user: Arc<()>, size: u64, sector_size: u32) -> Self {
        OpenDisk { live, _user: user, size, sector_size }
    }

    /// The name of the disk.
    pub fn name(&self) -> &str {
        &self.live.name.name
    }

    /// The size of its data in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The sector size in bytes. Offsets and lengths must be multiples of it.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Whether its key may not be used, as far as is known without asking its vault.
    pub fn is_suspended(&self) -> bool {
        self.live.is_suspended()
    }

    /// Reads and decrypts `sectors.len()` bytes from `offset`. Unwritten sectors read as noise.
    ///
    /// # Errors
    /// [`Error::DiskSuspended`] while its key may not be used; those of [`Volume::read_at`](crate::Volume::read_at).
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check_end(offset, sectors.len())?;
        self.live.with_layers(|layers| layers.read_at(offset, sectors))
    }

    /// Encrypts and writes `sectors` at `offset`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.check_end(offset, sectors.len())?;
        self.live.write_at(offset, sectors)
    }

    /// Makes earlier writes durable.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn sync(&self) -> Result<()> {
        self.live.with_layers(Layers::sync)
    }

    /// The volume may be larger than the disk, by spare space of its device.
    fn check_end(&self, offset: u64, len: usize) -> Result<()> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(Error::OutOfBounds { offset, len, size: self.size });
        }
        Ok(())
    }
}

impl core::fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenDisk").field("name", &self.name()).field("size", &self.size).finish_non_exhaustive()
    }
}
