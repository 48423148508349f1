//! Snapshots, images and copies of managed disks, by the numbers of their behaviours.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::world::{
    OTHER_VAULT, T, VAULT, World, copy_to, new_disk, new_set, quiet, rule, snapshot_of, still, text,
};
use crate::common::{python, run};
use atrest::managed::{CopyProgress, DiskService, NewImage, OpenDisk, ResourceKind, ResourceName};
use atrest::{Credential, Error, KeyRefusal, MemoryDevice, OpenOptions, Volume};

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys, PlatformKey};

pub const CHUNK: usize = 64 << 10;

pub fn content(disk: &OpenDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Holds the map behind an incremental snapshot's data against docs/formats/managed.md, by its second implementation.
fn check_map(world: &World, device: Vec<u8>, size: u64, expected: &[bool]) {
    let Some(python) = python("hashlib") else { return };
    let (vault, map) = (&world.customer(VAULT).vault, world.folder.path().join("map"));
    let volume = Volume::open(MemoryDevice::from_bytes(device), Credential::Vault(vault), &OpenOptions::new()).unwrap();
    let mut bytes = vec![0; (volume.size() - size) as usize];
    volume.read_at(size, &mut bytes).unwrap();
    std::fs::write(&map, bytes).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats.py");
    let printed = run(&python, &[script, "chunk-map", crate::common::text(&map), &size.to_string()]);
    let there: Vec<usize> = printed.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(there, (0..expected.len()).filter(|&n| expected[n]).collect::<Vec<_>>());
}

/// What a snapshot holds, by way of a disk that is made of it.
pub fn restored(service: &DiskService, snapshot: &str) -> Vec<u8> {
    let from = ResourceName::snapshot(snapshot);
    service.create_disk_from(&from, &copy_to("restored", None), &still).unwrap();
    let bytes = content(&service.open_disk("restored").unwrap());
    service.delete(&ResourceName::disk("restored")).unwrap();
    bytes
}

#[test]
fn a_copy_holds_what_its_source_held_under_whatever_key() {
    // Behaviour 46: the only way from a customer's key to the platform's
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "d", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(4096, &text(1)).unwrap();
    assert!(matches!(service.put_into_set(&ResourceName::disk("x"), ""), Err(Error::NoSuchResource(_))));
    for (name, set, kind) in
        [("p", None, PlatformKey), ("c", Some("s"), CustomerKey), ("b", Some("d"), PlatformAndCustomerKeys)]
    {
        let copy = service.create_disk_from(&ResourceName::disk("x"), &copy_to(name, set), &still).unwrap();
        assert_eq!((copy.encryption_type, copy.size), (kind, disk.size()));
        assert!(content(&service.open_disk(name).unwrap()) == content(&disk), "{name}");
    }
    // The copy stands alone: without the customer's key it can be read all the same.
    world.customer(VAULT).vault.destroy(1);
    drop((disk, service));
    let mut back = vec![0; 8192];
    world.service().open_disk("p").unwrap().read_at(4096, &mut back).unwrap();
    assert!(back == text(1));
}

#[test]
fn snapshots_hold_what_the_disk_held_and_incremental_ones_only_what_differs() {
    // Behaviours 44, 45
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let size = 10 * CHUNK as u64 + 4096;
    service.create_disk(&new_disk("x", Some("s")).size(size)).unwrap();
    let disk = service.open_disk("x").unwrap();
    let mut held = Vec::new();
    // The chunks written before each snapshot, and so the chunks in each.
    let written: [&[usize]; 5] = [&[0, 3, 10], &[3], &[], &[2, 10], &[0, 3]];
    for (n, chunks) in written.iter().enumerate() {
        for &chunk in *chunks {
            disk.write_at((chunk * CHUNK) as u64, &text(n as u8)[..4096]).unwrap();
        }
        let name = format!("inc-{n}");
        let made = service.create_snapshot(&snapshot_of("x", &name, true), &still).unwrap();
        assert_eq!(
            (made.kind, made.set.as_deref(), made.increment),
            (ResourceKind::Snapshot, Some("s"), Some(n as u64))
        );
        held.push(content(&disk));
        let device = world.device_of(&service, &ResourceName::snapshot(&name));
        let data = device.bytes().split_off(1 << 20);
        let there: Vec<_> = data[..size as usize].chunks(CHUNK).map(|chunk| chunk.iter().any(|&b| b != 0)).collect();
        let expected: Vec<bool> = (0..11).map(|chunk| n == 0 || chunks.contains(&chunk)).collect();
        assert_eq!(there, expected, "{name}");
        check_map(&world, device.bytes(), size, &expected);
    }
    service.create_snapshot(&snapshot_of("x", "full", false), &still).unwrap();
    disk.write_at(0, &vec![9; size as usize]).unwrap();
    assert!(restored(&service, "full") == held[4]);
    for (n, held) in held.iter().enumerate() {
        assert!(restored(&service, &format!("inc-{n}")) == *held, "{n}");
    }
    // Any snapshot can be deleted, and the others keep their content, also after a restart.
    let mut left: Vec<usize> = (0..5).collect();
    for gone in [1, 0, 4, 2] {
        service.delete(&ResourceName::snapshot(format!("inc-{gone}"))).unwrap();
        left.retain(|&n| n != gone);
        for &n in &left {
            assert!(restored(&service, &format!("inc-{n}")) == held[n], "{n} without {gone}");
        }
    }
    assert_eq!(service.names(ResourceKind::Snapshot).unwrap(), ["full", "inc-3"]);
    // One device for each: disk, two snapshots.
    assert_eq!(world.disks.0.lock().unwrap().len(), 3);
    drop((disk, service));
    assert!(restored(&world.service(), "inc-3") == held[3]);
}

#[test]
fn a_snapshot_is_of_one_instant_although_the_disk_is_written() {
    let world = World::new();
    let service = world.service();
    let size = 40 * CHUNK as u64;
    service.create_disk(&new_disk("x", None).size(size)).unwrap();
    let disk = service.open_disk("x").unwrap();
    // Each sector has the number of its round. A round goes from the end to the start, against the copy.
    let write = |round: u8| {
        for sector in (0..size / 4096).rev() {
            disk.write_at(sector * 4096, &[round; 4096]).unwrap();
        }
    };
    write(1);
    for incremental in [false, true, true] {
        let rounds = content(&disk)[0];
        let name = format!("s-{rounds}-{incremental}");
        let began = std::sync::atomic::AtomicBool::new(false);
        let progress = |at: CopyProgress| {
            // The disk is written all over while the first chunks are copied.
            if !began.swap(true, Ordering::Relaxed) {
                assert!(at.done < at.total);
                write(rounds + 1);
            }
        };
        service.create_snapshot(&snapshot_of("x", &name, incremental), &progress).unwrap();
        assert!(content(&disk).iter().all(|&b| b == rounds + 1));
        assert!(restored(&service, &name).iter().all(|&b| b == rounds), "{name}");
    }
}

#[test]
fn images_are_in_several_regions_with_a_set_for_each_disk() {
    // Behaviours 44, 49, 50
    let world = World::new();
    let service = world.service();
    world.set(&service, "n1", CustomerKey);
    world.set(&service, "n2", PlatformAndCustomerKeys);
    world.vaults.1.lock().unwrap().region = "south".into();
    let south = new_set("s1", CustomerKey).region("south");
    let south = service.create_set(&south).unwrap();
    world.customer(VAULT).granted.lock().unwrap().push(south.identity);
    service.create_disk(&new_disk("os", Some("n1"))).unwrap();
    service.create_disk(&new_disk("data", None)).unwrap();
    for (n, disk) in (0..).zip(["os", "data"]) {
        service.open_disk(disk).unwrap().write_at(0, &text(n)).unwrap();
    }
    let image = |regions: &[(&str, &[Option<&str>])]| {
        let new = NewImage::new("golden").disk("os").disk("data");
        regions.iter().fold(new, |new, (region, sets)| new.region(*region, sets.iter().copied()))
    };
    let make = |regions: &[(&str, &[Option<&str>])]| service.create_image(&image(regions), &still);
    assert_eq!(rule(make(&[("north", &[Some("n1")])])), "49");
    assert_eq!(rule(make(&[("north", &[None, None])])), "50");
    assert_eq!(rule(make(&[("south", &[Some("n1"), None])])), "18");
    assert!(matches!(make(&[]), Err(Error::InvalidOption(_))));
    assert!(matches!(service.image("golden"), Err(Error::NoSuchResource(_))));
    let copies = make(&[("north", &[Some("n1"), Some("n2")]), ("south", &[Some("s1"), None])]).unwrap();
    let names: Vec<_> = copies.iter().map(|copy| copy.name.as_str()).collect();
    assert_eq!(names, ["golden/north/0", "golden/north/1", "golden/south/0", "golden/south/1"]);
    assert!(matches!(make(&[("south", &[Some("s1"), None])]), Err(Error::ResourceExists(_))));
    for (number, region, set) in
        [(0, "north", Some("n1")), (1, "north", None), (0, "south", Some("s1")), (1, "south", None)]
    {
        let new = copy_to("made", set).region(region);
        service.create_disk_from(&ResourceName::image("golden", region, number), &new, &still).unwrap();
        let mut back = vec![0; 8192];
        service.open_disk("made").unwrap().read_at(0, &mut back).unwrap();
        assert!(back == text(number as u8), "{number} {region}");
        service.delete(&ResourceName::disk("made")).unwrap();
    }
    assert_eq!(rule(service.delete(&ResourceName::image("golden", "south", 1))), "49");
    assert_eq!(rule(service.delete_set("s1")), "19");
    service.delete_image("golden").unwrap();
    service.delete_set("s1").unwrap();
    assert_eq!(world.disks.0.lock().unwrap().len(), 2);
}

#[test]
fn what_the_rules_forbid_is_refused_with_the_way_out() {
    // Behaviours 45, 47, 52
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "t", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    service.create_disk(&new_disk("p", None)).unwrap();
    let other = snapshot_of("x", "i", true).encryption_set("t");
    assert_eq!(rule(service.create_snapshot(&other, &still)), "45");
    service.create_snapshot(&other.incremental(false), &still).unwrap();
    for name in [ResourceName::disk("x"), ResourceName::snapshot("i")] {
        assert_eq!(rule(service.move_to_subscription(&name, "two")), "47");
    }
    assert_eq!(service.move_to_subscription(&ResourceName::disk("p"), "two").unwrap().subscription, "two");
    assert_eq!(rule(service.put_into_set(&ResourceName::disk("p"), "s")), "47");
    service.move_to_subscription(&ResourceName::disk("p"), "one").unwrap();
    assert_eq!(rule(service.mark_guest_encrypted("x")), "52");
    service.mark_guest_encrypted("p").unwrap();
    assert_eq!(rule(service.put_into_set(&ResourceName::disk("p"), "s")), "52");
    // Its copies hold the same.
    service.create_snapshot(&snapshot_of("p", "sp", false), &still).unwrap();
    assert_eq!(rule(service.put_into_set(&ResourceName::snapshot("sp"), "s")), "52");
    assert_eq!(rule(service.create_disk_from(&ResourceName::snapshot("sp"), &copy_to("c", Some("s")), &still)), "52");
    assert!(
        service.create_disk_from(&ResourceName::snapshot("sp"), &copy_to("c", None), &still).unwrap().guest_encrypted
    );
}

#[test]
fn a_disk_and_its_incremental_snapshots_move_and_rotate_together() {
    // Behaviours 22, 28, 45
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    let disk = service.open_disk("x").unwrap();
    for n in 0..3 {
        disk.write_at(4096, &text(n)).unwrap();
        service.create_snapshot(&snapshot_of("x", &format!("i-{n}"), true), &still).unwrap();
    }
    service.create_snapshot(&snapshot_of("x", "full", false), &still).unwrap();
    // Named by one of the snapshots; a full one stands alone.
    service.put_into_set(&ResourceName::snapshot("i-1"), "s").unwrap();
    let mut members = service.members("s").unwrap();
    members.sort();
    let all: Vec<_> = ["i-0", "i-1", "i-2"].map(ResourceName::snapshot).into_iter().collect();
    assert_eq!(members, [&[ResourceName::disk("x")][..], &all].concat());
    world.customer(VAULT).rotate();
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 4);
    world.customer(VAULT).vault.destroy(1);
    assert!(restored(&service, "i-2")[4096..][..8192] == text(2));
    // Without their disk too.
    drop(disk);
    service.delete(&ResourceName::disk("x")).unwrap();
    let key = world.customer(VAULT).key(2);
    let other = service.create_set(&new_set("t", CustomerKey).key(key)).unwrap();
    world.customer(VAULT).granted.lock().unwrap().push(other.identity);
    service.put_into_set(&ResourceName::snapshot("i-0"), "t").unwrap();
    assert_eq!(service.members("t").unwrap(), all);
    assert!(restored(&service, "i-1")[4096..][..8192] == text(1));
}

