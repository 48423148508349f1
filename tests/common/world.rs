//! A fleet of managed disks in memory: devices that log operations, and customers' vaults whose owners can turn
//! everything off.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek};
use atrest::managed::store::MemoryStore;
use atrest::managed::{
    CopyProgress, DiskBackend, DiskService, HostOptions, LeasePolicy, NewCopy, NewDisk, NewSet, NewSnapshot,
    ResourceName, RotationProgress, Rule, ServiceOptions, VaultDescription, VaultDirectory,
};
use atrest::{BlockDevice, EncryptionType, Error, KeyRefusal, KeyVault, ManualClock, Result, Secret};

use super::device::{TestDevice, reopen};
use super::vaults::MemoryVault;

pub const T: u64 = 1_700_000_000;

/// With this variable, services that aren't about files have a store in memory, which other hosts could share.
const SHARED: &str = "ATREST_SHARED_STORE";

/// A customer's vault. Its owner can turn everything off.
pub struct Customer {
    pub vault: MemoryVault,
    pub versions: AtomicUsize,
    pub disabled: AtomicBool,
    /// Versions that are disabled individually.
    pub off: Mutex<BTreeSet<usize>>,
    pub away: AtomicBool,
    /// The duration of each call in microseconds.
    pub takes: AtomicU64,
    /// When the key expires; 0 for never.
    pub expires: AtomicU64,
    pub granted: Mutex<Vec<String>>,
    pub wraps: AtomicUsize,
    pub unwraps: AtomicUsize,
    pub looks: AtomicUsize,
    /// All its versions were made within one second, and are numbered.
    pub at_once: AtomicBool,
    pub fail_wrap_at: AtomicUsize,
    /// It never answers.
    pub hangs: AtomicBool,
    /// It never answers a wrap.
    pub hangs_to_wrap: AtomicBool,
    /// It answers `get`, but is too busy to unwrap.
    pub throttles: AtomicBool,
    /// Its answer to every unwrap, instead of the right one.
    pub unwraps_by: Mutex<Option<fn() -> Error>>,
    /// How many more unwraps it refuses as it does when the key is disabled.
    pub refuses: AtomicUsize,
    /// The version that `expires` applies to; 0 for all.
    pub expires_of: AtomicUsize,
    /// All calls.
    pub calls: AtomicUsize,
}

impl Customer {
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Customer {
            vault: MemoryVault::new(id),
            versions: AtomicUsize::new(1),
            disabled: AtomicBool::new(false),
            off: Mutex::default(),
            away: AtomicBool::new(false),
            takes: AtomicU64::new(0),
            expires: AtomicU64::new(0),
            granted: Mutex::default(),
            wraps: AtomicUsize::new(0),
            unwraps: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            at_once: AtomicBool::new(false),
            fail_wrap_at: AtomicUsize::new(usize::MAX),
            hangs: AtomicBool::new(false),
            hangs_to_wrap: AtomicBool::new(false),
            throttles: AtomicBool::new(false),
            unwraps_by: Mutex::default(),
            refuses: AtomicUsize::new(0),
            expires_of: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    pub fn rotate(&self) -> KeyId {
        self.vault.rotate();
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        self.key(version)
    }

    fn is_disabled(&self, version: &str) -> bool {
        self.disabled.load(Ordering::Relaxed) || self.off.lock().unwrap().contains(&version.parse().unwrap())
    }

    pub fn key(&self, version: usize) -> KeyId {
        KeyId::new(self.vault.id(), "disks", &version.to_string()).unwrap()
    }
}

/// The vault as accessed by an identity.
pub struct Asked {
    pub customer: Arc<Customer>,
    pub identity: String,
}

impl Asked {
    fn check(&self, operation: &str) -> Result<()> {
        self.customer.calls.fetch_add(1, Ordering::Relaxed);
        let hangs = |on: &AtomicBool| on.load(Ordering::Relaxed);
        while hangs(&self.customer.hangs) || operation == "wrapKey" && hangs(&self.customer.hangs_to_wrap) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_micros(self.customer.takes.load(Ordering::Relaxed)));
        if self.customer.away.load(Ordering::Relaxed) {
            return Err(Error::Vault("it does not answer".into()));
        }
        if !self.customer.granted.lock().unwrap().contains(&self.identity) {
            let (identity, operation, key) = (self.identity.clone(), operation.into(), "disks".into());
            return Err(Error::KeyRefused { key, reason: KeyRefusal::AccessDenied { identity, operation } });
        }
        Ok(())
    }
}

