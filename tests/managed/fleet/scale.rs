//! Rotations by many hosts at once: they divide the disks, and what that costs the store doesn't grow with the hosts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use atrest::managed::store::Store;
use atrest::managed::{OpenDisk, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error};

use super::shared_work::sealed;
use super::world::{Fleet, Host, LEASE};
use crate::common::world::{VAULT, counts, new_disk, quiet};

const HOSTS: usize = 50;

fn hosts(fleet: &Fleet) -> Vec<Host> {
    (0..HOSTS).map(|n| fleet.host(&format!("host-{n}"), n as u64)).collect()
}

/// What all hosts asked of the store since.
fn asked(hosts: &[Host], before: usize) -> usize {
    hosts.iter().map(Host::asked).sum::<usize>() - before
}

/// All hosts rotate at once. Returns how many were moved.
fn all_at_once(hosts: &[Host], rotate: impl Fn(&Host) -> Result<usize, Error> + Sync) -> usize {
    let moved = AtomicUsize::new(0);
    thread::scope(|scope| {
        for host in hosts {
            let (moved, rotate) = (&moved, &rotate);
            scope.spawn(move || match rotate(host) {
                Ok(count) => drop(moved.fetch_add(count, Ordering::Relaxed) as u64),
                // The others have the rest.
                Err(Error::Busy { .. }) => {}
                Err(e) => panic!("{e:?}"),
            });
        }
    });
    moved.into_inner()
}

/// Fifty hosts, of which each has some of the disks open, as in a fleet that is in use; the others are closed.
#[test]
fn fifty_hosts_rotate_a_set_with_at_most_three_operations_of_the_store_for_a_disk() {
    let (fleet, count) = (Fleet::new(), 800);
    let maker = fleet.host("maker", 0);
    fleet.world.set(&maker, "set", EncryptionType::CustomerKey);
    (0..count).for_each(|n| drop(maker.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    drop(maker);
    let hosts = hosts(&fleet);
    let open: Vec<OpenDisk> =
        (0..count / 4).map(|n| hosts[n % HOSTS].open_disk(&format!("d{}", 3 * n)).unwrap()).collect();
    let key = fleet.world.customer(VAULT).rotate();
    let before = asked(&hosts, 0);
    let wraps = fleet.world.customer(VAULT).wraps.load(Ordering::Relaxed);
    let moved = all_at_once(&hosts, |host| host.rotate_set("set", &quiet).map(|rotation| rotation.rewrapped));
    let first = asked(&hosts, before);
    // What is left is left to nobody in particular: the last of them ended it, or anybody does it now.
    hosts.iter().rev().find_map(|host| host.rotate_set("set", &quiet).ok()).expect("one of them ends it");
    let all = asked(&hosts, before);
    println!("{count} disks, {HOSTS} hosts: {first} operations, {all} with those that ended it; {moved} told as moved");
    assert!(all <= 3 * count, "{all} operations for {count} disks");
    // Each was wrapped once; and the key was tried out by those that were there first.
    let wraps = fleet.world.customer(VAULT).wraps.load(Ordering::Relaxed) - wraps;
    assert!((count..=count + HOSTS).contains(&wraps), "{wraps}");
    let set = hosts[7].encryption_set("set").unwrap();
    assert!(set.active_key == key && set.previous_keys.is_empty(), "{set:?}");
    assert_eq!(counts(hosts[9].rotation_progress("set").unwrap()), (count, count));
    // Nothing of the division is left.
    assert_eq!(fleet.keys("part/"), [""; 0]);
    drop(open);
}

#[test]
fn fifty_hosts_rotate_the_platforms_key_as_a_set() {
    let (fleet, count) = (Fleet::new(), 600);
    let maker = fleet.host("maker", 0);
    (0..count).for_each(|n| drop(maker.create_disk(&new_disk(&format!("d{n}"), None)).unwrap()));
    drop(maker);
    let hosts = hosts(&fleet);
    let open: Vec<OpenDisk> =
        (0..count / 4).map(|n| hosts[n % HOSTS].open_disk(&format!("d{}", 3 * n)).unwrap()).collect();
    fleet.world.platform.rotate();
    let before = asked(&hosts, 0);
    all_at_once(&hosts, |host| host.rotate_platform(&quiet).map(|rotation| rotation.rewrapped));
    hosts.iter().rev().find_map(|host| host.rotate_platform(&quiet).ok()).expect("one of them ends it");
    let all = asked(&hosts, before);
    println!("{count} disks, {HOSTS} hosts: {all} operations");
    assert!(all <= 3 * count, "{all} operations for {count} disks");
    let report = hosts[3].report_platform().unwrap();
    assert!(report.finished && report.waiting.is_empty(), "{report:?}");
    assert_eq!(counts(report.progress), (count, count));
    drop(open);
}

/// A disk that a host has open all the time costs the others a look at it, and no look at the rest.
#[test]
fn a_disk_that_is_open_elsewhere_makes_nobody_look_at_all_again() {
    let (fleet, count) = (Fleet::new(), 300);
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 3));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..count).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n:03}"), Some("set"))).unwrap()));
    let open = [other.open_disk("d200").unwrap(), other.open_disk("d201").unwrap()];
    fleet.world.customer(VAULT).rotate();
    let told = one.rotate_set("set", &quiet).unwrap_err();
    assert!(told.to_string().contains("d200"), "{told}");
    for _ in 0..3 {
        let before = one.asked();
        assert!(matches!(one.rotate_set("set", &quiet), Err(Error::Busy { .. })));
        // Far fewer than for 300 records.
        let asked = one.asked() - before;
        assert!(asked <= 22, "{asked}");
    }
    assert!(!one.encryption_set("set").unwrap().previous_keys.is_empty());
    // One is closed, and moved by whoever comes; the other one stays where it is open.
    let [first, second] = open;
    drop(first);
    let told = one.rotate_set("set", &quiet).unwrap_err();
    assert!(told.to_string().contains("d201"), "{told}");
    other.rotate_set("set", &quiet).unwrap();
    assert!(one.encryption_set("set").unwrap().previous_keys.is_empty());
    drop(second);
}

