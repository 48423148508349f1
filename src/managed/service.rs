//! [`DiskService`]: what all its parts share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use super::backend::{DiskBackend, VaultDirectory};
use super::layers::{Kek, Layers, Opening, Wanted};
use super::lease::LeasePolicy;
use super::leases::{KeyLease, Leases};
use super::records::{EncryptionSet, Joining, Resource, ResourceName};
use super::store::{Store, Tables};
use super::unit::{Unit, lock};
use crate::key::KeyId;
use crate::{Clock, Error, KeyVault, Result, random};

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
    platform_key: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) leases: Leases,
    pub(super) parallel: usize,
    pub(super) rotation_interval: Duration,
    /// Resources in use, so that all who use one share it.
    units: Mutex<HashMap<ResourceName, Weak<Unit>>>,
    /// Who rotates a set.
    pub(super) rotating: Named<Mutex<()>>,
    /// Who uses the incremental snapshots of a disk, and who adds or removes one; by the disk's id.
    pub(super) chains: Named<RwLock<()>>,
    /// When the vault of a set was last asked for a newer version of its key.
    pub(super) looked: Mutex<HashMap<String, u64>>,
}

/// Locks by name.
pub(super) struct Named<T>(Mutex<HashMap<String, Arc<T>>>);

impl<T: Default> Named<T> {
    pub(super) fn of(&self, name: &str) -> Arc<T> {
        let mut locks = lock(&self.0);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(name.to_owned()).or_default().clone()
    }
}

impl DiskService {
    /// Opens the store of a service, or makes it. What was being made or removed when the last process ended is removed.
    ///
    /// # Errors
    /// [`Error::Io`], also while another process has the store open.
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
            rotation_interval: options.rotation_interval,
            units: Mutex::default(),
            rotating: Named(Mutex::default()),
            chains: Named(Mutex::default()),
            looked: Mutex::default(),
        };
        for (id, region) in inner.store.orphans()? {
            inner.remove_device(&region, &id)?;
        }
        Ok(DiskService { inner: Arc::new(inner) })
    }
}

/// The volumes of a resource, and the lease of the key that they are under.
pub(super) struct Opened {
    pub(super) layers: Layers,
    pub(super) lease: Option<Arc<KeyLease>>,
}

/// A resource that was made and isn't in the store yet.
pub(super) struct Made {
    pub(super) resource: Resource,
    pub(super) layers: Layers,
}

impl Inner {
    /// A name that was never used before.
    pub(super) fn new_id(&self) -> Result<String> {
        Ok(uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string())
    }

