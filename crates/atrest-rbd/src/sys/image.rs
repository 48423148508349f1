//! Images that are open.

#![allow(unsafe_code)] // the boundary to C

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use super::api::{Api, ConfigOption, ImageInfo, Watcher};
use super::cluster::Pool;
use super::errno::{self, Errno, checked};

/// `RBD_LOCK_MODE_EXCLUSIVE`.
const EXCLUSIVE: c_int = 0;
/// `RBD_IMAGE_OPTION_FORMAT` and `_FEATURES`.
const FORMAT: c_int = 0;
const FEATURES: c_int = 1;

/// The owner of an image's lock, as librbd names it.
pub(crate) type Owner = String;

/// The properties of a new image.
pub(crate) struct NewImage {
    pub(crate) size: u64,
    pub(crate) features: u64,
}

impl NewImage {
    pub(crate) fn make(&self, pool: &Pool, name: &CStr) -> Result<(), Errno> {
        let (api, mut options) = (pool.cluster.api, null_mut());
        // SAFETY: `options` is a place for a handle.
        unsafe { (api.rbd_image_options_create)(&mut options) };
        let set = |option, value| {
            // SAFETY: `options` was made above, and lives until it is destroyed below.
            checked(unsafe { (api.rbd_image_options_set_uint64)(options, option, value) }).map(drop)
        };
        let made = set(FORMAT, 2)
            .and_then(|()| set(FEATURES, self.features))
            // SAFETY: the pool's handle is live, as are the options; the name ends with a zero byte.
            .and_then(|()| checked(unsafe { (api.rbd_create4)(pool.handle, name.as_ptr(), self.size, options) }));
        // SAFETY: this is the last use of the options.
        unsafe { (api.rbd_image_options_destroy)(options) };
        made.map(drop)
    }
}

/// A progress callback that does nothing.
unsafe extern "C" fn go_on(_: u64, _: u64, _: *mut c_void) -> c_int {
    0
}

/// An open image: `rbd_image_t`. Dropping it closes it, which waits for operations in flight and gives the lock back.
pub(crate) struct Image {
    pool: Arc<Pool>,
    pub(super) handle: *mut c_void,
}

