//! Managed disks with keys in vault files, compared with the vaults' own logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::common::world::rule;
use atrest::key::KeyId;
use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, OpenDisk, ResourceKind, ResourceName, RotationProgress,
    ServiceOptions, VaultDescription, VaultDirectory,
};
use atrest::vault::{AuditEntry, FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{Clock, EncryptionType, Error, KeyRefusal, ManualClock, Result};

const T: u64 = 1_700_000_000;
const VAULT: &str = "https://contoso.vault.example";
const PLATFORM: &str = "https://platform.vault.example";

/// A region: a folder with a customer's vault, the platform's, and disks.
struct World {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    /// The customer's own handle; the service has another, as in another process.
    customer: FileVault,
    platform: FileVault,
    vaults: Arc<KnownVaults>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        FileVault::generate_key_file(folder.path().join("root.key")).unwrap();
        std::fs::create_dir(folder.path().join("disks")).unwrap();
        let clock = Arc::new(ManualClock::new(T));
        let customer = make(&folder, &clock, "contoso", &placed(VAULT).purge_protection(true));
        let platform = make(&folder, &clock, "platform", &VaultOptions::new().id(PLATFORM));
        let world = World { folder, clock, customer, platform, vaults: Arc::default() };
        world.vaults.add_file(world.reopen()).unwrap();
        world
    }

    /// Another handle of the customer's vault.
    fn reopen(&self) -> FileVault {
        let root = self.folder.path().join("root.key");
        FileVault::open(self.customer.path(), Unlock::KeyFile(&root)).unwrap().with_clock(self.clock.clone())
    }

    fn service(&self) -> DiskService {
        let options = ServiceOptions::new(
            Arc::new(DiskFolder::new(self.disks())),
            self.vaults.clone(),
            Arc::new(self.platform.as_identity("disk-service")),
            "disks",
        )
        .clock(self.clock.clone())
        .parallel(3)
        .rotation_interval(Duration::from_secs(900));
        self.platform.grant("disk-service", &KeyOperation::ALL).unwrap();
        DiskService::open(self.folder.path().join("store"), options).unwrap()
    }

    fn disks(&self) -> PathBuf {
        self.folder.path().join("disks")
    }

    /// A set whose identity the vault's owner has granted access; the name of that.
    fn set(&self, service: &DiskService, name: &str, encryption_type: EncryptionType) -> String {
        let identity = service.create_set(&new_set(name, VAULT).encryption_type(encryption_type)).unwrap().identity;
        self.customer.grant(&identity, &KeyOperation::ALL).unwrap();
        identity
    }

    fn pass(&self, service: &DiskService, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        service.maintain();
    }
}

fn make(folder: &tempfile::TempDir, clock: &Arc<ManualClock>, name: &str, options: &VaultOptions) -> FileVault {
    let (path, root) = (folder.path().join(format!("{name}.vault")), folder.path().join("root.key"));
    let vault = FileVault::create_with(path, Unlock::KeyFile(&root), options).unwrap().with_clock(clock.clone());
    vault.create_key("disks").unwrap();
    vault
}

fn placed(id: &str) -> VaultOptions {
    VaultOptions::new().id(id).region("north").tenant("contoso")
}

fn key(version: u32) -> KeyId {
    KeyId::new(VAULT, "disks", &version.to_string()).unwrap()
}

fn new_set(name: &str, vault: &str) -> NewSet {
    NewSet::new(name, KeyId::new(vault, "disks", "1").unwrap())
        .region("north")
        .subscription("one")
        .tenant("contoso")
        .encryption_type(EncryptionType::CustomerKey)
        .auto_rotation(true)
}

fn new_disk(name: &str, set: Option<&str>) -> NewDisk {
    NewDisk::new(name, 64 << 10).region("north").subscription("one").sector_size(4096).encryption_set(set)
}

fn text(n: u8) -> Vec<u8> {
    format!("what disk {n} holds is nobody's business. ").into_bytes().into_iter().cycle().take(8192).collect()
}

fn read(disk: &OpenDisk) -> Result<Vec<u8>> {
    let mut back = vec![0; 8192];
    disk.read_at(0, &mut back).map(|()| back)
}

fn quiet(_: RotationProgress) {}

