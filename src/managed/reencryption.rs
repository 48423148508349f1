//! Re-encryption of a disk's data while it is in use: under a new DEK, or for the first time.
//!
//! ```text
//! ordered ─► the new DEK's fingerprint is stored ─► the header says that it has begun ─► that is stored (`begun`)
//!                 ▲                  │ nothing was begun: another DEK                      │
//!                 └──────────────────┘          a zone is rewritten ─► the header ─► stored (`done`) ─► ... ─► `finished`
//! ```
//!
//! The store is never ahead of the header, except for the fingerprint. So a header that is behind the store is an older one.

use std::sync::Arc;

use super::kek::Kek;
use super::live::LiveResource;
use super::records::{Reencryption, ReencryptionKind, Resource, ResourceKind, ResourceName};
use super::service::{DiskService, Inner};
use crate::volume::ReencryptionProgress;
use crate::{Dek, Error, Result};

/// The number of bytes rewritten before the key is checked again and the progress is stored.
const ZONE: u64 = 16 << 20;

impl DiskService {
    /// Orders a new DEK for a disk, and begins to re-encrypt its data under it. [`rotate_set`](Self::rotate_set) only wraps the
    /// DEK under another key; after this one, also a copy of the old DEK reads nothing any more. Nothing is rewritten yet:
    /// [`reencrypt_step`](Self::reencrypt_step) does it.
    ///
    /// The new DEK is under the active key of the disk's set, or the platform's. Of a disk with two layers, the upper one gets
    /// it. The disk stays in use; only [`begin_read`](super::OpenDisk::begin_read) and
    /// [`begin_write`](super::OpenDisk::begin_write) fail with [`Error::Busy`] until it is finished, and this waits for the
    /// writes that were begun so before. Snapshots keep their own DEKs.
    ///
    /// If it fails or is killed after the order was stored, the first step begins.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`] if one was ordered already and is not finished, or while a host has a
    /// write-back cache of the disk; [`Error::DiskSuspended`];
    /// [`Error::NoRoom`]; the vault's errors; [`Error::Io`].
    pub fn rekey_disk(&self, disk: &str) -> Result<Resource> {
        let (inner, name) = (self.inner()?, ResourceName::disk(disk));
        inner.registry.changing_here(&name, |live, _| {
            // Going on with an adoption may order a re-encryption itself.
            inner.finish_adoption(live, None)?;
            inner.finish_joining(live)?;
            // Also makes the store know the DEK of a disk that an earlier version made.
            live.with_layers(|_| Ok(()))?;
            let resource = live.record()?;
            if resource.unfinished().is_some() {
                return Err(Error::Busy { what: format!("the {name}, whose data is being re-encrypted already,") });
            }
            let order = Reencryption::ordered(ReencryptionKind::Rekey, resource.size, inner.clock.now());
            inner.store.write(|tables| {
                tables.check_attached(&live.id)?;
                let mut resource = tables.resource_of(&live.name, &live.id)?;
                if resource.unfinished().is_some() {
                    return Err(Error::Busy { what: format!("the {name}, whose data is being re-encrypted already,") });
                }
                if resource.host_cache.is_some() {
                    // Its key comes from the old DEK.
                    return Err(Error::Busy {
                        what: format!("the {name}, whose write-back cache has to be detached first,"),
                    });
                }
                resource.reencryption = Some(order.clone());
                tables.put_resource(&resource)
            })?;
            inner.begin_reencryption(live)?;
            live.record()
        })
    }

