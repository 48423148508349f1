//! Rebuilding a lost or damaged store from disks' headers: everything proven is restored, and the rest is reported.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::Ordering;

use crate::common::world::{VAULT, World, copy_to, new_disk, quiet, snapshot_of, still, text};
use atrest::managed::{
    DiskService, NewImage, RebuildSources, Rebuilt, ResourceKind, ResourceName, StoreCheck, rebuild,
};
use atrest::{EncryptionType, Error, FormatOptions, Protector, SectorSize, Volume};

const SETS: [(&str, EncryptionType); 2] =
    [("one", EncryptionType::CustomerKey), ("two", EncryptionType::PlatformAndCustomerKeys)];

/// The complete state that a service reports.
fn told(service: &DiskService) -> String {
    let mut told = String::new();
    for set in service.encryption_sets().unwrap() {
        writeln!(told, "{} {:?}", service.encryption_set(&set).unwrap().to_json(), service.members(&set).unwrap())
            .unwrap();
    }
    for name in names(service) {
        writeln!(told, "{}", service.resource(&name).unwrap().to_json()).unwrap();
    }
    told
}

fn names(service: &DiskService) -> Vec<ResourceName> {
    let kinds = [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image];
    let of = |kind| service.names(kind).unwrap().into_iter().map(move |name| ResourceName { kind, name });
    kinds.into_iter().flat_map(of).collect()
}

/// Disks under each kind of key, copies, snapshots and an image.
fn fleet(world: &World) -> DiskService {
    let service = world.service();
    for (set, kind) in SETS {
        world.set(&service, set, kind);
    }
    for (n, (disk, set)) in [("a", Some("one")), ("b", Some("two")), ("c", None)].into_iter().enumerate() {
        service.create_disk(&new_disk(disk, set)).unwrap();
        let disk = service.open_disk(disk).unwrap();
        disk.write_at(0, &text(n as u8)).unwrap();
        disk.sync().unwrap();
    }
    service.create_snapshot(&snapshot_of("a", "first", true), &still).unwrap();
    service.create_snapshot(&snapshot_of("a", "second", true), &still).unwrap();
    service.create_snapshot(&snapshot_of("b", "whole", false), &still).unwrap();
    service.create_disk_from(&ResourceName::disk("b"), &copy_to("d", Some("one")), &still).unwrap();
    service.create_image(&NewImage::new("i").disk("a").region("north", [Some("one")]), &still).unwrap();
    service
}

fn devices(world: &World) -> RebuildSources {
    world.disks.images().keys().fold(RebuildSources::new(), |sources, id| sources.device("north", id))
}

/// Rebuilds to the file `new`; that no disk was written is checked.
fn rebuilt(world: &World, sources: &RebuildSources) -> Rebuilt {
    let before = world.disks.images();
    let new = world.folder.path().join("new");
    let _ = fs::remove_file(&new);
    let told = rebuild(&new, sources, &world.options()).unwrap();
    assert_eq!(world.disks.images(), before, "a disk was written");
    assert_eq!(StoreCheck::of_file(&new).unwrap().defects, [""; 0]);
    told
}

#[test]
fn all_of_a_damaged_store_is_rebuilt_from_its_pages_and_the_disks() {
    let world = World::new();
    let service = fleet(&world);
    let truth = told(&service);
    let all = names(&service);
    drop(service);
    let store = world.folder.path().join("store");
    let changes = StoreCheck::of_file(&store).unwrap().changes;
    // Its header is gone: no engine opens it.
    let mut bytes = fs::read(&store).unwrap();
    bytes[..4096].fill(0);
    fs::write(&store, &bytes).unwrap();
    assert!(world.try_service().is_err());
    let found = rebuilt(&world, &devices(&world).store(&store));
    assert_eq!((&found.unproven[..], &found.named_by_id[..]), (&[][..], &[][..]));
    assert_eq!(found.sets, ["one", "two"]);
    let mut restored = found.restored.clone();
    restored.sort();
    assert_eq!(restored, {
        let mut all = all;
        all.sort();
        all
    });
    assert_eq!(fs::read(&store).unwrap(), bytes);
    let new = world.folder.path().join("new");
    assert!(StoreCheck::of_file(&new).unwrap().changes > changes);
    let service = world.service_over(&new).unwrap();
    assert_eq!(told(&service), truth);
    for (n, disk) in ["a", "b", "c"].into_iter().enumerate() {
        let mut bytes = vec![0; 8192];
        service.open_disk(disk).unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, text(n as u8));
    }
    service.create_disk_from(&ResourceName::snapshot("second"), &copy_to("e", None), &still).unwrap();
    service.delete(&ResourceName::snapshot("first")).unwrap();
}