#[test]
fn what_was_killed_half_way_leaves_nothing() {
    let world = World::new();
    let service = world.service();
    let size = 4 * CHUNK as u64;
    service.create_disk(&new_disk("x", None).size(size)).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    service.create_snapshot(&snapshot_of("x", "i-0", true), &still).unwrap();
    disk.write_at(2 * CHUNK as u64, &text(1)).unwrap();
    // As a kill leaves it: nothing is removed on the way out.
    std::thread::scope(|scope| {
        let killed = scope.spawn(|| {
            service.create_snapshot(&snapshot_of("x", "i-1", true), &|_| panic!("killed")).unwrap();
        });
        assert!(killed.join().is_err());
    });
    assert_eq!(world.disks.0.lock().unwrap().len(), 3);
    // A copy that was begun takes no more of the disk's content.
    let taken = world.disks.0.lock().unwrap().values().map(|device| device.bytes()).collect::<Vec<_>>();
    disk.write_at(2 * CHUNK as u64, &text(7)).unwrap();
    let now = world.disks.0.lock().unwrap().values().map(|device| device.bytes()).collect::<Vec<_>>();
    assert_eq!(taken.iter().zip(&now).filter(|(a, b)| a != b).count(), 1);
    drop((disk, service));
    let service = world.service();
    assert_eq!(world.disks.0.lock().unwrap().len(), 2);
    assert_eq!(service.names(ResourceKind::Snapshot).unwrap(), ["i-0"]);
    // The disk goes on, and so does the chain.
    service.open_disk("x").unwrap().write_at(0, &text(5)).unwrap();
    service.create_snapshot(&snapshot_of("x", "i-1", true), &still).unwrap();
    assert!(restored(&service, "i-1")[..8192] == text(5));
    assert!(restored(&service, "i-0")[..8192] == text(0));
}

