//! Rotations and reports rely on the vault's proofs, not on a header's claims. An attacker or a careless restore edits
//! the key that a header names, or puts an older header back.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::common::device::TestDevice;
use crate::common::header;
use crate::common::world::{OTHER_VAULT, T, VAULT, World, new_disk, quiet, text};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, ProtectionStatus, ResourceName};
use atrest::{Error, KeyRefusal, Result};

const HEADER: usize = 1 << 20;

fn write(service: &DiskService, disk: &str) {
    service.open_disk(disk).unwrap().write_at(0, &text(1)).unwrap();
}

fn read(service: &DiskService, disk: &str) -> Result<()> {
    let mut bytes = vec![0; text(1).len()];
    service.open_disk(disk)?.read_at(0, &mut bytes)?;
    assert!(bytes == text(1), "{disk}");
    Ok(())
}

fn header_of(device: &TestDevice) -> Vec<u8> {
    device.bytes()[..HEADER].to_vec()
}

fn put_back(device: &TestDevice, header: &[u8]) {
    device.edit(|image| image[..HEADER].copy_from_slice(header));
}

/// Names another version in the token of both copies of a header.
fn rename_key(device: &TestDevice, version: &str) {
    device.edit(|image| {
        header::edit_json(image, |json| {
            for token in json["tokens"].as_object_mut().unwrap().values_mut() {
                let url = token["key_url"].as_str().unwrap();
                let (key, _) = url.rsplit_once('/').unwrap();
                token["key_url"] = format!("{key}/{version}").into();
            }
        });
    });
}

fn status(service: &DiskService, disk: &str) -> ProtectionStatus {
    service.report(&ResourceName::disk(disk)).unwrap().status
}

/// Three disks in a set, written.
fn three() -> (World, DiskService, [Arc<TestDevice>; 3]) {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let disks = ["a", "b", "c"].map(|disk| {
        service.create_disk(&new_disk(disk, Some("s"))).unwrap();
        write(&service, disk);
        world.device(&service, disk)
    });
    (world, service, disks)
}

