//! Encrypted disks that come under a set's key: volumes of LUKS2, with their data, such as those that a guest encrypted.
//!
//! ```text
//! stored: `adopting` ─► the backend moves the image ─► a token for the set's key ─► it opens by that alone ─►
//!     the old ways in are removed, one by one ─► stored: no longer `adopting`, or a re-encryption is ordered
//! ```
//!
//! Until the token is there, only the caller's credential opens the volume, so a killed call has to be repeated. After that the
//! vault opens it, and the next use goes on.

use std::sync::Arc;

use super::disks::NewDisk;
use super::layers::{Layer, Layers};
use super::live::LiveResource;
use super::records::{Adopting, Reencryption, ReencryptionKind, Resource, ResourceName};
use super::service::{DiskService, Inner, not_allowed};
use crate::error::Rule;
use crate::key::KdfLimits;
use crate::ondisk::luks::{LuksVersion, WRITTEN_REQUIREMENT};
use crate::volume::Header;
use crate::{BlockDevice, Credential, Error, OpenOptions, Result, Volume};

/// Bytes of a block of AES.
const BLOCK: u64 = 16;

/// Options of [`DiskService::adopt_disk`].
#[derive(Debug, Clone, Default)]
pub struct AdoptOptions {
    limits: KdfLimits,
    guest_encrypted: bool,
    reencrypt: bool,
}

impl AdoptOptions {
    /// The data stays under its DEK, and nobody but the credential's owner had that.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most that trying the credential on a keyslot may cost.
    pub fn kdf_limits(mut self, limits: KdfLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether a guest has encrypted it, as Azure Disk Encryption does: anyone who was root in the guest may have its DEK. It can
    /// then join an encryption set only if it is [re-encrypted](Self::reencrypt). Without a set it gets the mark of
    /// [`mark_guest_encrypted`](DiskService::mark_guest_encrypted).
    pub fn guest_encrypted(mut self, guest_encrypted: bool) -> Self {
        self.guest_encrypted = guest_encrypted;
        self
    }

    /// Whether to order a new DEK for the data, as [`rekey_disk`](DiskService::rekey_disk) does.
    pub fn reencrypt(mut self, reencrypt: bool) -> Self {
        self.reencrypt = reencrypt;
        self
    }
}

impl DiskService {
    /// Makes an existing encrypted volume a disk, with its data: a LUKS2 volume that `credential` opens, such as one of another
    /// host, or of Azure Disk Encryption. The image becomes the disk's device, which the backend moves. It comes under the key of the
    /// disk's set, or the platform's, and is bound to the disk and to the store, which knows its DEK from then on. **Then every other
    /// way in is removed**: all keyslots, and the tokens of other programs. The data stays where it is.
    ///
    /// `image` is as in [`import_disk`](Self::import_disk). The disk has the size and the sector size of the volume; the size in
    /// `new` must be the same, or 0. With [`reencrypt`](AdoptOptions::reencrypt) a new DEK is ordered in the same step, and
    /// [`reencrypt_step`](Self::reencrypt_step) moves the data. Without it, anyone who has the old DEK, or a copy of the old header
    /// and a credential for it, can read the data until [`rekey_disk`](Self::rekey_disk) is finished.
    ///
    /// If it fails or is killed after the record was stored, call it again with the same arguments: it goes on. Once the vault
    /// opens the volume, [`open_disk`](Self::open_disk) goes on too. At every instant the volume opens by its former credentials,
    /// or by the vault. [`delete`](Self::delete) gives up a disk whose image was not moved yet, and leaves the image.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for a set with two layers; for a volume that a guest has encrypted, in a set and without re-encryption.
    /// [`Error::InvalidOption`] for another size, for a cipher that is [weak](crate::cipher::CipherSpec::weakness), for a volume whose
    /// re-encryption isn't finished, for one that can't be re-encrypted and is to be, for one without room for a token, and for a
    /// backend that takes in no images; [`Error::ForeignData`]; [`Error::UnsupportedHeader`] for LUKS1, which
    /// [`Header::convert_to_luks2`] converts, and BitLocker; [`Error::NotLuks`], also for a detached header. Those of
    /// [`Volume::open`]; of [`create_disk`](Self::create_disk); of the backend. Until the image is moved nothing has happened to it.
    pub fn adopt_disk(
        &self,
        new: &NewDisk,
        image: &str,
        credential: Credential<'_>,
        options: &AdoptOptions,
    ) -> Result<Resource> {
        let inner = self.inner()?;
        let name = ResourceName::disk(&new.name);
        if !inner.is_adopting(&name, new, image)? {
            inner.store.check_absent(&name)?;
            let disk = inner.adopted(new, image, credential, options)?;
            inner.store.write(|tables| tables.add_resource(&disk))?;
        }
        let by = Some((credential, options.limits));
        inner.registry.changing_here(&name, |live, _| inner.finish_adoption(live, by))?;
        inner.store.resource(&name)
    }
}

impl Inner {
    /// Whether a call for the same disk and image was killed before.
    fn is_adopting(&self, name: &ResourceName, new: &NewDisk, image: &str) -> Result<bool> {
        let found = match self.store.resource(name) {
            Err(Error::NoSuchResource(_)) => return Ok(false),
            found => found?,
        };
        let is_same = found.set == new.set && found.region == new.region && found.subscription == new.subscription;
        Ok(is_same && found.adopting.is_some_and(|adopting| adopting.image == image))
    }

