//! WHERE DISKS LIE
//!
//! A disk service makes a device for each layer of each disk, snapshot and image in a backend. The library has one
//! kind, a folder; the caller can make any other from callbacks, such as a pool of block devices or an object store.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::sync::Arc;

use atrest::managed::{DiskBackend, DiskFolder};
use atrest::{BlockDevice, Error};

use crate::callback::{User, c_text};
use crate::device::atrest_device;
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::handle::{self, Handle};
use crate::status::{ATREST_ERR_BUSY, ATREST_ERR_UNSUPPORTED, ATREST_OK, atrest_status};
use crate::structs::SizedStruct;

/// A backend. Freed by atrest_disk_backend_free.
pub struct atrest_disk_backend;

/// A backend of the caller. Callbacks return ATREST_OK, or ATREST_ERR_BUSY if somebody else holds the device. Any other
/// number is a failure, and the call ends with ATREST_ERR_CALLBACK_FAILED. Several threads may call them at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_disk_backend_callbacks {
    /// Set by ATREST_DISK_BACKEND_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// Makes a device of `size` zero bytes in a region, under an id of 36 characters that was never used before, and
    /// puts a handle of it into `out`. The library frees the handle; a backend that needs a handle itself should give
    /// away one of atrest_device_clone. Syncing the device must also make its name durable.
    pub create: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            region: *const c_char,
            id: *const c_char,
            size: u64,
            out: *mut *mut atrest_device,
        ) -> atrest_status,
    >,
    /// Puts a handle of a device into `out`, which the library frees.
    pub open: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            region: *const c_char,
            id: *const c_char,
            out: *mut *mut atrest_device,
        ) -> atrest_status,
    >,
    /// Removes a device, if it exists. Current users may continue until they close it. After this returns, the device
    /// must not reappear.
    pub remove:
        Option<unsafe extern "C" fn(user: *mut c_void, region: *const c_char, id: *const c_char) -> atrest_status>,
    /// Called once, when the backend and every disk service that uses it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Puts a handle of an existing plain image into `out`, to look at it before atrest_disk_service_import_disk takes it in.
    /// The library frees it. `image` is the name that was given to that function. May be NULL, and so may be adopt_image():
    /// then no image is taken in.
    pub open_image: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            region: *const c_char,
            image: *const c_char,
            out: *mut *mut atrest_device,
        ) -> atrest_status,
    >,
    /// Makes an image the device of this id, grows it with zeros to `size` bytes, and puts a handle of it into `out`. It has this
    /// name only from then on, also after a crash. After a failure or a kill it is called again with the same arguments: the
    /// image may be the device already.
    pub adopt_image: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            region: *const c_char,
            id: *const c_char,
            image: *const c_char,
            size: u64,
            out: *mut *mut atrest_device,
        ) -> atrest_status,
    >,
    /// Calls `each` with `ids` and the id of every device that create() has made in a region, including forgotten ones. If
    /// `each` returns anything but ATREST_OK, returns that. NULL, or ATREST_ERR_UNSUPPORTED: atrest_disk_service_orphans
    /// can't tell.
    pub list: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            region: *const c_char,
            each: Option<unsafe extern "C" fn(ids: *mut c_void, id: *const c_char) -> atrest_status>,
            ids: *mut c_void,
        ) -> atrest_status,
    >,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_disk_backend_callbacks {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_disk_backend_callbacks, open_image),
        core::mem::offset_of!(atrest_disk_backend_callbacks, list),
    ];
}

/// Makes a backend of files in one folder, for all regions. The folder must exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_backend_folder(
    path: *const c_char,
    out: *mut *mut atrest_disk_backend,
) -> atrest_status {
    run(|| {
        let (path, out) = (path!(path), out!(out));
        out.handle(Arc::new(DiskFolder::new(path)));
        Ok(())
    })
}

/// Opens a place for disks by its URL: `file:FOLDER` for a folder, which must exist, with `?direct` past the page cache. A library that
/// was built with the features nbd, nbd-tls, rbd, azblob or s3 has `nbd://HOST/EXPORT`, `nbds://...`, `rbd:POOL`, `azblob:https://...` and
/// `s3:https://...`, too. Credentials are where those systems have them, and never in the URL. The folder docs/storage says more.
///
/// Errors: ATREST_ERR_INVALID_OPTION for another URL, and for one whose feature the library was built without;
/// ATREST_ERR_NOT_FOUND for a folder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_backend_from_url(
    url: *const c_char,
    out: *mut *mut atrest_disk_backend,
) -> atrest_status {
    run(|| {
        let (url, out) = (text!(url), out!(out));
        out.handle(atrest_stores::backend(url)?);
        Ok(())
    })
}

/// Makes a backend of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_NULL_ARGUMENT, also for create(), open() and remove().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_backend_from_callbacks(
    callbacks: *const atrest_disk_backend_callbacks,
    out: *mut *mut atrest_disk_backend,
) -> atrest_status {
    run(|| {
        let (c, out) = (structure!(callbacks), out!(out));
        out.handle(Arc::new(CallbackBackend {
            user: User(c.user),
            create: c.create.ok_or_else(|| Failure::null("callbacks.create"))?,
            open: c.open.ok_or_else(|| Failure::null("callbacks.open"))?,
            remove: c.remove.ok_or_else(|| Failure::null("callbacks.remove"))?,
            release: c.release,
            images: c.open_image.zip(c.adopt_image),
            list: c.list,
        }));
        Ok(())
    })
}