/// The uses of the vault's keys since some entry, without the changes of the vault.
fn uses(vault: &FileVault, since: u64) -> Vec<AuditEntry> {
    let entries = vault.audit().unwrap().map(Result::unwrap).filter(|entry| entry.seq > since);
    entries.filter(|entry| KeyOperation::ALL.iter().any(|operation| operation.name() == entry.operation)).collect()
}

fn seq(vault: &FileVault) -> u64 {
    vault.audit_head().unwrap().seq()
}

#[test]
fn a_vault_is_described_as_its_file_says() {
    let world = World::new();
    let near = |purge_protection| {
        VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(purge_protection)
    };
    assert_eq!(world.vaults.describe(VAULT).unwrap(), near(true));
    let later = make(&world.folder, &world.clock, "later", &placed("later"));
    world.vaults.add_file(later.clone()).unwrap();
    assert_eq!(world.vaults.describe("later").unwrap(), near(false));
    later.enable_purge_protection().unwrap();
    assert_eq!(world.vaults.describe("later").unwrap(), near(true));
    assert_eq!(world.vaults.ids(), [VAULT, "later"]);
    // A vault with a taken id can't replace the other one.
    std::fs::create_dir(world.folder.path().join("evil")).unwrap();
    let impostor = make(&world.folder, &world.clock, "evil/contoso", &placed(VAULT));
    assert!(matches!(world.vaults.add_file(impostor), Err(Error::ResourceExists(text)) if text.contains(VAULT)));
    assert!(world.vaults.describe(VAULT).unwrap().purge_protection);
}

#[test]
fn a_set_wants_a_vault_that_is_known_near_and_protected() {
    // Behaviours 16, 18
    let world = World::new();
    let service = world.service();
    let protected = |id| placed(id).purge_protection(true);
    for (id, options) in [
        ("far", protected("far").region("south")),
        ("nowhere", VaultOptions::new().id("nowhere").tenant("contoso").purge_protection(true)),
        ("nobodys", VaultOptions::new().id("nobodys").region("north").purge_protection(true)),
        ("unprotected", placed("unprotected")),
    ] {
        world.vaults.add_file(make(&world.folder, &world.clock, id, &options)).unwrap();
    }
    for (id, wanted) in [("far", "18"), ("nowhere", "18"), ("nobodys", "43"), ("unprotected", "16")] {
        assert_eq!(rule(service.create_set(&new_set("s", id))), wanted, "{id}");
    }
    let error = service.create_set(&new_set("s", "unknown")).unwrap_err();
    assert!(
        matches!(&error, Error::Vault(failure) if failure.what().contains("unknown") && failure.what().contains("add it")),
        "{error:?}"
    );
    assert!(service.encryption_sets().unwrap().is_empty());
    // One that comes, or is protected, while the service runs.
    let late = make(&world.folder, &world.clock, "late", &placed("late"));
    world.vaults.add_file(late.clone()).unwrap();
    assert_eq!(rule(service.create_set(&new_set("s", "late"))), "16");
    late.enable_purge_protection().unwrap();
    service.create_set(&new_set("s", "late")).unwrap();
    service.create_set(&new_set("contoso", VAULT)).unwrap();
}

#[test]
fn a_disk_waits_for_the_grant_of_the_vaults_owner() {
    // Behaviours 17, 25
    let world = World::new();
    let service = world.service();
    let identity = service.create_set(&new_set("s", VAULT)).unwrap().identity;
    let made = || service.create_disk(&new_disk("x", Some("s"))).and_then(|_| service.open_disk("x"));
    let error = made().unwrap_err();
    let Error::KeyRefused { reason: KeyRefusal::AccessDenied { identity: denied, .. }, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*denied, identity);
    assert!(service.names(ResourceKind::Disk).unwrap().is_empty());
    assert_eq!(world.disks().read_dir().unwrap().count(), 0);
    // Neither another's grant nor two thirds of one will do.
    world.customer.grant("des-of-somebody-else", &KeyOperation::ALL).unwrap();
    assert!(made().is_err());
    for missing in KeyOperation::ALL {
        world.customer.grant(&identity, &KeyOperation::ALL).unwrap();
        world.customer.revoke_operations(&identity, &[missing]).unwrap();
        assert!(made().is_err(), "{missing:?}");
        let denied = uses(&world.customer, 0).into_iter().rfind(|entry| entry.outcome == "access-denied").unwrap();
        assert_eq!((denied.operation.as_str(), denied.identity.as_ref()), (missing.name(), Some(&identity)));
        if service.resource(&ResourceName::disk("x")).is_ok() {
            service.delete(&ResourceName::disk("x")).unwrap();
        }
    }
    world.customer.grant(&identity, &KeyOperation::ALL).unwrap();
    // A vault that has said no is asked again a minute later at the latest.
    world.pass(&service, 60);
    let disk = made().unwrap();
    disk.write_at(0, &text(1)).unwrap();
    assert!(read(&disk).unwrap() == text(1));
}