#[test]
fn a_newer_version_is_taken_up_by_itself_and_an_old_one_is_told_of() {
    // Behaviours 28, 33
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "by-hand", CustomerKey);
    service.set_auto_rotation("by-hand", false).unwrap();
    for (disk, set) in [("x", "s"), ("y", "by-hand")] {
        service.create_disk(&new_disk(disk, Some(set))).unwrap();
    }
    assert!(service.auto_rotate(&quiet).unwrap().is_empty());
    let new = world.customer(VAULT).rotate();
    assert!(service.auto_rotate(&quiet).unwrap().is_empty(), "the interval isn't over");
    world.clock.advance(Duration::from_secs(900));
    let rotated = service.auto_rotate(&quiet).unwrap();
    assert_eq!(rotated.len(), 1);
    assert_eq!((rotated[0].0.as_str(), rotated[0].1.as_ref().unwrap().rewrapped), ("s", 1));
    assert_eq!(service.encryption_set("s").unwrap().active_key, new);
    // A disk of the set that stays where it is is made under the old version.
    service.create_disk(&new_disk("z", Some("by-hand"))).unwrap();
    let header = atrest::volume::Header::load(&*world.device(&service, "z")).unwrap().tokens();
    assert!(header[0].key_url.as_ref().unwrap().ends_with("/1"));
    // An outage is no failed rotation; a failure stops it until it is cleared.
    let customer = world.customer(VAULT);
    customer.rotate();
    customer.away.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(900));
    assert!(service.auto_rotate(&quiet).unwrap()[0].1.is_err());
    assert_eq!(service.encryption_set("s").unwrap().auto_key_rotation_error, None);
    customer.away.store(false, Ordering::Relaxed);
    // The first wrap is a trial.
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 2, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(900));
    assert!(service.auto_rotate(&quiet).unwrap()[0].1.is_err());
    assert!(service.encryption_set("s").unwrap().auto_key_rotation_error.is_some());
    world.clock.advance(Duration::from_secs(900));
    assert!(service.auto_rotate(&quiet).unwrap().is_empty());
    service.clear_rotation_error("s").unwrap();
    assert_eq!(service.auto_rotate(&quiet).unwrap()[0].1.as_ref().unwrap().rewrapped, 1);
    // An operator with manual work is warned in time.
    let now = T + 4 * 900;
    customer.expires.store(now + 10 * 86400, Ordering::Relaxed);
    let within = |days: u64| service.expiring_keys(Duration::from_secs(days * 86400)).unwrap();
    assert!(within(9).is_empty());
    let told: Vec<_> = within(11).into_iter().map(|e| (e.set, e.expires - now, e.auto_rotation)).collect();
    assert_eq!(told, [("by-hand".into(), 864_000, false), ("s".into(), 864_000, true)]);
}

