//! A resource's volumes: one, or two stacked ones.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::kek::{Kek, Only, keys_in};
use super::lent::{Lent, SecretHolder};
use super::records::Resource;
use crate::key::{DekAlgorithm, Fingerprint, KeyId, WrappedDek};
use crate::ondisk::luks::{TOKEN_TYPE, WRITTEN_TYPE};
use crate::volume::{
    Begun, Closed, Expected, FormatOptions, KnownDek, OpenOptions, ProtectorId, ReencryptOptions, ReencryptionProgress,
    Resilience, TokenInfo, VolumeExtent,
};
use crate::{BlockDevice, Credential, Dek, EncryptionType, Error, KeyVault, Protector, Result, SectorSize, Volume};

/// The size of a layer's header in bytes.
pub(super) const HEADER: u64 = 1 << 20;

/// The room in bytes that an encryption in place needs at the end of the device: for the header, and for moving the data by as much.
pub(super) const ROOM: u64 = 2 * HEADER;

/// A volume on the device itself, or on another volume.
pub(super) type Layer = Volume<Arc<dyn BlockDevice>>;

/// The open volumes of a resource.
pub(super) struct Layers {
    /// Under the customer's key, if its set has one.
    upper: Layer,
    /// The volume below the upper one, if there are two. It is under the platform's key, and in another mode (60).
    lower: Option<Arc<Layer>>,
    lent: Lent,
}

/// The context of the lower volume of two.
pub(super) fn lower_context(id: &str) -> String {
    format!("{id}/platform")
}

impl Resource {
    /// The options for opening one of its volumes, 0 for the upper one. They demand its context and the DEKs that the store
    /// knows. Otherwise an attacker who may wrap DEKs could put a volume of their own in its place.
    fn expecting(&self, layer: usize, context: &str) -> OpenOptions {
        // Discards that the service doesn't allow reach no layer.
        let options = OpenOptions::new().discard(true);
        let options = options.context(context.as_bytes()).used_blocks(self.used_blocks[layer]);
        match self.expected(layer) {
            Some(expected) => options.by_record(expected).hazmat_allow_unencrypted(self.is_partly_plain()),
            None => options,
        }
    }

    /// The DEKs of one of its volumes, and how far a re-encryption is; `None` in a record of an earlier version.
    pub(super) fn expected(&self, layer: usize) -> Option<Expected> {
        let known = KnownDek { fingerprint: *self.fingerprints.get(layer)?, used_blocks: self.used_blocks[layer] };
        let (owner, dek) = (self.full_name().to_string(), Some(known));
        let none = Expected { owner, dek, new: None, done: None, former: None };
        let Some(of) = self.reencryption.as_ref().filter(|_| layer == 0) else { return Some(none) };
        if of.is_finished() {
            return Some(Expected { former: of.former, ..none });
        }
        let new = |fingerprint| KnownDek { fingerprint, used_blocks: of.used_blocks };
        let dek = dek.filter(|_| !self.is_partly_plain());
        Some(Expected { dek, new: of.fingerprint.map(new), done: of.begun.map(|_| of.done), ..none })
    }
}

/// A resource whose volumes are open, except for the upper one.
pub(super) struct Opening {
    /// The device of the upper volume: `lower`, if there are two.
    device: Arc<dyn BlockDevice>,
    lower: Option<Arc<Layer>>,
}

impl Opening {
    /// Opens the layer below the upper volume. `key_of` chooses the platform's key among those that a header names.
    pub(super) fn begin(
        device: Arc<dyn BlockDevice>,
        resource: &Resource,
        platform: &dyn KeyVault,
        key_of: impl FnOnce(&[KeyId]) -> Result<KeyId>,
    ) -> Result<Self> {
        if !resource.has_two_layers() {
            return Ok(Opening { device, lower: None });
        }
        let closed = Closed::load(device)?;
        let key = key_of(&closed.keks())?;
        let options = resource.expecting(1, &lower_context(&resource.id));
        let vault = Only { vault: platform, key: &key };
        let lower = Arc::new(closed.open(Credential::Vault(&vault), &options)?);
        Ok(Opening { device: lower.clone(), lower: Some(lower) })
    }

