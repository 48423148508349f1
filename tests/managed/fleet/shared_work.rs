//! Work that hosts share, when one of them stands still, the store fails, or a record is not what it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atrest::managed::store::{Action, Change, Store};
use atrest::managed::{NewImage, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error};

use super::world::{Fleet, Host, LEASE};
use crate::common::world::{VAULT, copy_to, new_disk, new_set, quiet, snapshot_of, still};

fn both_live(hosts: &[&Host], quarters: usize) {
    for _ in 0..quarters {
        hosts.iter().for_each(|host| host.live(LEASE / 4));
    }
}

/// The set says that all is under its key, and it isn't.
#[test]
fn a_rotation_to_an_older_version_moves_nothing_back() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..60).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    let (newer, ended, turn) = (AtomicBool::new(false), AtomicBool::new(false), std::sync::Mutex::new(()));
    let progress = |now: RotationProgress| {
        let _turn = turn.lock().unwrap();
        if !newer.swap(true, Ordering::SeqCst) {
            customer.rotate();
        }
        for _ in 0..if now.done < 60 { 1 } else { 50 } {
            if !ended.load(Ordering::SeqCst) {
                ended.fetch_or(other.rotate_set("set", &quiet).is_ok(), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
        }
    };
    let first = one.rotate_set("set", &progress);
    if !ended.load(Ordering::SeqCst) {
        other.rotate_set("set", &quiet).unwrap();
    }
    let set = other.encryption_set("set").unwrap();
    println!("the first: {first:?}; active {:?} previous {:?}", set.active_key, set.previous_keys);
    assert!(set.previous_keys.is_empty() && set.active_key == customer.key(3));
    // Nothing is under them any more, as the set says.
    customer.off.lock().unwrap().extend([1, 2]);
    let lost: Vec<_> = (0..60).filter_map(|n| other.open_disk(&format!("d{n}")).err()).collect();
    assert!(lost.is_empty(), "{} disks can't be opened by the key of the set: {:?}", lost.len(), lost[0]);
}

/// A host that stood still puts an older version back.
#[test]
fn a_set_never_goes_back_to_an_older_version() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let customer = fleet.world.customer(VAULT).clone();
    customer.rotate();
    let (there, vault) = (other.clone(), customer.clone());
    let act = move || {
        vault.rotate();
        there.rotate_set("set", &quiet).unwrap();
    };
    *one.hooks.before.lock().unwrap() = Some(("set/".into(), Box::new(act)));
    let first = one.rotate_set("set", &quiet);
    let set = other.encryption_set("set").unwrap();
    assert_eq!(set.active_key, customer.key(3), "{first:?}");
}

/// One record that can't be read stops the whole fleet.
#[test]
fn a_record_of_a_host_that_cant_be_read_stops_no_other_host() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    one.create_disk(&new_disk("d", None)).unwrap();
    drop(one);
    let lost = fleet.host("lost", 0);
    let _open = lost.open_disk("d").unwrap();
    let put =
        Change { key: "host/later".into(), expected: None, action: Action::Put(b"\x03of a later release".to_vec()) };
    fleet.store.commit(&[put]).unwrap();
    let other = fleet.try_host("other", 0).unwrap();
    other.maintain();
    other.live(2 * LEASE);
    other.open_disk("d").unwrap();
}

/// `docs/fleet.md` says that the host which has a disk open moves it with its own `auto_rotate`.
#[test]
fn a_rotation_that_was_ordered_is_ended_by_the_host_that_has_a_disk_open() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.set_auto_rotation("set", false).unwrap();
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let _open = other.open_disk("d").unwrap();
    fleet.world.customer(VAULT).rotate();
    assert!(matches!(one.rotate_set("set", &quiet), Err(Error::Busy { .. })));
    both_live(&[&one, &other], 80);
    let rotated = other.auto_rotate(&quiet).unwrap();
    let left = one.encryption_set("set").unwrap().previous_keys;
    assert!(left.is_empty(), "{rotated:?} {left:?}");
}