#[test]
fn a_key_name_that_was_edited_does_not_pass_for_a_rotation() {
    let (world, service, [_, device, _]) = three();
    let before = header_of(&device);
    let new = world.customer(VAULT).rotate();
    // It claims to be under the new version already.
    rename_key(&device, new.version());
    service.rotate_set("s", &quiet).unwrap_err();
    let report = service.report_set("s").unwrap();
    assert!(!report.finished && report.waiting.contains(&r#"disk "b""#.into()), "{report:?}");
    assert_eq!(report.set.previous_keys, [world.customer(VAULT).key(1)], "the old version is still needed");
    assert_eq!(report.set.auto_key_rotation_error.unwrap().resource, r#"disk "b""#);
    assert_ne!(status(&service, "b"), ProtectionStatus::Finished);
    // As it was before.
    put_back(&device, &before);
    service.clear_rotation_error("s").unwrap();
    service.rotate_set("s", &quiet).unwrap();
    let report = service.report_set("s").unwrap();
    assert!(report.finished && report.set.previous_keys.is_empty(), "{report:?}");
    world.customer(VAULT).off.lock().unwrap().insert(1);
    ["a", "b", "c"].iter().for_each(|disk| read(&service, disk).unwrap());
}

#[test]
fn a_key_name_that_is_edited_after_a_rotation_is_told() {
    let (world, service, [_, device, _]) = three();
    world.customer(VAULT).rotate();
    service.rotate_set("s", &quiet).unwrap();
    let sound = header_of(&device);
    rename_key(&device, "1");
    assert_eq!(status(&service, "b"), ProtectionStatus::HeaderChanged);
    let report = service.report_set("s").unwrap();
    assert!(!report.finished && report.waiting == [r#"disk "b""#], "{report:?}");
    assert!(matches!(read(&service, "b"), Err(Error::OlderHeader { .. })));
    put_back(&device, &sound);
    assert_eq!(status(&service, "b"), ProtectionStatus::Finished);
    read(&service, "b").unwrap();
}

#[test]
fn a_header_from_before_a_rotation_is_told_and_can_be_taken_up_again() {
    let (world, service, [_, device, _]) = three();
    let old = header_of(&device);
    let new = world.customer(VAULT).rotate();
    world.clock.set(T + 100);
    service.rotate_set("s", &quiet).unwrap();
    assert_eq!(service.resource(&ResourceName::disk("b")).unwrap().proven.unwrap().since, T + 100);
    let newest = header_of(&device);
    put_back(&device, &old);

    let error = read(&service, "b").unwrap_err();
    match &error {
        Error::OlderHeader { resource, found, proven } => {
            assert_eq!(resource, r#"disk "b""#);
            assert_eq!((found, proven), (&world.customer(VAULT).key(1).to_string(), &new.to_string()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(status(&service, "b"), ProtectionStatus::HeaderChanged);
    let report = service.report_set("s").unwrap();
    assert_eq!((report.finished, report.progress.done, report.progress.total), (false, 2, 3));
    // Others of the set, and the service after a restart, are as before.
    read(&service, "a").unwrap();
    drop(service);
    let service = world.service();
    assert!(matches!(read(&service, "b"), Err(Error::OlderHeader { .. })));

    // The newest header serves again.
    put_back(&device, &newest);
    read(&service, "b").unwrap();
    assert!(service.report_set("s").unwrap().finished);

    // Where it is lost, the old one is taken up by a rotation, while its key may still be used; not otherwise.
    drop(service);
    let service = world.service();
    put_back(&device, &old);
    world.customer(VAULT).off.lock().unwrap().insert(1);
    assert!(matches!(service.rotate_set("s", &quiet), Err(Error::KeyRefused { reason: KeyRefusal::Disabled, .. })));
    assert!(!service.report_set("s").unwrap().finished);
    world.customer(VAULT).off.lock().unwrap().remove(&1);
    service.clear_rotation_error("s").unwrap();
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 1);
    assert!(service.report_set("s").unwrap().finished);
    read(&service, "b").unwrap();
}

#[test]
fn a_header_from_before_the_set_went_to_another_vault_is_told() {
    let (world, service, [_, device, _]) = three();
    let old = header_of(&device);
    let other = world.customer(OTHER_VAULT);
    other.granted.lock().unwrap().push(service.encryption_set("s").unwrap().identity);
    service.change_key("s", &other.key(1), &quiet).unwrap();
    put_back(&device, &old);
    assert!(matches!(read(&service, "b"), Err(Error::OlderHeader { .. })));
    assert_eq!(status(&service, "b"), ProtectionStatus::HeaderChanged);
    assert!(!service.report_set("s").unwrap().finished);
    // While the vault of before still lets the set use its key, it is put under the new one again.
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 1);
    assert!(service.report_set("s").unwrap().finished);
    world.customer(VAULT).disabled.store(true, Relaxed);
    ["a", "b", "c"].iter().for_each(|disk| read(&service, disk).unwrap());
}

#[test]
fn an_older_header_under_a_disk_in_use_is_told() {
    let (world, service, [_, device, _]) = three();
    let old = header_of(&device);
    let open = service.open_disk("b").unwrap();
    open.write_at(0, &text(1)).unwrap();
    world.customer(VAULT).rotate();
    service.rotate_set("s", &quiet).unwrap();
    put_back(&device, &old);
    assert_eq!(status(&service, "b"), ProtectionStatus::HeaderChanged);
    assert!(!service.report_set("s").unwrap().finished);
    assert!(matches!(service.rotate_set("s", &quiet), Err(Error::Busy { .. })));
    // Open disks go on.
    open.write_at(0, &text(1)).unwrap();
}

#[test]
fn a_header_put_back_during_a_rotation_is_under_the_older_key_again() {
    let (world, service, [device, _, _]) = three();
    let old = header_of(&device);
    let customer = world.customer(VAULT);
    customer.rotate();
    // The first wrap is a trial, and the next one is for a.
    let stop = |at| customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + at, Relaxed);
    stop(4);
    service.rotate_set("s", &quiet).unwrap_err();
    stop(usize::MAX / 2);
    put_back(&device, &old);
    // The old key must stay enabled until the rotation is over, and so the disk opens.
    read(&service, "a").unwrap();
    assert_eq!(service.resource(&ResourceName::disk("a")).unwrap().proven.unwrap().key, customer.key(1));
    assert_eq!(status(&service, "a"), ProtectionStatus::Rotating);
    service.clear_rotation_error("s").unwrap();
    service.rotate_set("s", &quiet).unwrap();
    assert!(service.report_set("s").unwrap().finished);
    customer.off.lock().unwrap().insert(1);
    ["a", "b", "c"].iter().for_each(|disk| read(&service, disk).unwrap());
}

#[test]
fn what_leaves_a_set_opens_with_that_sets_key_at_each_instant_of_its_rotation() {
    // Behaviours 22, 26: the set that it moves to has a later version of the same key.
    let (world, service, _) = three();
    let customer = world.customer(VAULT);
    customer.rotate();
    service.rotate_set("s", &quiet).unwrap();
    world.set(&service, "t", CustomerKey);
    customer.rotate();
    service.rotate_set("t", &quiet).unwrap();
    let disk = service.open_disk("b").unwrap();
    // The first wrap is a trial.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 2, Relaxed);
    service.put_into_set(&ResourceName::disk("b"), "t").unwrap_err();
    // Its next use opens it anew.
    customer.disabled.store(true, Relaxed);
    world.clock.advance(Duration::from_secs(3600));
    service.maintain();
    customer.disabled.store(false, Relaxed);
    world.clock.advance(Duration::from_secs(3600));
    let opened = AtomicUsize::new(0);
    let back = customer.key(1);
    // Its header names the older key already, and no proof of that is stored yet.
    let rotated = service.change_key("s", &back, &|_| {
        let mut bytes = vec![0; text(1).len()];
        disk.read_at(0, &mut bytes).unwrap();
        assert!(bytes == text(1));
        opened.fetch_add(1, Relaxed);
    });
    assert_eq!((rotated.unwrap().rewrapped, opened.into_inner()), (3, 3));
    assert_eq!(service.resource(&ResourceName::disk("b")).unwrap().proven.unwrap().key, back);
}

#[test]
fn a_move_during_a_rotation_is_what_is_noted_last() {
    let (world, service, _) = three();
    world.set(&service, "t", CustomerKey);
    let customer = world.customer(VAULT);
    let new = customer.rotate();
    let b = ResourceName::disk("b");
    // The rotation has moved it, and notes that at its end. The other set has the key that it was under before.
    let rotated = service.rotate_set("s", &|progress| {
        if progress.done == progress.total {
            service.put_into_set(&b, "t").unwrap();
        }
    });
    assert_eq!(rotated.unwrap().key, new);
    assert_eq!(service.resource(&b).unwrap().proven.unwrap().key, customer.key(1));
    assert_eq!(status(&service, "b"), ProtectionStatus::Finished);
    customer.off.lock().unwrap().insert(2);
    read(&service, "b").unwrap();
}

#[test]
fn nothing_is_proved_twice() {
    let (world, service, _) = three();
    drop(service);
    let service = world.service();
    let customer = world.customer(VAULT);
    customer.rotate();
    service.rotate_set("s", &quiet).unwrap();
    let (wraps, unwraps) = (&customer.wraps, &customer.unwraps);
    let count = || (wraps.load(Relaxed), unwraps.load(Relaxed));
    let before = count();
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 0);
    assert!(service.report_set("s").unwrap().finished);
    service.reports().unwrap();
    let after = count();
    // The key's own lease may ask once.
    assert!(after.0 == before.0 && after.1 <= before.1 + 1, "{before:?} {after:?}");
}

#[test]
fn what_no_disk_of_a_set_was_ever_under_opens_nothing() {
    // A volume of the platform's, in the place of one that a customer's key protects, and the other way round.
    let (world, service, [device, _, _]) = three();
    service.create_disk(&new_disk("p", None)).unwrap();
    write(&service, "p");
    let platforms = world.device(&service, "p");
    let (ours, theirs) = (device.bytes(), platforms.bytes());
    device.edit(|image| image.copy_from_slice(&theirs));
    platforms.edit(|image| image.copy_from_slice(&ours));
    for disk in ["a", "p"] {
        let error = read(&service, disk).unwrap_err();
        assert!(matches!(error, Error::NotThisVault { .. }), "{disk}: {error:?}");
        assert_eq!(status(&service, disk), ProtectionStatus::HeaderChanged, "{disk}");
    }
}

#[test]
fn both_layers_are_proved() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "d", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("b", Some("d"))).unwrap();
    write(&service, "b");
    let resource = service.resource(&ResourceName::disk("b")).unwrap();
    assert_eq!(resource.proven.unwrap().key, world.customer(VAULT).key(1));
    assert_eq!(resource.proven_lower.unwrap().key.to_string(), "platform/keys/disks/1");
    let device = world.device(&service, "b");
    let old = header_of(&device);
    world.platform.rotate();
    assert_eq!(service.rotate_platform(&quiet).unwrap().rewrapped, 1);
    put_back(&device, &old);
    assert!(matches!(read(&service, "b"), Err(Error::OlderHeader { .. })));
    assert_eq!(status(&service, "b"), ProtectionStatus::HeaderChanged);
}

#[test]
fn an_older_store_is_told_by_its_disks_and_catches_up() {
    catches_up(false);
}

/// Their number tells versions apart that were made within one second.
#[test]
fn an_older_store_catches_up_with_a_version_of_the_same_second() {
    catches_up(true);
}

fn catches_up(at_once: bool) {
    let (world, service, _) = three();
    world.customer(VAULT).at_once.store(at_once, Relaxed);
    drop(service);
    let path = world.folder.path().join("store");
    let older = std::fs::read(&path).unwrap();
    let service = world.service();
    world.customer(VAULT).rotate();
    service.rotate_set("s", &quiet).unwrap();
    world.customer(VAULT).off.lock().unwrap().insert(1);
    drop(service);
    std::fs::write(&path, older).unwrap();
    // The disks' data is not lost.
    let service = world.service();
    assert_eq!(status(&service, "a"), ProtectionStatus::HeaderChanged, "nothing has proved the newer key yet");
    read(&service, "a").unwrap();
    assert_eq!(status(&service, "a"), ProtectionStatus::StoreOutdated);
    let report = service.report_set("s").unwrap();
    assert_eq!((report.finished, report.waiting.len()), (false, 3));
    assert_eq!(service.rotate_set("s", &quiet).unwrap().key, world.customer(VAULT).key(2));
    assert!(service.report_set("s").unwrap().finished);
    ["a", "b", "c"].iter().for_each(|disk| read(&service, disk).unwrap());
}
