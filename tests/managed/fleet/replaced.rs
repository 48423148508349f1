//! A header that is replaced by an older one while hosts share a rotation: the key that it names isn't given up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use atrest::managed::{ProtectionStatus, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error, Result};

use super::world::{Fleet, Host};
use crate::common::device::TestDevice;
use crate::common::world::{VAULT, new_disk, quiet, text};

const HEADER: usize = 1 << 20;
const NAMES: [&str; 3] = ["a", "b", "c"];

fn device(fleet: &Fleet, host: &Host, name: &str) -> Arc<TestDevice> {
    let id = host.resource(&ResourceName::disk(name)).unwrap().id;
    fleet.disks.devices.lock().unwrap()[&id].clone()
}

fn header_of(device: &TestDevice) -> Vec<u8> {
    device.bytes()[..HEADER].to_vec()
}

fn put_back(device: &TestDevice, header: &[u8]) {
    device.edit(|image| image[..HEADER].copy_from_slice(header));
}

fn read(host: &Host, name: &str) -> Result<()> {
    let mut bytes = vec![0; text(1).len()];
    host.open_disk(name)?.read_at(0, &mut bytes)?;
    assert!(bytes == text(1), "{name}");
    Ok(())
}

/// Three disks of a set, written, and two hosts.
fn two_hosts() -> (Fleet, [Host; 2]) {
    with_disks(NAMES.map(String::from))
}

fn with_disks(names: impl IntoIterator<Item = String>) -> (Fleet, [Host; 2]) {
    let fleet = Fleet::new();
    let hosts = [fleet.host("one", 0), fleet.host("other", 3)];
    fleet.world.set(&hosts[0], "set", EncryptionType::CustomerKey);
    for name in names {
        hosts[0].create_disk(&new_disk(&name, Some("set"))).unwrap();
        hosts[0].open_disk(&name).unwrap().write_at(0, &text(1)).unwrap();
    }
    (fleet, hosts)
}

/// Rotates until the third disk is to be moved, which fails.
fn stopped_half_way(fleet: &Fleet, host: &Host) {
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    // The first wrap is a trial.
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 4, Ordering::Relaxed);
    host.rotate_set("set", &quiet).unwrap_err();
    customer.fail_wrap_at.store(usize::MAX / 2, Ordering::Relaxed);
    host.clear_rotation_error("set").unwrap();
}

/// The name of a disk that was moved.
fn moved(host: &Host) -> &'static str {
    let is_moved =
        |name: &&str| host.resource(&ResourceName::disk(*name)).unwrap().proven.unwrap().key.version() == "2";
    NAMES.into_iter().find(is_moved).expect("two were moved")
}

/// Whoever goes on with the rotation finds a closed disk that was put back, and moves it again.
#[test]
fn a_header_put_back_in_a_rotation_that_was_stopped_is_moved_again() {
    for goes_on in [0, 1] {
        let (fleet, hosts) = two_hosts();
        let old = NAMES.map(|name| header_of(&device(&fleet, &hosts[0], name)));
        stopped_half_way(&fleet, &hosts[0]);
        let name = moved(&hosts[0]);
        let at = NAMES.iter().position(|other| *other == name).unwrap();
        put_back(&device(&fleet, &hosts[0], name), &old[at]);
        hosts[goes_on].rotate_set("set", &quiet).unwrap();
        let set = hosts[0].encryption_set("set").unwrap();
        assert!(set.previous_keys.is_empty(), "{set:?}");
        // The customer gives the older version up.
        fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
        NAMES.iter().for_each(|name| read(&hosts[1], name).unwrap_or_else(|e| panic!("{name}: {e}")));
    }
}