/// Many disks were open elsewhere, and are closed again by when all is looked at.
#[test]
fn what_others_left_is_moved_by_many_threads_at_once() {
    let (fleet, count) = (Fleet::new(), 40);
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 3));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..count).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n:02}"), Some("set"))).unwrap()));
    let mut open: Vec<OpenDisk> = (0..count).map(|n| other.open_disk(&format!("d{n:02}")).unwrap()).collect();
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    assert!(matches!(one.rotate_set("set", &quiet), Err(Error::Busy { .. })));
    open.clear();
    let (before, wraps) = (one.asked(), customer.wraps.load(Ordering::Relaxed));
    assert_eq!(one.rotate_set("set", &quiet).unwrap().rewrapped, count);
    assert_eq!(customer.wraps.load(Ordering::Relaxed) - wraps, count);
    // In batches, as if nobody had had them open.
    let asked = one.asked() - before;
    assert!(asked <= count, "{asked} operations for {count} disks");
}

/// One that was left is removed after it was found waiting.
#[test]
fn a_disk_that_is_gone_is_not_told_as_waiting() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 3)));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    (0..2).for_each(|n| drop(one.create_disk(&new_disk(&format!("d{n}"), Some("set"))).unwrap()));
    let [first, second] = ["d0", "d1"].map(|name| other.open_disk(name).unwrap());
    fleet.world.customer(VAULT).rotate();
    let (hooks, again, there) = (one.hooks.clone(), one.hooks.clone(), other.clone());
    let removes = move || {
        drop(second);
        there.delete(&ResourceName::disk("d1")).unwrap();
    };
    // One is closed when all is looked at, and the other removed when the first of them is about to be moved.
    let closes = move || {
        drop(first);
        *again.before.lock().unwrap() = Some(("attachment/".into(), Box::new(removes)));
    };
    assert!(matches!(one.rotate_set("set", &quiet), Err(Error::Busy { .. })));
    let last = format!("part/set/{:020}/{}", 0, u64::MAX);
    *hooks.before.lock().unwrap() = Some((last, Box::new(closes)));
    assert_eq!(one.rotate_set("set", &quiet).unwrap().rewrapped, 1);
    assert!(one.encryption_set("set").unwrap().previous_keys.is_empty());
}

