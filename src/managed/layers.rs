//! A disk's volumes: one, or two of which one lies on the other.

use std::sync::Arc;

use super::records::ManagedDisk;
use crate::key::{DekAlgorithm, KeyId, WrappedDek};
use crate::volume::{FormatOptions, OpenOptions};
use crate::{BlockDevice, Credential, EncryptionType, KeyVault, Protector, Result, SectorSize, Volume};

/// What the header of a layer takes, in bytes.
const HEADER: u64 = 1 << 20;

/// The volumes of a disk that is open.
pub(super) enum Layers {
    /// Under one key.
    One(Box<Volume<Arc<dyn BlockDevice>>>),
    /// Under the customer's key, on one under the platform's, which has another mode (60).
    Two(Box<Volume<Volume<Arc<dyn BlockDevice>>>>),
}

/// A vault, and the key of it that wraps a layer's DEK.
#[derive(Clone, Copy)]
pub(super) struct Kek<'a> {
    pub(super) vault: &'a dyn KeyVault,
    pub(super) key: &'a str,
}

impl Layers {
    /// How large the device of a disk is, in bytes.
    pub(super) fn device_size(disk: &ManagedDisk) -> u64 {
        let layers = if disk.encryption_type == EncryptionType::PlatformAndCustomerKeys { 2 } else { 1 };
        disk.size + layers * HEADER
    }

    /// Makes the volumes of a new disk. `customer` is its set's key, if it has one.
    pub(super) fn format(
        device: Arc<dyn BlockDevice>,
        disk: &ManagedDisk,
        platform: Kek<'_>,
        customer: Option<Kek<'_>>,
    ) -> Result<Self> {
        let options = FormatOptions::new()
            .sector_size(SectorSize::new(disk.sector_size)?)
            .data_offset(HEADER)
            .context(disk.id.as_bytes())
            .encryption_type(disk.encryption_type);
        let outer = customer.unwrap_or(platform);
        if disk.encryption_type != EncryptionType::PlatformAndCustomerKeys {
            return Volume::format(device, Protector::Vault(outer.vault, outer.key), &options)
                .map(Box::new)
                .map(Layers::One);
        }
        let inner = options.clone().dek_algorithm(DekAlgorithm::Aes256Hctr2).context(lower(disk).as_bytes());
        let inner = Volume::format(device, Protector::Vault(platform.vault, platform.key), &inner)?;
        // What a new volume shows is noise, which isn't blank.
        let options = options.overwrite(true);
        Volume::format(inner, Protector::Vault(outer.vault, outer.key), &options).map(Box::new).map(Layers::Two)
    }

    /// Opens the volumes of a disk, the upper one by `upper`: the customer's vault, or the platform's.
    pub(super) fn open(
        device: Arc<dyn BlockDevice>,
        disk: &ManagedDisk,
        platform: &dyn KeyVault,
        upper: &dyn KeyVault,
    ) -> Result<Self> {
        let options = OpenOptions::new().context(disk.id.as_bytes());
        if disk.encryption_type != EncryptionType::PlatformAndCustomerKeys {
            return Volume::open(device, Credential::Vault(upper), &options).map(Box::new).map(Layers::One);
        }
        let inner = OpenOptions::new().context(lower(disk).as_bytes());
        let inner = Volume::open(device, Credential::Vault(platform), &inner)?;
        Volume::open(inner, Credential::Vault(upper), &options).map(Box::new).map(Layers::Two)
    }

    pub(super) fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        match self {
            Layers::One(volume) => volume.read_at(offset, sectors),
            Layers::Two(volume) => volume.read_at(offset, sectors),
        }
    }

    pub(super) fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        match self {
            Layers::One(volume) => volume.write_at(offset, sectors),
            Layers::Two(volume) => volume.write_at(offset, sectors),
        }
    }

    pub(super) fn sync(&self) -> Result<()> {
        match self {
            Layers::One(volume) => volume.sync(),
            Layers::Two(volume) => volume.sync(),
        }
    }

    /// The keys that can unwrap the DEK of the upper volume.
    pub(super) fn keks(&self) -> Vec<KeyId> {
        match self {
            Layers::One(volume) => volume.keks(),
            Layers::Two(volume) => volume.keks(),
        }
    }

    /// The DEK of the upper volume, as a vault has wrapped it.
    pub(super) fn wrapped(&self) -> Option<WrappedDek> {
        match self {
            Layers::One(volume) => volume.wrapped_deks(),
            Layers::Two(volume) => volume.wrapped_deks(),
        }
        .pop()
    }

    /// Puts the upper volume under one key.
    pub(super) fn replace_keks(&self, kek: Kek<'_>, kind: EncryptionType) -> Result<KeyId> {
        match self {
            Layers::One(volume) => volume.replace_keks(kek.vault, kek.key, kind),
            Layers::Two(volume) => volume.replace_keks(kek.vault, kek.key, kind),
        }
    }
}

/// What the lower volume of two is bound to.
fn lower(disk: &ManagedDisk) -> String {
    format!("{}/platform", disk.id)
}