    /// The record of the disk that an image will become. Nothing is written.
    fn adopted(
        &self,
        new: &NewDisk,
        image: &str,
        credential: Credential<'_>,
        options: &AdoptOptions,
    ) -> Result<Resource> {
        let device = self.backend.open_image(&new.region, image)?;
        let device_size = device.size().map_err(|e| Error::io("asking the image for its size", e))?;
        let format = Header::load(&device)?.format();
        if format != LuksVersion::Luks2 {
            let text =
                format!("a disk is a volume of LUKS2, and the image is one of {format}; convert or copy it first");
            return Err(Error::UnsupportedHeader(text));
        }
        let volume = open_old(device, credential, options.limits, |options| options.read_only(true))?;
        check_adoptable(&volume, options.reencrypt)?;
        volume.check_recoverable()?;
        let refused = |text: String| Err(Error::InvalidOption(text));
        if ![0, volume.size()].contains(&new.size) {
            return refused(format!("the volume in the image has {} bytes, not {}", volume.size(), new.size));
        }
        let mut disk = self.new_disk(&new.clone().size(volume.size()).sector_size(volume.sector_size().bytes()))?;
        if disk.has_two_layers() {
            let text =
                "a volume can't get a second layer where it lies; make a disk in the set, and copy the data into it";
            return not_allowed(Rule::LayersStay, text);
        }
        if options.guest_encrypted && !options.reencrypt {
            if disk.set.is_some() {
                let text = "whoever was root in the guest may have the volume's DEK, which a set's key doesn't take away; \
                            adopt it with re-encryption";
                return not_allowed(Rule::EncryptedInGuest, text);
            }
            disk.guest_encrypted = true;
        }
        disk.fingerprints = vec![volume.fingerprint()?];
        // Nobody knows how much was written; at least all of it, once.
        disk.used_blocks[0] = volume.size() / BLOCK;
        disk.adopting = Some(Adopting { image: image.into(), device_size, reencrypt: options.reencrypt });
        // If the vault refused later, or its token had no room, the image would be moved, and no disk.
        match Layers::check_take_in(&volume, &disk, &self.kek_for(&disk)?) {
            Err(Error::NoRoom(what)) => refused(format!(
                "the header of the volume has no room for the vault's token: {what}; remove a token or a keyslot of it first"
            )),
            fits => fits.map(|()| disk),
        }
    }

    /// Goes on with an adoption that was killed, as far as the vault opens the volume.
    pub(super) fn go_on_adopting(&self, live: &LiveResource) -> Result<()> {
        if live.record()?.adopting.is_none() {
            return Ok(());
        }
        self.registry.changing_here(&live.name, |live, _| self.finish_adoption(live, None))
    }

    /// The same in a rotation. The caller must hold the disk's change lock. Returns the current record. A volume that only its
    /// former credential opens is busy, and so is one that its vault refuses or nothing opens: the maker of the image chose its
    /// tokens, and no other disk has to wait for it.
    pub(super) fn finished_adopting(&self, live: &LiveResource, resource: Resource) -> Result<Resource> {
        if resource.adopting.is_none() {
            return Ok(resource);
        }
        let finished = self.finish_adoption(live, None);
        let resource = live.record()?;
        match finished {
            // Perhaps its re-encryption couldn't begin, which is no matter of the key.
            _ if resource.adopting.is_none() => Ok(resource),
            Err(e @ Error::Io { .. }) => Err(e),
            _ => Err(waits(live)),
        }
    }

