//! Disks, and operations on all kinds of resources.

use super::copy::CopyProgress;
use super::live::OpenDisk;
use super::records::{MAX_SIZE, Resource, ResourceKind, ResourceName, check_name};
use super::service::{DiskService, Inner, not_allowed};
use crate::error::Rule;
use crate::{EncryptionType, Error, Result};

/// Options for a new disk. By default it is under the platform's key (9), with sectors of 512 bytes.
///
/// ```
/// use atrest::managed::NewDisk;
///
/// let disk = NewDisk::new("db-17", 64 << 30).region("westeurope").subscription("one").encryption_set("customers");
/// # let _ = disk;
/// ```
#[derive(Debug, Clone)]
pub struct NewDisk {
    pub(super) name: String,
    pub(super) region: String,
    pub(super) subscription: String,
    pub(super) size: u64,
    sector_size: u32,
    pub(super) set: Option<String>,
}

impl NewDisk {
    /// A disk with a name that no other disk has, and the size of its data in bytes: a multiple of the sector size. It
    /// also needs a region and a subscription.
    pub fn new(name: impl Into<String>, size: u64) -> Self {
        let (name, region, subscription) = (name.into(), String::new(), String::new());
        NewDisk { name, region, subscription, size, sector_size: 512, set: None }
    }

    /// Its region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Its subscription.
    pub fn subscription(mut self, subscription: impl Into<String>) -> Self {
        self.subscription = subscription.into();
        self
    }

    /// The size of its data in bytes, instead of the one given before.
    pub fn size(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    /// The sector size in bytes: 512 or 4096.
    pub fn sector_size(mut self, bytes: u32) -> Self {
        self.sector_size = bytes;
        self
    }

    /// The set whose key protects it; `None` for the platform's key.
    pub fn encryption_set<'a>(mut self, set: impl Into<Option<&'a str>>) -> Self {
        self.set = set.into().map(String::from);
        self
    }
}

/// Options for a new disk that is a copy. By default it is under the platform's key, even if the source isn't (46).
#[derive(Debug, Clone)]
pub struct NewCopy {
    name: String,
    region: String,
    subscription: String,
    set: Option<String>,
}

impl NewCopy {
    /// A copy with a name that no other disk has. It also needs a region and a subscription.
    pub fn new(name: impl Into<String>) -> Self {
        NewCopy { name: name.into(), region: String::new(), subscription: String::new(), set: None }
    }

    /// Its region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Its subscription.
    pub fn subscription(mut self, subscription: impl Into<String>) -> Self {
        self.subscription = subscription.into();
        self
    }

    /// The set whose key protects it; `None` for the platform's key.
    pub fn encryption_set<'a>(mut self, set: impl Into<Option<&'a str>>) -> Self {
        self.set = set.into().map(String::from);
        self
    }
}

impl DiskService {
    /// Makes a disk with a new DEK (2), under its set's key (21) or the platform's (9). Until it is written, it reads
    /// as noise.
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a set in another region or
    /// subscription; [`Error::InvalidOption`]; the vault's errors; [`Error::Io`]. On failure nothing is left behind.
    pub fn create_disk(&self, new: &NewDisk) -> Result<Resource> {
        let inner = self.inner()?;
        inner.make(inner.new_disk(new)?, Ok)
    }

    /// Makes a disk with the content of a disk, a snapshot or an image's copy, and with a new DEK. A disk that is
    /// written meanwhile is copied as of the start of this call.
    ///
    /// `progress` must not call the service for the same disk or snapshot. Copying is the only way out of a set (46):
    /// nothing else brings data from a customer's key to the platform's.
    ///
    /// # Errors
    /// As [`create_disk`](Self::create_disk); [`Error::DiskSuspended`] while the source's key may not be used.
    pub fn create_disk_from(
        &self,
        source: &ResourceName,
        new: &NewCopy,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Resource> {
        let inner = self.inner()?;
        [&new.name, &new.region, &new.subscription].into_iter().try_for_each(|name| check_name(name))?;
        let from = inner.store.resource(source)?;
        let disk = Resource {
            kind: ResourceKind::Disk,
            name: new.name.clone(),
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            ..inner.copy_of(&from)?
        };
        let disk = inner.in_set(disk, new.set.as_deref())?;
        inner.make_copy(&from, disk, progress)
    }

    /// A disk, a snapshot, or a copy of an image's disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn resource(&self, name: &ResourceName) -> Result<Resource> {
        self.inner()?.store.resource(name)
    }