/// A place in a chain that another host, or an attacker, wrote.
#[test]
fn the_last_place_of_a_chain_is_an_error_and_no_panic() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    one.create_disk(&new_disk("d", None)).unwrap();
    one.create_snapshot(&snapshot_of("d", "s", true), &still).unwrap();
    let id = one.resource(&ResourceName::disk("d")).unwrap().id;
    let key = format!("increment/{id}/{:020}", u64::MAX);
    fleet.store.commit(&[sealed(&key, br#""s""#)]).unwrap();
    let done = one.create_snapshot(&snapshot_of("d", "t", true), &still);
    assert!(done.is_err());
}

/// A rotation of the platform's key ends that of another host.
#[test]
fn a_rotation_of_the_platforms_key_ends_no_other() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    fleet.world.platform.rotate();
    let began = AtomicBool::new(false);
    let progress = |_: RotationProgress| {
        if !began.swap(true, Ordering::SeqCst) {
            fleet.world.platform.rotate();
            *other.hooks.cut_after.lock().unwrap() = Some("platform".into());
            assert!(other.rotate_platform(&quiet).is_err());
        }
    };
    let first = one.rotate_platform(&progress);
    let report = one.report_platform().unwrap();
    let proven = one.resource(&ResourceName::disk("d")).unwrap().proven.unwrap().key;
    let keys = report.keys.unwrap();
    assert!(
        keys.active_key == proven || keys.previous_keys.contains(&proven),
        "{first:?} {keys:?}, and the disk is under {proven}"
    );
}

/// What joins while the resources are looked through.
#[test]
fn what_comes_under_an_old_key_of_the_platform_while_a_rotation_ends_is_seen() {
    let fleet = Arc::new(Fleet::new());
    let (one, other) = (Arc::new(fleet.host("one", 0)), Arc::new(fleet.host("other", 0)));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("p", None)).unwrap();
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (told, copying) = std::sync::mpsc::channel::<()>();
    let there = other.clone();
    let copier = thread::spawn(move || {
        let waited = AtomicBool::new(false);
        let progress = |_| {
            if !waited.swap(true, Ordering::SeqCst) {
                told.send(()).unwrap();
                wait.recv().unwrap();
            }
        };
        there.create_disk_from(&ResourceName::disk("d"), &copy_to("c", None), &progress)
    });
    copying.recv().unwrap();
    fleet.world.platform.rotate();
    let copier = std::sync::Mutex::new(Some((go, copier)));
    let progress = |_: RotationProgress| {
        let Some((go, copier)) = copier.lock().unwrap().take() else { return };
        let act = move || {
            go.send(()).unwrap();
            copier.join().unwrap().unwrap();
        };
        *one.hooks.before.lock().unwrap() = Some(("platform".into(), Box::new(act)));
    };
    let first = one.rotate_platform(&progress);
    let keys = one.report_platform().unwrap().keys.unwrap();
    let proven = one.resource(&ResourceName::disk("c")).unwrap().proven.unwrap().key;
    assert!(
        keys.active_key == proven || keys.previous_keys.contains(&proven),
        "{first:?} {keys:?}, and the copy is under {proven}"
    );
}

/// A record that was made, and removed by another host, is made again by the second try of its commit.
#[test]
fn a_commit_whose_answer_was_lost_doesnt_happen_twice() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)));
    // The answer is lost, and before the next try another host removes what was made.
    let (there, hooks) = (other.clone(), one.hooks.clone());
    *one.hooks.lose.lock().unwrap() = Some("set/".into());
    let first = move || {
        let removes = move || there.delete_set("s").unwrap();
        *hooks.before.lock().unwrap() = Some(("set/".into(), Box::new(removes)));
    };
    *one.hooks.before.lock().unwrap() = Some(("set/".into(), Box::new(first)));
    let made = one.create_set(&new_set("s", EncryptionType::CustomerKey)).map(drop);
    assert!(other.encryption_set("s").is_err(), "it was removed, and is there again: {made:?}");
}

/// After an outage of many hosts, the disks of one batch were open on more lost hosts than a commit has records.
#[test]
fn the_disks_of_many_lost_hosts_are_rotated() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    let mut open = Vec::new();
    for n in 0..40 {
        let name = format!("d{n}");
        one.create_disk(&new_disk(&name, Some("set"))).unwrap();
        let host = fleet.host(&format!("h{n}"), 0);
        open.push(host.open_disk(&name).unwrap());
        host.die();
    }
    drop(open);
    one.maintain();
    one.live(2 * LEASE);
    fleet.world.customer(VAULT).rotate();
    let rotated = one.rotate_set("set", &quiet);
    assert!(rotated.is_ok(), "{rotated:?}");
}

/// A record in its envelope, as whoever may write the store can make one.
pub fn sealed(key: &str, json: &[u8]) -> Change {
    use sha2::Digest;
    let head = [&[2_u8, 1][..], &[7; 32]].concat();
    let hash = sha2::Sha256::new().chain_update(&head).chain_update((key.len() as u64).to_le_bytes());
    let value = [&head[..], &hash.chain_update(key).chain_update(json).finalize(), json].concat();
    Change { key: key.into(), expected: None, action: Action::Put(value) }
}