impl KeyVault for Asked {
    fn id(&self) -> &str {
        self.customer.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let latest = self.customer.versions.load(Ordering::Relaxed);
        assert_eq!(key, "disks");
        self.wrap_version(&self.customer.key(latest), dek)
    }

    fn wrap_version(&self, key: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.check("wrapKey")?;
        let n = self.customer.wraps.fetch_add(1, Ordering::Relaxed) + 1;
        if n == self.customer.fail_wrap_at.load(Ordering::Relaxed) {
            return Err(Error::Vault("it broke down".into()));
        }
        if self.customer.is_disabled(key.version()) {
            return Err(Error::KeyRefused { key: key.to_string(), reason: KeyRefusal::Disabled });
        }
        self.customer.vault.wrap_version(key, dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.check("unwrapKey")?;
        self.customer.unwraps.fetch_add(1, Ordering::Relaxed);
        if self.customer.throttles.load(Ordering::Relaxed) {
            return Err(Error::Vault("it has too much to do".into()));
        }
        if let Some(answer) = *self.customer.unwraps_by.lock().unwrap() {
            return Err(answer());
        }
        let fewer = |refuses: usize| refuses.checked_sub(1);
        let refuses = self.customer.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
        if refuses || self.customer.is_disabled(wrapped.kek.version()) {
            return Err(Error::KeyRefused { key: wrapped.kek.to_string(), reason: KeyRefusal::Disabled });
        }
        if wrapped.algorithm == WrapAlgorithm::Opaque {
            // As a vault does that reads the names of other keys there, which it asks for.
            return Err(Error::KeyRefused { key: "another key".into(), reason: KeyRefusal::Missing });
        }
        self.customer.vault.unwrap(wrapped)
    }

    fn describe(&self, _: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.check("get")?;
        self.customer.looks.fetch_add(1, Ordering::Relaxed);
        let latest = self.customer.versions.load(Ordering::Relaxed);
        let version = version.map_or(latest, |version| version.parse().unwrap());
        let mut description = KeyDescription::new(self.customer.key(version), KeyKind::Aes256);
        description.created = Some(T + version as u64);
        if self.customer.at_once.load(Ordering::Relaxed) {
            (description.created, description.sequence) = (Some(T), Some(version as u64));
        }
        description.enabled = !self.customer.is_disabled(&version.to_string());
        let told = [0, version].contains(&self.customer.expires_of.load(Ordering::Relaxed));
        description.expires = Some(self.customer.expires.load(Ordering::Relaxed)).filter(|&at| at != 0 && told);
        Ok(Some(description))
    }
}

pub struct Vaults(pub HashMap<String, Arc<Customer>>, pub Mutex<VaultDescription>);

impl VaultDirectory for Vaults {
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>> {
        let customer = self.0.get(id).ok_or_else(|| Error::Vault(format!("there is no vault {id}").into()))?;
        Ok(Arc::new(Asked { customer: customer.clone(), identity: identity.into() }))
    }

    fn describe(&self, _: &str) -> Result<VaultDescription> {
        Ok(self.1.lock().unwrap().clone())
    }
}

/// Disks in memory with a log of every operation. Each can be open only once at a time, like a file.
#[derive(Default)]
pub struct Disks(pub Mutex<BTreeMap<String, Arc<TestDevice>>>, Mutex<HashMap<String, Weak<Held>>>, Mutex<Option<Film>>);

pub type Film = Arc<dyn Fn(&str) + Send + Sync>;

struct Held {
    device: Arc<TestDevice>,
    id: String,
    film: Option<Film>,
}

impl Disks {
    /// Devices with the given contents.
    pub fn of(images: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let devices = images.into_iter().map(|(id, bytes)| (id, Arc::new(TestDevice::new(bytes))));
        Disks(Mutex::new(devices.collect()), Mutex::default(), Mutex::default())
    }

