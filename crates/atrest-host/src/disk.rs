//! The interface of a served disk: plaintext, as a machine sees it.

use atrest::managed::OpenDisk;
use atrest::volume::VolumeExtent;
use atrest::{BlockDevice, Error, Result, Volume};

use crate::DiskQueue;

/// A disk of plaintext, as a machine sees it. Offsets and lengths are in bytes, and multiples of the sector size.
///
/// A server checks what a client asks for against [`size`](Self::size) and [`sector_size`](Self::sector_size) before it calls.
/// Methods are called from many threads at once.
pub trait Disk: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// The sector size in bytes, which a machine sees as the disk's logical block size.
    fn sector_size(&self) -> u32;

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Whether [`discard`](Self::discard) does anything.
    fn discards(&self) -> bool {
        false
    }

    /// Fills `sectors` from `offset`.
    ///
    /// # Errors
    /// Any: the machine gets an I/O error.
    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()>;

    /// Writes `sectors` at `offset`. The contents of `sectors` are undefined afterwards, since they are encrypted in place.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at). A part may have been written.
    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()>;

    /// Whether [`read_at`](Self::read_at) and [`write_from`](Self::write_from) may be given memory that a machine changes
    /// meanwhile, so that nothing is copied. The disk then makes no decision by the contents of `sectors`, and ciphertext may
    /// be visible in them for a moment.
    fn takes_shared_memory(&self) -> bool {
        false
    }

    /// As [`write_at`](Self::write_at), from memory that stays as it is. It is called where
    /// [`takes_shared_memory`](Self::takes_shared_memory) allows it.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_from(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.write_at(offset, &mut sectors.to_vec())
    }

    /// Makes `len` bytes from `offset` zeros.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()>;

    /// The written extents of `len` bytes from `offset`, in order, `most` of them at most. Unwritten extents read as zeros. The
    /// default reports the whole range as written.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        let _ = most;
        Ok(vec![VolumeExtent::new(offset..offset + len, true)])
    }

    /// Declares `len` bytes from `offset` unused.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Returns when all earlier writes are on stable storage.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at). Writes since the last flush may be lost.
    fn flush(&self) -> Result<()>;

    /// A queue for a thread that has many requests under way. `None`, the default: each request is done by a call. A server
    /// that uses queues makes one for each of its threads, and calls the other methods beside it.
    fn queue(&self) -> Option<Box<dyn DiskQueue + '_>> {
        None
    }
}

/// A managed disk, whose key is used as long as its vault allows it.
impl Disk for OpenDisk {
    fn size(&self) -> u64 {
        OpenDisk::size(self)
    }

    fn sector_size(&self) -> u32 {
        OpenDisk::sector_size(self)
    }

    fn discards(&self) -> bool {
        OpenDisk::discards(self)
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        OpenDisk::read_at(self, offset, sectors)
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        OpenDisk::write_in_place(self, offset, sectors)
    }

    fn takes_shared_memory(&self) -> bool {
        true
    }

    fn write_from(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        OpenDisk::write_at(self, offset, sectors)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        OpenDisk::write_zeroes(self, offset, len)
    }

    fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        OpenDisk::extents(self, offset, len, most)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        OpenDisk::discard(self, offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.sync()
    }
}

/// A volume, opened for writing.
impl<D: BlockDevice> Disk for Volume<D> {
    fn size(&self) -> u64 {
        Volume::size(self)
    }

    fn sector_size(&self) -> u32 {
        Volume::sector_size(self).bytes()
    }

    fn discards(&self) -> bool {
        Volume::discards(self)
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        Volume::read_at(self, offset, sectors)
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        Volume::write_in_place(self, offset, sectors)
    }

    fn takes_shared_memory(&self) -> bool {
        true
    }

    fn write_from(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        Volume::write_at(self, offset, sectors)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        Volume::write_zeroes(self, offset, len)
    }

    fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        Ok(Volume::extents(self, offset, len)?.take(most).collect())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        Volume::discard(self, offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.sync()
    }
}

/// **A device without encryption**: data lies on it as a machine writes it. It is for comparison in tests and benches.
pub struct HazmatPlain<D>(pub D);

impl<D: BlockDevice> Disk for HazmatPlain<D> {
    fn size(&self) -> u64 {
        self.0.size().map_or(0, |size| size / 512 * 512)
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, sectors).map_err(|e| io("reading the device", e))
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.0.write_at(offset, sectors).map_err(|e| io("writing the device", e))
    }

    fn takes_shared_memory(&self) -> bool {
        true
    }

    fn write_from(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.0.write_at(offset, sectors).map_err(|e| io("writing the device", e))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.0.write_zeroes(offset, len).map_err(|e| io("writing the device", e))
    }

    fn flush(&self) -> Result<()> {
        self.0.sync().map_err(|e| io("flushing the device", e))
    }
}

/// A disk that may only be read, such as a [`Volume`] that was opened read-only.
pub struct ReadOnly<D>(pub D);

impl<D: Disk> Disk for ReadOnly<D> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn sector_size(&self) -> u32 {
        self.0.sector_size()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn takes_shared_memory(&self) -> bool {
        self.0.takes_shared_memory()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, sectors)
    }

    fn write_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn write_zeroes(&self, _: u64, _: u64) -> Result<()> {
        Err(Error::ReadOnly)
    }

    fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        self.0.extents(offset, len, most)
    }

    /// Nothing was written by this.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn queue(&self) -> Option<Box<dyn DiskQueue + '_>> {
        self.0.queue()
    }
}

pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Error {
    Error::Io { what: what.into(), source }
}
