//! DEVICES
//!
//! A device is the place of a volume: bytes with random access. A volume keeps its device, so the device's handle may
//! be freed as soon as the volume exists.

use core::ffi::{c_char, c_void};
use core::num::NonZero;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atrest::volume::write_zeros;
use atrest::{BlockDevice, FileDevice, MemoryDevice};

use crate::args::check_flags;
use crate::callback::User;
use crate::failure::{CallbackFailed, Failure, run};
use crate::handle::Handle;
use crate::status::{ATREST_ERR_INVALID_OPTION, ATREST_ERR_NO_MEMORY, ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::structs::SizedStruct;

/// Flag: nothing will be written; open the volume with ATREST_OPEN_READ_ONLY. Others may open the file the same way
/// meanwhile.
pub const ATREST_DEVICE_READ_ONLY: u32 = 1;
/// Flag: read and write past the page cache (O_DIRECT), on Linux. Buffers, offsets and lengths that are aligned as the file
/// system demands, to 512 or 4096 bytes as a rule, go to the disk as they are; all others go through a buffer of the library.
pub const ATREST_DEVICE_DIRECT_IO: u32 = 2;

/// A device. Freed by atrest_device_free.
pub struct atrest_device;

/// A device of the caller. Callbacks return ATREST_OK; any other number is a failure, and the call ends with
/// ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_device_callbacks {
    /// Set by ATREST_DEVICE_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// The size of the device in bytes, which set_size() changes.
    pub size: u64,
    /// Fills `bytes` with `len` bytes from `offset`. The library stays below `size`.
    pub read_at:
        Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, bytes: *mut c_void, len: usize) -> atrest_status>,
    /// Writes `len` bytes at `offset`. NULL for a read-only device: open its volume with ATREST_OPEN_READ_ONLY.
    pub write_at:
        Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, bytes: *const c_void, len: usize) -> atrest_status>,
    /// Waits until all written data is on stable storage. Required with write_at: a volume that is killed while its
    /// header is written only opens again if the order of writes was kept.
    pub sync: Option<unsafe extern "C" fn(user: *mut c_void) -> atrest_status>,
    /// Called once, when every handle of the device and every volume on it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// The alignment of offsets, lengths and addresses, as with O_DIRECT: a power of two. 0 is 1.
    pub alignment: usize,
    /// Makes `len` bytes from `offset` zeros. NULL, or ATREST_ERR_UNSUPPORTED: they are written by write_at().
    pub write_zeroes: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, len: u64) -> atrest_status>,
    /// Discards `len` bytes from `offset`: nobody needs them, so their room can be given to others. Their content is
    /// undefined until they are written again. NULL, or ATREST_ERR_UNSUPPORTED: nothing happens.
    pub discard: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, len: u64) -> atrest_status>,
    /// Makes the device larger, with zeros, or smaller; the new size is durable when this returns. NULL, or
    /// ATREST_ERR_UNSUPPORTED: the device keeps its size. See atrest_disk_service_resize_disk.
    pub set_size: Option<unsafe extern "C" fn(user: *mut c_void, size: u64) -> atrest_status>,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, `Option`s of functions are `None` then, and numbers may be
// zero.
unsafe impl SizedStruct for atrest_device_callbacks {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_device_callbacks, alignment),
        core::mem::offset_of!(atrest_device_callbacks, write_zeroes),
        core::mem::offset_of!(atrest_device_callbacks, set_size),
    ];
}

/// Opens a file or block device and holds it: a second open, by any process that respects flock(), gives
/// ATREST_ERR_BUSY. `flags` is 0 or ATREST_DEVICE_*, combined by `|`.
///
/// Errors: ATREST_ERR_NOT_FOUND; ATREST_ERR_BUSY; ATREST_ERR_IO, also where there is no direct I/O; ATREST_ERR_BAD_ENUM for a flag that isn't known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_open_file(
    path: *const c_char,
    flags: u32,
    out: *mut *mut atrest_device,
) -> atrest_status {
    run(|| {
        let (path, out) = (path!(path), out!(out));
        check_flags(flags, ATREST_DEVICE_READ_ONLY | ATREST_DEVICE_DIRECT_IO)?;
        let is_set = |flag: u32| flags & flag != 0;
        let opened =
            if is_set(ATREST_DEVICE_READ_ONLY) { FileDevice::open_read_only(path) } else { FileDevice::open(path) };
        let device = opened?;
        out.handle(Arc::new(if is_set(ATREST_DEVICE_DIRECT_IO) { device.direct_io()? } else { device }));
        Ok(())
    })
}

/// Makes a new file of `size` bytes, sparse if possible and readable by its owner only, and locks it like
/// atrest_device_open_file. `path` must not exist.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_create_file(
    path: *const c_char,
    size: u64,
    out: *mut *mut atrest_device,
) -> atrest_status {
    run(|| {
        let (path, out) = (path!(path), out!(out));
        out.handle(Arc::new(FileDevice::create(path, size)?));
        Ok(())
    })
}

