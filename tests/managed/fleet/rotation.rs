//! The rotation of many disks by several hosts, and what it costs the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use atrest::key::KeyId;
use atrest::managed::{NewSet, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error};

use super::world::{Fleet, Host, LEASE};
use crate::common::world::{OTHER_VAULT, VAULT, counts, new_disk, quiet};

fn disks(fleet: &Fleet, count: usize) {
    let host = fleet.host("maker", 0);
    fleet.world.set(&host, "set", EncryptionType::CustomerKey);
    (0..count).for_each(|n| drop(host.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
}

#[test]
fn a_rotation_takes_at_most_three_operations_of_the_store_for_a_disk() {
    let fleet = Fleet::new();
    let count = 200;
    disks(&fleet, count);
    let host = fleet.host("one", 0);
    fleet.world.customer(VAULT).rotate();
    let before = host.asked();
    assert_eq!(host.rotate_set("set", &quiet).unwrap().rewrapped, count);
    let operations = host.asked() - before;
    println!("{operations} operations for {count} disks");
    assert!(operations <= 3 * count, "{operations} for {count} disks");
    // What is done costs less: headers are looked at in batches, and by itself no host looks at them.
    let before = host.asked();
    assert_eq!(host.rotate_set("set", &quiet).unwrap().rewrapped, 0);
    assert!(host.asked() - before < count / 2, "{}", host.asked() - before);
    let before = host.asked();
    assert!(host.auto_rotate(&quiet).unwrap().is_empty());
    assert!(host.asked() - before < count / 20, "{}", host.asked() - before);
}

/// Each disk is moved once, by one of them, and all hosts tell the same.
#[test]
fn hosts_share_a_rotation() {
    let fleet = Fleet::new();
    let count = 120;
    disks(&fleet, count);
    let hosts = [fleet.host("one", 0), fleet.host("two", 4), fleet.host("three", 8)];
    let customer = fleet.world.customer(VAULT);
    let key = customer.rotate();
    customer.takes.store(300, Ordering::Relaxed);
    let moved = Mutex::new(Vec::new());
    let wraps = customer.wraps.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for host in &hosts {
            let (moved, key) = (&moved, &key);
            scope.spawn(move || {
                let progress = |now: RotationProgress| {
                    assert!(now.done <= now.total && now.total == count, "{now:?}");
                    // What anybody tells is so.
                    let told = host.rotation_progress("set").unwrap();
                    assert!(told.total == count && told.done <= count, "{told:?}");
                    let set = host.encryption_set("set").unwrap();
                    assert_eq!((&set.active_key, set.auto_key_rotation_error), (key, None));
                };
                match host.rotate_set("set", &progress) {
                    Ok(rotation) => moved.lock().unwrap().push(rotation.rewrapped),
                    // Another one has the last of them.
                    Err(Error::Busy { .. }) => {}
                    Err(e) => panic!("{e:?}"),
                }
            });
        }
    });
    customer.takes.store(0, Ordering::Relaxed);
    let again = hosts[0].rotate_set("set", &quiet).unwrap().rewrapped;
    assert_eq!(again, 0);
    // And a trial for each rotation.
    let wraps = customer.wraps.load(Ordering::Relaxed) - wraps;
    assert!((count..=count + 4).contains(&wraps), "{wraps}");
    for host in &hosts {
        assert_eq!(counts(host.rotation_progress("set").unwrap()), (count, count));
        let set = host.encryption_set("set").unwrap();
        assert!(set.previous_keys.is_empty() && set.last_key_rotation_timestamp.is_some());
    }
}

/// A host dies with a batch, after it moved a part of it.
#[test]
fn the_batch_of_a_lost_host_is_taken_by_another() {
    let fleet = Fleet::new();
    disks(&fleet, 40);
    let (dies, other) = (fleet.host("dies", 0), fleet.host("lives", 3));
    let key = fleet.world.customer(VAULT).rotate();
    let begun = Mutex::new(0);
    let stop = |_: RotationProgress| {
        let mut begun = begun.lock().unwrap();
        *begun += 1;
        if *begun == 9 {
            dies.calls.store(0, Ordering::SeqCst);
            dies.dead.store(true, Ordering::SeqCst);
        }
    };
    assert!(dies.rotate_set("set", &stop).is_err());
    dies.die();
    match other.rotate_set("set", &quiet) {
        Err(e @ Error::Busy { .. }) => assert!(format!("{e}").contains("another host"), "{e}"),
        done => panic!("{done:?}"),
    }
    let progress = other.rotation_progress("set").unwrap();
    assert!(progress.done < 40 && progress.total == 40, "{progress:?}");
    other.maintain();
    other.live(2 * LEASE);
    let rotated = other.auto_rotate(&quiet).unwrap();
    assert!(matches!(&rotated[..], [(_, Ok(_))]), "{rotated:?}");
    assert_eq!(other.rotation_progress("set").unwrap().done, 40);
    for n in 0..40 {
        let name = format!("d{n}");
        assert_eq!(other.resource(&ResourceName::disk(&name)).unwrap().proven.unwrap().key, key);
        other.open_disk(&name).unwrap().write_at(0, &[1; 4096]).unwrap();
    }
}