/// Frees a backend. Services that use it keep it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_backend_free(backend: *mut atrest_disk_backend) {
    free!(backend);
}

impl Handle for atrest_disk_backend {
    type Object = Arc<dyn DiskBackend>;
    const TAG: [u8; 4] = *b"bck\x01";
    const NAME: &'static str = "atrest_disk_backend";
}

/// A [`DiskBackend`] of C functions.
struct CallbackBackend {
    user: User,
    create:
        unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, u64, *mut *mut atrest_device) -> atrest_status,
    open: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut *mut atrest_device) -> atrest_status,
    remove: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> atrest_status,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
    images: Option<(OpenImage, AdoptImage)>,
    list: Option<List>,
}

type List = unsafe extern "C" fn(*mut c_void, *const c_char, Option<Each>, *mut c_void) -> atrest_status;
type Each = unsafe extern "C" fn(*mut c_void, *const c_char) -> atrest_status;
type OpenImage =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut *mut atrest_device) -> atrest_status;
type AdoptImage = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *const c_char,
    u64,
    *mut *mut atrest_device,
) -> atrest_status;

impl CallbackBackend {
    fn images(&self) -> Result<(OpenImage, AdoptImage), Error> {
        let text = "the backend has no callbacks open_image and adopt_image, and takes in no images";
        self.images.ok_or_else(|| Error::InvalidOption(text.into()))
    }
}

impl DiskBackend for CallbackBackend {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>, Error> {
        let (c_region, c_id, mut given) = (c_text(region), c_text(id), ptr::null_mut());
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let status = unsafe { (self.create)(self.user.0, c_region.as_ptr(), c_id.as_ptr(), size, &raw mut given) };
        check("making", region, id, status)?;
        device(given, "create", id)
    }

    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>, Error> {
        let (c_region, c_id, mut given) = (c_text(region), c_text(id), ptr::null_mut());
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let status = unsafe { (self.open)(self.user.0, c_region.as_ptr(), c_id.as_ptr(), &raw mut given) };
        check("opening", region, id, status)?;
        device(given, "open", id)
    }

    fn open_image(&self, region: &str, image: &str) -> Result<Arc<dyn BlockDevice>, Error> {
        let (open, _) = self.images()?;
        let (c_region, c_image, mut given) = (c_text(region), c_text(image), ptr::null_mut());
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let status = unsafe { open(self.user.0, c_region.as_ptr(), c_image.as_ptr(), &raw mut given) };
        check("opening the image for", region, image, status)?;
        device(given, "open_image", image)
    }

    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>, Error> {
        let (_, adopt) = self.images()?;
        let (c_region, c_id, c_image, mut given) = (c_text(region), c_text(id), c_text(image), ptr::null_mut());
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let status =
            unsafe { adopt(self.user.0, c_region.as_ptr(), c_id.as_ptr(), c_image.as_ptr(), size, &raw mut given) };
        check("making an image", region, id, status)?;
        device(given, "adopt_image", id)
    }

    fn remove(&self, region: &str, id: &str) -> Result<(), Error> {
        let (c_region, c_id) = (c_text(region), c_text(id));
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        check("removing", region, id, unsafe { (self.remove)(self.user.0, c_region.as_ptr(), c_id.as_ptr()) })
    }

    fn list(&self, region: &str) -> Result<Vec<String>, Error> {
        let text = "the backend has no callback list, and can't tell which devices it has";
        let list = self.list.ok_or_else(|| Error::InvalidOption(text.into()))?;
        let (c_region, mut ids) = (c_text(region), Vec::<String>::new());
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let status = unsafe { list(self.user.0, c_region.as_ptr(), Some(take_id), (&raw mut ids).cast()) };
        CallbackFailed::of(status).map_err(|failed| match failed.status() {
            ATREST_ERR_UNSUPPORTED => Error::InvalidOption(text.into()),
            _ => Error::Io { what: format!("listing the devices in {region}"), source: failed.into_io() },
        })?;
        Ok(ids)
    }
}

/// Takes an id from the caller's list.
///
/// # Safety
/// `ids` must be a list of ids that nobody else uses meanwhile, and `id` a text that ends with a zero byte, or NULL.
unsafe extern "C" fn take_id(ids: *mut c_void, id: *const c_char) -> atrest_status {
    run(|| {
        let id = text!(id);
        if ids.is_null() {
            return Err(Failure::null("ids"));
        }
        // SAFETY: by the comment of the callback it is what `list` below was given.
        let ids = unsafe { &mut *ids.cast::<Vec<String>>() };
        ids.push(id.to_owned());
        Ok(())
    })
}

impl Drop for CallbackBackend {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}

fn check(doing: &str, region: &str, id: &str, status: atrest_status) -> Result<(), Error> {
    match status {
        ATREST_ERR_BUSY => Err(Error::Busy { what: format!("the device {id} in {region}") }),
        status => CallbackFailed::of(status).map_err(|failed| {
            let what = format!("{doing} the device {id} in {region}");
            Error::Io { what, source: failed.into_io() }
        }),
    }
}

/// The device that a callback gave away.
fn device(given: *mut atrest_device, callback: &str, id: &str) -> Result<Arc<dyn BlockDevice>, Error> {
    // SAFETY: by the comment of the callback it is a handle that nobody else uses, and the library must free it.
    let device = unsafe { handle::take(given, "out") };
    device.map(|device| *device).map_err(|e| {
        let what = format!("the {callback} callback gave no device {id}: {e}");
        Error::Io { what, source: CallbackFailed::new(ATREST_OK).into_io() }
    })
}
