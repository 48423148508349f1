//! [`DiskService`]: what all its parts share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use super::backend::{DiskBackend, VaultDirectory};
use super::keys::{Gate, Gated, KeyLease, LeasePolicy, Leases, Now, Patience, Patient, Refusals};
use super::layers::{Kek, Layers, Only, Opening, Wanted};
use super::live::Unit;
use super::records::{EncryptionSet, Resource, ResourceName};
use super::store::Store;
use super::sync::{Named, lock};
use crate::key::KeyId;
use crate::{Clock, Error, KeyVault, Result, memory, random};

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
    /// How many vault calls of one rotation, or of one round of [`maintain`](DiskService::maintain), are in flight at most.
    pub parallel: usize,
    /// How often [`auto_rotate`](DiskService::auto_rotate) looks for a newer version of a set's key; with the time that the
    /// rotation takes it should stay below an hour (28).
    pub rotation_interval: Duration,
    /// Whether a disk is refused where the system doesn't let the memory of secrets be locked, so that they could be swapped
    /// ([`memory_protection`](crate::memory_protection)). [`Error::MemoryNotLocked`] says what to do.
    pub require_locked_memory: bool,
}

/// Encryption sets, managed disks, snapshots and images. All of it may be used from any number of threads.
///
/// One process at a time has a store open.
pub struct DiskService {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) backend: Arc<dyn DiskBackend>,
    pub(super) vaults: Arc<dyn VaultDirectory>,
    pub(super) platform: Arc<dyn KeyVault>,
    pub(super) platform_key: String,
    pub(super) patience: Arc<Patience>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) leases: Leases,
    pub(super) parallel: usize,
    pub(super) rotation_interval: Duration,
    require_locked_memory: bool,
    /// Resources in use by id, so that all who use one share it, and nobody another that has got its name.
    units: Mutex<HashMap<String, Weak<Unit>>>,
    /// Of calls to the platform's vault.
    platform_gate: Gate,
    /// Of resources whose own headers are at fault.
    refusals: Refusals,
    /// Who rotates a set.
    pub(super) rotating: Named<Mutex<()>>,
    /// Who uses the incremental snapshots of a disk, and who adds or removes one; by the disk's id.
    pub(super) chains: Named<RwLock<()>>,
    /// Held while a copy is made that needs the snapshot, image or chain of an id: it takes too long to wait for.
    pub(super) copies: Named<()>,
    /// When the vault of a set was last asked for a newer version of its key.
    pub(super) looked: Mutex<HashMap<String, Now>>,
}

impl DiskService {
    /// Opens the store of a service, or makes it. What was being made or removed when the last process ended is removed.
    ///
    /// A device that can't be removed now is tried again at the next start.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has the store open; [`Error::InvalidOption`] for a lease policy out of bounds;
    /// [`Error::Io`].
    pub fn open(store: impl AsRef<Path>, options: ServiceOptions) -> Result<Self> {
        options.lease.check()?;
        let patience = Patience::new(options.lease.deadline.min(options.lease.grace));
        let inner = Inner {
            store: Store::open(store.as_ref())?,
            backend: options.backend,
            vaults: options.vaults,
            platform: Arc::new(Patient::new(options.platform, &patience)),
            patience,
            platform_key: options.platform_key,
            clock: options.clock,
            leases: Leases::new(options.lease),
            parallel: options.parallel.max(1),
            rotation_interval: options.rotation_interval,
            require_locked_memory: options.require_locked_memory,
            units: Mutex::default(),
            platform_gate: Gate::default(),
            refusals: Refusals::default(),
            rotating: Named::default(),
            chains: Named::default(),
            copies: Named::default(),
            looked: Mutex::default(),
        };
        for (id, region) in inner.store.orphans()? {
            // Its region may be away.
            let _ = inner.remove_device(&region, &id);
        }
        Ok(DiskService { inner: Arc::new(inner) })
    }
}

/// The volumes of a resource, and the lease of the key that they are under.
pub(super) struct Opened {
    pub(super) layers: Layers,
    pub(super) lease: Option<Arc<KeyLease>>,
}

impl Inner {
    pub(super) fn now(&self) -> Now {
        Now::of(&*self.clock)
    }

    /// A name that was never used before.
    pub(super) fn new_id(&self) -> Result<String> {
        Ok(uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string())
    }

