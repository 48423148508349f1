//! Disks, and what holds for disks, snapshots and images alike.

use std::sync::Arc;

use super::copy::{CHUNK, Capture, Chain, CopyProgress, Target};
use super::layers::Layers;
use super::live::{OpenDisk, Unit};
use super::records::{EncryptionSet, MAX_SIZE, Resource, ResourceKind, ResourceName, check_name};
use super::service::{DiskService, Inner, not_allowed};
use super::sync::{lock, read, write};
use crate::{EncryptionType, Error, Result};

/// A disk that is to be made.
#[derive(Debug, Clone)]
pub struct NewDisk {
    /// A name that no other disk has.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Whose it is.
    pub subscription: String,
    /// The size of its data in bytes, a multiple of the sector size.
    pub size: u64,
    /// The sector size in bytes: 512 or 4096.
    pub sector_size: u32,
    /// The set whose key shall protect it; without one, the platform's key does (9).
    pub set: Option<String>,
}

/// A disk that is to be made as a copy.
#[derive(Debug, Clone)]
pub struct NewCopy {
    /// A name that no other disk has.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Whose it is.
    pub subscription: String,
    /// The set whose key shall protect it; without one, the platform's key does, whatever protects the source (46).
    pub set: Option<String>,
}

impl DiskService {
    /// Makes a disk with a new DEK (2), under its set's key (21) or the platform's (9). Until it is written, it reads as
    /// noise.
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a set in another region or
    /// subscription; [`Error::InvalidOption`]; what the vault answers; [`Error::Io`]. Of what failed nothing stays.
    pub fn create_disk(&self, new: &NewDisk) -> Result<Resource> {
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
            id: self.inner.new_id()?,
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            size: new.size,
            sector_size: new.sector_size,
            encryption_type: EncryptionType::PlatformKey,
            set: None,
            joining: None,
            guest_encrypted: false,
            created: self.inner.clock.now(),
            source: None,
            increment: None,
            fingerprints: Vec::new(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
        };
        self.inner.make(self.inner.in_set(disk, new.set.as_deref())?, Ok)
    }

    /// Makes a disk that holds what a disk, a snapshot or an image's copy holds, with a new DEK of its own. A disk that is
    /// written meanwhile is copied as it was when this began.
    ///
    /// `progress` must not call the service for the same disk or snapshot. This is the way out of a set (46): nothing else brings data from under a customer's key under the platform's.
    ///
    /// # Errors
    /// As [`create_disk`](Self::create_disk); [`Error::DiskSuspended`] while the source's key may not be used.
    pub fn create_disk_from(
        &self,
        source: &ResourceName,
        new: &NewCopy,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Resource> {
        [&new.name, &new.region, &new.subscription].into_iter().try_for_each(|name| check_name(name))?;
        let from = self.inner.store.resource(source)?;
        let disk = Resource {
            kind: ResourceKind::Disk,
            name: new.name.clone(),
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            ..self.inner.copy_of(&from)?
        };
        let disk = self.inner.in_set(disk, new.set.as_deref())?;
        self.inner.make_copy(&from, disk, progress)
    }

    /// A disk, a snapshot, or a copy of an image's disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn resource(&self, name: &ResourceName) -> Result<Resource> {
        self.inner.store.resource(name)
    }

