//! A service of managed disks with its store and its disks on the full disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::managed::{DiskFolder, DiskService, ResourceKind, ResourceName, ServiceOptions};
use atrest::{EncryptionType, Error, Result};

use super::common::world::{VAULT, World, copy_to, new_disk, new_set, quiet, snapshot_of, still, text};
use super::{Disk, Room, on_a_small_disk, put};

fn open(world: &World, folder: &Path) -> Result<DiskService> {
    let options =
        ServiceOptions::new(Arc::new(DiskFolder::new(folder)), world.vaults.clone(), world.platform.clone(), "disks")
            .clock(world.clock.clone())
            .lease(world.lease)
            .parallel(2)
            .rotation_interval(std::time::Duration::from_secs(900));
    DiskService::open(folder.join("store"), options)
}

/// The state without its random parts.
fn told(service: &DiskService) -> Vec<String> {
    let mut told = Vec::new();
    for name in service.encryption_sets().unwrap() {
        let set = service.encryption_set(&name).unwrap();
        told.push(format!(
            "set {name} {} {:?} {} {:?}",
            set.active_key,
            set.previous_keys,
            set.auto_rotation,
            service.members(&name).unwrap()
        ));
    }
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind).unwrap() {
            let of = service.resource(&ResourceName { kind, name }).unwrap();
            told.push(format!("{} {:?} {} {}", of.full_name(), of.set, of.subscription, of.guest_encrypted));
        }
    }
    told
}

/// The whole content of a folder, as before each attempt.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    super::names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

type Change = fn(&DiskService) -> Result<()>;

const CHANGES: [(&str, Change); 8] = [
    ("create a set", |service| service.create_set(&new_set("new", EncryptionType::CustomerKey)).map(drop)),
    ("create a disk", |service| service.create_disk(&new_disk("new", Some("set"))).map(drop)),
    ("copy a disk", |service| {
        service.create_disk_from(&ResourceName::disk("disk-1"), &copy_to("new", Some("set")), &still).map(drop)
    }),
    ("snapshot", |service| service.create_snapshot(&snapshot_of("disk-1", "new", false), &still).map(drop)),
    ("increment", |service| service.create_snapshot(&snapshot_of("disk-1", "new", true), &still).map(drop)),
    ("delete a disk", |service| service.delete(&ResourceName::disk("disk-2"))),
    ("auto rotation", |service| service.set_auto_rotation("set", false)),
    ("delete a set", |service| service.delete_set("empty")),
];

/// A service with two sets and two disks, one of them written to.
fn prepared(world: &World, disk: &Disk) -> BTreeMap<String, Vec<u8>> {
    let folder = disk.folder();
    let service = open(world, &folder).unwrap();
    for name in ["set", "empty"] {
        let set = service.create_set(&new_set(name, EncryptionType::CustomerKey)).unwrap();
        world.customer(VAULT).granted.lock().unwrap().push(set.identity);
    }
    for n in 1..=2 {
        service.create_disk(&new_disk(&format!("disk-{n}"), Some("set"))).unwrap();
    }
    let open = service.open_disk("disk-1").unwrap();
    open.write_at(0, &text(1)).unwrap();
    open.sync().unwrap();
    // A backup has no free pages with room on the disk, into which a change would fit.
    service.backup(folder.join("compact")).unwrap();
    drop((open, service));
    fs::rename(folder.join("compact"), folder.join("store")).unwrap();
    files(&folder)
}

fn fresh(disk: &Disk, files: &BTreeMap<String, Vec<u8>>) -> std::path::PathBuf {
    let folder = disk.folder();
    files.iter().for_each(|(name, bytes)| put(bytes, &folder.join(name)));
    folder
}

