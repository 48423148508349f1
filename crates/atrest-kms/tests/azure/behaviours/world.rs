//! A service of managed disks, with a customer's vault on one fake and the platform's on another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atrest::key::KeyId;
use atrest::managed::{
    CopyProgress, DiskFolder, DiskService, EncryptionSet, KnownVaults, LeasePolicy, NewDisk, NewSet, OpenDisk,
    ResourceName, RotationProgress, ServiceOptions, VaultDescription,
};
use atrest::volume::Header;
use atrest::{Error, KeyRefusal, KeyVault, ManualClock, MemoryDevice, Result};
use atrest_http::Hidden;
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions};
use serde_json::Value;

use crate::fake::patient;
use crate::server::{Fake, ID, SECRET, TENANT, application};

/// The vault of the platform's own key.
const PLATFORM: &str = "https://platform.vault.azure.net";

/// The rights of a set's identity, as the fake names them.
pub const RIGHTS: [&str; 3] = ["get", "wrapkey", "unwrapkey"];
/// A tenant that isn't the vault's.
pub const OTHER_TENANT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
/// The offset of a volume's data in bytes: after the header.
pub const HEADER: usize = 1 << 20;

pub struct World {
    pub fake: Arc<Fake>,
    /// The vault of the platform's own key.
    pub platform: Fake,
    pub clock: Arc<ManualClock>,
    pub service: Option<DiskService>,
    /// The tenants of identities that aren't of the vault's.
    pub tenants: Arc<Mutex<BTreeMap<String, String>>>,
    vaults: Arc<KnownVaults>,
    folder: tempfile::TempDir,
}

impl World {
    /// A service without sets, and a vault with a key `disks`.
    pub fn empty() -> Option<Self> {
        Self::at(ID, "https://vault.azure.net", |fake| fake.port)
    }