    /// The names of all disks, snapshots, or copies of images' disks, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self, kind: ResourceKind) -> Result<Vec<String>> {
        self.inner.store.names(kind)
    }

    /// Opens a disk. All who have one open share it, and so its vault call.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::DiskSuspended`] while its key may not be used (38); what the vault and the device
    /// answer.
    pub fn open_disk(&self, name: &str) -> Result<OpenDisk> {
        let name = ResourceName::disk(name);
        let unit = self.inner.unit(&name)?;
        // From here on nobody removes it.
        let user = unit.join()?;
        unit.with_layers(|_| Ok(()))?;
        if self.inner.store.resource(&name)?.joining.is_some() {
            // What a process began that was killed. Where a vault is away it is left for later: the old key still serves.
            match self.inner.changing(&name, |unit, _| self.inner.finish_joining(unit)) {
                Err(e) if e.is_revocation() => return Err(e),
                _ => {}
            }
        }
        let resource = self.inner.store.resource(&name)?;
        Ok(OpenDisk::new(unit, user, resource.size, resource.sector_size))
    }

    /// Removes a disk or a snapshot, and what it holds. What an incremental snapshot holds and later ones need goes over to
    /// the next of them, whose data is copied for it; that needs their key.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] while a user has the disk open, or a copy is made of the snapshot;
    /// [`Error::NotAllowed`] for one of an image's copies, which are removed with the image; for an incremental snapshot that
    /// has a later one, [`Error::DiskSuspended`] and what the vault answers; [`Error::Io`].
    pub fn delete(&self, name: &ResourceName) -> Result<()> {
        let resource = self.inner.store.resource(name)?;
        match (resource.kind, resource.place()) {
            (ResourceKind::Image, _) => not_allowed("49", "an image is removed as a whole; delete the image"),
            (_, Some((disk, _))) => self.inner.delete_increment(disk, name),
            _ => self.inner.remove(&[resource]),
        }
    }

    /// Notes that a disk's data is encrypted in the guest. That can't be taken back (52), and its copies, snapshots and
    /// images are known for it too.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for one that is under a customer's key.
    pub fn mark_guest_encrypted(&self, disk: &str) -> Result<()> {
        self.inner.store.write(|tables| {
            let mut resource = tables.resource(&ResourceName::disk(disk))?;
            if resource.set.is_some() {
                let text = "a disk under a customer's key can't be encrypted in the guest; copy the data to a disk under the \
                            platform's key";
                return not_allowed("52", text);
            }
            resource.guest_encrypted = true;
            tables.put_resource(&resource)
        })
    }

    /// Moves a disk or snapshot to another subscription; a disk and its incremental snapshots go together, and so do all
    /// copies of an image.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for what is under a customer's key (47).
    pub fn move_to_subscription(&self, name: &ResourceName, subscription: &str) -> Result<Resource> {
        check_name(subscription)?;
        self.inner.change_group(name, |units, group| {
            self.inner.store.write(|tables| {
                for name in group {
                    let mut resource = tables.resource(name)?;
                    if resource.set.is_some() {
                        let text = "what is under a customer's key doesn't move between subscriptions; copy its data to a \
                                    new disk there";
                        return not_allowed("47", text);
                    }
                    resource.subscription = subscription.into();
                    tables.put_resource(&resource)?;
                }
                Ok(())
            })?;
            let _ = units;
            self.inner.store.resource(name)
        })
    }
}

