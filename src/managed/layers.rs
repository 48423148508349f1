//! A resource's volumes: one, or two of which one lies on the other.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::records::Resource;
use crate::key::{DekAlgorithm, Fingerprint, KeyDescription, KeyId, WrappedDek};
use crate::volume::{FormatOptions, Header, OpenOptions};
use crate::{BlockDevice, Credential, EncryptionType, Error, KeyVault, Protector, Result, Secret, SectorSize, Volume};

/// What the header of a layer takes, in bytes.
pub(super) const HEADER: u64 = 1 << 20;

/// A volume on the device itself, or on another volume.
pub(super) type Layer = Volume<Arc<dyn BlockDevice>>;

/// The volumes of a resource that is open.
pub(super) struct Layers {
    /// Under the customer's key, if its set has one.
    upper: Layer,
    /// What the upper one lies on, if there are two: under the platform's key, and in another mode (60).
    lower: Option<Arc<Layer>>,
}

/// A vault, and the key of it that wraps a layer's DEK.
pub(super) struct Kek {
    pub(super) vault: Arc<dyn KeyVault>,
    pub(super) key: Wanted,
}

/// Which key of a vault.
pub(super) enum Wanted {
    /// The latest version of the one of this name.
    Latest(String),
    /// This version.
    Version(KeyId),
}

impl Kek {
    fn name(&self) -> &str {
        match &self.key {
            Wanted::Latest(name) => name,
            Wanted::Version(id) => id.key(),
        }
    }

    /// Finds out whether the vault wraps and unwraps under the key, before anything depends on it.
    ///
    /// # Errors
    /// What the vault answers.
    pub(super) fn try_out(&self) -> Result<()> {
        let trial = Secret::random(32)?;
        let back = self.vault.unwrap(&self.wrap(self.name(), &trial)?)?;
        if back.is_some_and(|back| back == trial) { Ok(()) } else { Err(Error::UnwrapFailed) }
    }

    /// Puts a volume under the key, and no other, unless it is; says whether it had to.
    ///
    /// # Errors
    /// What the vault answers; [`Error::Busy`] where the header is no more what the volume wrote.
    pub(super) fn put_over(&self, volume: &Layer, kind: EncryptionType) -> Result<bool> {
        if let Wanted::Version(id) = &self.key
            && volume.keks() == [id.clone()]
            && keys_in(volume.device())? == [id.clone()]
        {
            return Ok(false);
        }
        volume.replace_keks(self, self.name(), kind).map(|_| true)
    }
}

/// It wraps under the version that is wanted, whatever the latest one is.
impl KeyVault for Kek {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        match &self.key {
            Wanted::Latest(_) => self.vault.wrap(key, dek),
            Wanted::Version(id) => self.vault.wrap_version(id, dek),
        }
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.vault.unwrap(wrapped)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.vault.describe(key, version)
    }
}

/// A vault, asked for what is under one key alone: whose lease holds must not open what another key wraps.
pub(super) struct Only<'a> {
    pub(super) vault: &'a dyn KeyVault,
    pub(super) key: &'a KeyId,
}

impl KeyVault for Only<'_> {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.vault.wrap(key, dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek == *self.key { self.vault.unwrap(wrapped) } else { Ok(None) }
    }
}

/// What the lower volume of two is bound to.
pub(super) fn lower_context(id: &str) -> String {
    format!("{id}/platform")
}

impl Resource {
    /// How to open one of its volumes, 0 for the upper one: bound to the context, and with the DEK that the store knows. Who
    /// may have a DEK wrapped could otherwise put a volume of their own in its place.
    fn expecting(&self, layer: usize, context: &str) -> OpenOptions {
        let options = OpenOptions::new().context(context.as_bytes()).used_blocks(self.used_blocks[layer]);
        match self.fingerprints.get(layer) {
            Some(fingerprint) => options.expect(*fingerprint),
            None => options,
        }
    }
}