    /// Re-encrypts about `budget` bytes of a disk with an order for that, or [encrypts](Self::import_disk) them. Users read and
    /// write the disk meanwhile, and wait only for the zone of up to 16 MiB that is being rewritten: see
    /// [`Volume::reencrypt_step`](crate::Volume::reencrypt_step).
    ///
    /// Call it as often as the disk can afford, until it [is finished](ReencryptionProgress::is_finished). Unless the disk is
    /// [open](Self::open_disk), each call asks its vault. After a restart, [`reencrypting`](Self::reencrypting) says where to go
    /// on. While the disk's key may not be used, it stops, as all I/O does.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::DiskSuspended`]; [`Error::OlderDevice`] if an older device or header was put back;
    /// those of [`rekey_disk`](Self::rekey_disk) for what it has to begin; [`Error::Io`], after which the zone can't be read or
    /// written until a step succeeds.
    pub fn reencrypt_step(&self, disk: &str, budget: u64) -> Result<ReencryptionProgress> {
        let (inner, name) = (self.inner()?, ResourceName::disk(disk));
        let live = inner.registry.find(&name)?;
        // From here on nobody can remove it, nor does another host get it.
        let _user = live.visit()?;
        inner.go_on_adopting(&live)?;
        let resource = live.record()?;
        let Some(order) = resource.unfinished() else {
            return Ok(ReencryptionProgress { done: resource.size, total: resource.size, rate: None });
        };
        if order.begun.is_none() {
            inner.registry.changing_here(&name, |live, _| inner.begin_reencryption(live))?;
        }
        let mut left = budget;
        loop {
            let progress = inner.rewrite(&live, left.min(ZONE))?;
            left = left.saturating_sub(ZONE);
            if progress.is_finished() || left == 0 {
                return Ok(progress);
            }
        }
    }

    /// Withdraws an order that has not begun: of [`rekey_disk`](Self::rekey_disk), after which the disk keeps its DEK, or of
    /// [`import_disk`](Self::import_disk), after which there is no disk and the image is unchanged. An order stays unbegun if a
    /// vault or a device failed, or the process was killed.
    ///
    /// One that has begun has to be finished, because parts of the data are under both DEKs, or about to be: it pauses for as
    /// long as nobody calls [`reencrypt_step`](Self::reencrypt_step), and the disk is used meanwhile. An import has begun once
    /// its image is the disk's device.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it has begun, if nothing is ordered, or if the order came with an [adoption](Self::adopt_disk),
    /// because anyone who could open the volume before may have its DEK; [`Error::NoSuchResource`]; [`Error::Busy`]; [`Error::Io`].
    /// If only the device tells whether it has begun, [`Error::DiskSuspended`] and the vault's errors.
    pub fn cancel_reencryption(&self, disk: &str) -> Result<()> {
        let inner = self.inner()?;
        inner.registry.changing_here(&ResourceName::disk(disk), |live, resource| inner.withdraw(live, &resource))
    }

    /// The names of the disks for which a re-encryption was ordered that is not finished, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reencrypting(&self) -> Result<Vec<String>> {
        let is_open = |of: &Resource| of.unfinished().is_some() || of.is_ordered_with_adoption();
        let unfinished = |of: &Resource| of.kind == ResourceKind::Disk && is_open(of);
        let resources = self.inner()?.store.resources_where(unfinished)?.into_iter();
        Ok(resources.map(|resource| resource.name).collect())
    }
}

impl Inner {
    /// Begins the re-encryption that was ordered, or notes that it has begun, unless that is noted already. The caller must hold
    /// the disk's change lock.
    pub(super) fn begin_reencryption(&self, live: &LiveResource) -> Result<()> {
        let resource = live.record()?;
        let Some(order) = resource.unfinished().filter(|order| order.begun.is_none()) else { return Ok(()) };
        match order.kind {
            ReencryptionKind::Rekey => self.begin_rekey(live, &resource, order)?,
            ReencryptionKind::EncryptInPlace => self.begin_in_place(live, &resource, order)?,
        }
        let now = self.clock.now();
        let noted = self.rewrap_and_note(live, &resource, |resource, layers| {
            let Some(order) = resource.unfinished_mut() else { return false };
            order.note_begun(now);
            order.total = layers.reencryption().map_or(order.total, |progress| progress.total);
            true
        });
        noted.map(drop)
    }

