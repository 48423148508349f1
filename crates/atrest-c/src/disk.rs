//! OPEN DISKS
//!
//! An open managed disk. All users share one opening, and so its vault calls. Only the requested sectors are in memory
//! in the clear, and the DEK while the disk's key may be used.

use core::ffi::{c_char, c_void};
use core::ops::Deref;
use std::sync::{Mutex, PoisonError};

use atrest::Result;
use atrest::managed::{DeviceWrite, OpenDisk};

use crate::disk_service::atrest_disk_service;
use crate::failure::run;
use crate::handle::Handle;
use crate::status::atrest_status;

/// An open disk. Freed by atrest_disk_free.
pub struct atrest_disk;

/// Opens a disk.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_DISK_SUSPENDED while its key may not be used; the errors of the
/// vault and the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_open_disk(
    service: *const atrest_disk_service,
    name: *const c_char,
    out: *mut *mut atrest_disk,
) -> atrest_status {
    run(|| {
        let (service, name, out) = (handle!(service), text!(name), out!(out));
        out.handle(Disk::new(service.open_disk(name)?));
        Ok(())
    })
}

/// Frees an open disk. IT DOES NOT SYNC: call atrest_disk_sync first, or the last writes may not be on the disk. It may
/// outlive its service; then the store stays open as long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_free(disk: *mut atrest_disk) {
    free!(disk);
}

/// Reads and decrypts `len` bytes at `offset`. Both are multiples of the sector size. Unwritten sectors read as noise.
/// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED the content of `sectors` is undefined.
///
/// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS;
/// ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_read_at(
    disk: *const atrest_disk,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).read_at(offset, bytes_mut!(sectors, len))?))
}

/// Encrypts and writes `len` bytes at `offset`. Both are multiples of the sector size. After ATREST_ERR_IO and
/// ATREST_ERR_CALLBACK_FAILED a part may have been written.
///
/// Errors: those of atrest_disk_read_at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_write_at(
    disk: *mut atrest_disk,
    offset: u64,
    sectors: *const c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(disk).write_at(offset, bytes!(sectors, len))?))
}

/// Waits until all written data is on stable storage. If it fails, data written since the last sync may be lost.
///
/// Errors: ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_sync(disk: *mut atrest_disk) -> atrest_status {
    run(|| Ok(handle!(disk).sync()?))
}

/// The name of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_name(
    disk: *const atrest_disk,
    name: *mut c_char,
    name_cap: usize,
    name_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(name, name_cap, name_len).put(handle!(disk).name()))
}

/// The size of the data in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_size(disk: *const atrest_disk, out: *mut u64) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(out));
        out.set(disk.size());
        Ok(())
    })
}

/// The sector size in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_sector_size(disk: *const atrest_disk, out: *mut u32) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(out));
        out.set(disk.sector_size());
        Ok(())
    })
}

/// 1 if its key may not be used, as far as is known without asking, otherwise 0. Shut down a machine if one of its
/// disks is suspended after atrest_disk_service_maintain.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_is_suspended(disk: *const atrest_disk, out: *mut u32) -> atrest_status {
    run(|| {
        let (disk, out) = (handle!(disk), out!(out));
        out.set(disk.is_suspended().into());
        Ok(())
    })
}

/// The object of an `atrest_disk`.
pub(crate) struct Disk {
    disk: OpenDisk,
    /// The writes that the caller does itself. All are alike.
    writes: Mutex<Vec<DeviceWrite>>,
}

impl Disk {
    fn new(disk: OpenDisk) -> Self {
        Disk { disk, writes: Mutex::default() }
    }

    pub(crate) fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<u64> {
        Ok(self.under_way(self.disk.begin_write(offset, sectors)?))
    }

    pub(crate) fn begin_write_from(&self, offset: u64, sectors: &[u8], ciphertext: &mut [u8]) -> Result<u64> {
        Ok(self.under_way(self.disk.begin_write_from(offset, sectors, ciphertext)?))
    }

    fn under_way(&self, write: DeviceWrite) -> u64 {
        let device_offset = write.device_offset();
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        device_offset
    }

    /// Ends a write, if one is under way.
    pub(crate) fn end_write(&self) -> Option<()> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).pop().map(drop)
    }
}

impl Deref for Disk {
    type Target = OpenDisk;

    fn deref(&self) -> &OpenDisk {
        &self.disk
    }
}

impl Handle for atrest_disk {
    type Object = Disk;
    const TAG: [u8; 4] = *b"dsk\x01";
    const NAME: &'static str = "atrest_disk";
}
