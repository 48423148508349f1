//! The parts of a rotation that a host has in the store, when it lives on and doesn't end them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use atrest::managed::RotationProgress;
use atrest::managed::store::Store;
use atrest::{EncryptionType, Error};

use super::shared_work::sealed;
use super::world::{Fleet, Host, LEASE};
use crate::common::world::{VAULT, new_disk, new_set, quiet};

fn two_hosts(fleet: &Fleet, disks: usize) -> [Host; 2] {
    let hosts = [fleet.host("one", 0), fleet.host("other", 3)];
    fleet.world.set(&hosts[0], "set", EncryptionType::CustomerKey);
    (0..disks).for_each(|n| drop(hosts[0].create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    fleet.world.customer(VAULT).rotate();
    hosts
}

/// The store was away for `one` in its rotation, which it doesn't repeat. It lives, and does what a host does each minute.
fn the_other_ends_it(fleet: &Fleet, [one, other]: &[Host; 2]) {
    one.calls.store(usize::MAX, Ordering::SeqCst);
    one.live(LEASE);
    other.live(LEASE);
    // Neither the part nor a device of it is still held.
    other.rotate_set("set", &quiet).unwrap();
    assert!(other.encryption_set("set").unwrap().previous_keys.is_empty());
    assert_eq!(fleet.keys("part/"), [""; 0]);
}

#[test]
fn a_part_that_couldnt_be_given_back_is_later() {
    let fleet = Fleet::new();
    let hosts = two_hosts(&fleet, 6);
    let away = |_: RotationProgress| hosts[0].calls.store(0, Ordering::SeqCst);
    assert!(matches!(hosts[0].rotate_set("set", &away), Err(Error::Io { .. })));
    the_other_ends_it(&fleet, &hosts);
}

/// The store gave a part out, and the host doesn't know it.
#[test]
fn a_part_whose_answer_was_lost_is_given_back() {
    let fleet = Fleet::new();
    let hosts = two_hosts(&fleet, 6);
    *hosts[0].hooks.cut_after.lock().unwrap() = Some("part/".into());
    assert!(matches!(hosts[0].rotate_set("set", &quiet), Err(Error::Io { .. })));
    the_other_ends_it(&fleet, &hosts);
}

/// The same for the end: before its record, or that of the set, is written, and after it. A small set has no look at all if one host has moved
/// all of it; otherwise there was a disk open on the other host.
#[test]
fn an_end_that_a_host_didnt_come_to_is_another_ones() {
    let part = |number: u64| format!("part/set/{:020}/{number:020}", 0);
    let (first, last) = (part(0), part(u64::MAX));
    let cases: [(&str, bool, bool, &[&String]); 5] = [
        (&last, false, true, &[&last]),
        ("set/", true, true, &[&last]),
        ("set/", false, true, &[]),
        ("set/", true, false, &[&first]),
        ("set/", false, false, &[]),
    ];
    for (at, before, was_open, left) in cases {
        let fleet = Fleet::new();
        let hosts = two_hosts(&fleet, 6);
        let cut = || {
            let hooks = &hosts[0].hooks;
            *if before { &hooks.cut_before } else { &hooks.cut_after }.lock().unwrap() = Some(at.into());
        };
        if was_open {
            let open = hosts[1].open_disk("d0").unwrap();
            assert!(matches!(hosts[0].rotate_set("set", &quiet), Err(Error::Busy { .. })));
            drop(open);
            cut();
        }
        // The set's record is first written as the rotation begins.
        let rotated = hosts[0].rotate_set("set", &|_| cut());
        assert!(matches!(rotated, Err(Error::Io { .. })), "{at} {before} {was_open}: {rotated:?}");
        assert_eq!(fleet.keys("part/").iter().collect::<Vec<_>>(), left, "{at} {before} {was_open}");
        the_other_ends_it(&fleet, &hosts);
    }
}

/// Who follows the progress panics.
#[test]
fn a_rotation_that_panics_gives_its_part_back() {
    let fleet = Fleet::new();
    let [one, other] = two_hosts(&fleet, 6);
    let panics = |_: RotationProgress| panic!("this is for the test");
    assert!(catch_unwind(AssertUnwindSafe(|| one.rotate_set("set", &panics))).is_err());
    other.rotate_set("set", &quiet).unwrap();
    assert_eq!(fleet.keys("part/"), [""; 0]);
    one.rotate_set("set", &quiet).unwrap();
}

/// A host that comes late looks for a part that it can take over, and all are in work.
#[test]
fn a_host_finds_out_who_has_many_parts_by_few_operations() {
    let fleet = Fleet::new();
    let [one, other] = two_hosts(&fleet, 2);
    let open = other.open_disk("d0").unwrap();
    assert!(matches!(one.rotate_set("set", &quiet), Err(Error::Busy { .. })));
    let asked = || {
        let before = one.asked();
        let told = one.rotate_set("set", &quiet).unwrap_err();
        (one.asked() - before, told.to_string())
    };
    let plant = |parts: std::ops::Range<u64>, run: &str| {
        for number in parts {
            let json =
                format!(r#"{{"from":null,"until":"member/set/disk/a","holder":{{"run":"{run}","host":"third"}}}}"#);
            fleet.store.commit(&[sealed(&format!("part/set/{:020}/{number:020}", 0), json.as_bytes())]).unwrap();
        }
    };
    let before = fleet.keys("host/");
    let third = fleet.host("third", 5);
    let run = fleet.keys("host/").into_iter().find(|key| !before.contains(key)).unwrap();
    plant(1..2, &run["host/".len()..]);
    let (few, told) = asked();
    assert!(told.contains("third"), "{told}");
    plant(2..100, &run["host/".len()..]);
    let (many, told) = asked();
    assert!(told.contains("third"), "{told}");
    assert_eq!(many, few, "for 99 parts, and for one");
    // Those of a host that isn't there any more are taken, one after the other.
    plant(100..103, "gone");
    let (all, _) = asked();
    assert!(all <= many + 3 * 10, "{all} {many}");
    assert_eq!(fleet.keys("part/").len(), 99);
    drop((third, open));
}

/// What is open here of other sets has nothing to do with a rotation, and isn't read for it.
#[test]
fn the_open_disks_of_other_sets_cost_a_rotation_nothing() {
    let fleet = Fleet::new();
    let [one, _other] = two_hosts(&fleet, 70);
    let key = fleet.world.customer(VAULT).key(1);
    for name in ["first", "second"] {
        let set = one.create_set(&new_set(name, EncryptionType::CustomerKey).key(key.clone())).unwrap();
        fleet.world.customer(VAULT).granted.lock().unwrap().push(set.identity);
        one.create_disk(&new_disk(name, Some(name))).unwrap();
    }
    let asked = |set: &str| {
        let before = one.asked();
        assert_eq!(one.rotate_set(set, &quiet).unwrap().rewrapped, 1);
        one.asked() - before
    };
    let without = asked("first");
    let open: Vec<_> = (0..70).map(|n| one.open_disk(&format!("d{n}")).unwrap()).collect();
    assert_eq!(asked("second"), without);
    // Those of the set are moved, wherever their key is from.
    assert_eq!(one.rotate_set("set", &quiet).unwrap().rewrapped, 70);
    drop(open);
}