/// One that is open can't be moved, for its header isn't the one that it was opened by. The older key stays.
#[test]
fn a_header_put_back_under_a_disk_in_use_keeps_the_rotation_from_its_end() {
    let (fleet, hosts) = two_hosts();
    let old = NAMES.map(|name| header_of(&device(&fleet, &hosts[0], name)));
    let mut open = NAMES.map(|name| Some(hosts[0].open_disk(name).unwrap()));
    stopped_half_way(&fleet, &hosts[0]);
    let name = moved(&hosts[0]);
    let at = NAMES.iter().position(|other| *other == name).unwrap();
    put_back(&device(&fleet, &hosts[0], name), &old[at]);
    for _ in 0..2 {
        let told = hosts[0].rotate_set("set", &quiet).unwrap_err();
        assert!(matches!(told, Error::Busy { .. }) && told.to_string().contains(name), "{told:?}");
        let set = hosts[0].encryption_set("set").unwrap();
        assert_eq!(set.previous_keys, [fleet.world.customer(VAULT).key(1)]);
        // Another host doesn't see the header, and doesn't end it by the proofs either.
        assert!(matches!(hosts[1].rotate_set("set", &quiet), Err(Error::Busy { .. })));
        assert_eq!(hosts[1].encryption_set("set").unwrap().previous_keys, [fleet.world.customer(VAULT).key(1)]);
        assert!(hosts[1].rotation_progress("set").unwrap().done < 3);
    }
    assert_eq!(hosts[0].report(&ResourceName::disk(name)).unwrap().status, ProtectionStatus::HeaderChanged);
    // Once it is closed, the next one moves it.
    open[at] = None;
    hosts[0].rotate_set("set", &quiet).unwrap();
    assert!(hosts[0].encryption_set("set").unwrap().previous_keys.is_empty());
    drop(open);
    fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
    NAMES.iter().for_each(|name| read(&hosts[1], name).unwrap_or_else(|e| panic!("{name}: {e}")));
}

/// A closed disk whose header was put back after the rotation opens nowhere. A rotation takes it up, on any host.
#[test]
fn a_rotation_takes_up_what_was_put_back_after_it() {
    let (fleet, hosts) = two_hosts();
    let device = device(&fleet, &hosts[0], "b");
    let old = header_of(&device);
    fleet.world.customer(VAULT).rotate();
    assert_eq!(hosts[0].rotate_set("set", &quiet).unwrap().rewrapped, 3);
    for host in &hosts {
        put_back(&device, &old);
        assert!(matches!(read(host, "b"), Err(Error::OlderHeader { .. })));
        // What nobody ordered looks at no header.
        assert!(host.auto_rotate(&quiet).unwrap().is_empty());
        // Only the key of before opens it.
        fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
        assert!(matches!(host.rotate_set("set", &quiet), Err(Error::KeyRefused { .. })));
        host.clear_rotation_error("set").unwrap();
        fleet.world.customer(VAULT).off.lock().unwrap().clear();
        assert_eq!(host.rotate_set("set", &quiet).unwrap().rewrapped, 1);
        read(host, "b").unwrap();
    }
}

/// The host that began has the first part, and looks at what another one did in the second.
#[test]
fn a_header_put_back_in_the_part_of_another_host_is_moved_again_by_the_one_that_began() {
    let (fleet, [one, other]) = with_disks((0..241).map(|n| format!("d{n:03}")));
    let last = device(&fleet, &one, "d240");
    let old = header_of(&last);
    fleet.world.customer(VAULT).rotate();
    let once = AtomicBool::new(false);
    let progress = |_: RotationProgress| {
        if !once.swap(true, Ordering::SeqCst) {
            // It does its part, and finds the first one in work.
            let told = other.rotate_set("set", &quiet).unwrap_err();
            assert!(told.to_string().contains("\"one\""), "{told}");
            assert_eq!(one.resource(&ResourceName::disk("d240")).unwrap().proven.unwrap().key.version(), "2");
            put_back(&last, &old);
        }
    };
    one.rotate_set("set", &progress).unwrap();
    assert!(one.encryption_set("set").unwrap().previous_keys.is_empty());
    fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
    read(&other, "d240").unwrap();
}

/// Somebody here still has a disk that was handed over, and it is counted as that host's. Then it is closed there.
#[test]
fn what_was_left_to_another_host_is_looked_at_once_that_one_has_let_it_go() {
    let (fleet, hosts) = two_hosts();
    let old = NAMES.map(|name| header_of(&device(&fleet, &hosts[0], name)));
    stopped_half_way(&fleet, &hosts[0]);
    let name = moved(&hosts[0]);
    let at = NAMES.iter().position(|other| *other == name).unwrap();
    let stays = hosts[0].open_disk(name).unwrap();
    hosts[0].hand_over(name, "other").unwrap();
    let there = Mutex::new(Some(hosts[1].open_disk(name).unwrap()));
    let progress = |_: RotationProgress| {
        if let Some(open) = there.lock().unwrap().take() {
            drop(open);
            put_back(&device(&fleet, &hosts[0], name), &old[at]);
        }
    };
    // It doesn't open for a rotation what it has handed over, and doesn't end it either.
    let told = hosts[0].rotate_set("set", &progress).unwrap_err();
    assert!(matches!(told, Error::Busy { .. }) && told.to_string().contains(name), "{told:?}");
    assert!(!hosts[0].encryption_set("set").unwrap().previous_keys.is_empty());
    hosts[1].rotate_set("set", &quiet).unwrap();
    assert!(hosts[0].encryption_set("set").unwrap().previous_keys.is_empty());
    drop(stays);
    fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
    NAMES.iter().for_each(|name| read(&hosts[1], name).unwrap_or_else(|e| panic!("{name}: {e}")));
}