    /// One whose customer's vault has this name and this service; requests of sets go to a port.
    pub fn at(id: &str, service: &'static str, port: impl Fn(&Fake) -> u16) -> Option<Self> {
        let (fake, platform) = (Arc::new(Fake::start()?), Fake::start()?);
        fake.tell(&format!(r#"{{"op":"state","name":"{id}","service":"{service}"}}"#));
        platform.tell(&format!(r#"{{"op":"state","name":"{PLATFORM}"}}"#));
        let tenants = Arc::new(Mutex::new(BTreeMap::new()));
        let vaults = Arc::new(KnownVaults::new());
        let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
        let (port, name, directory, owner) = (port(&fake), id.to_owned(), tenants.clone(), fake.clone());
        let opener = move |identity: &str| {
            let tenant = directory.lock().unwrap().get(identity).cloned().unwrap_or_else(|| TENANT.into());
            owner.tell(&format!(r#"{{"op":"client","id":"{identity}","tenant":"{tenant}"}}"#));
            let application = AzureIdentity::client_secret(tenant, identity, Hidden::new(SECRET));
            let address = format!("http://127.0.0.1:{port}");
            let options = AzureOptions::new(&name, application.authority(&address)).endpoint(address);
            Ok(Arc::new(AzureKeyVault::new(&options.http(patient()))?) as Arc<dyn KeyVault>)
        };
        vaults.add_with(id, description, opener).unwrap();
        // The times of keys are those of the fake, whose clock is this machine's.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (clock, folder) = (Arc::new(ManualClock::new(now)), tempfile::tempdir().unwrap());
        let mut world = World { fake, platform, clock, service: None, tenants, vaults, folder };
        world.restart();
        Some(world)
    }

    /// One with a set `set` that may use the key `disks`, and a disk `disk` of it.
    pub fn new() -> Option<Self> {
        let world = Self::empty()?;
        world.set("set", "disks");
        world.disk("disk", Some("set"));
        Some(world)
    }

    /// Ends the service, and starts it again.
    pub fn restart(&mut self) {
        self.service = None;
        let backend = Arc::new(DiskFolder::new(self.folder.path()));
        let address = self.platform.address();
        let platform = AzureOptions::new(PLATFORM, application(&address)).endpoint(address).http(patient());
        let platform = Arc::new(AzureKeyVault::new(&platform).unwrap());
        let options = ServiceOptions::new(backend, self.vaults.clone(), platform, "disks");
        let lease = LeasePolicy::default().interval(Duration::from_secs(300)).grace(Duration::from_secs(3600));
        let options = options.clock(self.clock.clone()).lease(lease).rotation_interval(Duration::from_secs(300));
        let store = self.folder.path().join("fleet.redb");
        self.service = Some(DiskService::open(store, options.parallel(1)).unwrap());
    }

    pub fn service(&self) -> &DiskService {
        self.service.as_ref().unwrap()
    }

    /// Makes a set of a key, without access to it.
    pub fn set_without_access(&self, name: &str, key: &str) -> EncryptionSet {
        self.service().create_set(&new_set(name, self.newest(key))).unwrap()
    }

    /// Makes a set, and gives it access to its vault.
    pub fn set(&self, name: &str, key: &str) -> EncryptionSet {
        let set = self.set_without_access(name, key);
        self.grant(&set.identity, &RIGHTS);
        set
    }

    /// The vault's owner gives an identity these rights, and no others.
    pub fn grant(&self, identity: &str, rights: &[&str]) {
        let tenant = self.tenants.lock().unwrap().get(identity).cloned().unwrap_or_else(|| TENANT.into());
        self.fake.tell(&format!(r#"{{"op":"client","id":"{identity}","tenant":"{tenant}"}}"#));
        self.fake.tell(&format!(r#"{{"op":"grant","id":"{identity}","rights":{rights:?}}}"#));
    }

    /// Makes a disk with something on it.
    pub fn disk(&self, name: &str, set: Option<&str>) {
        self.service().create_disk(&new_disk(name, set)).unwrap();
        let disk = self.service().open_disk(name).unwrap();
        disk.write_at(0, &text(name)).unwrap();
        disk.sync().unwrap();
    }

    pub fn open(&self, name: &str) -> Result<OpenDisk> {
        self.service().open_disk(name)
    }

    /// Lets time pass, as a service does.
    pub fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.service().maintain();
    }

    /// All versions of a key, by the fake, oldest first.
    pub fn versions(&self, key: &str) -> Vec<KeyId> {
        let said: Value = serde_json::from_str(&self.fake.tell(r#"{"op":""}"#)).unwrap();
        let versions = said["versions"][key].as_array().unwrap().clone();
        let vault = self.id();
        let id = |version: &Value| KeyId::new(&vault, key, version.as_str().unwrap()).unwrap();
        versions.iter().map(id).collect()
    }

    pub fn newest(&self, key: &str) -> KeyId {
        self.versions(key).pop().unwrap()
    }

    pub fn id(&self) -> String {
        self.vaults.ids().remove(0)
    }

    /// The bytes below a resource.
    pub fn bytes(&self, name: &ResourceName) -> Vec<u8> {
        let id = self.service().resource(name).unwrap().id;
        std::fs::read(self.folder.path().join(format!("{id}.disk"))).unwrap()
    }

    /// The token of a resource's upper volume.
    pub fn token(&self, name: &ResourceName) -> Value {
        let device = MemoryDevice::from_bytes(self.bytes(name));
        let header = Header::load(&device).unwrap();
        serde_json::from_str(&header.tokens()[0].json).unwrap()
    }

    /// The URL of the key that a resource is under, by its header.
    pub fn key_of(&self, name: &ResourceName) -> String {
        self.token(name)["key_url"].as_str().unwrap().to_owned()
    }

    /// The vault's log since the last call: who did what with which key, and how that ended.
    pub fn events(&self) -> Vec<Event> {
        let said: Value = serde_json::from_str(&self.fake.tell(r#"{"op":"events"}"#)).unwrap();
        let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let event = |event: &Value| Event {
            identity: text(event, "identity"),
            operation: text(event, "operation"),
            key: text(event, "key"),
            status: event["status"].as_u64().unwrap(),
        };
        said["events"].as_array().unwrap().iter().map(event).collect()
    }
}

#[derive(Debug)]
pub struct Event {
    pub identity: String,
    pub operation: String,
    pub key: String,
    pub status: u64,
}

pub fn new_set(name: &str, key: KeyId) -> NewSet {
    NewSet::new(name, key).region("north").subscription("one").tenant("contoso").auto_rotation(true)
}

pub fn new_disk(name: &str, set: Option<&str>) -> NewDisk {
    NewDisk::new(name, 256 << 10).region("north").subscription("one").sector_size(4096).encryption_set(set)
}

pub fn text(name: &str) -> Vec<u8> {
    format!("what {name} holds is nobody's business. ").into_bytes().into_iter().cycle().take(8192).collect()
}

/// Whether a disk holds what it should.
pub fn reads(disk: &OpenDisk, name: &str) -> Result<bool> {
    let mut found = vec![0; 8192];
    disk.read_at(0, &mut found)?;
    Ok(found == text(name))
}

/// The name of the reason of a refusal.
pub fn reason<T>(result: Result<T>) -> &'static str {
    match result.map(|_| ()) {
        Err(Error::KeyRefused { reason, .. }) => reason.name(),
        other => panic!("{other:?}"),
    }
}

/// Whom a vault has denied access.
pub fn denied<T>(result: Result<T>) -> String {
    match result.map(|_| ()) {
        Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity, .. }, .. }) => identity,
        other => panic!("{other:?}"),
    }
}

pub fn quiet(_: RotationProgress) {}

pub fn still(_: CopyProgress) {}