/// There is nothing but the disks, and a new store in which the sets were made again.
#[test]
fn what_only_headers_tell_is_named_by_its_id_and_the_rest_is_said() {
    let world = World::new();
    let service = fleet(&world);
    let ids: BTreeMap<String, ResourceName> =
        names(&service).into_iter().map(|name| (service.resource(&name).unwrap().id, name)).collect();
    drop(service);
    let made = world.folder.path().join("made");
    let service = world.service_over(&made).unwrap();
    for (set, kind) in SETS {
        world.set(&service, set, kind);
    }
    drop(service);
    let found = rebuilt(&world, &devices(&world).store(&made));
    assert_eq!(found.restored, []);
    let why: BTreeMap<_, _> =
        found.unproven.iter().map(|device| (ids[&device.id].to_string(), &*device.reason)).collect();
    assert_eq!(why.keys().collect::<Vec<_>>(), ["disk \"c\"", "snapshot \"first\"", "snapshot \"second\""]);
    assert!(why["disk \"c\""].contains("no subscription was given"), "{why:?}");
    assert!(why["snapshot \"first\""].contains("an incremental snapshot"), "{why:?}");
    let found = rebuilt(&world, &devices(&world).store(&made).subscription("one"));
    assert_eq!((found.unproven.len(), found.named_by_id.len()), (2, 6));
    let service = world.service_over(&world.folder.path().join("new")).unwrap();
    for (id, name) in &ids {
        let Some((n, set)) = [("a", 0, Some("one")), ("b", 1, Some("two")), ("c", 2, None), ("d", 1, Some("one"))]
            .into_iter()
            .find(|(disk, ..)| *name == ResourceName::disk(*disk))
            .map(|(_, n, set)| (n, set))
        else {
            continue;
        };
        let resource = service.resource(&ResourceName::disk(id)).unwrap();
        assert_eq!((resource.set.as_deref(), resource.size, resource.sector_size), (set, 64 << 10, 4096));
        let mut bytes = vec![0; 8192];
        service.open_disk(id).unwrap().read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, text(n), "{name}");
    }
}

/// A backup from before a rotation: the headers know the newer version, and the set has it afterwards.
#[test]
fn a_backup_that_is_older_than_a_rotation_gets_the_key_that_headers_prove() {
    let world = World::new();
    let service = fleet(&world);
    let backup = world.folder.path().join("backup");
    service.backup(&backup).unwrap();
    service.create_disk(&new_disk("later", Some("one"))).unwrap();
    let later = service.resource(&ResourceName::disk("later")).unwrap();
    let key = world.customer(VAULT).rotate();
    service.change_key("one", &key, &quiet).unwrap();
    drop(service);
    let found = rebuilt(&world, &devices(&world).store(&backup));
    assert_eq!(found.named_by_id, [ResourceName::disk(&later.id)]);
    assert_eq!((found.restored.len(), found.unproven.len()), (8, 0));
    let service = world.service_over(&world.folder.path().join("new")).unwrap();
    assert_eq!(service.encryption_set("one").unwrap().active_key, key);
    assert_eq!(service.encryption_set("one").unwrap().previous_keys, [world.customer(VAULT).key(1)]);
    assert_eq!(service.encryption_set("two").unwrap().active_key, world.customer(VAULT).key(1));
    service.open_disk("a").unwrap();
    service.rotate_set("one", &quiet).unwrap();
    assert_eq!(service.encryption_set("one").unwrap().previous_keys, []);
}