    /// From now on `film` is called before every write and sync, with the device's id.
    pub fn film(&self, film: Option<Film>) {
        *self.2.lock().unwrap() = film;
    }

    /// The content of all devices.
    pub fn images(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.lock().unwrap().iter().map(|(id, device)| (id.clone(), device.bytes())).collect()
    }

    fn hold(&self, id: &str, device: Arc<TestDevice>) -> Result<Arc<dyn BlockDevice>> {
        let mut held = self.1.lock().unwrap();
        if held.get(id).is_some_and(|held| held.strong_count() > 0) {
            return Err(Error::Busy { what: format!("the device {id}") });
        }
        let film = self.2.lock().unwrap().clone();
        let device = Arc::new(Held { device, id: id.into(), film });
        held.insert(id.into(), Arc::downgrade(&device));
        Ok(device)
    }
}

impl BlockDevice for Held {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.film.iter().for_each(|film| film(&self.id));
        self.device.write_at(offset, bytes)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.device.discard(offset, len)
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.film.iter().for_each(|film| film(&self.id));
        self.device.set_size(size)
    }
    fn sync(&self) -> io::Result<()> {
        self.film.iter().for_each(|film| film(&self.id));
        self.device.sync()
    }
}

impl DiskBackend for Disks {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let device = Arc::new(TestDevice::new(vec![0; size as usize]));
        assert!(self.0.lock().unwrap().insert(id.into(), device.clone()).is_none());
        self.hold(id, device)
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        let device = self.0.lock().unwrap().get(id).cloned();
        let missing = || Error::NotFound { what: "device", path: id.into() };
        self.hold(id, device.ok_or_else(missing)?)
    }

    /// Images are devices of other names.
    fn open_image(&self, _: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        let device = self.0.lock().unwrap().get(image).cloned();
        let device = device.ok_or_else(|| Error::NotFound { what: "image", path: image.into() })?;
        Ok(Arc::new(Held { device, id: image.into(), film: None }))
    }

    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let mut devices = self.0.lock().unwrap();
        if let Some(device) = devices.remove(image) {
            let mut bytes = device.bytes();
            assert!(bytes.len() as u64 <= size);
            bytes.resize(size as usize, 0);
            devices.insert(id.into(), Arc::new(TestDevice::new(bytes)));
        }
        drop(devices);
        self.open(region, id)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.0.lock().unwrap().remove(id);
        Ok(())
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub disks: Arc<Disks>,
    pub vaults: Arc<Vaults>,
    pub clock: Arc<ManualClock>,
    pub lease: LeasePolicy,
    pub platform: Arc<MemoryVault>,
    pub require_locked_memory: bool,
    pub discard: bool,
    pub written_map: bool,
    pub stores: Mutex<BTreeMap<PathBuf, MemoryStore>>,
}

pub const VAULT: &str = "https://contoso.vault.example";
pub const OTHER_VAULT: &str = "https://fabrikam.vault.example";

impl World {
    pub fn new() -> Self {
        let vaults = [VAULT, OTHER_VAULT].map(|id| (id.to_owned(), Customer::new(id)));
        let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
        World {
            folder: tempfile::tempdir().unwrap(),
            disks: Arc::default(),
            vaults: Arc::new(Vaults(vaults.into(), Mutex::new(description))),
            clock: Arc::new(ManualClock::new(T)),
            lease: LeasePolicy::default(),
            platform: Arc::new(MemoryVault::new("platform")),
            require_locked_memory: false,
            discard: false,
            written_map: false,
            stores: Mutex::default(),
        }
    }

    pub fn service(&self) -> DiskService {
        self.try_service().unwrap()
    }

    pub fn try_service(&self) -> Result<DiskService> {
        self.service_over(&self.folder.path().join("store"))
    }