/// A set whose key is in another vault.
fn another_set(fleet: &Fleet, host: &Host) {
    let key = KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    let set =
        host.create_set(&NewSet::new("other", key).region("north").subscription("one").tenant("contoso")).unwrap();
    fleet.world.customer(OTHER_VAULT).granted.lock().unwrap().push(set.identity);
}

const NAMES: [&str; 4] = ["d0", "d1", "d2", "d3"];

/// Puts all disks into another set when the first of them is told of as moved. The second one of its batch was attached before, and
/// its turn comes then.
fn put_meanwhile(host: &Host, rotate: impl FnOnce(&(dyn Fn(RotationProgress) + Sync)) -> Result<(), Error>) {
    let (put, turn) = (AtomicBool::new(false), Mutex::new(()));
    let rotated = rotate(&|_| {
        let _turn = turn.lock().unwrap();
        if !put.swap(true, Ordering::SeqCst) {
            NAMES.iter().for_each(|name| drop(host.put_into_set(&ResourceName::disk(*name), "other").unwrap()));
        }
    });
    assert!(matches!(rotated, Ok(()) | Err(Error::Busy { .. })), "{rotated:?}");
}

/// What was read of a disk when its batch was attached isn't so any more when its turn comes: another thread of this host
/// has moved it. One that is open has its DEK at hand, and needs no vault to be put under the wrong key.
#[test]
fn a_disk_that_is_put_into_another_set_during_a_rotation_stays_under_that_sets_key() {
    for is_open in [true, false] {
        let fleet = Fleet::new();
        disks(&fleet, 4);
        let host = fleet.host("one", 0);
        let open = NAMES.map(|name| is_open.then(|| host.open_disk(name).unwrap()));
        another_set(&fleet, &host);
        let customer = fleet.world.customer(VAULT);
        customer.rotate();
        put_meanwhile(&host, |progress| host.rotate_set("set", progress).map(drop));
        host.rotate_set("set", &quiet).unwrap();
        drop((open, host));
        // The key of the set that they left isn't needed any more.
        customer.off.lock().unwrap().extend([1, 2]);
        let other = fleet.host("other", 0);
        for name in NAMES {
            assert_eq!(other.resource(&ResourceName::disk(name)).unwrap().set.as_deref(), Some("other"));
            other.open_disk(name).unwrap().write_at(0, &[1; 4096]).unwrap();
        }
    }
}

#[test]
fn a_disk_that_is_put_into_a_set_during_a_rotation_of_the_platforms_key_needs_that_sets_key() {
    for is_open in [true, false] {
        let fleet = Fleet::new();
        let host = fleet.host("one", 0);
        NAMES.iter().for_each(|name| drop(host.create_disk(&new_disk(name, None)).unwrap()));
        let open = NAMES.map(|name| is_open.then(|| host.open_disk(name).unwrap()));
        another_set(&fleet, &host);
        fleet.world.platform.rotate();
        put_meanwhile(&host, |progress| host.rotate_platform(progress).map(drop));
        host.rotate_platform(&quiet).unwrap();
        drop((open, host));
        let other = fleet.host("other", 0);
        let disabled = &fleet.world.customer(OTHER_VAULT).disabled;
        disabled.store(true, Ordering::SeqCst);
        NAMES.iter().for_each(|name| assert!(other.open_disk(name).is_err(), "{name}"));
        disabled.store(false, Ordering::SeqCst);
        drop(other);
        let other = fleet.host("third", 0);
        NAMES.iter().for_each(|name| other.open_disk(name).unwrap().write_at(0, &[1; 4096]).unwrap());
    }
}
