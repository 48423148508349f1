//! A host with a service, a platform and a customer, all in one folder.

#![allow(dead_code)] // each program uses its part

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest::key::KeyId;
use atrest::managed::{DiskBackend, DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, ServiceOptions};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{KeyVault, ManualClock};
use atrest_host::{Host, HostOptions};

pub const NOW: u64 = 1_700_000_000;
pub const SET: &str = "customer";

pub struct World {
    pub host: Host,
    pub customer: FileVault,
    pub platform: FileVault,
    pub key: KeyId,
    pub clock: Arc<ManualClock>,
    pub folder: PathBuf,
}

fn disks_in(folder: &Path) -> Arc<dyn DiskBackend> {
    Arc::new(DiskFolder::new(folder.join("disks")))
}

impl World {
    /// A new one in an empty folder.
    pub fn new(folder: &Path) -> Self {
        Self::on(folder, disks_in(folder))
    }

    /// A new one in an empty folder, whose disks lie elsewhere.
    pub fn on(folder: &Path, disks: Arc<dyn DiskBackend>) -> Self {
        std::fs::create_dir(folder.join("disks")).unwrap();
        std::fs::create_dir(folder.join("sockets")).unwrap();
        for name in ["platform", "customer"] {
            FileVault::generate_key_file(folder.join(format!("{name}.root"))).unwrap();
            let options = VaultOptions::new().id(name).region("north").tenant("contoso").purge_protection(true);
            let root = folder.join(format!("{name}.root"));
            let vault = FileVault::create_with(folder.join(name), Unlock::KeyFile(&root), &options).unwrap();
            vault.with_clock(Arc::new(ManualClock::new(NOW))).create_key("disks").unwrap();
        }
        let world = Self::open_on(folder, disks);
        let service = world.host.service();
        let set = NewSet::new(SET, world.key.clone()).region("north").subscription("one").tenant("contoso");
        let set = service.create_set(&set).unwrap();
        let operations = [KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey];
        world.customer.grant(&set.identity, &operations).unwrap();
        world
    }

    /// Opens the folder of an earlier process.
    pub fn open(folder: &Path) -> Self {
        Self::open_on(folder, disks_in(folder))
    }

    fn open_on(folder: &Path, disks: Arc<dyn DiskBackend>) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let [platform, customer] = ["platform", "customer"].map(|name| {
            let root = folder.join(format!("{name}.root"));
            FileVault::open(folder.join(name), Unlock::KeyFile(&root)).unwrap().with_clock(clock.clone())
        });
        let key = customer.describe("disks", None).unwrap().unwrap().id;
        let vaults = KnownVaults::new();
        vaults.add_file(customer.clone()).unwrap();
        let options = ServiceOptions::new(disks, Arc::new(vaults), Arc::new(platform.clone()), "disks");
        let service = DiskService::open(folder.join("fleet.redb"), options.clock(clock.clone())).unwrap();
        let options = HostOptions::new(folder.join("local"), Arc::new(platform.clone()), "disks");
        let options = options.maintenance(Some(Duration::from_millis(50)));
        let host = Host::new(Arc::new(service), options).unwrap();
        World { host, customer, platform, key, clock, folder: folder.to_owned() }
    }

    /// Makes a disk of the customer's set.
    pub fn disk(&self, name: &str, size: u64, sector_size: u32) {
        let new = NewDisk::new(name, size).region("north").subscription("one").sector_size(sector_size);
        self.host.service().create_disk(&new.encryption_set(SET)).unwrap();
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.join("sockets").join(name)
    }

    /// Disables a version of the customer's key, or enables it again. What hangs on it is told at the next look.
    pub fn enable(&self, key: &KeyId, on: bool) {
        self.customer.set_version(key, VersionChange::new().enabled(on)).unwrap();
        self.clock.advance(Duration::from_secs(3600));
    }
}