#[test]
fn an_expired_key_is_left_behind_for_a_new_one() {
    // Behaviours 38, 40: assigned a new key, the disk works again. The vault still unwraps.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    let customer = world.customer(VAULT);
    customer.expires.store(T + 1, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(900));
    service.maintain();
    assert!(matches!(disk.read_at(0, &mut [0; 4096]), Err(Error::DiskSuspended { .. })));
    let key = atrest::key::KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    world.customer(OTHER_VAULT).granted.lock().unwrap().push(service.encryption_set("s").unwrap().identity);
    assert_eq!(service.change_key("s", &key, &quiet).unwrap().rewrapped, 1);
    let mut back = vec![0; 8192];
    disk.read_at(0, &mut back).unwrap();
    assert!(back == text(0));
    // A disabled key is a different case: nobody has the DEK without it.
    world.customer(OTHER_VAULT).disabled.store(true, Ordering::Relaxed);
    customer.expires.store(0, Ordering::Relaxed);
    drop((disk, service));
    let service = world.service();
    let back_to = atrest::key::KeyId::new(VAULT, "disks", "1").unwrap();
    let error = service.change_key("s", &back_to, &quiet).unwrap_err();
    assert!(matches!(error, Error::KeyRefused { reason: KeyRefusal::Disabled, .. }), "{error:?}");
    assert_eq!(service.encryption_set("s").unwrap().auto_key_rotation_error.unwrap().code, "KeyDisabled");
}

#[test]
fn a_set_that_goes_to_another_tenant_loses_its_key_until_it_is_granted_anew() {
    // Behaviour 43
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    let elsewhere = new_set("t", CustomerKey).tenant("fabrikam");
    assert_eq!(rule(service.create_set(&elsewhere)), "43");
    let moved = service.move_set_to_tenant("s", "fabrikam").unwrap();
    assert_eq!(moved.tenant, "fabrikam");
    assert!(matches!(disk.read_at(0, &mut [0; 4096]), Err(Error::DiskSuspended { .. })));
    world.customer(VAULT).granted.lock().unwrap().push(moved.identity);
    world.clock.advance(Duration::from_secs(60));
    let mut back = vec![0; 8192];
    disk.read_at(0, &mut back).unwrap();
    assert!(back == text(0));
}