    /// A service with another store file.
    pub fn service_over(&self, store: &Path) -> Result<DiskService> {
        if std::env::var_os(SHARED).is_some() {
            return self.shared_over(store);
        }
        reopen(|| DiskService::open(store, self.options()))
    }

    /// A service with a store in memory in the place of that file, which stays while this world does.
    fn shared_over(&self, store: &Path) -> Result<DiskService> {
        let store = self.stores.lock().unwrap().entry(store.to_owned()).or_default().clone();
        let host = HostOptions::new("host").renews_by_itself(false).lease(Duration::from_secs(3600));
        reopen(|| DiskService::open_shared(Arc::new(store.clone()), &host, self.options()))
    }

    pub fn options(&self) -> ServiceOptions {
        ServiceOptions::new(self.disks.clone(), self.vaults.clone(), self.platform.clone(), "disks")
            .clock(self.clock.clone())
            .lease(self.lease)
            .parallel(3)
            .rotation_interval(Duration::from_secs(900))
            .require_locked_memory(self.require_locked_memory)
            .discard(self.discard)
            .written_map(self.written_map)
    }

    pub fn customer(&self, id: &str) -> &Arc<Customer> {
        &self.vaults.0[id]
    }

    /// Makes a set of this type and grants its identity access.
    pub fn set(&self, service: &DiskService, name: &str, encryption_type: EncryptionType) {
        let set = service.create_set(&new_set(name, encryption_type)).unwrap();
        self.customer(VAULT).granted.lock().unwrap().push(set.identity);
    }

    pub fn device(&self, service: &DiskService, disk: &str) -> Arc<TestDevice> {
        self.device_of(service, &ResourceName::disk(disk))
    }

    pub fn device_of(&self, service: &DiskService, name: &ResourceName) -> Arc<TestDevice> {
        self.disks.0.lock().unwrap()[&service.resource(name).unwrap().id].clone()
    }
}

pub fn new_set(name: &str, encryption_type: EncryptionType) -> NewSet {
    NewSet::new(name, KeyId::new(VAULT, "disks", "1").unwrap())
        .region("north")
        .subscription("one")
        .tenant("contoso")
        .encryption_type(encryption_type)
        .auto_rotation(true)
}

pub fn new_disk(name: &str, set: Option<&str>) -> NewDisk {
    NewDisk::new(name, 64 << 10).region("north").subscription("one").sector_size(4096).encryption_set(set)
}

pub fn text(n: u8) -> Vec<u8> {
    format!("what disk {n} holds is nobody's business. ").into_bytes().into_iter().cycle().take(8192).collect()
}

/// Options for a new copy in the same place as the others.
pub fn copy_to(name: &str, set: Option<&str>) -> NewCopy {
    NewCopy::new(name).region("north").subscription("one").encryption_set(set)
}

/// Options for a new snapshot in the set of its disk.
pub fn snapshot_of(disk: &str, name: &str, incremental: bool) -> NewSnapshot {
    NewSnapshot::new(name, disk).incremental(incremental)
}

pub fn quiet(_: RotationProgress) {}

/// How many are done, of how many.
pub fn counts(progress: RotationProgress) -> (usize, usize) {
    (progress.done, progress.total)
}

pub fn still(_: CopyProgress) {}

pub fn rule<T: core::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::NotAllowed { rule, .. }) => number(rule),
        other => panic!("{other:?}"),
    }
}

/// The number that a rule has in `docs/behaviours.md`.
pub fn number(rule: Rule) -> &'static str {
    match rule {
        Rule::VaultProtection => "16",
        Rule::OneRegion => "18",
        Rule::SetInUse => "19",
        Rule::PlatformKeyHasNoSet => "20",
        Rule::RotationFailed => "32",
        Rule::OneTenant => "43",
        Rule::OneSetForSnapshots => "45",
        Rule::OneSubscription => "47",
        Rule::ImageIsWhole => "49",
        Rule::ImageStaysUnderCustomerKey => "50",
        Rule::EncryptedInGuest => "52",
        Rule::LayersStay => "60",
        rule => panic!("{rule:?} has no number here"),
    }
}
