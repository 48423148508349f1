//! A pool as a place for disks.

use std::ffi::CString;
use std::sync::Arc;

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};

use crate::connect::{self, Access};
use crate::device::RbdDevice;
use crate::name::{Name, Place};
use crate::options::RbdOptions;
use crate::sys::{NewImage, Pool, errno, feature};
use crate::trouble::error;

/// The prefix of the names of images that are disks.
const PREFIX: &str = "atrest-";

/// Features of new images: a lock, and a map of the objects that are there, by which holes are read, and images copied and
/// removed, without asking for every object. `layering` and `deep-flatten` are for clones and snapshots.
const FEATURES: u64 =
    feature::LAYERING | feature::EXCLUSIVE_LOCK | feature::OBJECT_MAP | feature::FAST_DIFF | feature::DEEP_FLATTEN;

/// Disks as images of one pool, or of a namespace in it, for all regions. The image of a disk is named `atrest-` and its id.
///
/// Images that are imported are named as in the pool: `image`, or `image@snapshot` to look at a snapshot.
#[derive(Debug, Clone)]
pub struct RbdBackend {
    place: Place,
    options: RbdOptions,
}

impl RbdBackend {
    /// A pool (`pool` or `pool/namespace`), which must exist. The cluster isn't contacted yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn new(place: &str, options: &RbdOptions) -> Result<Self> {
        options.check()?;
        Ok(RbdBackend { place: Place::parse(place)?, options: options.clone() })
    }

    /// As [`new`](Self::new), by `rbd:POOL[/NAMESPACE][?conf=PATH&user=ID&mon=ADDRESSES&keyring=PATH]`: see [`RbdOptions`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`], also for a key in the URL.
    ///
    /// ```
    /// use atrest_rbd::RbdBackend;
    ///
    /// let backend = RbdBackend::from_url("rbd:disks/tenant-7?conf=/etc/ceph/ceph.conf&user=disks")?;
    /// # Ok::<(), atrest::Error>(())
    /// ```
    pub fn from_url(url: &str) -> Result<Self> {
        let wrong = |why: &str| Error::InvalidOption(format!("{url:?} names no RBD pool: {why}"));
        let rest = url.strip_prefix("rbd:").ok_or_else(|| wrong("it doesn't begin with rbd:"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = RbdOptions::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            options = match pair.split_once('=') {
                Some(("conf", path)) if !path.is_empty() => options.config(path),
                Some(("user", id)) if !id.is_empty() => options.user(id),
                Some(("mon", addresses)) if !addresses.is_empty() => options.monitors(addresses),
                Some(("keyring", path)) if !path.is_empty() => options.keyring(path),
                // The option may hold a secret, so the URL isn't shown.
                _ => {
                    let known =
                        "the options of an RBD pool are conf, user, mon and keyring; a key belongs into the keyring";
                    return Err(Error::InvalidOption(known.into()));
                }
            };
        }
        Self::new(place, &options)
    }

    /// Sets the other options, such as a deadline, for devices that are opened from here on.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for one that is out of its bounds.
    pub fn with_options(mut self, change: impl FnOnce(RbdOptions) -> RbdOptions) -> Result<Self> {
        self.options = change(self.options);
        self.options.check()?;
        Ok(self)
    }

    fn name(&self, id: &str) -> Result<Name> {
        self.place.image(&format!("{PREFIX}{id}"))
    }

    fn open_device(&self, name: Name, access: Access) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(RbdDevice::open_name(name, &self.options, access)?))
    }

    /// Makes a call about an image of the pool, with a client of its own.
    fn with_pool(
        &self,
        what: &'static str,
        name: &Name,
        call: impl FnOnce(&Pool) -> std::result::Result<(), i32> + Send + 'static,
    ) -> Result<()> {
        let pool = connect::pool(&self.options, &self.place)?;
        let name = name.clone();
        let told = format!("{what} the RBD image {name}");
        connect::within(&self.options, &told, move || call(&pool).map_err(|code| error(what, &name, code)))
    }

    fn exists(&self, name: &Name) -> Result<bool> {
        let image = name.image.to_string_lossy().into_owned();
        Ok(self.images()?.contains(&image))
    }

    fn images(&self) -> Result<Vec<String>> {
        let pool = connect::pool(&self.options, &self.place)?;
        let what = format!("listing the RBD images of {}", self.place);
        let told = what.clone();
        let failed = |code| Error::Io { what: told, source: std::io::Error::from_raw_os_error(code) };
        connect::within(&self.options, &what, move || pool.images().map_err(failed))
    }
}

impl DiskBackend for RbdBackend {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let name = self.name(id)?;
        let image: CString = name.image.clone();
        let new = NewImage { size, features: FEATURES };
        self.with_pool("making", &name, move |pool| new.make(pool, &image))?;
        self.open_device(name, Access::Write)
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.open_device(self.name(id)?, Access::Write)
    }

    fn open_image(&self, _: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        self.open_device(self.place.image_or_snapshot(image)?, Access::Read)
    }

    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let (from, to) = (self.place.image(image)?, self.name(id)?);
        if !self.exists(&to)? {
            // A client that has it open holds the lock, and none gets the lock before the new name is set.
            let held = RbdDevice::open_name(from.clone(), &self.options, Access::Write)?;
            let (old, new) = (from.image.clone(), to.image.clone());
            self.with_pool("renaming", &from, move |pool| pool.rename(&old, &new))?;
            drop(held);
        }
        let device = self.open(region, id)?;
        let growing = |e| Error::Io { what: format!("growing the RBD image {to} to {size} bytes"), source: e };
        if device.size().map_err(growing)? < size {
            device.set_size(size).map_err(growing)?;
        }
        Ok(device)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        let name = self.name(id)?;
        let image = name.image.clone();
        let removed = self.with_pool("removing", &name, move |pool| match pool.remove(&image) {
            Err(errno::ENOENT) => Ok(()),
            other => other,
        });
        match removed {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::ResourceBusy => {
                Err(Error::Busy { what: format!("the RBD image {name}, or a snapshot or clone of it,") })
            }
            other => other,
        }
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        let id =
            |name: String| name.strip_prefix(PREFIX).filter(|id| uuid::Uuid::try_parse(id).is_ok()).map(str::to_owned);
        Ok(self.images()?.into_iter().filter_map(id).collect())
    }
}