    /// The names of all disks, snapshots, or copies of images' disks, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self, kind: ResourceKind) -> Result<Vec<String>> {
        self.inner()?.store.names(kind)
    }

    /// A page of these names: at most `limit` of them, up to 1000, that come after `after`. A page with fewer is the last one. What
    /// is made or removed between two pages may be missing, or not.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a limit of 0 or over 1000; [`Error::Io`].
    pub fn names_page(&self, kind: ResourceKind, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.inner()?.store.names_page(kind, after, limit)
    }

    /// Opens a disk. All users share one opening, and so its vault call. On a [shared](Self::open_shared) store it stays this host's
    /// as long as any of them has it open, also while its key may not be used.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::DiskSuspended`] while its key may not be used (38); [`Error::Busy`] while another
    /// host has it open, or a write-back cache on another host has writes for it
    /// ([`take_host_cache`](Self::take_host_cache)); the errors of the vault and the device.
    pub fn open_disk(&self, name: &str) -> Result<OpenDisk> {
        let inner = self.inner()?;
        let name = ResourceName::disk(name);
        let live = inner.registry.find(&name)?;
        let coming = live.come()?;
        inner.begin_import(&live)?;
        inner.go_on_adopting(&live)?;
        live.with_layers(|_| Ok(()))?;
        let mut resource = inner.store.resource(&name)?;
        if resource.joining.is_some() {
            // Finish a move that a killed process began. While a vault is away, it is left for later: the old key still serves.
            match inner.registry.changing_here(&name, |live, _| inner.finish_joining(live)) {
                Err(e) if e.is_revocation() => return Err(e),
                _ => {}
            }
            resource = inner.store.resource(&name)?;
        }
        inner.check_cache(&resource)?;
        let user = coming.came();
        Ok(OpenDisk::new(live, user, &resource, inner.discard))
    }

    /// Removes a disk or a snapshot with its content. If later incremental snapshots need content of a removed one, it
    /// is copied to the next of them; that needs their key.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] while a user has the disk open, or the snapshot is being copied;
    /// [`Error::NotAllowed`] for an image's copy, which is removed with the image; for an incremental snapshot with a
    /// later one, [`Error::DiskSuspended`] and the vault's errors; [`Error::Io`].
    pub fn delete(&self, name: &ResourceName) -> Result<()> {
        let inner = self.inner()?;
        let resource = inner.store.resource(name)?;
        match (resource.kind, resource.place()) {
            (ResourceKind::Image, _) => {
                not_allowed(Rule::ImageIsWhole, "an image is removed as a whole; delete the image")
            }
            (_, Some((disk, _))) => inner.delete_increment(disk, name),
            _ => inner.remove(&[resource]),
        }
    }

    /// Marks a disk's data as encrypted in the guest. The mark is permanent (52), and its copies, snapshots and images
    /// inherit it.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a disk under a customer's key (52), or encrypted at the host (56).
    pub fn mark_guest_encrypted(&self, disk: &str) -> Result<()> {
        self.inner()?.store.write(|tables| {
            let mut resource = tables.resource(&ResourceName::disk(disk))?;
            if resource.set.is_some() {
                let text = "a disk under a customer's key can't be encrypted in the guest; copy the data to a disk under the \
                            platform's key";
                return not_allowed(Rule::EncryptedInGuest, text);
            }
            if resource.host_encrypted {
                let text = "a disk that is encrypted at the host can't be encrypted in the guest too; end its encryption at the \
                            host first";
                return not_allowed(Rule::EncryptedAtHost, text);
            }
            resource.guest_encrypted = true;
            tables.put_resource(&resource)
        })
    }

    /// Says whether a disk is encrypted at the host of the machine that it is attached to: the host has this library, and what
    /// it sends to the storage is ciphertext (53). The storage doesn't encrypt it again (54). It has a row of the capability
    /// table of its own, and can't be encrypted in the guest meanwhile.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a disk that was ever encrypted in the guest (56).
    pub fn set_host_encryption(&self, disk: &str, on: bool) -> Result<()> {
        self.inner()?.store.write(|tables| {
            let mut resource = tables.resource(&ResourceName::disk(disk))?;
            if on && resource.guest_encrypted {
                let text = "a disk that was ever encrypted in the guest can't be encrypted at the host; copy the decrypted data to \
                            a new disk";
                return not_allowed(Rule::EncryptedAtHost, text);
            }
            resource.host_encrypted = on;
            tables.put_resource(&resource)
        })
    }

    /// Moves a disk or snapshot to another subscription. A disk and its incremental snapshots move together, and so do
    /// all copies of an image.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a resource under a customer's key (47).
    pub fn move_to_subscription(&self, name: &ResourceName, subscription: &str) -> Result<Resource> {
        let inner = self.inner()?;
        check_name(subscription)?;
        inner.change_group(name, |_, names| {
            inner.store.write(|tables| {
                let resources = names.iter().map(|name| tables.resource(name)).collect::<Result<Vec<_>>>()?;
                tables.still_whole(&resources)?;
                for mut resource in resources {
                    if resource.set.is_some() {
                        let text = "a resource under a customer's key can't move between subscriptions; copy its data \
                                    to a new disk there";
                        return not_allowed(Rule::OneSubscription, text);
                    }
                    resource.subscription = subscription.into();
                    tables.put_resource(&resource)?;
                }
                Ok(())
            })?;
            inner.store.resource(name)
        })
    }
}

impl Inner {
    /// The record of a new disk.
    pub(super) fn new_disk(&self, new: &NewDisk) -> Result<Resource> {
        [&new.name, &new.region, &new.subscription].into_iter().try_for_each(|name| check_name(name))?;
        if !matches!(new.sector_size, 512 | 4096) {
            return Err(Error::SectorSize { size: new.sector_size.into() });
        }
        if new.size == 0 || !new.size.is_multiple_of(new.sector_size.into()) || new.size > MAX_SIZE {
            return Err(Error::InvalidOption("a disk has a whole number of sectors, up to 64 TiB".into()));
        }
        let disk = Resource {
            kind: ResourceKind::Disk,
            name: new.name.clone(),
            id: self.new_id()?,
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            size: new.size,
            sector_size: new.sector_size,
            encryption_type: EncryptionType::PlatformKey,
            set: None,
            joining: None,
            guest_encrypted: false,
            host_encrypted: false,
            created: self.clock.now(),
            source: None,
            increment: None,
            fingerprints: Vec::new(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
            reencryption: None,
            host_cache: None,
            host_cache_at: None,
            adopting: None,
            replaced: Vec::new(),
        };
        self.in_set(disk, new.set.as_deref())
    }
}
