//! [`DiskService`]: sets and disks, made, opened, put under other keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::backend::{DiskBackend, VaultDirectory};
use super::disk::OpenDisk;
use super::layers::{Kek, Layers};
use super::lease::LeasePolicy;
use super::leases::{Leases, Probe};
use super::records::{EncryptionSet, Joining, ManagedDisk};
use super::store::Store;
use crate::key::KeyId;
use crate::{Clock, EncryptionType, Error, KeyVault, Result, SectorSize, random};

/// What a service is set up with.
pub struct ServiceOptions {
    /// Where disks lie.
    pub backend: Arc<dyn DiskBackend>,
    /// How the vaults of customers are reached.
    pub vaults: Arc<dyn VaultDirectory>,
    /// The vault of the platform's keys.
    pub platform: Arc<dyn KeyVault>,
    /// The name of the platform's key in it.
    pub platform_key: String,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How leases run.
    pub lease: LeasePolicy,
    /// How many vault calls of one rotation are in flight at most.
    pub parallel: usize,
}

/// A set that is to be made.
#[derive(Debug, Clone)]
pub struct NewSet {
    /// A name that no other set has.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Whose it is.
    pub subscription: String,
    /// The tenant that its identity shall belong to.
    pub tenant: String,
    /// [`CustomerKey`](EncryptionType::CustomerKey) or
    /// [`PlatformAndCustomerKeys`](EncryptionType::PlatformAndCustomerKeys).
    pub encryption_type: EncryptionType,
    /// The key, with its version (15).
    pub key: KeyId,
    /// Whether newer versions of the key are taken up as they come.
    pub auto_rotation: bool,
}

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

/// Encryption sets and managed disks.
pub struct DiskService {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    backend: Arc<dyn DiskBackend>,
    vaults: Arc<dyn VaultDirectory>,
    platform: Arc<dyn KeyVault>,
    platform_key: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) leases: Leases,
    pub(super) parallel: usize,
    /// Disks that are open, so that all who open one share it.
    open: Mutex<HashMap<String, Weak<OpenDisk>>>,
    /// One change of records at a time.
    pub(super) changes: Mutex<()>,
}

