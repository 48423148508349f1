//! Connections to a cluster, and pools.

#![allow(unsafe_code)] // the boundary to C

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use atrest::OwningProcess;

use super::api::{Api, ImageSpec, api};
use super::errno::{self, Errno, checked};

/// The most images that are listed of a pool: 16 million.
const MOST_IMAGES: usize = 1 << 24;

/// A client of a cluster: `rados_t`. It has an address of its own, which the cluster can shut out.
pub(crate) struct Cluster {
    /// A child has none of the threads of librados: it closes nothing.
    pub(super) owner: OwningProcess,
    pub(super) api: &'static Api,
    handle: *mut c_void,
}

// SAFETY: librados.h: 'librados is thread safe': a handle may be used by many threads at once.
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl Cluster {
    /// A client that isn't connected yet, of this user (`admin` for `client.admin`).
    pub(crate) fn new(user: Option<&CStr>) -> Result<Result<Self, Errno>, &'static str> {
        let api = api()?;
        let mut handle = null_mut();
        // SAFETY: `handle` is a place for a handle; the id is null or ends with a zero byte.
        let made = unsafe { (api.rados_create)(&mut handle, user.map_or(null(), CStr::as_ptr)) };
        Ok(checked(made).map(|_| Cluster { owner: OwningProcess::current(), api, handle }))
    }

    /// Reads a configuration file; `None` is Ceph's default place.
    pub(crate) fn read_config(&self, path: Option<&CStr>) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`; the path is null or ends with a zero byte.
        checked(unsafe { (self.api.rados_conf_read_file)(self.handle, path.map_or(null(), CStr::as_ptr)) }).map(drop)
    }

    pub(crate) fn set(&self, option: &CStr, value: &CStr) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`; both texts end with a zero byte.
        checked(unsafe { (self.api.rados_conf_set)(self.handle, option.as_ptr(), value.as_ptr()) }).map(drop)
    }

    /// Whether librbd may write from a buffer without a copy of its own: since Ceph 16 an operation ends only when nothing
    /// refers to its buffer, even if it was given up while a message of it waits to be sent.
    pub(crate) fn keeps_buffers(&self) -> bool {
        self.api.rbd_aio_write_zeroes.is_some()
    }

    pub(crate) fn connect(&self) -> Result<(), Errno> {
        // SAFETY: the handle is live as long as `self`, and is connected once.
        checked(unsafe { (self.api.rados_connect)(self.handle) }).map(drop)
    }

    /// The address of this client, as the cluster's blocklist wants it.
    pub(crate) fn address(&self) -> Result<String, Errno> {
        let mut text = null_mut();
        // SAFETY: the handle is live as long as `self`; `text` is a place for a pointer.
        checked(unsafe { (self.api.rados_getaddrs)(self.handle, &mut text) })?;
        // SAFETY: on success it is a text that ends with a zero byte, which belongs to the caller.
        let address = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: `text` is from rados_getaddrs and isn't used any more.
        unsafe { (self.api.rados_buffer_free)(text) };
        Ok(address)
    }

    /// Shuts out a client by its address, and returns when the monitors have decided so. It is for as long as they are configured
    /// for (`mon_osd_blocklist_default_expire`, one hour by itself): librados of Ceph 16 fails with any other time.
    pub(crate) fn blocklist(&self, address: &CStr) -> Result<(), Errno> {
        // The name until Ceph 15 was another.
        let add = self.api.rados_blocklist_add.or(self.api.rados_blacklist_add).ok_or(errno::EINVAL)?;
        let address: CString = address.to_owned();
        // SAFETY: the handle is live as long as `self`; the address ends with a zero byte, and lives until the call ends.
        checked(unsafe { add(self.handle, address.as_ptr().cast_mut(), 0) }).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owner.is_current() {
            // SAFETY: this is the last use of the handle: pools and images keep their cluster alive.
            unsafe { (self.api.rados_shutdown)(self.handle) };
        }
    }
}

/// A pool with a namespace: `rados_ioctx_t`.
pub(crate) struct Pool {
    pub(super) cluster: Arc<Cluster>,
    pub(super) handle: *mut c_void,
}

// SAFETY: the I/O context is changed (its namespace, its flag) only before it is shared; librados is thread safe.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    pub(crate) fn open(cluster: Arc<Cluster>, name: &CStr, namespace: &CStr) -> Result<Self, Errno> {
        let (api, mut handle) = (cluster.api, null_mut());
        // SAFETY: the cluster's handle is live; `handle` is a place for a handle; the name ends with a zero byte.
        checked(unsafe { (api.rados_ioctx_create)(cluster.handle, name.as_ptr(), &mut handle) })?;
        let pool = Pool { cluster, handle };
        // SAFETY: the handle was made above, and the namespace ends with a zero byte.
        unsafe { (api.rados_ioctx_set_namespace)(handle, namespace.as_ptr()) };
        if let Some(full_try) = api.rados_set_pool_full_try {
            // By default a client waits until a full pool has room. With this it gets an error.
            // SAFETY: the handle was made above.
            unsafe { full_try(handle) };
        }
        Ok(pool)
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The names of all images.
    pub(crate) fn images(&self) -> Result<Vec<String>, Errno> {
        let api = self.cluster.api;
        let mut room = 256;
        loop {
            let mut specs = vec![ImageSpec { id: null_mut(), name: null_mut() }; room];
            let mut count = room;
            // SAFETY: the handle is live; there are `count` places for records.
            match checked(unsafe { (api.rbd_list2)(self.handle, specs.as_mut_ptr(), &mut count) }) {
                Err(errno::ERANGE) if count > room && count <= MOST_IMAGES => room = count,
                Err(code) => return Err(code),
                Ok(_) => {
                    specs.truncate(count);
                    // SAFETY: the call filled in `count` records, each with a text that ends with a zero byte.
                    let name = |spec: &ImageSpec| unsafe { CStr::from_ptr(spec.name) }.to_string_lossy().into_owned();
                    let names = specs.iter().map(name).collect();
                    // SAFETY: the texts are from rbd_list2 and aren't used any more.
                    unsafe { (api.rbd_image_spec_list_cleanup)(specs.as_mut_ptr(), specs.len()) };
                    return Ok(names);
                }
            }
        }
    }

    pub(crate) fn remove(&self, name: &CStr) -> Result<(), Errno> {
        // SAFETY: the handle is live; the name ends with a zero byte.
        checked(unsafe { (self.cluster.api.rbd_remove)(self.handle, name.as_ptr()) }).map(drop)
    }

    pub(crate) fn rename(&self, from: &CStr, to: &CStr) -> Result<(), Errno> {
        let (from, to): (*const c_char, *const c_char) = (from.as_ptr(), to.as_ptr());
        // SAFETY: the handle is live; both names end with a zero byte.
        checked(unsafe { (self.cluster.api.rbd_rename)(self.handle, from, to) }).map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.cluster.owner.is_current() {
            // SAFETY: this is the last use of the handle: images keep their pool alive.
            unsafe { (self.cluster.api.rados_ioctx_destroy)(self.handle) };
        }
    }
}