/// A resource of which all is open but the upper volume: its header can be read.
pub(super) struct Opening {
    /// What the upper volume lies on: `lower`, if there are two.
    device: Arc<dyn BlockDevice>,
    lower: Option<Arc<Layer>>,
}

impl Opening {
    /// Opens what is below the upper volume. `key_of` chooses the platform's key among those that a header names.
    pub(super) fn begin(
        device: Arc<dyn BlockDevice>,
        resource: &Resource,
        platform: &dyn KeyVault,
        key_of: impl FnOnce(&[KeyId]) -> Result<KeyId>,
    ) -> Result<Self> {
        if !resource.has_two_layers() {
            return Ok(Opening { device, lower: None });
        }
        let key = key_of(&keys_in(&device)?)?;
        let options = resource.expecting(1, &lower_context(&resource.id));
        let vault = Only { vault: platform, key: &key };
        let lower = Arc::new(Volume::open(device, Credential::Vault(&vault), &options)?);
        Ok(Opening { device: lower.clone(), lower: Some(lower) })
    }

    /// The lower volume, if there are two.
    pub(super) fn lower(&self) -> Option<&Layer> {
        self.lower.as_deref()
    }

    /// The keys that the upper volume says it is under. Nothing has proved it yet.
    pub(super) fn keys(&self) -> Result<Vec<KeyId>> {
        keys_in(&self.device)
    }

    /// The keys that each volume says it is under, the upper one's first.
    pub(super) fn all_keys(&self) -> Result<Vec<Vec<KeyId>>> {
        core::iter::once(&self.device).chain(self.lower().map(Volume::device)).map(keys_in).collect()
    }

    /// Opens the upper volume by the customer's vault, or the platform's.
    pub(super) fn finish(self, resource: &Resource, vault: &dyn KeyVault) -> Result<Layers> {
        // The lower layer shows a sector that was torn below it as noise from end to end, in the place of a copy of the
        // header too. Nothing but the upper volume is ever in there, so that no one else's data can be what is repaired.
        let options = resource.expecting(0, &resource.id).hazmat_repair(self.lower.is_some());
        let upper = Volume::open(self.device, Credential::Vault(vault), &options)?;
        Ok(Layers { upper, lower: self.lower })
    }
}

/// The keys that the header on a device names.
pub(super) fn keys_in(device: &Arc<dyn BlockDevice>) -> Result<Vec<KeyId>> {
    let urls = Header::load(device)?.tokens().into_iter().filter_map(|token| token.key_url);
    Ok(urls.filter_map(|url| url.parse().ok()).collect())
}

impl Layers {
    /// Makes the volumes of a new resource, the upper one under `customer`, if its set has a key.
    pub(super) fn format(
        device: Arc<dyn BlockDevice>,
        resource: &Resource,
        platform: &Kek,
        customer: Option<&Kek>,
    ) -> Result<Self> {
        let options = FormatOptions::new()
            .sector_size(SectorSize::new(resource.sector_size)?)
            .data_offset(HEADER)
            .context(resource.id.as_bytes())
            .encryption_type(resource.encryption_type);
        let upper = customer.unwrap_or(platform);
        let upper = Protector::Vault(upper, upper.name());
        if !resource.has_two_layers() {
            return Ok(Layers { upper: Volume::format(device, upper, &options)?, lower: None });
        }
        let lower =
            options.clone().dek_algorithm(DekAlgorithm::Aes256Hctr2).context(lower_context(&resource.id).as_bytes());
        let lower = Arc::new(Volume::format(device, Protector::Vault(platform, platform.name()), &lower)?);
        // What a new volume shows is noise, which isn't blank.
        let upper = Volume::format(lower.clone() as Arc<dyn BlockDevice>, upper, &options.overwrite(true))?;
        Ok(Layers { upper, lower: Some(lower) })
    }

