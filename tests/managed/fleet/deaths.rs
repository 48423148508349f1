//! A host dies at each of its calls of the store in the middle of an operation. What it leaves, another host finishes or undoes:
//! no device without a resource, no resource without its data, and the operation can be done again.

use std::sync::atomic::Ordering;

use atrest::managed::{DiskService, NewImage, ResourceKind, ResourceName};
use atrest::{EncryptionType, Error, Result};

use super::world::{Fleet, LEASE};
use crate::common::world::{VAULT, copy_to, new_disk, new_set, quiet, snapshot_of, still, text};

/// With this variable, a host dies at every call instead of at some.
const EVERY: &str = "ATREST_EVERY_CALL";

/// The state without its random parts: whether each resource is there, and in which set.
fn told(service: &DiskService) -> Vec<String> {
    let mut told = service.encryption_sets().unwrap();
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind).unwrap() {
            let of = service.resource(&ResourceName { kind, name }).unwrap();
            told.push(format!("{} in {:?}, {} bytes", of.full_name(), of.set, of.size));
        }
    }
    told
}

/// A set, disks in it and outside, and three incremental snapshots.
fn prepare(fleet: &Fleet) {
    let host = fleet.host("first", 2);
    fleet.world.set(&host, "set", EncryptionType::CustomerKey);
    for (n, (name, set)) in [("a", Some("set")), ("b", None)].into_iter().enumerate() {
        host.create_disk(&new_disk(name, set)).unwrap();
        let open = host.open_disk(name).unwrap();
        open.write_at(0, &text(n as u8)).unwrap();
        for snapshot in 0..3 {
            host.create_snapshot(&snapshot_of(name, &format!("{name}{snapshot}"), true), &still).unwrap();
            open.write_at(16384, &[snapshot; 4096]).unwrap();
        }
    }
}

/// What every resource holds.
fn check_data(host: &DiskService) {
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        match host.open_disk(name) {
            Ok(open) => {
                let mut found = vec![0; 8192];
                open.read_at(0, &mut found).unwrap();
                assert!(found == text(n as u8), "{name}");
            }
            Err(Error::NoSuchResource(_)) => {}
            Err(e) => panic!("{name}: {e:?}"),
        }
        for snapshot in 0..3_u8 {
            let name = ResourceName::snapshot(format!("{name}{snapshot}"));
            if host.resource(&name).is_err() {
                continue;
            }
            host.create_disk_from(&name, &copy_to("check", None), &still).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let mut found = vec![0; 20480];
            host.open_disk("check").unwrap().read_at(0, &mut found).unwrap();
            host.delete(&ResourceName::disk("check")).unwrap();
            assert!(found[..8192] == text(n as u8), "{name}");
            if let Some(last) = snapshot.checked_sub(1) {
                assert!(found[16384..] == [last; 4096], "{name}");
            }
        }
    }
}

/// Has a host die in `act` at each call of the store. `ready` makes what it needs.
fn dies_in(ready: fn(&Fleet), act: impl Fn(&DiskService) -> Result<()>) {
    let every = std::env::var_os(EVERY).is_some();
    let (mut died, mut calls) = (0, 0);
    loop {
        let fleet = Fleet::new();
        prepare(&fleet);
        ready(&fleet);
        let (host, other) = (fleet.host("dies", 0), fleet.host("lives", 9));
        let before = told(&other);
        host.calls.store(calls, Ordering::SeqCst);
        let done = act(&host);
        host.die();
        other.maintain();
        other.live(2 * LEASE);
        let what = || format!("after {calls} calls, {done:?}");
        assert_eq!(other.orphans("north").unwrap(), [""; 0], "{}", what());
        let kinds = [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image];
        let known: usize = kinds.into_iter().map(|kind| other.names(kind).unwrap().len()).sum();
        assert_eq!(fleet.devices().len(), known, "{}", what());
        let after = told(&other);
        check_data(&other);
        if done.is_err() {
            died += 1;
            // Done already, or not at all.
            let again = act(&other);
            if after == before {
                again.unwrap_or_else(|e| panic!("{}: again: {e:?}", what()));
            }
        }
        for (_, rotated) in other.auto_rotate(&quiet).unwrap() {
            rotated.unwrap_or_else(|e| panic!("{}: {e:?}", what()));
        }
        for disk in other.reencrypting().unwrap() {
            while !other.reencrypt_step(&disk, 1 << 20).unwrap().is_finished() {}
        }
        check_data(&other);
        let set = other.encryption_set("set").unwrap();
        assert!(set.previous_keys.is_empty() && set.auto_key_rotation_error.is_none(), "{}: {set:?}", what());
        let check = other.check().unwrap();
        assert!(check.is_sound(), "{}: {check:?}", what());
        drop(other);
        // Nothing is left of any host; that it had a device open is left until somebody opens that.
        let left: Vec<String> = ["host/", "orphan/"].into_iter().flat_map(|prefix| fleet.keys(prefix)).collect();
        assert_eq!(left, [""; 0], "{}", what());
        let ids = fleet.keys("id/");
        let open = fleet.keys("attachment/");
        assert!(open.iter().all(|key| ids.contains(&key.replace("attachment/", "id/"))), "{}: {open:?}", what());
        if done.is_ok() {
            break;
        }
        // Each of the first, and then fewer and fewer of them.
        calls += if every { 1 } else { 1 + calls / 6 };
    }
    assert!(died > 3, "{died}");
}