    /// The lower volume, if there are two.
    pub(super) fn lower(&self) -> Option<&Layer> {
        self.lower.as_deref()
    }

    /// Reads the header of the upper volume.
    pub(super) fn upper(self) -> Result<Upper> {
        Ok(Upper { closed: Closed::load(self.device)?, lower: self.lower })
    }

    /// The keys that each volume's header names, the upper one's first.
    pub(super) fn all_keys(&self) -> Result<Vec<Vec<KeyId>>> {
        core::iter::once(&self.device).chain(self.lower().map(Volume::device)).map(keys_in).collect()
    }
}

/// The upper volume of a resource, with its header read.
pub(super) struct Upper {
    closed: Closed<Arc<dyn BlockDevice>>,
    lower: Option<Arc<Layer>>,
}

impl Upper {
    /// The keys that its header names. They aren't proved yet.
    pub(super) fn keys(&self) -> Vec<KeyId> {
        self.closed.keks()
    }

    /// Opens it by the customer's vault, or the platform's.
    pub(super) fn open(self, resource: &Resource, vault: &dyn KeyVault) -> Result<Layers> {
        // The lower layer shows a sector that was torn below it as noise from end to end, in the place of a copy of the header too.
        // The lower layer only ever contains the upper volume, so the repair can't touch anyone else's data.
        let options = resource.expecting(0, &resource.id).hazmat_repair(self.lower.is_some());
        let upper = self.closed.open(Credential::Vault(vault), &options)?;
        Ok(Layers { upper, lower: self.lower, lent: Lent::default() })
    }
}

/// The ways into a volume besides its vaults' tokens: keyslots, tokens of other programs, and tokens of our type that no owner of
/// the DEK wrote. The latter name keys that don't wrap the DEK.
pub(super) fn other_ways(volume: &Layer) -> Vec<ProtectorId> {
    let (header, genuine) = (volume.header(), volume.genuine_token_ids());
    // The map of written chunks opens nothing, and the volume isn't read rightly without it.
    let stays =
        |token: &TokenInfo| token.kind == WRITTEN_TYPE || token.kind == TOKEN_TYPE && genuine.contains(&token.id);
    let keyslots = header.keyslots().into_iter().map(|keyslot| ProtectorId::Keyslot(keyslot.id));
    let tokens = header.tokens().into_iter().filter(|token| !stays(token));
    keyslots.chain(tokens.map(|token| ProtectorId::Token(token.id))).collect()
}

/// The options of a resource's volume, the upper one of two.
fn options_of(resource: &Resource) -> Result<FormatOptions> {
    let sector_size = SectorSize::new(resource.sector_size)?;
    let options = FormatOptions::new().sector_size(sector_size).data_offset(HEADER).context(resource.id.as_bytes());
    Ok(options.encryption_type(resource.encryption_type))
}

impl Layers {
    /// Begins to encrypt a plain image where it lies under this DEK, wrapped by this key: with its header at the start, for which
    /// the device has [`ROOM`] at its end.
    pub(super) fn begin_in_place(
        device: Arc<dyn BlockDevice>,
        resource: &Resource,
        dek: &Dek,
        kek: &Kek,
    ) -> Result<Fingerprint> {
        let options = options_of(resource)?.hazmat_dek(dek);
        let protector = Protector::Vault(kek, kek.name());
        Volume::begin_encryption(device, protector, &options, ROOM).and_then(|volume| volume.fingerprint())
    }

    /// The state that an encryption in place has left on a device.
    pub(super) fn begun_in_place(device: &Arc<dyn BlockDevice>) -> Result<Begun> {
        Volume::begun_encryption(device)
    }

    /// Checks that a vault opens the volume on a device, bound to the resource and with the DEK that the store knows.
    pub(super) fn opens(device: &Arc<dyn BlockDevice>, resource: &Resource, kek: &Kek) -> Result<()> {
        let options = resource.expecting(0, &resource.id);
        Closed::load(device.clone())?.open(Credential::Vault(kek), &options).map(drop)
    }