    pub(super) fn vault_of(&self, set: &EncryptionSet, key: &KeyId) -> Result<Arc<dyn KeyVault>> {
        self.vaults.vault(key.vault(), &set.identity)
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

    fn platform_kek(&self) -> Kek {
        Kek { vault: self.platform.clone(), key: Wanted::Latest(self.platform_key.clone()) }
    }

    /// What all who use a resource share.
    pub(super) fn unit(self: &Arc<Self>, name: &ResourceName) -> Result<Arc<Unit>> {
        self.store.resource(name)?;
        let mut units = lock(&self.units);
        if let Some(unit) = units.get(name).and_then(Weak::upgrade) {
            return Ok(unit);
        }
        let unit = Arc::new(Unit::new(self.clone(), name.clone()));
        units.insert(name.clone(), Arc::downgrade(&unit));
        Ok(unit)
    }

    /// All resources in use.
    pub(super) fn units(&self) -> Vec<Arc<Unit>> {
        let mut units = lock(&self.units);
        units.retain(|_, unit| unit.strong_count() > 0);
        units.values().filter_map(Weak::upgrade).collect()
    }

    /// Opens the volumes of a resource by whichever of its keys it is under. With `leased`, only while the lease of that key
    /// holds.
    pub(super) fn open_layers(&self, name: &ResourceName, leased: bool) -> Result<Opened> {
        let resource = self.store.resource(name)?;
        let device = self.backend.open(&resource.region, &resource.id)?;
        let opening = Opening::begin(device, &resource, &*self.platform)?;
        let Some((set, key)) = self.key_of(&resource, &opening.keys()?)? else {
            return Ok(Opened { layers: opening.finish(&resource, &*self.platform)?, lease: None });
        };
        let vault = || self.vault_of(&set, &key);
        let suspended = |reason| Error::DiskSuspended { disk: name.name.clone(), reason };
        let lease = self.leases.of(&set.name, &key);
        let now = self.clock.now();
        if leased {
            lease.renew(now, vault).map_err(suspended)?;
        }
        let layers = opening.finish(&resource, &*vault()?).map_err(|e| {
            // A right to look at a key is none to use it.
            if leased && e.is_revocation() { suspended(lease.refused(e, now)) } else { e }
        })?;
        Ok(Opened { layers, lease: Some(lease) })
    }

    /// The keys that a resource's header says it is under.
    pub(super) fn keys_of(&self, name: &ResourceName) -> Result<Vec<KeyId>> {
        let resource = self.store.resource(name)?;
        let device = self.backend.open(&resource.region, &resource.id)?;
        Opening::begin(device, &resource, &*self.platform)?.keys()
    }

    /// Of the keys that a header names, the one to ask for, with its set; `None` for the platform's.
    fn key_of(&self, resource: &Resource, keys: &[KeyId]) -> Result<Option<(EncryptionSet, KeyId)>> {
        let from = match &resource.joining {
            Some(Joining::Set(from)) => Some(from),
            _ => None,
        };
        for set in resource.set.iter().chain(from) {
            let set = self.store.set(set)?;
            let same = |a: &KeyId, b: &KeyId| (a.vault(), a.key()) == (b.vault(), b.key());
            let wanted = core::iter::once(&set.active_key).chain(&set.previous_keys);
            let exact = wanted.clone().find(|wanted| keys.contains(wanted)).cloned();
            let other = || keys.iter().find(|key| wanted.clone().any(|wanted| same(key, wanted))).cloned();
            if let Some(key) = exact.or_else(other) {
                return Ok(Some((set, key)));
            }
        }
        let platform = resource.set.is_none() || resource.joining == Some(Joining::Platform);
        if platform && keys.iter().any(|key| key.vault() == self.platform.id()) {
            return Ok(None);
        }
        let wanted = keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
        let wanted = if wanted.is_empty() { "none, for the header names no key".into() } else { wanted };
        Err(Error::NotThisVault { wanted })
    }

    /// Makes the device and volumes of a new resource, and has them filled. Of what fails nothing stays; nor of what is
    /// killed, after the next start.
    pub(super) fn prepare(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Made> {
        let (region, id) = (&resource.region, &resource.id);
        self.store.write(|tables| tables.add_orphan(id, region))?;
        let make = || {
            let set = resource.set.as_ref().map(|set| self.store.set(set)).transpose()?;
            let customer = set.as_ref().map(|set| self.kek_of(set)).transpose()?;
            let device = self.backend.create(region, id, resource.device_size())?;
            let layers = fill(Layers::format(device, &resource, &self.platform_kek(), customer.as_ref())?)?;
            layers.sync()?;
            Ok(layers)
        };
        match make() {
            Ok(layers) => Ok(Made { resource, layers }),
            Err(e) => {
                // It is this call's own, and nobody knows of it. What stays of it the next start removes.
                let _ = self.remove_device(region, id);
                Err(e)
            }
        }
    }

    /// Puts resources that were made into the store, in one step.
    pub(super) fn commit(&self, made: Vec<Made>, note: impl Fn(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let volumes: Vec<_> = made.iter().map(|made| (&made.resource, &made.layers)).collect();
        let committed = self.put_under_keys(&volumes, |tables| {
            note(tables)?;
            made.iter().try_for_each(|made| tables.add_resource(&made.resource))
        });
        if committed.is_err() {
            made.into_iter().for_each(|made| self.discard(made));
        }
        committed
    }

    /// Removes what was made and isn't wanted.
    pub(super) fn discard(&self, made: Made) {
        let Made { resource, layers } = made;
        drop(layers);
        // What stays of it the next start removes.
        let _ = self.remove_device(&resource.region, &resource.id);
    }

    /// Makes a new resource and puts it into the store.
    pub(super) fn make(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Resource> {
        // Before any work; what counts is the look when it is added.
        self.store.write(|tables| tables.check_absent(&resource.full_name()))?;
        let made = self.prepare(resource.clone(), fill)?;
        self.commit(vec![made], |_| Ok(())).map(|()| resource)
    }

    /// Puts volumes under the active keys of their sets, and notes something while those are the active keys.
    pub(super) fn put_under_keys<T>(
        &self,
        volumes: &[(&Resource, &Layers)],
        note: impl Fn(&mut Tables<'_>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let mut sets = Vec::new();
            for (resource, layers) in volumes {
                let Some(name) = &resource.set else { continue };
                let set = self.store.set(name)?;
                layers.rewrap(&self.kek_of(&set)?, set.encryption_type)?;
                sets.push(set);
            }
            let noted = self.store.write(|tables| {
                for set in &sets {
                    let now = tables.set(&set.name)?.ok_or_else(|| no_set(&set.name))?;
                    // A rotation that began meanwhile doesn't know of what is added.
                    if now.active_key != set.active_key {
                        return Ok(None);
                    }
                }
                note(tables).map(Some)
            })?;
            if let Some(noted) = noted {
                return Ok(noted);
            }
        }
    }

    /// Removes a device that no resource has.
    pub(super) fn remove_device(&self, region: &str, id: &str) -> Result<()> {
        self.backend.remove(region, id)?;
        self.store.write(|tables| tables.remove_orphan(id))
    }
}

pub(super) fn no_set(name: &str) -> Error {
    Error::NoSuchResource(format!("there is no set {name:?}"))
}

pub(super) fn not_allowed<T>(rule: &'static str, text: &str) -> Result<T> {
    Err(Error::NotAllowed { rule, text: text.into() })
}

pub(super) fn check_name(name: &str) -> Result<()> {
    KeyId::check_name("resource", name)
}

impl core::fmt::Debug for DiskService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DiskService").finish_non_exhaustive()
    }
}