fn nothing(_: &Fleet) {}

#[test]
fn while_it_makes_a_disk() {
    dies_in(nothing, |host| host.create_disk(&new_disk("new", Some("set"))).map(drop));
}

#[test]
fn while_it_copies_a_disk() {
    dies_in(nothing, |host| {
        host.create_disk_from(&ResourceName::disk("a"), &copy_to("new", Some("set")), &still).map(drop)
    });
}

#[test]
fn while_it_makes_a_snapshot() {
    dies_in(nothing, |host| host.create_snapshot(&snapshot_of("a", "new", false), &still).map(drop));
}

#[test]
fn while_it_makes_an_incremental_snapshot() {
    dies_in(nothing, |host| host.create_snapshot(&snapshot_of("a", "new", true), &still).map(drop));
}

#[test]
fn while_it_makes_an_image() {
    dies_in(nothing, |host| {
        let image = NewImage::new("i").disk("a").disk("b").region("north", [Some("set"), None]);
        host.create_image(&image, &still).map(drop)
    });
}

#[test]
fn while_it_removes_an_image() {
    let image = |fleet: &Fleet| {
        let image = NewImage::new("i").disk("a").disk("b").region("north", [Some("set"), None]);
        fleet.host("second", 0).create_image(&image, &still).unwrap();
    };
    dies_in(image, |host| host.delete_image("i"));
}

#[test]
fn while_it_removes_a_disk() {
    dies_in(nothing, |host| host.delete(&ResourceName::disk("b")));
}

#[test]
fn while_it_removes_a_snapshot_in_the_middle() {
    dies_in(nothing, |host| host.delete(&ResourceName::snapshot("a1")));
}

#[test]
fn while_it_puts_a_disk_into_a_set() {
    dies_in(nothing, |host| host.put_into_set(&ResourceName::disk("b"), "set").map(drop));
}

#[test]
fn while_it_rotates_a_set() {
    let rotated = |fleet: &Fleet| drop(fleet.world.customer(VAULT).rotate());
    dies_in(rotated, |host| host.rotate_set("set", &quiet).map(drop));
}

#[test]
fn while_it_gives_a_disk_a_new_dek() {
    dies_in(nothing, |host| {
        if let Err(e) = host.rekey_disk("a") {
            // It goes on where it was.
            if !host.reencrypting()?.contains(&"a".to_owned()) {
                return Err(e);
            }
        }
        while !host.reencrypt_step("a", 1 << 20)?.is_finished() {}
        Ok(())
    });
}

#[test]
fn while_it_removes_a_set() {
    let set = |fleet: &Fleet| {
        drop(fleet.host("second", 0).create_set(&new_set("empty", EncryptionType::CustomerKey)).unwrap())
    };
    dies_in(set, |host| host.delete_set("empty"));
}

#[test]
fn while_it_makes_a_disk_larger() {
    dies_in(nothing, |host| host.resize_disk("b", 128 << 10).map(drop));
}

#[test]
fn while_it_hands_a_disk_over() {
    dies_in(nothing, |host| {
        let open = host.open_disk("a")?;
        open.write_at(0, &text(0))?;
        match host.hand_over("a", "lives") {
            // The second time it is that host itself.
            Err(Error::NoSuchResource(_)) => Ok(()),
            done => done,
        }
    });
}