    pub(super) fn vault_of(&self, set: &EncryptionSet, key: &KeyId) -> Result<Arc<dyn KeyVault>> {
        let (vaults, id, identity) = (self.vaults.clone(), key.vault().to_owned(), set.identity.clone());
        let vault = self.patience.call(key.vault(), move || vaults.vault(&id, &identity))?;
        Ok(Arc::new(Patient::new(vault, &self.patience)))
    }

    /// The vault that is asked for a lease.
    pub(super) fn vault_of_lease(&self, lease: &KeyLease) -> Result<Arc<dyn KeyVault>> {
        self.vault_of(&self.store.set(&lease.set)?, &lease.key)
    }

    /// A set's key, and its vault asked under the set's identity.
    pub(super) fn kek_of(&self, set: &EncryptionSet) -> Result<Kek> {
        let vault = self.vault_of(set, &set.active_key)?;
        Ok(Kek { vault, key: Wanted::Version(set.active_key.clone()) })
    }

    /// Whether a set's key may be used.
    pub(super) fn check_usable(&self, set: &EncryptionSet) -> Result<()> {
        let (lease, now) = (self.leases.of(&set.name, &set.active_key), self.now());
        if lease.holds(now) { Ok(()) } else { lease.renew_now(now, &*self.vault_of(set, &set.active_key)?) }
    }

    pub(super) fn platform_kek(&self) -> Kek {
        Kek { vault: self.platform.clone(), key: Wanted::Latest(self.platform_key.clone()) }
    }

    /// What all who use the resource of a name share.
    pub(super) fn unit(self: &Arc<Self>, name: &ResourceName) -> Result<Arc<Unit>> {
        Ok(self.unit_of(&self.store.resource(name)?))
    }

    /// What all who use a resource share.
    pub(super) fn unit_of(self: &Arc<Self>, resource: &Resource) -> Arc<Unit> {
        let mut units = lock(&self.units);
        if let Some(unit) = units.get(&resource.id).and_then(Weak::upgrade) {
            return unit;
        }
        let unit = Arc::new(Unit::new(self.clone(), resource));
        units.insert(resource.id.clone(), Arc::downgrade(&unit));
        unit
    }

    /// A resource that is the caller's to change while `act` runs.
    pub(super) fn changing<T>(
        self: &Arc<Self>,
        name: &ResourceName,
        act: impl FnOnce(&Arc<Unit>, Resource) -> Result<T>,
    ) -> Result<T> {
        loop {
            let unit = self.unit(name)?;
            let _alone = unit.changing();
            let resource = self.store.resource(name)?;
            // While we waited, another may have got the name.
            if resource.id == unit.id {
                return act(&unit, resource);
            }
        }
    }

    /// All resources in use.
    pub(super) fn units(&self) -> Vec<Arc<Unit>> {
        let mut units = lock(&self.units);
        units.retain(|_, unit| unit.strong_count() > 0);
        units.values().filter_map(Weak::upgrade).collect()
    }

    /// Opens the volumes of a resource by whichever of its keys it is under. With `leased`, only while the lease of that key
    /// holds.
    pub(super) fn open_layers(&self, unit: &Unit, leased: bool) -> Result<Opened> {
        let now = self.now();
        let open = || self.open_layers_now(unit, leased, now);
        if leased { self.refusals.pass(&unit.id, now, open) } else { open() }
    }

    fn open_layers_now(&self, unit: &Unit, leased: bool, now: Now) -> Result<Opened> {
        let resource = self.resource_of(unit)?;
        let opened = self.open_resource(&resource, leased, now)?;
        self.check_memory()?;
        // Who opens it to put it under another key notes that one.
        if leased || resource.fingerprints.is_empty() {
            self.learn(&resource, &opened.layers)?;
        }
        Ok(opened)
    }