impl DiskService {
    /// Opens the store of a service, or makes it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(store: impl AsRef<Path>, options: ServiceOptions) -> Result<Self> {
        let inner = Inner {
            store: Store::open(store.as_ref())?,
            backend: options.backend,
            vaults: options.vaults,
            platform: options.platform,
            platform_key: options.platform_key,
            clock: options.clock,
            leases: Leases::new(options.lease),
            parallel: options.parallel.max(1),
            open: Mutex::default(),
            changes: Mutex::default(),
        };
        Ok(DiskService { inner: Arc::new(inner) })
    }

    /// Makes a set, with an identity of its own, to which the vault's owner has then to grant `get`, `wrapKey` and
    /// `unwrapKey` (17, 25).
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NotAllowed`] for a vault in another region (18) or without soft delete and purge
    /// protection (16), and for the type `PlatformKey`, which takes no set (20); what the directory answers.
    pub fn create_set(&self, new: &NewSet) -> Result<EncryptionSet> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        check_name(&new.name)?;
        if self.inner.store.set(&new.name)?.is_some() {
            return Err(Error::ResourceExists(format!("there is a set {:?} already", new.name)));
        }
        if new.encryption_type == EncryptionType::PlatformKey {
            return not_allowed("20", "disks under the platform's key have no set; make them without one");
        }
        self.inner.check_vault(new.key.vault(), &new.region)?;
        let id = uuid::Builder::from_random_bytes(random::array()?).into_uuid();
        let set = EncryptionSet {
            name: new.name.clone(),
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            tenant: new.tenant.clone(),
            identity: format!("des-{}-{id}", new.name),
            encryption_type: new.encryption_type,
            active_key: new.key.clone(),
            previous_keys: Vec::new(),
            auto_rotation: new.auto_rotation,
            last_key_rotation_timestamp: None,
            auto_key_rotation_error: None,
            created: self.inner.clock.now(),
        };
        self.inner.store.put_set(&set)?;
        Ok(set)
    }

    /// A set.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn set(&self, name: &str) -> Result<EncryptionSet> {
        self.inner.set(name)
    }

    /// The names of all sets, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_names(&self) -> Result<Vec<String>> {
        self.inner.store.set_names()
    }

    /// The names of a set's disks, in order (23).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn disks_of(&self, set: &str) -> Result<Vec<String>> {
        self.inner.set(set)?;
        self.inner.store.members(set)
    }

    /// Removes a set that has no disks.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] while it has disks.
    pub fn delete_set(&self, name: &str) -> Result<()> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.set(name)?;
        if !self.inner.store.members(name)?.is_empty() || self.inner.is_left(name)? {
            return not_allowed("19", "the set still has disks; delete them, or put them into another set, first");
        }
        self.inner.store.remove_set(name)
    }

    /// Makes a disk with a new DEK (2), under its set's key (21) or the platform's (9).
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a set in another region or
    /// subscription; [`Error::InvalidOption`]; what the vault answers; [`Error::Io`]. Of what failed nothing stays.
    pub fn create_disk(&self, new: &NewDisk) -> Result<ManagedDisk> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        check_name(&new.name)?;
        if self.inner.store.disk(&new.name)?.is_some() {
            return Err(Error::ResourceExists(format!("there is a disk {:?} already", new.name)));
        }
        if !matches!(new.sector_size, 512 | 4096) {
            return Err(Error::SectorSize { size: new.sector_size.into() });
        }
        if new.size == 0 || !new.size.is_multiple_of(new.sector_size.into()) || new.size > MAX_SIZE {
            return Err(Error::InvalidOption("a disk has a whole number of sectors, up to 64 TiB".into()));
        }
        let set = new.set.as_ref().map(|set| self.inner.set(set)).transpose()?;
        if let Some(set) = &set {
            check_place(set, &new.region, &new.subscription)?;
        }
        let id = uuid::Builder::from_random_bytes(random::array()?).into_uuid();
        let disk = ManagedDisk {
            name: new.name.clone(),
            id: id.to_string(),
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            size: new.size,
            sector_size: SectorSize::new(new.sector_size)?.bytes(),
            encryption_type: set.as_ref().map_or(EncryptionType::PlatformKey, |set| set.encryption_type),
            set: new.set.clone(),
            joining: None,
            guest_encrypted: false,
            created: self.inner.clock.now(),
        };
        let made = self.inner.make(&disk, set.as_ref()).and_then(|()| self.inner.store.put_disk(&disk));
        if made.is_err() {
            // It is this call's own, and nobody knows of it.
            let _ = self.inner.backend.remove(&disk.id);
        }
        made.map(|()| disk)
    }

    /// A disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn disk(&self, name: &str) -> Result<ManagedDisk> {
        self.inner.disk(name)
    }

    /// The names of all disks, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn disk_names(&self) -> Result<Vec<String>> {
        self.inner.store.disk_names()
    }

    /// Removes a disk that nobody has open, and what it holds.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::Busy`]; [`Error::Io`].
    pub fn delete_disk(&self, name: &str) -> Result<()> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = self.inner.disk(name)?;
        if self.inner.opened(name).is_some() {
            return Err(Error::Busy { what: format!("the disk {name:?}") });
        }
        self.inner.store.remove_disk(&disk)?;
        self.inner.backend.remove(&disk.id)
    }

    /// Opens a disk. All who have one open share it, and so its vault call.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::DiskSuspended`] while its key may not be used (38); what the vault and the device
    /// answer.
    pub fn open_disk(&self, name: &str) -> Result<Arc<OpenDisk>> {
        let disk = self.inner.shared(name)?;
        disk.with_layers(|_| Ok(()))?;
        let mut record = self.inner.disk(name)?;
        if let Some(set) = record.joining.as_ref().and(record.set.clone()) {
            // What was begun before this process was.
            let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
            self.inner.join(&disk, &mut record, &self.inner.set(&set)?)?;
        }
        Ok(disk)
    }

    /// Puts a disk into a set: one under the platform's key comes under a customer's (22), one of another set under this
    /// set's key. No sector is touched, and it stays open. Killed at any instant, it is finished at the next use.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] for a set in another place, of a kind that the disk can't become in
    /// place, or for a disk that was ever encrypted in the guest (52); what the vault answers; [`Error::Io`].
    pub fn put_into_set(&self, name: &str, set: &str) -> Result<ManagedDisk> {
        let _alone = self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut disk, set) = (self.inner.disk(name)?, self.inner.set(set)?);
        check_place(&set, &disk.region, &disk.subscription)?;
        if disk.guest_encrypted {
            return not_allowed("52", "a disk that was ever encrypted in the guest can't come under a customer's key");
        }
        let double = EncryptionType::PlatformAndCustomerKeys;
        if (disk.encryption_type == double) != (set.encryption_type == double) {
            return not_allowed(
                "60",
                "a second layer can't be added or taken away in place; copy the data to a new disk",
            );
        }
        let open = self.inner.shared(name)?;
        open.with_layers(|_| Ok(()))?;
        // First the intent: from here on it belongs to the set, and is finished whatever happens.
        let from = disk.set.replace(set.name.clone());
        disk.joining = Some(from.map_or(Joining::Platform, Joining::Set));
        disk.encryption_type = set.encryption_type;
        self.inner.store.put_disk(&disk)?;
        self.inner.join(&open, &mut disk, &set)?;
        Ok(disk)
    }

    /// Asks the vaults that it is time to ask, and wipes the DEKs of disks whose keys may not be used. To be called about
    /// once a minute; reads and writes do it too for their own disk, if nobody has called this for too long.
    pub fn maintain(&self) {
        let open: Vec<Arc<OpenDisk>> = {
            let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|_, disk| disk.strong_count() > 0);
            open.values().filter_map(Weak::upgrade).collect()
        };
        for disk in open {
            let now = self.inner.clock.now();
            if let Some(lease) = disk.lease().filter(|lease| lease.is_due(now)) {
                // What it says, the lease knows.
                let _ = lease.renew(now, || self.inner.probe(disk.name()));
            }
            disk.suspend_if_revoked();
        }
    }
}

