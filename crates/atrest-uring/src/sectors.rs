//! What a queue reads and writes.

use atrest::managed::{DeviceWrite, OpenDisk};
use atrest::{BlockDevice, Result, Volume};

/// Sectors that a caller reads and writes on the device itself: those of a [`Volume`] or of an [`OpenDisk`].
pub trait Sectors: Send + Sync {
    /// What is kept while a write is under way, and dropped when it is done.
    type Write: Send;

    /// See [`Volume::begin_read`].
    ///
    /// # Errors
    /// Its errors.
    fn begin_read(&self, offset: u64, len: usize) -> Result<u64>;

    /// See [`Volume::complete_read`].
    ///
    /// # Errors
    /// Its errors.
    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()>;

    /// See [`Volume::begin_write`]. The offset on the device, and what is to be kept until the device has answered.
    ///
    /// # Errors
    /// Its errors.
    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, Self::Write)>;
}

impl<D: BlockDevice> Sectors for Volume<D> {
    type Write = ();

    fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.begin_read(offset, len)
    }

    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.complete_read(offset, sectors)
    }

    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, ())> {
        Ok((self.begin_write(offset, sectors)?, ()))
    }
}

impl Sectors for OpenDisk {
    type Write = DeviceWrite;

    fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.begin_read(offset, len)
    }

    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.complete_read(offset, sectors)
    }

    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, DeviceWrite)> {
        let write = self.begin_write(offset, sectors)?;
        Ok((write.device_offset(), write))
    }
}
