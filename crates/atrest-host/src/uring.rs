//! Disks on files and block devices with many requests under way at once, by Linux's `io_uring`.

use std::fs::File;
use std::os::fd::BorrowedFd;

use atrest::volume::VolumeExtent;
use atrest::{Error, Result};
use atrest_uring::{Queue, Sectors};

use crate::{Disk, DiskQueue};

/// The most bytes of one request to the device. Longer ones of a guest's are several.
const MOST: usize = 128 << 10;

/// A [`Volume`](atrest::Volume) or an [`OpenDisk`](atrest::managed::OpenDisk) on a local file or block device, with many
/// requests under way at once: the thread of a queue of [`VhostUser`](crate::VhostUser) submits them to the kernel, and doesn't
/// wait for them. It is for devices that are read and written past the page cache
/// ([`FileDevice::direct_io`](atrest::FileDevice::direct_io)), where one request at a time leaves the device idle. Data in the
/// page cache is served as fast without it.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atrest::{Credential, FileDevice, OpenOptions, Volume};
/// use atrest_host::{Serve, Uring, VhostUser};
///
/// let device = FileDevice::open("disk.luks")?.direct_io()?;
/// let file = device.file().try_clone()?;
/// let volume = Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new())?;
/// let served = VhostUser::new("/run/vm1.sock").serve(Arc::new(Uring::new(volume, file)), "disk")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// While a disk is being re-encrypted, its requests are done one after the other, as without this. If the kernel gives this
/// process no ring, each request is done at once when it begins.
#[derive(Debug)]
pub struct Uring<D> {
    disk: D,
    file: File,
    depth: usize,
}

impl<D: Disk + Sectors> Uring<D> {
    /// `file` is the file that the disk lies on: a clone of [`FileDevice::file`](atrest::FileDevice::file), or for a managed
    /// disk the file or block device that its backend opens for it, opened in the same way.
    pub fn new(disk: D, file: File) -> Self {
        Uring { disk, file, depth: 64 }
    }

    /// The most requests of one queue that are under way at once, from 1 to 1024. The default is 64. Each has 128 KiB of memory,
    /// which the kernel pins.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.clamp(1, 1024);
        self
    }
}

impl<D: Disk + Sectors> Disk for Uring<D> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn is_read_only(&self) -> bool {
        self.disk.is_read_only()
    }

    fn discards(&self) -> bool {
        self.disk.discards()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        Disk::read_at(&self.disk, offset, sectors)
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        Disk::write_at(&self.disk, offset, sectors)
    }

    fn takes_shared_memory(&self) -> bool {
        self.disk.takes_shared_memory()
    }

    fn write_from(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.disk.write_from(offset, sectors)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.disk.write_zeroes(offset, len)
    }

    fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        self.disk.extents(offset, len, most)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.disk.discard(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn queue(&self) -> Option<Box<dyn DiskQueue + '_>> {
        let queue = Queue::new(&self.disk, &self.file, self.depth, MOST);
        let queue = queue.inspect_err(|error| log::warn!("a disk's requests are done one after the other: {error}"));
        Some(Box::new(OfDisk(queue.ok()?)))
    }
}

struct OfDisk<'d, D: Sectors>(Queue<'d, D>);

impl<D: Sectors> DiskQueue for OfDisk<'_, D> {
    fn most(&self) -> usize {
        MOST
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn read(&mut self, offset: u64, len: usize, tag: u64) -> Result<()> {
        self.0.read(offset, len, tag)
    }

    fn write(&mut self, offset: u64, len: usize, tag: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        self.0.write(offset, len, tag, fill)
    }

    fn wait(&mut self, least: usize, each: &mut dyn FnMut(u64, Result<&[u8], Error>)) -> Result<usize> {
        self.0.wait(least, |done| each(done.tag, done.result))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.fd()
    }
}