impl Inner {
    /// A resource that is to hold what another holds; its kind, name and place are still those of the other.
    pub(super) fn copy_of(&self, from: &Resource) -> Result<Resource> {
        Ok(Resource {
            id: self.new_id()?,
            joining: None,
            created: self.clock.now(),
            source: Some(from.id.clone()),
            increment: None,
            fingerprints: Vec::new(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
            ..from.clone()
        })
    }

    /// A new resource, put into a set or under the platform's key.
    pub(super) fn in_set(&self, mut resource: Resource, set: Option<&str>) -> Result<Resource> {
        let set = set.map(|set| self.store.set(set)).transpose()?;
        if let Some(set) = &set {
            check_member(set, &resource)?;
        }
        resource.encryption_type = set.as_ref().map_or(EncryptionType::PlatformKey, |set| set.encryption_type);
        resource.set = set.map(|set| set.name);
        Ok(resource)
    }

    /// Makes a copy of all that another resource holds.
    pub(super) fn make_copy(
        self: &Arc<Self>,
        from: &Resource,
        copy: Resource,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Resource> {
        // What is copied isn't removed meanwhile, and nobody gets its name; a disk is found out when it is.
        let chain = self.chains.of(from.chain());
        let _stays = (from.kind != ResourceKind::Disk).then(|| {
            let long = self.copies.of(from.chain());
            (long, read(&chain))
        });
        // It may have been removed, or made anew for what it took over, until we had our turn.
        let now = self.store.resource(&from.full_name())?;
        let is_it = now.id == from.id || from.increment.is_some() && now.place() == from.place();
        if !is_it {
            return Err(Error::NoSuchResource(format!("the {} was removed", from.full_name())));
        }
        self.make(copy, |layers| {
            let mut target = Target::whole(layers, now.size);
            if from.kind == ResourceKind::Disk {
                return self.copy_disk(from, target, progress);
            }
            let chain = Chain::open(self, &now)?;
            target.fill(progress, |offset, bytes| chain.read_chunk(offset / CHUNK, bytes))?;
            target.finish()
        })
    }

    /// Copies a disk as it is now, while it may be written.
    pub(super) fn copy_disk(
        self: &Arc<Self>,
        disk: &Resource,
        target: Target,
        progress: &dyn Fn(CopyProgress),
    ) -> Result<Layers> {
        let unit = self.unit_of(disk);
        let _one = lock(&unit.copying);
        let capturing = unit.capture(Capture::new(target, disk.size));
        let gone = || Error::NoSuchResource(format!("the {} was removed while it was copied", unit.name));
        let next = || unit.with(|layers, capture| capture.ok_or_else(gone)?.copy_next(layers));
        while let Some(at) = next()? {
            progress(at);
        }
        capturing.end().ok_or_else(gone)?.into_target()?.finish()
    }

    /// Takes resources that nobody uses out of the store, in one step, and their devices away.
    pub(super) fn remove(self: &Arc<Self>, resources: &[Resource]) -> Result<()> {
        // A copy of a disk ends when the disk is removed; of others none is made meanwhile.
        let others = || resources.iter().filter(|resource| resource.kind != ResourceKind::Disk);
        others().try_for_each(|resource| self.check_uncopied(&resource.full_name(), resource.chain()))?;
        let chains: Vec<_> = others().map(|resource| self.chains.of(resource.chain())).collect();
        let _unread: Vec<_> = chains.iter().map(|chain| write(chain)).collect();
        let units: Vec<_> = resources.iter().map(|resource| self.unit_of(resource)).collect();
        let _alone: Vec<_> = units.iter().map(|unit| unit.changing()).collect();
        self.remove_units(&units)
    }

    /// As [`remove`](Self::remove), of what is the caller's to change.
    pub(super) fn remove_units(&self, units: &[Arc<Unit>]) -> Result<()> {
        let remove = || {
            units.iter().try_for_each(|unit| unit.begin_removal())?;
            self.store.write(|tables| {
                let resources = units.iter().map(|unit| tables.resource_of(&unit.name, &unit.id));
                let resources = resources.collect::<Result<Vec<_>>>()?;
                resources.iter().try_for_each(|resource| tables.remove_resource(resource))?;
                Ok(resources)
            })
        };
        let removed = remove().inspect_err(|_| units.iter().for_each(|unit| unit.cancel_removal()))?;
        units.iter().for_each(|unit| unit.close());
        removed.iter().try_for_each(|resource| self.remove_device(&resource.region, &resource.id))
    }
}

/// What may be in a set.
pub(super) fn check_member(set: &EncryptionSet, resource: &Resource) -> Result<()> {
    if set.region != resource.region {
        return not_allowed("18", "a resource and its set are in one region; use a set in the resource's");
    }
    if set.subscription != resource.subscription {
        return not_allowed("47", "a resource and its set are in one subscription; use a set of the resource's");
    }
    if resource.guest_encrypted {
        let text = "what was ever encrypted in the guest can't come under a customer's key; copy the decrypted files to a new \
                    disk";
        return not_allowed("52", text);
    }
    Ok(())
}