/// A host dies with a part, and another one takes it; a host that failed gives its part back.
#[test]
fn the_part_of_a_host_that_is_lost_or_failed_is_done_by_another() {
    let fleet = Fleet::new();
    let count = 500;
    let (dies, fails, other) = (fleet.host("dies", 0), fleet.host("fails", 2), fleet.host("lives", 3));
    fleet.world.set(&other, "set", EncryptionType::CustomerKey);
    (0..count).for_each(|n| drop(other.create_disk(&new_disk(&format!("d{n:03}"), Some("set"))).unwrap()));
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    let told = Mutex::new(0);
    let stop = |_: RotationProgress| {
        let mut told = told.lock().unwrap();
        *told += 1;
        if *told == 9 {
            dies.calls.store(0, Ordering::SeqCst);
            dies.dead.store(true, Ordering::SeqCst);
        }
    };
    assert!(dies.rotate_set("set", &stop).is_err());
    dies.die();
    let wraps = customer.wraps.load(Ordering::Relaxed);
    customer.fail_wrap_at.store(wraps + 20, Ordering::Relaxed);
    assert!(matches!(fails.rotate_set("set", &quiet), Err(Error::Vault(_))));
    fails.clear_rotation_error("set").unwrap();
    assert_eq!(fleet.keys("part/").len(), 2, "{:?}", fleet.keys("part/"));
    // It takes what was given back, and what nobody has, and waits for the lost one.
    let told = other.rotate_set("set", &quiet).unwrap_err();
    assert!(told.to_string().contains("dies"), "{told}");
    let done = other.rotation_progress("set").unwrap().done;
    assert!((count - 240..count).contains(&done), "{done}");
    other.live(2 * LEASE);
    other.rotate_set("set", &quiet).unwrap();
    assert_eq!(counts(other.rotation_progress("set").unwrap()), (count, count));
    assert!(other.encryption_set("set").unwrap().previous_keys.is_empty());
    assert_eq!(fleet.keys("part/"), [""; 0]);
}

#[test]
fn members_and_reports_come_in_pages_and_sets_one_by_one() {
    let fleet = Fleet::new();
    let host = fleet.host("one", 0);
    for set in ["a", "b", "c"] {
        fleet.world.set(&host, set, EncryptionType::CustomerKey);
        host.set_auto_rotation(set, true).unwrap();
    }
    (0..25).for_each(|n| drop(host.create_disk(&new_disk(&format!("d.{n:02}"), Some("b"))).unwrap()));
    let all: Vec<ResourceName> = (0..25).map(|n| ResourceName::disk(format!("d.{n:02}"))).collect();
    assert_eq!(host.members("b").unwrap(), all);
    for limit in [1, 7, 25, 1000] {
        let (mut found, mut waiting, mut after) = (Vec::new(), 0, None);
        loop {
            let page = host.members_page("b", after.as_ref(), limit).unwrap();
            let report = host.report_set_page("b", after.as_ref(), limit).unwrap();
            assert_eq!((report.members, report.last.as_ref()), (page.len(), page.last()));
            waiting += report.waiting.len();
            after = page.last().cloned().or(after);
            found.extend(page.iter().cloned());
            if page.len() < limit {
                break;
            }
        }
        assert_eq!((found, waiting), (all.clone(), 0));
    }
    for limit in [0, 1001] {
        assert!(matches!(host.members_page("b", None, limit), Err(Error::InvalidOption(_))));
    }
    assert!(matches!(host.members_page("none", None, 10), Err(Error::NoSuchResource(_))));
    fleet.world.customer(VAULT).rotate();
    let mut ended = Vec::new();
    let mut each = |name: &str, rotation: atrest::Result<atrest::managed::Rotation>| {
        ended.push((name.to_owned(), rotation.unwrap().rewrapped));
    };
    host.auto_rotate_each(&quiet, &mut each).unwrap();
    assert_eq!(ended, [("a".into(), 0), ("b".into(), 25), ("c".into(), 0)]);
    assert_eq!(fleet.keys("turn/"), ["turn/a", "turn/b", "turn/c"]);
    host.delete_set("a").unwrap();
    assert_eq!(fleet.keys("turn/"), ["turn/b", "turn/c"]);
}

/// All live for so long, side by side.
fn live_together(hosts: &[&Host], minutes: u64) {
    for _ in 0..minutes * 4 {
        hosts.iter().for_each(|host| host.live(LEASE / 4));
    }
}