/// The largest disk: 64 TiB.
const MAX_SIZE: u64 = 1 << 46;

impl Inner {
    pub(super) fn set(&self, name: &str) -> Result<EncryptionSet> {
        self.store.set(name)?.ok_or_else(|| Error::NoSuchResource(format!("there is no set {name:?}")))
    }

    pub(super) fn disk(&self, name: &str) -> Result<ManagedDisk> {
        self.store.disk(name)?.ok_or_else(|| Error::NoSuchResource(format!("there is no disk {name:?}")))
    }

    pub(super) fn vault_of(&self, set: &EncryptionSet, key: &KeyId) -> Result<Arc<dyn KeyVault>> {
        self.vaults.vault(key.vault(), &set.identity)
    }

    pub(super) fn check_vault(&self, vault: &str, region: &str) -> Result<()> {
        let vault = self.vaults.describe(vault)?;
        if vault.region != region {
            return not_allowed("18", "a set and its vault are in one region; use a vault in the set's");
        }
        if !vault.soft_delete || !vault.purge_protection {
            return not_allowed("16", "the vault needs soft delete and purge protection; turn them on");
        }
        Ok(())
    }

    fn platform(&self) -> Kek<'_> {
        Kek { vault: &*self.platform, key: &self.platform_key }
    }

    /// Makes the device and volumes of a new disk.
    fn make(&self, disk: &ManagedDisk, set: Option<&EncryptionSet>) -> Result<()> {
        let vault = set.map(|set| self.vault_of(set, &set.active_key)).transpose()?;
        let customer = vault.as_deref().zip(set).map(|(vault, set)| Kek { vault, key: set.active_key.key() });
        let device = self.backend.create(&disk.id, Layers::device_size(disk))?;
        Layers::format(device, disk, self.platform(), customer)?.sync()
    }

    /// The disk that all who open it share.
    pub(super) fn shared(self: &Arc<Self>, name: &str) -> Result<Arc<OpenDisk>> {
        let record = self.disk(name)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = open.get(name).and_then(Weak::upgrade) {
            return Ok(disk);
        }
        let lease = record.set.as_ref().map(|set| self.leases.of(set));
        let disk = Arc::new(OpenDisk::new(self.clone(), name, record.size, record.sector_size, lease));
        open.insert(name.to_owned(), Arc::downgrade(&disk));
        Ok(disk)
    }

    fn opened(&self, name: &str) -> Option<Arc<OpenDisk>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(name).and_then(Weak::upgrade)
    }

    /// Opens the volumes of a disk by whichever of its keys it is under.
    pub(super) fn open_layers(&self, name: &str) -> Result<Layers> {
        let disk = self.disk(name)?;
        let Some(set) = disk.set.as_ref().map(|set| self.set(set)).transpose()? else {
            return Layers::open(self.backend.open(&disk.id)?, &disk, &*self.platform, &*self.platform);
        };
        let mut vaults = self.vaults_of(&set)?;
        // It may still be under what it was under before.
        match &disk.joining {
            None => {}
            Some(Joining::Platform) => vaults.push(self.platform.clone()),
            Some(Joining::Set(from)) => vaults.extend(self.vaults_of(&self.set(from)?)?),
        }
        let mut failure = None;
        for vault in vaults {
            match Layers::open(self.backend.open(&disk.id)?, &disk, &*self.platform, &*vault) {
                Err(e @ Error::NotThisVault { .. }) => failure = failure.or(Some(e)),
                other => return other,
            }
        }
        Err(failure.unwrap_or_else(|| Error::NotThisVault { wanted: set.active_key.to_string() }))
    }

    /// Whether a disk is on its way out of a set.
    fn is_left(&self, set: &str) -> Result<bool> {
        let from = Some(Joining::Set(set.to_owned()));
        for name in self.store.disk_names()? {
            if self.store.disk(&name)?.is_some_and(|disk| disk.joining == from) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The vaults whose keys the disks of a set may be under.
    fn vaults_of(&self, set: &EncryptionSet) -> Result<Vec<Arc<dyn KeyVault>>> {
        [&set.active_key].into_iter().chain(&set.previous_keys).map(|key| self.vault_of(set, key)).collect()
    }

    /// Whom to ask for the key of a disk's set.
    pub(super) fn probe(&self, disk: &str) -> Result<Probe> {
        let disk = self.disk(disk)?;
        let set = self.set(disk.set.as_deref().unwrap_or_default())?;
        let vault = self.vault_of(&set, &set.active_key)?;
        Ok(Probe { vault, key: set.active_key })
    }

    /// Puts a disk under its set's key, and notes that it is.
    fn join(&self, open: &OpenDisk, disk: &mut ManagedDisk, set: &EncryptionSet) -> Result<()> {
        let vault = self.vault_of(set, &set.active_key)?;
        let kek = Kek { vault: &*vault, key: set.active_key.key() };
        open.with_layers(|layers| layers.replace_keks(kek, set.encryption_type))?;
        open.move_to(self.leases.of(&set.name));
        disk.joining = None;
        self.store.put_disk(disk)
    }
}

fn check_place(set: &EncryptionSet, region: &str, subscription: &str) -> Result<()> {
    if set.region != region {
        return not_allowed("18", "a disk and its set are in one region; use a set in the disk's");
    }
    if set.subscription != subscription {
        return not_allowed("47", "a disk and its set are in one subscription");
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    KeyId::check_name("resource", name)
}

pub(super) fn not_allowed<T>(rule: &'static str, text: &str) -> Result<T> {
    Err(Error::NotAllowed { rule, text: text.into() })
}

impl core::fmt::Debug for DiskService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DiskService").finish_non_exhaustive()
    }
}
