//! [`DiskService`], and the state shared by all its parts.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use super::backend::{DiskBackend, VaultDirectory};
use super::fleet::{Fenced, Fleet, HostOptions};
use super::keys::{Access, LeasePolicy, Now, Vaults};
use super::live::Registry;
use super::store::{Queue, Records, Store, check_whole};
use super::sync::{Named, Own};
use crate::error::Rule;
use crate::{Clock, Error, KeyVault, Result, SystemClock, random};

/// Options of a service.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atrest::managed::{DiskFolder, DiskService, KnownVaults, ServiceOptions};
/// # fn open(platform: atrest::FileVault) -> atrest::Result<()> {
/// let backend = Arc::new(DiskFolder::new("/srv/disks"));
/// let vaults = Arc::new(KnownVaults::new());
/// let options = ServiceOptions::new(backend, vaults, Arc::new(platform), "platform").parallel(16);
/// let service = DiskService::open("/srv/fleet.redb", options)?;
/// # Ok(())
/// # }
/// ```
pub struct ServiceOptions {
    pub(super) backend: Arc<dyn DiskBackend>,
    pub(super) vaults: Arc<dyn VaultDirectory>,
    pub(super) platform: Arc<dyn KeyVault>,
    pub(super) platform_key: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: LeasePolicy,
    pub(super) parallel: usize,
    pub(super) rotation_interval: Duration,
    pub(super) require_locked_memory: bool,
    pub(super) discard: bool,
    pub(super) written_map: bool,
}

impl ServiceOptions {
    /// The place of disks, the access to customers' vaults, and the platform's vault with the name of the platform's
    /// key in it.
    pub fn new(
        backend: Arc<dyn DiskBackend>,
        vaults: Arc<dyn VaultDirectory>,
        platform: Arc<dyn KeyVault>,
        platform_key: impl Into<String>,
    ) -> Self {
        ServiceOptions {
            backend,
            vaults,
            platform,
            platform_key: platform_key.into(),
            clock: Arc::new(SystemClock),
            lease: LeasePolicy::default(),
            parallel: 8,
            rotation_interval: Duration::from_secs(900),
            require_locked_memory: false,
            discard: false,
            written_map: false,
        }
    }

    /// The clock. The default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The options of leases.
    pub fn lease(mut self, lease: LeasePolicy) -> Self {
        self.lease = lease;
        self
    }

    /// The most vault calls in flight at once in a rotation, or in a round of [`maintain`](DiskService::maintain). The
    /// default is 8.
    pub fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel;
        self
    }

    /// How often [`auto_rotate`](DiskService::auto_rotate) looks for a newer version of a set's key. The default is
    /// every quarter of an hour. Together with the time of the rotation it should stay below an hour (28).
    pub fn rotation_interval(mut self, interval: Duration) -> Self {
        self.rotation_interval = interval;
        self
    }

    /// Refuses to open a disk if the system doesn't lock the memory of secrets, which could then be swapped
    /// ([`memory_protection`](crate::memory_protection)). [`Error::MemoryNotLocked`] says what to do.
    pub fn require_locked_memory(mut self, require: bool) -> Self {
        self.require_locked_memory = require;
        self
    }

    /// Whether [`OpenDisk::discard`](super::OpenDisk::discard) is passed on to the devices. It is not by default, because **it
    /// tells anyone who sees a device which blocks are free**: see [`OpenOptions::discard`](crate::OpenOptions::discard).
    pub fn discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// Whether new disks, snapshots and images get a [map of written chunks](crate::FormatOptions::written_map): chunks that were
    /// never written read as zeros, and copies of blank chunks take no room. Incremental snapshots have none, nor disks over 2 TiB
    /// or of a size that is no multiple of 64 KiB. Data in a new chunk that guests don't sync reads as zeros after a crash, and
    /// releases before this can't open such disks.
    pub fn written_map(mut self, written_map: bool) -> Self {
        self.written_map = written_map;
        self
    }
}

/// Encryption sets, managed disks, snapshots and images. It may be used from any number of threads. A forked child can't use its
/// parent's: each call fails there with [`Error::Forked`].
///
/// One process at a time can open a store in a file. Services of many hosts share another one: see
/// [`open_shared`](Self::open_shared).
pub struct DiskService {
    inner: Own<Arc<Inner>>,
}

pub(super) struct Inner {
    pub(super) store: Arc<Records>,
    pub(super) backend: Arc<dyn DiskBackend>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: Arc<Access>,
    pub(super) registry: Registry,
    pub(super) parallel: usize,
    pub(super) rotation_interval: Duration,
    /// Whether open disks pass discards on.
    pub(super) discard: bool,
    /// Whether new resources get a map of written chunks.
    pub(super) written_map: bool,
    /// Locked while a set is rotated.
    pub(super) rotating: Named<Mutex<()>>,
    /// Read-locked while the incremental snapshots of a disk are used, and write-locked while one is added or removed;
    /// by the disk's id.
    pub(super) chains: Named<RwLock<()>>,
    /// Held while a snapshot, image or chain is copied, by id. Copying takes too long to wait for.
    pub(super) copies: Named<()>,
    /// Devices that this host made, and could not remove, by id; and until when the store may change for each.
    pub(super) given_up: Mutex<Vec<(String, Duration)>>,
    /// Held while a round's work with the store is done.
    pub(super) tending: Mutex<()>,
    /// Held while a round removes devices.
    pub(super) removing: Mutex<()>,
    /// When the vault of a set was last asked for a newer version of its key.
    pub(super) looked: Mutex<HashMap<String, Now>>,
    /// How often a set was passed over since, for it seemed to wait for other hosts.
    pub(super) passed: Mutex<HashMap<String, usize>>,
    /// Rotations that this host doesn't work at any more, but of which it may still have parts in the store.
    pub(super) unreturned: Mutex<BTreeSet<Queue>>,
}