/// Makes a device of `size` zero bytes in memory. Its content is lost when it and every volume on it are freed.
///
/// Errors: ATREST_ERR_NO_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_memory(size: usize, out: *mut *mut atrest_device) -> atrest_status {
    run(|| {
        let out = out!(out);
        // Try first, because a failed allocation would end the process.
        let room = Vec::<u8>::new().try_reserve_exact(size);
        room.map_err(|_| Failure::new(ATREST_ERR_NO_MEMORY, format!("there is no memory for {size} bytes")))?;
        out.handle(Arc::new(MemoryDevice::new(size)));
        Ok(())
    })
}

/// Makes a device of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_NULL_ARGUMENT for read_at(), and for sync() where there is write_at(); ATREST_ERR_INVALID_OPTION for an
/// alignment that is no power of two.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_from_callbacks(
    callbacks: *const atrest_device_callbacks,
    out: *mut *mut atrest_device,
) -> atrest_status {
    run(|| {
        let (c, out) = (structure!(callbacks), out!(out));
        let read_at = c.read_at.ok_or_else(|| Failure::null("callbacks.read_at"))?;
        if c.write_at.is_some() && c.sync.is_none() {
            return Err(Failure::null("callbacks.sync"));
        }
        let alignment = NonZero::new(c.alignment).unwrap_or(NonZero::<usize>::MIN);
        if !alignment.is_power_of_two() {
            let text = format!("`callbacks.alignment` is {alignment}, which is no power of two");
            return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
        }
        out.handle(Arc::new(CallbackDevice {
            user: User(c.user),
            size: AtomicU64::new(c.size),
            alignment,
            read_at,
            write_at: c.write_at,
            write_zeroes: c.write_zeroes,
            discard: c.discard,
            set_size: c.set_size,
            sync: c.sync,
            release: c.release,
        }));
        Ok(())
    })
}

/// Makes another handle of the same device, to be freed separately. Use it in a callback that must give a handle away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_clone(
    device: *const atrest_device,
    out: *mut *mut atrest_device,
) -> atrest_status {
    run(|| {
        let (device, out) = (handle!(device), out!(out));
        out.handle(device.clone());
        Ok(())
    })
}

/// Frees a device. If a volume is on it, the device stays until the volume is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_device_free(device: *mut atrest_device) {
    free!(device);
}

/// The object of an `atrest_device`. Volumes lie on it.
pub(crate) type Device = Arc<dyn BlockDevice>;

impl Handle for atrest_device {
    type Object = Device;
    const TAG: [u8; 4] = *b"dev\x01";
    const NAME: &'static str = "atrest_device";
}

/// A [`BlockDevice`] of C functions.
struct CallbackDevice {
    user: User,
    size: AtomicU64,
    alignment: NonZero<usize>,
    read_at: unsafe extern "C" fn(*mut c_void, u64, *mut c_void, usize) -> atrest_status,
    write_at: Option<unsafe extern "C" fn(*mut c_void, u64, *const c_void, usize) -> atrest_status>,
    write_zeroes: Option<OnRange>,
    discard: Option<OnRange>,
    set_size: Option<unsafe extern "C" fn(*mut c_void, u64) -> atrest_status>,
    sync: Option<unsafe extern "C" fn(*mut c_void) -> atrest_status>,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// A function that is told an offset and a length.
type OnRange = unsafe extern "C" fn(*mut c_void, u64, u64) -> atrest_status;

impl CallbackDevice {
    fn check(&self, offset: u64, len: u64) -> io::Result<()> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.size.load(Ordering::Acquire));
        fits.then_some(()).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Calls a function that may be missing, or may say that it can't; then this is `None`.
    fn on_range(&self, act: Option<OnRange>, offset: u64, len: u64) -> io::Result<Option<()>> {
        self.check(offset, len)?;
        if self.write_at.is_none() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let Some(act) = act else { return Ok(None) };
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
        match CallbackFailed::of(unsafe { act(self.user.0, offset, len) }) {
            Err(failed) if failed.status() == ATREST_ERR_UNSUPPORTED => Ok(None),
            done => done.map(Some).map_err(CallbackFailed::into_io),
        }
    }
}

impl BlockDevice for CallbackDevice {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size.load(Ordering::Acquire))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; `bytes` lives until it returns.
        done(unsafe { (self.read_at)(self.user.0, offset, bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64)?;
        let Some(write_at) = self.write_at else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; `bytes` lives until it returns.
        done(unsafe { write_at(self.user.0, offset, bytes.as_ptr().cast(), bytes.len()) })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeroed = self.on_range(self.write_zeroes, offset, len)?;
        zeroed.map_or_else(|| write_zeros(self, offset, len), Ok)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.on_range(self.discard, offset, len).map(drop)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let set_size = self.set_size.ok_or_else(unsupported)?;
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
        match CallbackFailed::of(unsafe { set_size(self.user.0, size) }) {
            Err(failed) if failed.status() == ATREST_ERR_UNSUPPORTED => return Err(unsupported()),
            done => done.map_err(CallbackFailed::into_io)?,
        }
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    fn alignment(&self) -> NonZero<usize> {
        self.alignment
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
        self.sync.map_or(Ok(()), |sync| done(unsafe { sync(self.user.0) }))
    }
}

impl Drop for CallbackDevice {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}

fn done(status: atrest_status) -> io::Result<()> {
    CallbackFailed::of(status).map_err(CallbackFailed::into_io)
}