    fn open_resource(&self, resource: &Resource, leased: bool, now: Now) -> Result<Opened> {
        let opening = self.begin(resource, leased)?;
        let (set, key) = self.key_of(resource, &opening.keys()?, leased)?;
        let Some(set) = set else {
            let layers = opening.finish(resource, &Only { vault: &self.gated_platform(now), key: &key })?;
            return Ok(Opened { layers, lease: None });
        };
        let vault = || self.vault_of(&set, &key);
        let suspended = |reason| Error::DiskSuspended { disk: resource.name.clone(), reason };
        let lease = self.leases.of(&set.name, &key);
        if leased {
            lease.renew(now, vault).map_err(suspended)?;
        }
        let asked = vault()?;
        let gated = Gated { vault: &*asked, gate: &lease.gate, now };
        let vault: &dyn KeyVault = if leased { &gated } else { &*asked };
        let layers = opening.finish(resource, &Only { vault, key: &key }).map_err(|e| {
            // A right to look at a key is none to use it.
            if leased && e.is_revocation() { suspended(lease.refused(e, now)) } else { e }
        })?;
        // What the header said before is proved now.
        if layers.keks().contains(&key) {
            return Ok(Opened { layers, lease: Some(lease) });
        }
        Err(Error::Busy { what: format!("the header of the {}, which was changed meanwhile", resource.full_name()) })
    }

    /// Refuses secrets that may be swapped, if that was asked for.
    pub(super) fn check_memory(&self) -> Result<()> {
        if self.require_locked_memory { memory::require_locked() } else { Ok(()) }
    }

    /// The record of a resource in use, unless it was removed.
    pub(super) fn resource_of(&self, unit: &Unit) -> Result<Resource> {
        let resource = self.store.resource(&unit.name)?;
        let gone = || Error::NoSuchResource(format!("the {} was removed", unit.name));
        (resource.id == unit.id).then_some(resource).ok_or_else(gone)
    }

    /// Opens what is below the upper volume of a resource.
    pub(super) fn begin(&self, resource: &Resource, leased: bool) -> Result<Opening> {
        let device = self.backend.open(&resource.region, &resource.id)?;
        let key_of = |keys: &[KeyId]| self.platform_key_of(resource, 1, keys, leased);
        Opening::begin(device, resource, &self.gated_platform(self.now()), key_of)
    }

    fn gated_platform(&self, now: Now) -> Gated<'_> {
        Gated { vault: &*self.platform, gate: &self.platform_gate, now }
    }
}

pub(super) fn no_set(name: &str) -> Error {
    Error::NoSuchResource(format!("there is no set {name:?}"))
}

pub(super) fn not_allowed<T>(rule: &'static str, text: &str) -> Result<T> {
    Err(Error::NotAllowed { rule, text: text.into() })
}

impl core::fmt::Debug for DiskService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DiskService").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;
    use crate::managed::{DiskFolder, FileVaults, NewDisk};
    use crate::vault::{FileVault, KdfCost, Unlock};

    #[test]
    fn what_an_earlier_version_made_has_a_fingerprint_from_its_first_open_on() {
        let folder = tempfile::tempdir().unwrap();
        let cheap = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
        let platform = FileVault::create_with_cost(folder.path().join("v"), Unlock::Passphrase(b"p"), cheap).unwrap();
        platform.create_key("disks").unwrap();
        let options = ServiceOptions {
            backend: Arc::new(DiskFolder::new(folder.path())),
            vaults: Arc::new(FileVaults::new()),
            platform: Arc::new(platform),
            platform_key: "disks".into(),
            clock: Arc::new(SystemClock),
            lease: LeasePolicy::default(),
            parallel: 1,
            rotation_interval: std::time::Duration::from_secs(900),
            require_locked_memory: false,
        };
        let service = DiskService::open(folder.path().join("store"), options).unwrap();
        let new = NewDisk {
            name: "d".into(),
            region: "north".into(),
            subscription: "one".into(),
            size: 64 << 10,
            sector_size: 4096,
            set: None,
        };
        service.create_disk(&new).unwrap();
        let name = ResourceName::disk("d");
        let made = service.resource(&name).unwrap();
        assert_eq!(made.fingerprints.len(), 1);
        // The record as it was before there were fingerprints.
        let mut json: serde_json::Value = serde_json::from_str(&made.to_json()).unwrap();
        json.as_object_mut().unwrap().remove("fingerprints").unwrap();
        let earlier: Resource = serde_json::from_value(json).unwrap();
        service.inner.store.write(|tables| tables.put_resource(&earlier)).unwrap();
        assert!(service.resource(&name).unwrap().fingerprints.is_empty());
        service.open_disk("d").unwrap().write_at(0, &[1; 4096]).unwrap();
        let now = Resource { used_blocks: made.used_blocks, ..service.resource(&name).unwrap() };
        assert_eq!(now, made);
    }
}