impl DiskService {
    /// Opens the store of a service, or makes it. It removes the remains of resources that were being made or removed
    /// when the last process ended.
    ///
    /// If a device can't be removed now, the next start tries again.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has the store open; [`Error::InvalidOption`] for a lease policy out of bounds;
    /// [`Error::Io`].
    pub fn open(store: impl AsRef<Path>, options: ServiceOptions) -> Result<Self> {
        options.lease.check()?;
        let service = Self::over(Arc::new(Records::open(store.as_ref())?), None, options);
        let inner = service.inner()?;
        for (id, region) in inner.store.orphans()? {
            // Its region may be away.
            let _ = inner.remove_device(&region, &id);
        }
        Ok(service)
    }

    /// Opens a service on a store that services of other hosts use at the same time. A disk, snapshot or image is open on one host
    /// at a time, and operations that need its device run there; on another host they fail with [`Error::Busy`], which names that
    /// host. See `docs/fleet.md`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a lease policy or a host's lease out of bounds; those of the store.
    pub fn open_shared(store: Arc<dyn Store>, host: &HostOptions, options: ServiceOptions) -> Result<Self> {
        options.lease.check()?;
        host.check(store.deadline())?;
        let run = uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string();
        let records = Arc::new(Records::open_shared(store.clone(), run.clone())?);
        let fleet = Fleet::begin(records.clone(), options.clock.clone(), run, host)?;
        // A copy to another store that began since then looks for hosts after it has set its mark.
        check_whole(&*store)?;
        let service = Self::over(records, Some(fleet), options);
        service.inner()?.remove_ownerless()?;
        Ok(service)
    }

    fn over(store: Arc<Records>, fleet: Option<Arc<Fleet>>, options: ServiceOptions) -> Self {
        let ServiceOptions { backend, clock, lease, .. } = options;
        let backend: Arc<dyn DiskBackend> = match &fleet {
            Some(fleet) => Arc::new(Fenced::new(backend, fleet.clone())),
            None => backend,
        };
        let vaults =
            Vaults::new(options.vaults, options.platform, options.platform_key, &lease, store.counters.clone());
        let locked = options.require_locked_memory;
        let keys = Arc::new(Access::new(store.clone(), backend.clone(), vaults, clock.clone(), fleet, lease, locked));
        let inner = Inner {
            store,
            backend,
            clock,
            registry: Registry::new(keys.clone()),
            keys,
            parallel: options.parallel.max(1),
            rotation_interval: options.rotation_interval,
            discard: options.discard,
            written_map: options.written_map,
            rotating: Named::default(),
            chains: Named::default(),
            copies: Named::default(),
            given_up: Mutex::default(),
            tending: Mutex::default(),
            removing: Mutex::default(),
            looked: Mutex::default(),
            passed: Mutex::default(),
            unreturned: Mutex::default(),
        };
        DiskService { inner: Own::new(Arc::new(inner)) }
    }

    /// What all calls begin with.
    pub(super) fn inner(&self) -> Result<&Arc<Inner>> {
        self.inner.get()
    }
}

#[cfg(test)]
impl DiskService {
    pub(super) fn registry(&self) -> &Registry {
        &self.inner.without_locks().registry
    }
}

impl Inner {
    /// A name that was never used before.
    pub(super) fn new_id(&self) -> Result<String> {
        Ok(uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string())
    }
}

pub(super) fn no_set(name: &str) -> Error {
    Error::NoSuchResource(format!("there is no set {name:?}"))
}

pub(super) fn not_allowed<T>(rule: Rule, text: &str) -> Result<T> {
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
    use crate::managed::records::{Resource, ResourceName};
    use crate::managed::{DiskFolder, KnownVaults, NewDisk};
    use crate::vault::{FileVault, KdfCost, Unlock};

    #[test]
    fn what_an_earlier_version_made_has_a_fingerprint_from_its_first_open_on() {
        let folder = tempfile::tempdir().unwrap();
        let cheap = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
        let platform = FileVault::create_with_cost(folder.path().join("v"), Unlock::Passphrase(b"p"), cheap).unwrap();
        platform.create_key("disks").unwrap();
        let options = ServiceOptions {
            backend: Arc::new(DiskFolder::new(folder.path())),
            vaults: Arc::new(KnownVaults::new()),
            platform: Arc::new(platform),
            platform_key: "disks".into(),
            clock: Arc::new(SystemClock),
            lease: LeasePolicy::default(),
            parallel: 1,
            rotation_interval: std::time::Duration::from_secs(900),
            require_locked_memory: false,
            discard: false,
            written_map: false,
        };
        let service = DiskService::open(folder.path().join("store"), options).unwrap();
        let new = NewDisk::new("d", 64 << 10).region("north").subscription("one").sector_size(4096);
        service.create_disk(&new).unwrap();
        let name = ResourceName::disk("d");
        let made = service.resource(&name).unwrap();
        assert_eq!(made.fingerprints.len(), 1);
        // The record as it was before fingerprints.
        let mut json: serde_json::Value = serde_json::from_str(&made.to_json()).unwrap();
        json.as_object_mut().unwrap().remove("fingerprints").unwrap();
        let earlier: Resource = serde_json::from_value(json).unwrap();
        service.inner().unwrap().store.write(|tables| tables.put_resource(&earlier)).unwrap();
        assert!(service.resource(&name).unwrap().fingerprints.is_empty());
        service.open_disk("d").unwrap().write_at(0, &[1; 4096]).unwrap();
        let now = Resource { used_blocks: made.used_blocks, ..service.resource(&name).unwrap() };
        assert_eq!(now, made);
    }
}