    /// Does the rest of an adoption. The caller must hold the disk's change lock.
    pub(super) fn finish_adoption(&self, live: &LiveResource, by: Option<(Credential<'_>, KdfLimits)>) -> Result<()> {
        let resource = live.record()?;
        let Some(adopting) = &resource.adopting else { return Ok(()) };
        let opens = live.while_closed(|| self.put_under_vault(live, &resource, adopting, by));
        // The set may have gone over to another vault since it got its token.
        opens.or_else(|e| live.with_layers_to_rewrap(|_| Ok(())).map_err(|_| e))?;
        // By the vault alone, with the DEK that the store knows. Only then the old ways in go.
        live.with_layers(Layers::remove_other_ways)?;
        let now = self.clock.now();
        self.rewrap_and_note(live, &resource, |resource, _| {
            let Some(adopting) = resource.adopting.take() else { return false };
            if adopting.reencrypt && resource.reencryption.is_none() {
                let order = Reencryption::ordered(ReencryptionKind::Rekey, resource.size, now);
                resource.reencryption = Some(Reencryption { adopted: true, ..order });
            }
            true
        })?;
        self.begin_reencryption(live)
    }

    /// Makes the image the disk's device, and the vault open it, unless it does.
    fn put_under_vault(
        &self,
        live: &LiveResource,
        resource: &Resource,
        adopting: &Adopting,
        by: Option<(Credential<'_>, KdfLimits)>,
    ) -> Result<()> {
        let Adopting { image, device_size, reencrypt } = adopting;
        let device = self.backend.adopt_image(&resource.region, &resource.id, image, *device_size)?;
        let kek = self.kek_for(resource)?;
        let Err(e) = Layers::opens(&device, resource, &kek) else { return Ok(()) };
        let is_to_come = matches!(e, Error::NotThisVault { .. } | Error::ContextMismatch | Error::NoSuchProtector(_));
        let Some((credential, limits)) = by else { return Err(if is_to_come { waits(live) } else { e }) };
        if matches!(e, Error::Io { .. } | Error::Busy { .. }) {
            return Err(e);
        }
        // Also if there is a token for the vault, which opens nothing: for a key that is disabled, or one that a guest made up.
        // Whether it was the vault that is away shows when it is to wrap the DEK.
        let expect = resource.fingerprints[0];
        let volume = match open_old(device, credential, limits, |options| options.expect(expect)) {
            Err(_) if !is_to_come => return Err(e),
            volume => volume?,
        };
        // Somebody may have changed it since it was looked at.
        check_adoptable(&volume, *reencrypt)?;
        if (volume.size(), volume.sector_size().bytes()) != (resource.size, resource.sector_size) {
            let text = "the image was changed since its adoption began; delete the disk, and adopt it anew";
            return Err(Error::InvalidOption(text.into()));
        }
        Layers::take_in(&volume, resource, &kek)
    }
}

/// The error for a disk that only the caller's credential opens.
fn waits(live: &LiveResource) -> Error {
    Error::Busy { what: format!("the {}, which is to be adopted (call `adopt_disk` again),", live.name) }
}

/// Refuses a volume that can't be a disk, or whose re-encryption couldn't begin.
fn check_adoptable(volume: &Layer, reencrypt: bool) -> Result<()> {
    let refused = |text: String| Err(Error::InvalidOption(text));
    if volume.reencryption().is_some() {
        return refused("a re-encryption of the image isn't finished; finish it first".into());
    }
    let cipher = volume.cipher();
    if let Some(weakness) = cipher.weakness() {
        return refused(format!(
            "the image is encrypted with {}: {weakness}; copy its data to a new disk",
            cipher.name()
        ));
    }
    if !reencrypt {
        return Ok(());
    }
    let header = volume.header();
    let why = match &header.segments()[..] {
        [segment] if segment.iv_tweak != 0 => "its first sector isn't number 0",
        [_] if header.requirements().iter().any(|name| name == WRITTEN_REQUIREMENT) => "it has a map of written chunks",
        [_] if volume.dek().algorithm().new_cipher().is_none() => "no new volume has its cipher",
        [_] => return Ok(()),
        _ => "it has several segments",
    };
    refused(format!("the volume can't be re-encrypted, because {why}; copy its data to a new disk"))
}

/// Opens the volume by its former credential.
fn open_old(
    device: Arc<dyn BlockDevice>,
    credential: Credential<'_>,
    limits: KdfLimits,
    options: impl FnOnce(OpenOptions) -> OpenOptions,
) -> Result<Volume<Arc<dyn BlockDevice>>> {
    Volume::open(device, credential, &options(OpenOptions::new().kdf_limits(limits)))
}
