//! A disk on S3 as a device.

use core::num::NonZero;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use atrest::{BlockDevice, NotInherited};

use crate::access::Source;
use crate::bucket::Bucket;
use crate::dirty::SECTOR;
use crate::disk::Disk;
use crate::failure::invalid;
use crate::manifest::{MOST_PAGES, PER_PAGE};
use crate::options::S3Options;

/// How long a sign of life is tried at once. A drop waits for that.
const SIGN: Duration = Duration::from_secs(5);

/// A disk that is open for reading and writing.
///
/// A write is acknowledged when it is in memory. [`sync`](BlockDevice::sync) makes all earlier writes durable at once, or none.
/// Dropping a device drops writes that weren't synced. A forked child can't use its parent's device, and gives no lock back
/// when it drops it.
pub struct S3Device {
    pub(crate) disk: Arc<Disk>,
}

impl S3Device {
    pub(crate) fn open(bucket: Arc<Bucket>, folder: String, options: &S3Options) -> io::Result<Self> {
        check(options)?;
        Self::kept(Disk::open(bucket, folder, options)?, options)
    }

    pub(crate) fn create(bucket: Arc<Bucket>, folder: String, size: u64, options: &S3Options) -> io::Result<Self> {
        check(options)?;
        check_size(size, options.chunk_size.into())?;
        Self::kept(Disk::create(bucket, folder, size, options)?, options)
    }

    fn kept(disk: Disk, options: &S3Options) -> io::Result<Self> {
        let disk = Arc::new(disk);
        let device = S3Device { disk: disk.clone() };
        keep(&disk, Duration::from_secs(options.lock_seconds.into()))?;
        if disk.is_untidy() {
            let disk = Arc::downgrade(&disk);
            std::thread::Builder::new().name("atrest-orphans".into()).spawn(move || {
                // Objects that can't be found or deleted now only take up space; the next collection finds them.
                disk.upgrade().map(|disk| disk.collect())
            })?;
        }
        Ok(device)
    }

    /// Syncs, deletes objects that aren't needed any more, and gives the lock back. A drop does only the last.
    ///
    /// # Errors
    /// Errors of the service, from the sync or from the steps after it.
    pub fn close(self) -> io::Result<()> {
        self.sync()?;
        self.disk.tidy(self.disk.bucket.deadline())
    }

    /// Deletes objects that a crash left and that belong to no state of the disk, and returns how many. A thread does that by
    /// itself after a crash. It lists all objects of the disk: a request for each 1000.
    ///
    /// # Errors
    /// The service's.
    pub fn collect_orphans(&self) -> io::Result<u64> {
        self.disk.collect()
    }

    /// The size of the disk's chunks in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.disk.chunk_size as u32
    }
}

impl BlockDevice for S3Device {
    fn size(&self) -> io::Result<u64> {
        self.disk.check()?;
        Ok(self.disk.state().size)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.read(self.disk.bucket.deadline(), offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(self.disk.bucket.deadline(), offset, bytes.len() as u64, Source::Bytes(bytes))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.write(self.disk.bucket.deadline(), offset, len, Source::Zeros)
    }

    /// Whole chunks become zeros, and take no space after the next sync. Data in parts of chunks stays.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let block = SECTOR as u64;
        let end = offset.saturating_add(len) / block * block;
        match offset.checked_next_multiple_of(block) {
            Some(start) if start < end => {
                self.disk.write(self.disk.bucket.deadline(), start, end - start, Source::Discard)
            }
            _ => Ok(()),
        }
    }

    /// It syncs: the size is part of the manifest.
    fn set_size(&self, size: u64) -> io::Result<()> {
        check_size(size, self.disk.chunk_size as u64)?;
        self.disk.resize(self.disk.bucket.deadline(), size)
    }

    fn alignment(&self) -> NonZero<usize> {
        const { NonZero::new(SECTOR).unwrap() }
    }

    /// After an error all that was written stays in memory, and the next sync tries again.
    fn sync(&self) -> io::Result<()> {
        self.disk.commit(self.disk.bucket.deadline())
    }
}

impl Drop for S3Device {
    fn drop(&mut self) {
        self.disk.release();
    }
}

fn check(options: &S3Options) -> io::Result<()> {
    let chunk_size = options.chunk_size;
    if !chunk_size.is_power_of_two() || !(64 << 10..=64 << 20).contains(&chunk_size) {
        return Err(invalid(format!("a chunk's size is a power of two from 64 KiB to 64 MiB; {chunk_size} is not")));
    }
    if options.lock_seconds < 3 {
        return Err(invalid("a lock lasts at least 3 seconds"));
    }
    Ok(())
}

fn check_size(size: u64, chunk_size: u64) -> io::Result<()> {
    let most = MOST_PAGES * PER_PAGE * chunk_size;
    if !size.is_multiple_of(SECTOR as u64) || size > most {
        return Err(invalid(format!("a disk's size is a multiple of 512 up to {most} bytes; {size} is not")));
    }
    Ok(())
}

/// Gives signs of life, and deletes objects that aren't needed any more, until the device is dropped or lost.
fn keep(disk: &Arc<Disk>, lasts: Duration) -> io::Result<()> {
    let (wake, woken) = sync_channel(1);
    // The disk owns the sender: the thread ends with the disk.
    let _ = disk.wake.set(NotInherited::new(wake));
    let disk = Arc::downgrade(disk);
    std::thread::Builder::new().name("atrest-s3".into()).spawn(move || {
        let mut next = Instant::now() + lasts / 3;
        loop {
            let reason = woken.recv_timeout(next.saturating_duration_since(Instant::now()));
            let Some(disk) = disk.upgrade().filter(|disk| disk.check().is_ok()) else { return };
            match reason {
                Ok(()) => {
                    let _ = disk.tidy(disk.bucket.deadline().within(lasts / 3));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let renewed = disk.renew(disk.bucket.deadline().within(SIGN.min(lasts / 3)));
                    next = Instant::now() + if renewed.is_ok() { lasts / 3 } else { lasts / 15 };
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}