    pub(super) fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.upper.read_at(offset, sectors)
    }

    pub(super) fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.upper.write_at(offset, sectors)
    }

    pub(super) fn write_in_place(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.upper.write_in_place(offset, sectors)
    }

    pub(super) fn read_vectored_at(&self, offset: u64, sectors: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.upper.read_vectored_at(offset, sectors)
    }

    pub(super) fn write_vectored_at(&self, offset: u64, sectors: &[IoSlice<'_>]) -> Result<()> {
        self.upper.write_vectored_at(offset, sectors)
    }

    /// As [`Volume::begin_read`], on the device below all layers.
    pub(super) fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        let below = self.upper.begin_read(offset, len)?;
        self.lower.as_ref().map_or(Ok(below), |lower| lower.begin_read(below, len))
    }

    /// As [`Volume::complete_read`].
    pub(super) fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        if let Some(lower) = &self.lower {
            lower.complete_read(self.upper.begin_read(offset, sectors.len())?, sectors)?;
        }
        self.upper.complete_read(offset, sectors)
    }

    /// As [`Volume::begin_write`].
    pub(super) fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<u64> {
        let below = self.upper.begin_write(offset, sectors)?;
        self.lower.as_ref().map_or(Ok(below), |lower| lower.begin_write(below, sectors))
    }

    /// As [`Volume::begin_write_from`].
    pub(super) fn begin_write_from(&self, offset: u64, sectors: &[u8], ciphertext: &mut [u8]) -> Result<u64> {
        let below = self.upper.begin_write_from(offset, sectors, ciphertext)?;
        self.lower.as_ref().map_or(Ok(below), |lower| lower.begin_write(below, ciphertext))
    }

    /// Writes what [`begin_write`](Self::begin_write) has encrypted.
    pub(super) fn write_ciphertext(&self, device_offset: u64, ciphertext: &[u8]) -> Result<()> {
        self.bottom().write_ciphertext(device_offset, ciphertext)
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.upper.sync()
    }

    /// All volumes, the upper one first.
    fn all(&self) -> impl Iterator<Item = &Layer> {
        core::iter::once(&self.upper).chain(self.lower.as_deref())
    }

    /// The volume on the device itself: of two, the lower one.
    pub(super) fn bottom(&self) -> &Layer {
        self.lower.as_deref().unwrap_or(&self.upper)
    }

    /// The device below all layers.
    pub(super) fn device(&self) -> Arc<dyn BlockDevice> {
        self.bottom().device().clone()
    }

    /// What tells the DEKs from all others, as [`Resource::fingerprints`] has them.
    pub(super) fn fingerprints(&self) -> Result<Vec<Fingerprint>> {
        self.all().map(Volume::fingerprint).collect()
    }

    /// The keys that can unwrap the DEK of the upper volume.
    pub(super) fn keks(&self) -> Vec<KeyId> {
        self.upper.keks()
    }

    /// The keys that can unwrap each DEK, the upper volume's first.
    pub(super) fn all_keks(&self) -> Vec<Vec<KeyId>> {
        self.all().map(Volume::keks).collect()
    }

    /// The keys that the header of each volume names now, the upper one's first: another may have been put in its place.
    pub(super) fn keys_on_device(&self) -> Result<Vec<Vec<KeyId>>> {
        self.all().map(|volume| keys_in(volume.device())).collect()
    }

    /// How many blocks each DEK has encrypted, as [`Resource::used_blocks`] has them.
    pub(super) fn used_blocks(&self) -> [u64; 2] {
        [Some(&self.upper), self.lower.as_deref()].map(|volume| volume.map_or(0, |volume| volume.usage().blocks()))
    }

    /// The DEK of the upper volume, as a vault has wrapped it.
    pub(super) fn wrapped(&self) -> Option<WrappedDek> {
        self.upper.wrapped_deks().pop()
    }

    /// Puts the upper volume under one key, and that alone, unless it is; says whether it had to.
    pub(super) fn rewrap(&self, kek: &Kek, kind: EncryptionType) -> Result<bool> {
        kek.put_over(&self.upper, kind)
    }
}