/// One under a disk in use comes first, and far after it a closed one.
#[test]
fn one_that_cant_be_moved_keeps_no_other_from_being_looked_at() {
    for goes_on in [0, 1] {
        let (fleet, hosts) = with_disks((0..61).map(|n| format!("d{n:03}")));
        let devices = ["d000", "d060"].map(|name| device(&fleet, &hosts[0], name));
        let old = devices.each_ref().map(|device| header_of(device));
        fleet.world.customer(VAULT).rotate();
        hosts[0].rotate_set("set", &quiet).unwrap();
        let open = hosts[goes_on].open_disk("d000").unwrap();
        devices.iter().zip(&old).for_each(|(device, old)| put_back(device, old));
        let told = hosts[goes_on].rotate_set("set", &quiet).unwrap_err();
        assert!(matches!(told, Error::Busy { .. }) && told.to_string().contains("d000"), "{told:?}");
        drop(open);
        fleet.world.customer(VAULT).off.lock().unwrap().insert(1);
        read(&hosts[1], "d060").unwrap();
        assert!(read(&hosts[1], "d000").is_err());
        fleet.world.customer(VAULT).off.lock().unwrap().clear();
        hosts[1].rotate_set("set", &quiet).unwrap();
        read(&hosts[0], "d000").unwrap();
    }
}

#[test]
fn the_same_is_so_of_the_platforms_key() {
    let fleet = Fleet::new();
    let hosts = [fleet.host("one", 0), fleet.host("other", 3)];
    for name in NAMES {
        hosts[0].create_disk(&new_disk(name, None)).unwrap();
        hosts[0].open_disk(name).unwrap().write_at(0, &text(1)).unwrap();
    }
    let device = device(&fleet, &hosts[0], "b");
    let old = header_of(&device);
    let keys = |host: &Host| host.report_platform().unwrap().keys.unwrap();
    fleet.world.platform.rotate();
    let elsewhere = hosts[1].open_disk("c").unwrap();
    // What another host has open keeps it from its end.
    assert!(matches!(hosts[0].rotate_platform(&quiet), Err(Error::Busy { .. })));
    put_back(&device, &old);
    hosts[1].rotate_platform(&quiet).unwrap();
    assert!(keys(&hosts[1]).previous_keys.is_empty());
    drop(elsewhere);
    read(&hosts[1], "b").unwrap();
    // Under a disk in use.
    let open = hosts[0].open_disk("b").unwrap();
    put_back(&device, &old);
    let told = hosts[0].rotate_platform(&quiet).unwrap_err();
    assert!(matches!(told, Error::Busy { .. }) && told.to_string().contains("\"b\""), "{told:?}");
    drop(open);
    assert_eq!(hosts[0].rotate_platform(&quiet).unwrap().rewrapped, 1);
    read(&hosts[1], "b").unwrap();
}

/// Under a disk of two layers in use, which is put into another set: that writes the upper header, and nobody looks at the lower one.
#[test]
fn a_lower_header_put_back_under_a_disk_in_use_is_waited_for_after_it_was_put_into_another_set() {
    let fleet = Fleet::new();
    let hosts = [fleet.host("one", 0), fleet.host("other", 3)];
    for set in ["set", "next"] {
        fleet.world.set(&hosts[0], set, EncryptionType::PlatformAndCustomerKeys);
    }
    hosts[0].create_disk(&new_disk("a", Some("set"))).unwrap();
    let open = hosts[0].open_disk("a").unwrap();
    open.write_at(0, &text(1)).unwrap();
    let device = device(&fleet, &hosts[0], "a");
    let old = header_of(&device);
    fleet.world.platform.rotate();
    hosts[0].rotate_platform(&quiet).unwrap();
    put_back(&device, &old);
    assert!(matches!(hosts[0].rotate_platform(&quiet), Err(Error::Busy { .. })));
    hosts[0].put_into_set(&ResourceName::disk("a"), "next").unwrap();
    // The other host doesn't see the header.
    assert!(!hosts[1].report_platform().unwrap().finished);
    assert!(matches!(hosts[1].rotate_platform(&quiet), Err(Error::Busy { .. })));
    drop(open);
    hosts[1].rotate_platform(&quiet).unwrap();
    fleet.world.platform.destroy(1);
    read(&hosts[1], "a").unwrap();
}