    /// Begins to re-encrypt a disk under a new DEK, unless that has begun.
    fn begin_rekey(&self, live: &LiveResource, resource: &Resource, order: &Reencryption) -> Result<()> {
        let (has_begun, algorithm) = live.with_layers(|layers| {
            let has_begun = order.fingerprint == Some(layers.fingerprint()?);
            Ok((has_begun, layers.dek_algorithm()))
        })?;
        if has_begun {
            return Ok(());
        }
        let (kek, dek) = (self.kek_for(resource)?, Dek::generate(algorithm)?);
        let fingerprint = dek.fingerprint()?;
        // Nothing on the device is under the DEK that may have been noted before.
        self.change(live, |resource| {
            if let Some(order) = resource.unfinished_mut() {
                order.fingerprint = Some(fingerprint);
            }
        })?;
        live.begin_rewriting(|layers| layers.begin_rekey(&dek, &kek))
    }

    /// Withdraws the order of a re-encryption, unless it has begun. The caller must hold the disk's change lock.
    fn withdraw(&self, live: &Arc<LiveResource>, resource: &Resource) -> Result<()> {
        let refused = |why: &str| Err(Error::InvalidOption(format!("the {} {why}", live.name)));
        if resource.adopting.is_some() {
            return refused(
                "is being adopted, which is no order to withdraw; `delete` gives it up until its image is moved",
            );
        }
        let Some(order) = resource.unfinished() else {
            return refused("has no order of a re-encryption that could be withdrawn");
        };
        let begun = "is being re-encrypted already, which can't be withdrawn; it pauses while `reencrypt_step` isn't called, and has \
                     to be finished";
        if order.begun.is_some() {
            return refused(begun);
        }
        if order.kind == ReencryptionKind::EncryptInPlace {
            return self.withdraw_import(live, resource);
        }
        if order.adopted {
            return refused(
                "was adopted with this order: anyone who could open the volume before may have its DEK; go on by `reencrypt_step`",
            );
        }
        // The fingerprint is stored before the header says that it has begun.
        let has_begun = |new| live.with_layers(|layers| Ok(layers.fingerprint()? == new));
        if order.fingerprint.map(has_begun).transpose()? == Some(true) {
            self.begin_reencryption(live)?;
            return refused(begun);
        }
        self.change(live, |resource| resource.reencryption = None)
    }

    /// The key for a new DEK of a resource.
    pub(super) fn kek_for(&self, resource: &Resource) -> Result<Kek> {
        let Some(set) = &resource.set else { return Ok(self.keys.vaults.platform_kek()) };
        let set = self.store.set(set)?;
        // A vault may still wrap with an expired key (40).
        self.keys.check_usable(&set)?;
        self.keys.kek_of(&set)
    }

    /// Rewrites a zone, and notes the progress.
    fn rewrite(&self, live: &Arc<LiveResource>, budget: u64) -> Result<ReencryptionProgress> {
        let (dek, progress, used) = live.with_layers(|layers| {
            let dek = layers.fingerprint()?;
            let progress = layers.reencrypt_step(budget)?;
            Ok((dek, progress, layers.used_blocks()[0]))
        })?;
        let now = self.clock.now();
        self.change(live, |resource| {
            // Meanwhile another thread may have finished it, and ordered the next one.
            let is_it = |order: &&mut Reencryption| order.fingerprint == Some(dek);
            let Some(order) = resource.unfinished_mut().filter(is_it) else { return };
            (order.done, order.total) = (order.done.max(progress.done), progress.total);
            if progress.is_finished() {
                resource.note_reencrypted(used, now);
            }
        })?;
        Ok(progress)
    }

    /// Changes the record of a resource whose device is this host's.
    pub(super) fn change(&self, live: &LiveResource, change: impl Fn(&mut Resource)) -> Result<()> {
        self.store.write(|tables| {
            tables.check_attached(&live.id)?;
            let mut resource = tables.resource_of(&live.name, &live.id)?;
            change(&mut resource);
            tables.put_resource(&resource)
        })
    }
}
