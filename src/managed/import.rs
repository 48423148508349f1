//! Existing plain images that become disks: they are encrypted where they lie.

use std::sync::Arc;

use super::backend::is_absent;
use super::disks::NewDisk;
use super::layers::{Layers, ROOM};
use super::live::LiveResource;
use super::records::{Reencryption, ReencryptionKind, Resource};
use super::service::{DiskService, Inner, not_allowed};
use crate::error::Rule;
use crate::key::DekAlgorithm;
use crate::volume::Begun;
use crate::{Dek, Error, Result};

/// The least that data is moved by, for the header at the start.
const MIN_SIZE: u64 = 1 << 20;

impl DiskService {
    /// Makes an existing plain image a disk (77). The image becomes the disk's device: the backend moves it, and grows it by 2 MiB for
    /// the header. Nothing is encrypted yet: [`reencrypt_step`](Self::reencrypt_step) does it, while the disk is read and written.
    /// Until it is finished, the [report](Self::report) says so.
    ///
    /// `image` is the name by which the backend knows it; for a [`DiskFolder`](super::DiskFolder), the path of a file on the same
    /// file system. The disk has the size of the image, at least 1 MiB; that in `new` must be the same, or 0. The DEK is under the
    /// key of the disk's set, or the platform's. No data is ever encrypted twice (78). A copy of the plain data that the device or
    /// its file system keeps elsewhere, such as in a snapshot, stays plain.
    ///
    /// If it fails or is killed after the record was stored, the disk is there, and the image either is unchanged or has begun to
    /// be the device: [`open_disk`](Self::open_disk) and [`reencrypt_step`](Self::reencrypt_step) go on. As long as it is
    /// unchanged, [`cancel_reencryption`](Self::cancel_reencryption) gives the disk up and leaves the image.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for another size, for an image that is encrypted already, and for a backend that takes in none;
    /// [`Error::NotAllowed`] for a set with two layers, because the second can't be added in place; the errors of
    /// [`create_disk`](Self::create_disk) and of the backend.
    pub fn import_disk(&self, new: &NewDisk, image: &str) -> Result<Resource> {
        let inner = self.inner()?;
        let size = inner.check_image(&new.region, image)?;
        if ![0, size].contains(&new.size) {
            return Err(Error::InvalidOption(format!("the image has {size} bytes, not {}", new.size)));
        }
        let mut disk = inner.new_disk(&new.clone().size(size))?;
        if disk.has_two_layers() {
            let text =
                "a plain image can't get two layers where it lies; make a disk in the set, and copy the data into it";
            return not_allowed(Rule::LayersStay, text);
        }
        let order = Reencryption::ordered(ReencryptionKind::EncryptInPlace, size, inner.clock.now());
        disk.reencryption = Some(Reencryption { image: Some(image.into()), ..order });
        let name = disk.full_name();
        inner.store.check_absent(&name)?;
        // If the vault refused later, the image would be the disk's, and not encrypted.
        inner.kek_for(&disk)?.try_out()?;
        inner.store.write(|tables| tables.add_resource(&disk))?;
        inner.registry.changing_here(&name, |live, _| inner.begin_reencryption(live))?;
        inner.store.resource(&name)
    }
}

impl Inner {
    /// The size of an image that can be imported.
    fn check_image(&self, region: &str, image: &str) -> Result<u64> {
        let device = self.backend.open_image(region, image)?;
        let size = device.size().map_err(|e| Error::io("asking the image for its size", e))?;
        if size < MIN_SIZE {
            return Err(Error::InvalidOption(format!(
                "the image has {size} bytes; at least 1 MiB can be encrypted in place"
            )));
        }
        if Layers::begun_in_place(&device)? == Begun::Header {
            let text = "the image has a LUKS header: it is encrypted already. Take it in by `adopt_disk`, or copy its data to a new disk";
            return Err(Error::InvalidOption(text.into()));
        }
        Ok(size)
    }

    /// Begins the import of a disk that was killed before.
    pub(super) fn begin_import(&self, live: &LiveResource) -> Result<()> {
        if !live.record()?.is_to_be_imported() {
            return Ok(());
        }
        self.registry.changing_here(&live.name, |live, _| self.begin_reencryption(live))
    }

    /// The same for a caller that holds the disk's change lock. Returns the current record.
    pub(super) fn begun_import(&self, live: &LiveResource, resource: Resource) -> Result<Resource> {
        if !resource.is_to_be_imported() {
            return Ok(resource);
        }
        self.begin_reencryption(live)?;
        live.record()
    }

    /// Forgets a disk whose image isn't its device yet. The caller must hold the disk's change lock.
    pub(super) fn withdraw_import(&self, live: &Arc<LiveResource>, resource: &Resource) -> Result<()> {
        match self.backend.open(&resource.region, &resource.id) {
            Err(e) if is_absent(&e) => self.remove_live(core::slice::from_ref(live)),
            Err(e) => Err(e),
            Ok(_) => Err(Error::InvalidOption(format!(
                "the import of the {} can't be withdrawn: its image is its device already; it begins with the next use, and has \
                 to be finished",
                live.name
            ))),
        }
    }

    /// Makes the image the device, and begins to encrypt it, unless that has begun. The caller must hold the disk's change lock.
    pub(super) fn begin_in_place(&self, live: &LiveResource, resource: &Resource, order: &Reencryption) -> Result<()> {
        live.while_closed(|| {
            let image = order.image.as_deref().unwrap_or_default();
            let size = resource.size + ROOM;
            let device = self.backend.adopt_image(&resource.region, &resource.id, image, size)?;
            let found = Layers::begun_in_place(&device)?;
            let is_new = found == Begun::Nothing || order.fingerprint.is_none();
            if found == Begun::Header && !is_new {
                return Ok(());
            }
            let (kek, dek) = (self.kek_for(resource)?, Dek::generate(DekAlgorithm::Aes256Xts)?);
            if is_new {
                let fingerprint = dek.fingerprint()?;
                self.change(live, |resource| {
                    resource.fingerprints = vec![fingerprint];
                    if let Some(order) = resource.unfinished_mut() {
                        order.fingerprint = Some(fingerprint);
                    }
                })?;
            }
            Layers::begin_in_place(device, resource, &dek, &kek).map(drop)
        })?;
        // The device must hold the volume that the store knows.
        live.with_layers(|_| Ok(()))
    }
}