/// Two records that name one device.
#[test]
fn two_disks_with_one_device_hang_no_rotation() {
    let fleet = Fleet::new();
    let one = Arc::new(fleet.host("one", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..4).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    let json = one.resource(&ResourceName::disk("d0")).unwrap().to_json().replace("\"d0\"", "\"d00\"");
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let json = serde_json::to_vec(&value).unwrap();
    fleet.store.commit(&[sealed("resource/disk/d00", &json), sealed("member/set/disk/d00", b"false")]).unwrap();
    fleet.world.customer(VAULT).rotate();
    let (done, ended) = std::sync::mpsc::channel();
    let host = one.clone();
    thread::spawn(move || done.send(host.rotate_set("set", &quiet).map(drop)));
    let ended = ended.recv_timeout(Duration::from_secs(60));
    assert!(ended.is_ok(), "it hangs");
}

/// A host that stood still stops the rotation of all others.
#[test]
fn a_host_that_stood_still_notes_no_error_of_a_rotation() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    let mut open = Vec::new();
    for n in 0..8 {
        one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap();
        open.push(one.open_disk(&format!("d{n}")).unwrap());
    }
    fleet.world.customer(VAULT).rotate();
    let progress = |_: RotationProgress| one.clock.advance(2 * LEASE);
    let stood = one.rotate_set("set", &progress).map(drop);
    let noted = other.encryption_set("set").unwrap().auto_key_rotation_error;
    assert!(noted.is_none(), "{stood:?} {noted:?}");
}

/// The same if its lease holds again when the rotation ends.
#[test]
fn a_host_that_stood_still_for_a_while_notes_no_error_of_a_rotation() {
    let fleet = Fleet::new();
    let (one, other) = (Arc::new(fleet.host("one", 0)), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    let mut open = Vec::new();
    for n in 0..8 {
        one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap();
        open.push(one.open_disk(&format!("d{n}")).unwrap());
    }
    fleet.world.customer(VAULT).rotate();
    let stood = AtomicBool::new(false);
    let progress = |_: RotationProgress| {
        if !stood.swap(true, Ordering::SeqCst) {
            one.clock.advance(2 * LEASE);
            let there = one.clone();
            let renew = move || there.renew_host_lease().unwrap();
            *one.hooks.before.lock().unwrap() = Some(("resource/".into(), Box::new(renew)));
        }
    };
    let done = one.rotate_set("set", &progress).map(drop);
    assert!(matches!(done, Err(Error::Io { .. })), "{done:?}");
    let noted = other.encryption_set("set").unwrap().auto_key_rotation_error;
    assert!(noted.is_none(), "{done:?} {noted:?}");
    one.rotate_set("set", &quiet).unwrap();
}

/// The store is away for a moment in a rotation.
#[test]
fn a_store_that_is_away_for_a_moment_stops_no_rotation_for_good() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..40).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    fleet.world.customer(VAULT).rotate();
    *one.hooks.fails.lock().unwrap() = Some(("attachment/".into(), 9));
    let first = one.rotate_set("set", &quiet).map(drop);
    let again = one.auto_rotate(&quiet).unwrap();
    let set = one.encryption_set("set").unwrap();
    assert!(set.auto_key_rotation_error.is_none(), "{first:?} {again:?} {:?}", set.auto_key_rotation_error);
}

/// An image leaves nothing in the store, nor does a host that was closed.
#[test]
fn an_image_and_a_host_that_are_gone_leave_no_record() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    one.create_disk(&new_disk("d", None)).unwrap();
    let image = NewImage::new("i").disk("d").region("north", [None]).region("south", [None]);
    for _ in 0..2 {
        one.create_image(&image, &still).unwrap();
        assert_eq!(fleet.keys("image/"), ["image/i"]);
        assert!(matches!(one.create_image(&image, &still), Err(Error::ResourceExists(_))));
        one.delete_image("i").unwrap();
        assert_eq!((fleet.keys("image/"), fleet.keys("orphan/")), (vec![], vec![]));
    }
    assert_eq!((fleet.keys("host/").len(), fleet.keys("mark/").len()), (1, 1));
    drop(one);
    assert_eq!((fleet.keys("host/"), fleet.keys("mark/")), (vec![], vec![]));
}