/// The disks exist: those of the store and no others.
fn check_disks(service: &DiskService, folder: &Path, what: &str) {
    let open = service.open_disk("disk-1").unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let mut read = vec![0; text(1).len()];
    open.read_at(0, &mut read).unwrap();
    assert!(read == text(1), "{what}");
    let kinds = [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image];
    let known: usize = kinds.iter().map(|&kind| service.names(kind).unwrap().len()).sum();
    let found = super::names(folder).iter().filter(|name| name.ends_with(".disk")).count();
    assert_eq!(found, known, "{what}");
}

#[test]
fn a_change_of_the_store_is_made_or_not_and_needs_no_restart() {
    on_a_small_disk("stores::a_change_of_the_store_is_made_or_not_and_needs_no_restart", 16, |disk| {
        let world = World::new();
        let files = prepared(&world, disk);
        for (name, change) in CHANGES {
            let folder = fresh(disk, &files);
            let service = open(&world, &folder).unwrap();
            let before = told(&service);
            change(&service).unwrap();
            let wanted = told(&service);
            assert_ne!(before, wanted, "{name}");
            drop(service);

            let mut failed = 0;
            disk.with_less_room(&[Room::Pages], |room| {
                let what = format!("{name} with {room:?}");
                let folder = fresh(disk, &files);
                let service = open(&world, &folder).unwrap();
                disk.leave(room);
                let result = change(&service);
                disk.make_room();
                let during = told(&service);
                assert_eq!(during, if result.is_ok() { &wanted[..] } else { &before[..] }, "{what}");
                if let Err(e) = &result {
                    assert!(matches!(e, Error::Io { .. }), "{what}: {e:?}");
                    failed += 1;
                    change(&service).unwrap_or_else(|e| panic!("{what}, once there is room: {e:?}"));
                }
                assert_eq!(told(&service), wanted, "{what}");
                check_disks(&service, &folder, &what);
                drop(service);
                let service = open(&world, &folder).unwrap();
                assert_eq!(told(&service), wanted, "{what}, opened again");
                check_disks(&service, &folder, &what);
                result.is_ok()
            });
            assert!(failed > 0, "{name}");
        }
    });
}

#[test]
fn a_rotation_that_finds_no_room_goes_on_when_there_is_some() {
    on_a_small_disk("stores::a_rotation_that_finds_no_room_goes_on_when_there_is_some", 16, |disk| {
        let world = World::new();
        let files = prepared(&world, disk);
        let key = world.customer(VAULT).rotate();
        disk.with_less_room(&[Room::Pages], |room| {
            let folder = fresh(disk, &files);
            let service = open(&world, &folder).unwrap();
            disk.leave(room);
            let result = service.change_key("set", &key, &quiet).map(drop);
            disk.make_room();
            service.clear_rotation_error("set").unwrap();
            let rotation = service.change_key("set", &key, &quiet).unwrap_or_else(|e| panic!("{room:?}: {e:?}"));
            assert_eq!(rotation.key, key, "{room:?}");
            let set = service.encryption_set("set").unwrap();
            assert!(set.active_key == key && set.previous_keys.is_empty(), "{room:?}: {set:?}");
            check_disks(&service, &folder, &format!("{room:?}"));
            drop(service);
            check_disks(&open(&world, &folder).unwrap(), &folder, &format!("{room:?}"));
            result.is_ok()
        });
    });
}

#[test]
fn a_store_is_made_or_not_there() {
    on_a_small_disk("stores::a_store_is_made_or_not_there", 16, |disk| {
        let world = World::new();
        let mut failed = 0;
        disk.with_less_room(&[Room::Pages, Room::Files], |room| {
            let folder = disk.folder();
            disk.leave(room);
            let result = open(&world, &folder).map(drop);
            disk.make_room();
            failed += usize::from(result.is_err());
            let service = open(&world, &folder).unwrap_or_else(|e| panic!("{room:?}: {e:?}"));
            service.create_set(&new_set("new", EncryptionType::CustomerKey)).unwrap();
            result.is_ok()
        });
        assert!(failed > 2, "{failed}");
    });
}
