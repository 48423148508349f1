//! Sets of managed disks whose key is rotated, or ends, on the fake.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atrest::key::KeyId;
use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, LeasePolicy, NewDisk, NewSet, ServiceOptions, VaultDescription,
};
use atrest::{Error, KeyVault, ManualClock};

use crate::server::Fake;

struct World {
    customer: Fake,
    /// The vault of the platform's own key.
    _platform: Fake,
    clock: Arc<ManualClock>,
    service: DiskService,
    key: KeyId,
    _folder: tempfile::TempDir,
}

impl World {
    /// A service with a set `set` and a disk `disk` of it.
    fn new() -> Option<Self> {
        let (customer, platform) = (Fake::start()?, Fake::start()?);
        let vault: Arc<dyn KeyVault> = Arc::new(customer.vault());
        let key = vault.describe("disks", None).unwrap().unwrap().id;
        let vaults = KnownVaults::new();
        let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
        vaults.add(vault, description).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The times of keys are those of the fake, whose clock is this machine's.
        let clock = Arc::new(ManualClock::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()));
        let backend = Arc::new(DiskFolder::new(folder.path()));
        let options = ServiceOptions::new(backend, Arc::new(vaults), Arc::new(platform.vault()), "disks");
        let lease = LeasePolicy::default().interval(Duration::from_secs(60)).grace(Duration::from_secs(3600));
        let options = options.clock(clock.clone()).lease(lease).rotation_interval(Duration::from_secs(300));
        let service = DiskService::open(folder.path().join("fleet.redb"), options).unwrap();
        let set = NewSet::new("set", key.clone()).region("north").subscription("one").tenant("contoso");
        service.create_set(&set.auto_rotation(true)).unwrap();
        let disk = NewDisk::new("disk", 1 << 20).region("north").subscription("one").sector_size(4096);
        service.create_disk(&disk.encryption_set("set")).unwrap();
        Some(World { customer, _platform: platform, clock, service, key, _folder: folder })
    }

    fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.service.maintain();
    }
}

/// Behaviours 26 to 31: the disk stays open, the old version is needed until its DEK is wrapped again, and not after that.
#[test]
fn a_set_follows_a_newer_version_with_its_disk_in_use() {
    let Some(world) = World::new() else { return };
    let disk = world.service.open_disk("disk").unwrap();
    disk.write_at(0, &[7; 4096]).unwrap();
    world.customer.rotate();
    world.later(600);
    let rotated = world.service.auto_rotate(&|_| {}).unwrap();
    let [(name, Ok(rotation))] = &rotated[..] else { panic!("{rotated:?}") };
    assert_eq!((&name[..], rotation.rewrapped), ("set", 1));
    let set = world.service.encryption_set("set").unwrap();
    assert_ne!(set.active_key.version(), world.key.version());
    assert_eq!(set.active_key, world.customer.vault().describe("disks", None).unwrap().unwrap().id);
    assert!(set.previous_keys.is_empty() && set.last_key_rotation_timestamp.is_some());
    world.customer.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    for _ in 0..3 {
        world.later(1800);
        let mut found = [0; 4096];
        disk.read_at(0, &mut found).unwrap();
        assert_eq!(found, [7; 4096]);
    }
    drop(disk);
    let mut found = [0; 4096];
    world.service.open_disk("disk").unwrap().read_at(0, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
}

/// Behaviours 27 and 32: nobody gets the DEK without the old version. The set notes why, and isn't rotated until that is cleared.
#[test]
fn an_old_version_that_is_disabled_too_early_stops_the_rotation() {
    let Some(world) = World::new() else { return };
    world.customer.rotate();
    world.customer.tell(r#"{"op":"set","key":"disks","at":0,"enabled":false}"#);
    world.later(600);
    let rotated = world.service.auto_rotate(&|_| {}).unwrap();
    assert!(matches!(&rotated[..], [(_, Err(_))]), "{rotated:?}");
    let set = world.service.encryption_set("set").unwrap();
    assert_eq!(set.auto_key_rotation_error.unwrap().code, "KeyDisabled");
    world.customer.tell(r#"{"op":"set","key":"disks","at":0,"enabled":true}"#);
    world.later(600);
    assert!(world.service.auto_rotate(&|_| {}).unwrap().is_empty());
    world.service.clear_rotation_error("set").unwrap();
    world.later(600);
    let rotated = world.service.auto_rotate(&|_| {}).unwrap();
    assert!(matches!(&rotated[..], [(_, Ok(rotation))] if rotation.rewrapped == 1), "{rotated:?}");
}

/// Behaviours 33, 36, 38 to 40: the vault still unwraps, and the disk stops nevertheless.
#[test]
fn an_expired_key_stops_a_disk_until_its_owner_makes_it_last() {
    let Some(world) = World::new() else { return };
    let disk = world.service.open_disk("disk").unwrap();
    disk.write_at(0, &[7; 4096]).unwrap();
    world.customer.tell(r#"{"op":"set","key":"disks","exp":1800}"#);
    world.later(120);
    let mut found = [0; 4096];
    disk.read_at(0, &mut found).unwrap();
    world.later(7200);
    assert!(matches!(disk.read_at(0, &mut found), Err(Error::DiskSuspended { .. })));
    drop(disk);
    assert!(world.service.open_disk("disk").is_err());
    world.customer.tell(r#"{"op":"set","key":"disks","exp":null}"#);
    world.later(120);
    world.service.open_disk("disk").unwrap().read_at(0, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
}