/// A header from before a rotation was put back: the set keeps its key, and the older one stays in use until a rotation.
#[test]
fn a_header_that_was_put_back_does_not_put_back_the_key_of_its_set() {
    let world = World::new();
    let service = fleet(&world);
    let id = service.resource(&ResourceName::disk("a")).unwrap().id;
    let device = world.disks.0.lock().unwrap()[&id].clone();
    let header = device.bytes()[..1 << 20].to_vec();
    let key = world.customer(VAULT).rotate();
    service.change_key("one", &key, &quiet).unwrap();
    drop(service);
    device.edit(|bytes| bytes[..1 << 20].copy_from_slice(&header));
    let store = world.folder.path().join("store");
    let found = rebuilt(&world, &devices(&world).store(&store));
    assert_eq!((found.restored.len(), found.unproven.len()), (8, 0));
    let service = world.service_over(&world.folder.path().join("new")).unwrap();
    assert_eq!(service.encryption_set("one").unwrap().active_key, key);
    assert_eq!(service.encryption_set("one").unwrap().previous_keys, [world.customer(VAULT).key(1)]);
    service.rotate_set("one", &quiet).unwrap();
    let mut bytes = vec![0; 8192];
    service.open_disk("a").unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, text(0));
}

#[test]
fn a_device_that_is_not_the_one_of_its_record_is_told() {
    let world = World::new();
    let service = fleet(&world);
    let id = |name: &str| service.resource(&ResourceName::disk(name)).unwrap().id;
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let backup = world.folder.path().join("backup");
    service.backup(&backup).unwrap();
    drop(service);
    let device = |id: &String| world.disks.0.lock().unwrap()[id].clone();
    // The header of one is gone, and a volume of the same id under the same key, but another DEK, is in the place of another.
    device(&b).edit(|bytes| bytes[..1 << 20].fill(0));
    let options = FormatOptions::new().context(c.as_bytes()).data_offset(1 << 20).overwrite(true);
    let options = options.sector_size(SectorSize::B4096).encryption_type(EncryptionType::PlatformKey);
    drop(Volume::format(device(&c), Protector::Vault(&*world.platform, "disks"), &options).unwrap());
    let lost = devices(&world).store(&backup);
    let found = rebuilt(&world, &lost.clone().device("north", &a).device("north", "../../etc/passwd"));
    let why: BTreeMap<_, _> = found.unproven.iter().map(|device| (device.id.as_str(), &*device.reason)).collect();
    assert_eq!(why.len(), 4, "{why:?}");
    assert!(why[&*b].contains("LUKS"), "{why:?}");
    assert!(why[&*c].contains("the disk \"c\", but with another DEK"), "{why:?}");
    assert!(why[&*a].contains("given twice"), "{why:?}");
    assert!(why["../../etc/passwd"].contains("not a UUID"), "{why:?}");
    assert_eq!(found.missing, []);
    // A vault that is away proves nothing.
    world.customer(VAULT).away.store(true, Ordering::Relaxed);
    let found = rebuilt(&world, &RebuildSources::new().device("north", &a).store(&backup));
    assert_eq!((found.restored.len(), found.unproven.len(), found.missing.len()), (0, 1, 7));
    assert!(found.unproven[0].reason.contains("does not answer"), "{found:?}");
}

#[test]
fn a_rebuilt_store_replaces_nothing() {
    let world = World::new();
    drop(fleet(&world));
    let store = world.folder.path().join("store");
    let before = fs::read(&store).unwrap();
    let sources = devices(&world).store(&store);
    match rebuild(&store, &sources, &world.options()) {
        Err(Error::AlreadyExists { path, .. }) => assert_eq!(path, store),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&store).unwrap(), before);
    let service = world.service();
    let new = world.folder.path().join("new");
    assert!(matches!(rebuild(&new, &sources, &world.options()), Err(Error::Busy { .. })));
    assert!(!new.exists());
    drop(service);
}