/// How many a host has moved. What is busy, others have.
fn auto_rotated(host: &Host) -> Result<usize, Error> {
    let mut moved = 0;
    for (_, rotation) in host.auto_rotate(&quiet)? {
        match rotation {
            Ok(rotation) => moved += rotation.rewrapped,
            Err(Error::Busy { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(moved)
}

/// Many hosts find many small sets to rotate at the same time. A quarter of each set's disks is open on one of them.
#[test]
fn many_small_sets_take_at_most_three_operations_of_the_store_for_a_disk() {
    let (fleet, sets, disks) = (Fleet::new(), 48, 12);
    let count = sets * disks;
    let maker = fleet.host("maker", 0);
    for set in 0..sets {
        let name = format!("s{set:02}");
        fleet.world.set(&maker, &name, EncryptionType::CustomerKey);
        (0..disks).for_each(|n| drop(maker.create_disk(&new_disk(&format!("{name}-{n}"), Some(&name))).unwrap()));
    }
    drop(maker);
    let hosts: Vec<Host> = (0..16).map(|n| fleet.host(&format!("host-{n}"), n as u64)).collect();
    let is_open = |n: &usize| n % disks < disks / 4;
    let open: Vec<OpenDisk> = (0..count)
        .filter(is_open)
        .map(|n| hosts[n / disks % hosts.len()].open_disk(&format!("s{:02}-{}", n / disks, n % disks)).unwrap())
        .collect();
    fleet.world.customer(VAULT).rotate();
    let before = asked(&hosts, 0);
    let mut moved = all_at_once(&hosts, auto_rotated);
    let first = asked(&hosts, before);
    let ended = || {
        (0..sets).filter(|set| hosts[0].encryption_set(&format!("s{set:02}")).unwrap().previous_keys.is_empty()).count()
    };
    let at_once = ended();
    // They look again after a quarter of an hour.
    live_together(&hosts.iter().collect::<Vec<_>>(), 16);
    let before = asked(&hosts, 0);
    moved += hosts.iter().map(|host| auto_rotated(host).unwrap()).sum::<usize>();
    let all = first + asked(&hosts, before);
    println!(
        "{sets} sets of {disks} disks, {} hosts: {first} operations, {at_once} ended, {all} with the second look; {moved} told as moved",
        hosts.len()
    );
    assert_eq!(ended(), sets);
    assert!(all <= 3 * count, "{all} operations for {count} disks");
    drop(open);
}

/// A set that has nothing to do but for the host that has a disk of it open costs the others next to nothing, until that disk is closed.
#[test]
fn a_set_that_waits_for_another_host_is_passed_over() {
    for dies in [false, true] {
        let fleet = Fleet::new();
        let (one, other) = (fleet.host("one", 0), fleet.host("other", 3));
        for name in ["a", "b"] {
            fleet.world.set(&one, name, EncryptionType::CustomerKey);
            (0..2).for_each(|n| drop(one.create_disk(&new_disk(&format!("{name}{n}"), Some(name))).unwrap()));
        }
        let open = other.open_disk("a1").unwrap();
        fleet.world.customer(VAULT).rotate();
        let rotated = one.auto_rotate(&quiet).unwrap();
        let busy = rotated.iter().filter(|(_, rotation)| matches!(rotation, Err(Error::Busy { .. })));
        assert_eq!((rotated.len(), busy.count()), (2, 1), "{rotated:?}");
        live_together(&[&one, &other], 16);
        let before = one.asked();
        assert!(one.auto_rotate(&quiet).unwrap().is_empty());
        assert!(one.asked() - before <= 6, "{}", one.asked() - before);
        assert!(!one.encryption_set("a").unwrap().previous_keys.is_empty());
        // It isn't rotated there any more.
        if dies {
            other.die();
            drop(open);
            live_together(&[&one], 16);
        } else {
            drop(open);
            live_together(&[&one, &other], 16);
        }
        assert_eq!(auto_rotated(&one).unwrap(), 1);
        assert!(one.encryption_set("a").unwrap().previous_keys.is_empty());
    }
}

/// Nobody can read how far the rotation of one set is.
#[test]
fn a_record_that_cant_be_read_keeps_no_other_set_from_its_rotation() {
    let fleet = Fleet::new();
    let host = fleet.host("one", 0);
    for name in ["a", "b", "c"] {
        fleet.world.set(&host, name, EncryptionType::CustomerKey);
        host.create_disk(&new_disk(name, Some(name))).unwrap();
    }
    fleet.store.commit(&[sealed("turn/b", br#"{"of a later":"release"}"#)]).unwrap();
    fleet.world.customer(VAULT).rotate();
    let rotated = host.auto_rotate(&quiet).unwrap();
    let ended: Vec<_> = rotated.iter().map(|(name, rotation)| (name.as_str(), rotation.is_ok())).collect();
    assert_eq!(ended, [("a", true), ("b", false), ("c", true)], "{rotated:?}");
}