#[test]
fn what_the_owner_takes_away_ends_io_and_what_comes_back_restores_it() {
    // Behaviours 35, 36, 38, 39, 40
    type Turn = fn(&FileVault, &str) -> Result<()>;
    // Actions of the owner, their reversals, and the log's entry for the use that ends I/O.
    let triggers: [(Turn, Turn, &str); 4] = [
        (|vault, set| vault.revoke(set), |vault, set| vault.grant(set, &KeyOperation::ALL), "access-denied"),
        (|vault, _| vault.delete_key("disks"), |vault, _| vault.recover_key("disks"), "key-deleted"),
        // The set may be told of its key, and so learns that it is disabled, or when it expires.
        (
            |vault, _| vault.set_version(&key(1), VersionChange::new().enabled(false)),
            |vault, _| vault.set_version(&key(1), VersionChange::new().enabled(true)),
            "ok",
        ),
        (
            |vault, _| vault.set_version(&key(1), VersionChange::new().expires(Some(T + 1))),
            |vault, _| vault.set_version(&key(1), VersionChange::new().expires(None)),
            "ok",
        ),
    ];
    for (trigger, undo, outcome) in triggers {
        let world = World::new();
        let service = world.service();
        let identity = world.set(&service, "s", EncryptionType::CustomerKey);
        service.create_disk(&new_disk("x", Some("s"))).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &text(1)).unwrap();
        trigger(&world.customer, &identity).unwrap();
        let before = seq(&world.customer);
        world.pass(&service, 899);
        assert!(read(&disk).unwrap() == text(1) && uses(&world.customer, before).is_empty());
        world.pass(&service, 1);
        assert!(disk.is_suspended());
        assert!(matches!(read(&disk), Err(Error::DiskSuspended { .. })));
        assert!(matches!(service.open_disk("x"), Err(Error::DiskSuspended { .. })));
        let asked = uses(&world.customer, before).remove(0);
        assert_eq!((asked.operation.as_str(), asked.time, asked.outcome.as_str()), ("get", T + 900, outcome));
        assert_eq!(asked.identity, Some(identity.clone()));
        // A service that starts now fares no better.
        drop((disk, service));
        let service = world.service();
        assert!(matches!(service.open_disk("x"), Err(Error::DiskSuspended { .. })));
        undo(&world.customer, &identity).unwrap();
        world.pass(&service, 60);
        assert!(read(&service.open_disk("x").unwrap()).unwrap() == text(1));
    }
}

#[test]
fn after_a_rotation_the_old_version_is_needed_no_more() {
    // Behaviours 26, 27, 28, 30, 31, 42
    let world = World::new();
    let service = world.service();
    let identity = world.set(&service, "s", EncryptionType::PlatformAndCustomerKeys);
    for n in 0..5 {
        let name = format!("disk-{n}");
        service.create_disk(&new_disk(&name, Some("s"))).unwrap();
        service.open_disk(&name).unwrap().write_at(0, &text(n)).unwrap();
    }
    let open = service.open_disk("disk-3").unwrap();
    let new = world.customer.rotate_key("disks").unwrap();
    assert_eq!(new, key(2));
    world.clock.advance(Duration::from_secs(7));
    let before = seq(&world.customer);
    let rotation = service.rotate_set("s", &quiet).unwrap();
    assert_eq!((rotation.key, rotation.rewrapped), (key(2), 5));
    let wraps = uses(&world.customer, before).into_iter().filter(|entry| entry.operation == "wrapKey");
    let wraps: Vec<_> = wraps.map(|entry| (entry.identity, entry.version, entry.outcome, entry.time)).collect();
    // A trial, before anything depends on the new version, and one for each disk.
    assert_eq!(wraps, vec![(Some(identity), Some("2".into()), "ok".into(), T + 7); 1 + 5]);
    let set = service.encryption_set("s").unwrap();
    assert_eq!((set.active_key, set.previous_keys.len()), (key(2), 0));
    assert_eq!(set.last_key_rotation_timestamp, Some(world.clock.now()));

    let before = seq(&world.customer);
    world.customer.set_version(&key(1), VersionChange::new().enabled(false)).unwrap();
    world.pass(&service, 900);
    assert!(read(&open).unwrap() == text(3));
    drop((open, service));
    let service = world.service();
    for n in 0..5 {
        assert!(read(&service.open_disk(&format!("disk-{n}")).unwrap()).unwrap() == text(n), "{n}");
    }
    let used = uses(&world.customer, before);
    assert!(used.iter().all(|entry| entry.version.as_deref() == Some("2") && entry.outcome == "ok"), "{used:?}");
    assert!(used.iter().filter(|entry| entry.operation == "unwrapKey").count() >= 5);
}