// SAFETY: librbd locks its images itself; QEMU and others call them from many threads.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    pub(crate) fn open(pool: Arc<Pool>, name: &CStr, snapshot: Option<&CStr>, read_only: bool) -> Result<Self, Errno> {
        let (api, mut handle) = (pool.cluster.api, null_mut());
        let open = if read_only { api.rbd_open_read_only } else { api.rbd_open };
        let snapshot = snapshot.map_or(null(), CStr::as_ptr);
        // SAFETY: the pool's handle is live; `handle` is a place for a handle; texts end with a zero byte, or are null.
        checked(unsafe { open(pool.handle, name.as_ptr(), &mut handle, snapshot) })?;
        Ok(Image { pool, handle })
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(super) fn api(&self) -> &'static Api {
        self.pool.cluster.api
    }

    /// Whether the library can write zeros: since Ceph 16.
    pub(crate) fn has_write_zeroes(&self) -> bool {
        self.api().rbd_aio_write_zeroes.is_some()
    }

    /// The current size in bytes, from librbd's memory: no request is sent.
    pub(crate) fn size(&self) -> Result<u64, Errno> {
        let mut size = 0;
        // SAFETY: the handle is live as long as `self`; `size` is a place for a number.
        checked(unsafe { (self.api().rbd_get_size)(self.handle, &mut size) })?;
        Ok(size)
    }

    /// The size of its objects in bytes.
    pub(crate) fn object_size(&self) -> Result<u64, Errno> {
        let mut info = ImageInfo::default();
        // SAFETY: the handle is live as long as `self`; `info` is a record of the size that is told.
        checked(unsafe { (self.api().rbd_stat)(self.handle, &mut info, size_of::<ImageInfo>()) })?;
        Ok(info.object_size)
    }

    pub(crate) fn features(&self) -> Result<u64, Errno> {
        let mut features = 0;
        // SAFETY: the handle is live as long as `self`; `features` is a place for a number.
        checked(unsafe { (self.api().rbd_get_features)(self.handle, &mut features) })?;
        Ok(features)
    }

    pub(crate) fn resize(&self, size: u64) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`; the callback, which librbd calls without looking, takes any argument.
        checked(unsafe { (self.api().rbd_resize2)(self.handle, size, true, go_on, null_mut()) }).map(drop)
    }

    /// Takes the lock, and doesn't hand it over on request, as librbd does by default.
    pub(crate) fn lock(&self) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`.
        checked(unsafe { (self.api().rbd_lock_acquire)(self.handle, EXCLUSIVE) }).map(drop)
    }

    /// Whether this handle holds the lock, by the word of the cluster.
    pub(crate) fn holds_lock(&self) -> Result<bool, Errno> {
        let mut holds = 0;
        // SAFETY: the handle is live as long as `self`; `holds` is a place for a number.
        checked(unsafe { (self.api().rbd_is_exclusive_lock_owner)(self.handle, &mut holds) })?;
        Ok(holds != 0)
    }

    /// The owner of the lock. Exclusive locks have one owner.
    pub(crate) fn lock_owner(&self) -> Result<Option<Owner>, Errno> {
        const ROOM: usize = 8;
        let (mut mode, mut owners, mut count) = (0, [null_mut::<c_char>(); ROOM], ROOM);
        let get = self.api().rbd_lock_get_owners;
        // SAFETY: the handle is live as long as `self`; there are `count` places for texts.
        match checked(unsafe { get(self.handle, &mut mode, owners.as_mut_ptr(), &mut count) }) {
            Err(errno::ENOENT) => return Ok(None),
            Err(code) => return Err(code),
            Ok(_) => {}
        }
        // SAFETY: the call filled in so many texts, each with a zero byte at its end.
        let owner = (count > 0).then(|| unsafe { CStr::from_ptr(owners[0]) }.to_string_lossy().into_owned());
        // SAFETY: the texts are from rbd_lock_get_owners and aren't used any more.
        unsafe { (self.api().rbd_lock_get_owners_cleanup)(owners.as_mut_ptr(), count.min(ROOM)) };
        Ok(owner)
    }

    /// The value of an option as it is for this image: the pool's and the image's own settings come before those of the client.
    pub(crate) fn option(&self, name: &CStr) -> Result<Option<String>, Errno> {
        // Ceph 16 has 60 options for images.
        const ROOM: usize = 1024;
        let mut options = vec![ConfigOption { name: null_mut(), value: null_mut(), source: 0 }; ROOM];
        let mut count = ROOM as c_int;
        // SAFETY: the handle is live as long as `self`; there are `count` places for records.
        checked(unsafe { (self.api().rbd_config_image_list)(self.handle, options.as_mut_ptr(), &mut count) })?;
        let listed = &options[..usize::try_from(count).unwrap_or(0).min(ROOM)];
        // SAFETY: the call filled in so many records, each with two texts that end with a zero byte.
        let found = listed.iter().find(|option| unsafe { CStr::from_ptr(option.name) } == name);
        // SAFETY: as above.
        let value = found.map(|option| unsafe { CStr::from_ptr(option.value) }.to_string_lossy().into_owned());
        // SAFETY: the records are from rbd_config_image_list and aren't used any more.
        unsafe { (self.api().rbd_config_image_list_cleanup)(options.as_mut_ptr(), count) };
        Ok(value)
    }

    /// The address of a client that has the image open for writing, with the lock or without.
    pub(crate) fn writer(&self) -> Result<Option<String>, Errno> {
        const ROOM: usize = 64;
        let mut watchers = [Watcher { address: null_mut(), id: 0, cookie: 0 }; ROOM];
        let mut count = ROOM;
        // SAFETY: the handle is live as long as `self`; there are `count` places for records.
        match checked(unsafe { (self.api().rbd_watchers_list)(self.handle, watchers.as_mut_ptr(), &mut count) }) {
            Err(errno::ERANGE) => return Ok(Some("many clients".into())),
            Err(code) => return Err(code),
            Ok(_) => {}
        }
        let count = count.min(ROOM);
        // SAFETY: the call filled in so many records, each with a text that ends with a zero byte.
        let writer = (count > 0).then(|| unsafe { CStr::from_ptr(watchers[0].address) }.to_string_lossy().into_owned());
        // SAFETY: the records are from rbd_watchers_list and aren't used any more.
        unsafe { (self.api().rbd_watchers_list_cleanup)(watchers.as_mut_ptr(), count) };
        Ok(writer)
    }

    /// Takes the lock away from its owner, which is put on the blocklist first.
    pub(crate) fn break_lock(&self, owner: &CStr) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`; the text ends with a zero byte.
        checked(unsafe { (self.api().rbd_lock_break)(self.handle, EXCLUSIVE, owner.as_ptr()) }).map(drop)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.pool.cluster.owner.is_current() {
            // SAFETY: this is the last use of the handle. Completions of operations in flight don't use it.
            unsafe { (self.api().rbd_close)(self.handle) };
        }
    }
}