    /// Refuses a volume without room for [`take_in`](Self::take_in), and a vault that doesn't wrap. Nothing is written.
    pub(super) fn check_take_in(volume: &Layer, resource: &Resource, kek: &Kek) -> Result<()> {
        let (context, ordered) = (resource.id.as_bytes(), resource.is_ordered_with_adoption());
        volume.check_put_under(kek, kek.name(), resource.encryption_type, context, ordered)
    }

    /// Puts a volume under this key, and binds it to the resource. Its other ways in stay. The token says whether a new DEK is ordered,
    /// for a store that is rebuilt from it.
    pub(super) fn take_in(volume: &Layer, resource: &Resource, kek: &Kek) -> Result<()> {
        let (context, ordered) = (resource.id.as_bytes(), resource.is_ordered_with_adoption());
        volume.put_under(kek, kek.name(), resource.encryption_type, context, ordered).map(drop)
    }

    /// Removes every way into the upper volume but the vaults' tokens.
    pub(super) fn remove_other_ways(&self) -> Result<()> {
        other_ways(&self.upper).into_iter().try_for_each(|id| self.upper.header().remove_protector(id))
    }

    /// Makes the volumes of a new resource, the upper one under `customer`, if its set has a key.
    pub(super) fn format(
        device: Arc<dyn BlockDevice>,
        resource: &Resource,
        platform: &Kek,
        customer: Option<&Kek>,
        chunk_size: Option<u32>,
    ) -> Result<Self> {
        let options = options_of(resource)?;
        let upper = customer.unwrap_or(platform);
        let upper = Protector::Vault(upper, upper.name());
        // One map is enough: the upper volume doesn't read chunks from the lower one that it has never written.
        let mapped = chunk_size.map_or(options.clone(), |chunk_size| options.clone().written_map(chunk_size));
        if !resource.has_two_layers() {
            return Ok(Layers { upper: Volume::format(device, upper, &mapped)?, lower: None, lent: Lent::default() });
        }
        let lower = options.dek_algorithm(DekAlgorithm::Aes256Hctr2).context(lower_context(&resource.id).as_bytes());
        let lower = Arc::new(Volume::format(device, Protector::Vault(platform, platform.name()), &lower)?);
        // A new volume reads as noise, so it isn't blank.
        let upper = Volume::format(lower.clone() as Arc<dyn BlockDevice>, upper, &mapped.overwrite(true))?;
        Ok(Layers { upper, lower: Some(lower), lent: Lent::default() })
    }

