//! A file or block device whose large transfers consist of several requests at once.

use core::num::NonZero;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};

use atrest::{BlockDevice, FileDevice};

use crate::pool::{Left, Pool};
use crate::ring::Direction;

/// The most that one request to the disk has. Disks cut larger ones themselves.
const PIECE: usize = 128 << 10;

/// A file or block device. Reads and writes of 256 KiB and more go to the disk in several pieces at once, if the file is read
/// and written past the page cache ([`FileDevice::direct_io`]). All others are plain calls: a ring doesn't speed up a single
/// request, and the page cache answers at once. So are all in a forked child, which has a file but no ring.
#[derive(Debug)]
pub struct UringDevice {
    device: FileDevice,
    pool: Option<Pool>,
}

impl UringDevice {
    /// Puts `io_uring` under a file, if the system has it.
    pub fn new(device: FileDevice) -> Self {
        let is_direct = device.alignment().get() > 1;
        UringDevice { pool: if is_direct { Pool::new() } else { None }, device }
    }

    /// Whether large transfers go by `io_uring`.
    pub fn has_ring(&self) -> bool {
        self.pool.is_some()
    }

    /// The file, such as for a [`Queue`](crate::Queue).
    pub fn file(&self) -> &File {
        self.device.file()
    }

    /// The pool, for a transfer that is worth it.
    fn pool_for(&self, offset: u64, start: *const u8, len: usize) -> Option<&Pool> {
        let alignment = self.device.alignment().get();
        let is_aligned = (offset as usize | start.addr() | len).is_multiple_of(alignment);
        self.pool.as_ref().filter(|_| len >= 2 * PIECE && is_aligned)
    }
}

impl BlockDevice for UringDevice {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let memory = (bytes.as_mut_ptr(), bytes.len());
        let Some(pool) = self.pool_for(offset, memory.0, memory.1) else { return self.device.read_at(offset, bytes) };
        // SAFETY: `bytes` is borrowed until this returns, and may be written.
        let left = unsafe { pool.transfer(self.device.file(), Direction::Read, offset, memory, PIECE) };
        for Left { start, len } in left.unwrap_or_else(|| Left::all(bytes.len())) {
            self.device.read_at(offset + start as u64, &mut bytes[start..start + len])?;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let memory = (bytes.as_ptr().cast_mut(), bytes.len());
        let Some(pool) = self.pool_for(offset, memory.0, memory.1) else { return self.device.write_at(offset, bytes) };
        // SAFETY: `bytes` is borrowed until this returns, and a write only reads it.
        let left = unsafe { pool.transfer(self.device.file(), Direction::Write, offset, memory, PIECE) };
        for Left { start, len } in left.unwrap_or_else(|| Left::all(bytes.len())) {
            self.device.write_at(offset + start as u64, &bytes[start..start + len])?;
        }
        Ok(())
    }

    fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        self.device.read_vectored_at(offset, buffers)
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        self.device.write_vectored_at(offset, buffers)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.device.write_zeroes(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.device.discard(offset, len)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.device.set_size(size)
    }

    fn alignment(&self) -> NonZero<usize> {
        self.device.alignment()
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync()
    }
}