#[test]
fn every_use_of_a_key_is_in_the_vaults_log_with_its_set() {
    // Behaviour 42
    let world = World::new();
    let service = world.service();
    let sets = ["a", "b"].map(|name| (name, world.set(&service, name, EncryptionType::CustomerKey)));
    for (set, identity) in &sets {
        let before = seq(&world.customer);
        service.create_disk(&new_disk(set, Some(set))).unwrap();
        world.pass(&service, 1);
        let disk = service.open_disk(set).unwrap();
        disk.write_at(0, &text(1)).unwrap();
        let used = uses(&world.customer, before);
        for entry in &used {
            assert_eq!((entry.identity.as_ref(), entry.key.as_deref()), (Some(identity), Some("disks")), "{entry:?}");
            assert_eq!((entry.version.as_deref(), entry.outcome.as_str()), (Some("1"), "ok"), "{entry:?}");
        }
        for operation in KeyOperation::ALL {
            assert!(used.iter().any(|entry| entry.operation == operation.name()), "{operation:?}: {used:?}");
        }
        // While the disk has its key, its I/O asks no vault.
        let before = seq(&world.customer);
        disk.write_at(8192, &text(2)).unwrap();
        read(&disk).unwrap();
        assert_eq!(seq(&world.customer), before);
    }
    // The platform's vault has a log too; the customer's has nothing of it.
    let (before, platform) = (seq(&world.customer), seq(&world.platform));
    service.create_disk(&new_disk("plain", None)).unwrap();
    service.open_disk("plain").unwrap();
    let used = uses(&world.platform, platform);
    assert!(!used.is_empty());
    assert!(used.iter().all(|entry| entry.identity.as_deref() == Some("disk-service")), "{used:?}");
    assert_eq!(seq(&world.customer), before);
}

#[test]
fn a_vault_that_is_taken_out_is_an_outage_and_no_revocation() {
    // Behaviours 36, 39
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", EncryptionType::CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(1)).unwrap();
    assert!(world.vaults.remove(VAULT));
    assert!(!world.vaults.remove(VAULT) && world.vaults.ids().is_empty());
    world.pass(&service, 3599);
    assert!(read(&disk).unwrap() == text(1));
    world.pass(&service, 1);
    let error = read(&disk).unwrap_err();
    assert!(matches!(&error, Error::DiskSuspended { reason, .. } if reason.contains(VAULT)), "{error:?}");
    world.vaults.add_file(world.reopen()).unwrap();
    world.pass(&service, 60);
    assert!(read(&disk).unwrap() == text(1));
}

#[test]
fn auto_rotation_never_undoes_a_revocation() {
    // Behaviours 28, 35: the old version is still enabled (27) when the customer takes away the one in use.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", EncryptionType::CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    world.customer.rotate_key("disks").unwrap();
    service.rotate_set("s", &quiet).unwrap();
    world.customer.set_version(&key(2), VersionChange::new().enabled(false)).unwrap();
    world.clock.advance(Duration::from_secs(900));
    service.auto_rotate(&quiet).unwrap();
    assert_eq!(service.encryption_set("s").unwrap().active_key.version(), "2");
    world.pass(&service, 3600);
    assert!(disk.is_suspended() && read(&disk).is_err());
}