    /// Lends a secret that is derived from the upper volume's DEK.
    pub(super) fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        let dek = self.upper.dek();
        dek.check()?;
        let secret = crate::arch::on_wiped_stack(|| dek.derive(&format!("atrest disk secret v1 {label}")));
        self.lent.lend(secret, holder)
    }

    /// Whether chunks that were never written read as zeros.
    pub(super) fn reads_zeros(&self) -> bool {
        self.upper.written_chunk_size().is_some()
    }

    /// As [`Volume::extents`], the first `most` of them.
    pub(super) fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        Ok(self.upper.extents(offset, len)?.take(most).collect())
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

    pub(super) fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.upper.write_zeroes(offset, len)
    }

    pub(super) fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.upper.discard(offset, len)
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

    /// Writes the ciphertext made by [`begin_write`](Self::begin_write).
    pub(super) fn write_ciphertext(&self, device_offset: u64, ciphertext: &[u8]) -> Result<()> {
        self.bottom().write_ciphertext(device_offset, ciphertext)
    }

    /// Writes the headers again, the lower one first, with greater sequence numbers: a host that opened the volumes before refuses
    /// to change the headers from then on.
    pub(super) fn fence(&self) -> Result<()> {
        self.lower.iter().try_for_each(|lower| lower.renew_header())?;
        self.upper.renew_header()
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.upper.sync()
    }

    /// Makes the device as large as this, unless it is larger, and the volumes as large as it is: the upper one is to have
    /// `size` bytes then.
    pub(super) fn grow(&self, device_size: u64, size: u64) -> Result<()> {
        let device = self.device();
        // The data of one that was adopted may begin later than at [`HEADER`].
        let starts = self.bottom().header().segments().into_iter().map(|segment| segment.offset).min();
        let beyond = starts.unwrap_or(HEADER).saturating_sub(HEADER);
        let device_size = device_size.saturating_add(beyond);
        let failed = |e| Error::io(format!("making the device {device_size} bytes large"), e);
        if device.size().map_err(failed)? < device_size {
            device.set_size(device_size).map_err(|e| match e.kind() {
                std::io::ErrorKind::Unsupported => Error::InvalidOption(format!(
                    "the disk's device can't be made larger from here ({e}); make it {device_size} bytes large, and try again"
                )),
                _ => failed(e),
            })?;
        }
        self.lower.iter().try_for_each(|lower| lower.resize(None).map(drop))?;
        if self.upper.resize(None)? < size {
            let most = self.upper.size();
            return Err(Error::InvalidOption(format!(
                "the disk can have {most} bytes at most, in its chunks or at all"
            )));
        }
        Ok(())
    }

    /// All volumes, the upper one first.
    fn all(&self) -> impl Iterator<Item = &Layer> {
        core::iter::once(&self.upper).chain(self.lower.as_deref())
    }

    /// The volume directly on the device: the lower one if there are two.
    pub(super) fn bottom(&self) -> &Layer {
        self.lower.as_deref().unwrap_or(&self.upper)
    }

    /// The device below all layers.
    pub(super) fn device(&self) -> Arc<dyn BlockDevice> {
        self.bottom().device().clone()
    }

    /// The fingerprints of the DEKs, as in [`Resource::fingerprints`].
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

    /// The keys that each volume's header names now, the upper one's first. Somebody may have replaced a header.
    pub(super) fn keys_on_device(&self) -> Result<Vec<Vec<KeyId>>> {
        self.all().map(|volume| keys_in(volume.device())).collect()
    }

    /// How many bytes the upper volume has.
    pub(super) fn size(&self) -> u64 {
        self.upper.size()
    }

    /// How many blocks each DEK has encrypted, as in [`Resource::used_blocks`].
    pub(super) fn used_blocks(&self) -> [u64; 2] {
        [Some(&self.upper), self.lower.as_deref()].map(|volume| volume.map_or(0, |volume| volume.usage().blocks()))
    }

    /// The upper volume's DEK as wrapped by each vault.
    pub(super) fn wrapped(&self) -> Vec<WrappedDek> {
        self.upper.wrapped_deks()
    }

    /// The algorithm of the upper volume's DEK.
    pub(super) fn dek_algorithm(&self) -> DekAlgorithm {
        self.upper.dek().algorithm()
    }

    /// Begins to re-encrypt the upper volume under this DEK, wrapped by this key.
    pub(super) fn begin_rekey(&self, dek: &Dek, kek: &Kek) -> Result<()> {
        // A larger sector may be torn, where the device writes sectors of 512 bytes.
        let resilience =
            if self.upper.sector_size() == SectorSize::B512 { Resilience::Checksum } else { Resilience::Journal };
        let options = ReencryptOptions::new().hazmat_dek(dek).resilience(resilience);
        self.upper.begin_reencryption(&[Protector::Vault(kek, kek.name())], &options)
    }

    /// Re-encrypts about `budget` bytes of the upper volume, if that has begun.
    pub(super) fn reencrypt_step(&self, budget: u64) -> Result<ReencryptionProgress> {
        self.upper.reencrypt_step(budget)
    }

    /// How far the re-encryption of the upper volume is, if one is under way.
    pub(super) fn reencryption(&self) -> Option<ReencryptionProgress> {
        self.upper.reencryption()
    }

    /// The fingerprint of the upper volume's DEK; during a re-encryption, of the new one.
    pub(super) fn fingerprint(&self) -> Result<Fingerprint> {
        self.upper.fingerprint()
    }

    /// Moves the upper volume to one key alone, unless it is there already. Returns whether it had to.
    pub(super) fn rewrap(&self, kek: &Kek, kind: EncryptionType) -> Result<bool> {
        kek.put_over(&self.upper, kind)
    }
}

impl Drop for Layers {
    /// Syncs a volume with a map of written chunks. Otherwise chunks first written since the last sync would read as zeros when the
    /// resource is opened again, even in this process.
    fn drop(&mut self) {
        if self.reads_zeros() && !self.upper.is_read_only() {
            let _ = self.upper.sync();
        }
    }
}
