//! Rotations that wait for disks which other hosts have open: what of the rest can be moved is moved meanwhile, whoever else lets a
//! disk go.

use std::sync::atomic::Ordering;

use atrest::managed::{OpenDisk, ResourceName};
use atrest::{EncryptionType, Error};

use super::world::{Fleet, Host, LEASE};
use crate::common::world::{VAULT, new_disk, quiet};

fn name(n: usize) -> String {
    format!("d{n:03}")
}

/// Hosts, and a set of so many disks whose key has a newer version.
fn hosts<const N: usize>(fleet: &Fleet, disks: usize) -> [Host; N] {
    let hosts = core::array::from_fn(|n| fleet.host(&format!("host-{n}"), 3 * n as u64));
    fleet.world.set(&hosts[0], "set", EncryptionType::CustomerKey);
    (0..disks).for_each(|n| drop(hosts[0].create_disk(&new_disk(&name(n), Some("set"))).unwrap()));
    hosts
}

fn open(host: &Host, disks: impl IntoIterator<Item = usize>) -> Vec<OpenDisk> {
    disks.into_iter().map(|n| host.open_disk(&name(n)).unwrap()).collect()
}

fn is_moved(host: &Host, n: usize) -> bool {
    host.resource(&ResourceName::disk(name(n))).unwrap().proven.unwrap().key.version() == "2"
}

fn is_left(rotation: &atrest::Result<atrest::managed::Rotation>) -> bool {
    matches!(rotation, Err(Error::Busy { .. }))
}

/// A quarter of an hour, after which hosts look at their sets again.
fn pass(hosts: &[&Host]) {
    for _ in 0..16 * 4 {
        hosts.iter().for_each(|host| host.live(LEASE / 4));
    }
}

/// Whichever of the hosts that were left something lets it go.
#[test]
fn a_disk_that_is_let_go_is_moved_while_another_host_has_one_open() {
    for (closes, stays, dies) in [(0, 1, false), (1, 0, false), (0, 1, true), (1, 0, true)] {
        let fleet = Fleet::new();
        let [one, second, third] = hosts::<3>(&fleet, 3);
        let mut others = [Some((second, 0)), Some((third, 1))].map(|of| of.map(|(host, n)| (open(&host, [n]), host)));
        fleet.world.customer(VAULT).rotate();
        assert!(is_left(&one.rotate_set("set", &quiet)));
        assert!(is_moved(&one, 2));
        {
            let living: Vec<&Host> = others.iter().flatten().map(|(_, host)| host).chain([&one]).collect();
            pass(&living);
            assert!(one.auto_rotate(&quiet).unwrap().is_empty(), "nothing is to be done here");
        }
        let (open, host) = others[closes].take().unwrap();
        if dies {
            host.die();
            drop(open);
        } else {
            drop(open);
            drop(host);
        }
        let stays = others[stays].take().unwrap();
        pass(&[&one, &stays.1]);
        let rotated = one.auto_rotate(&quiet).unwrap();
        assert!(is_left(&rotated[0].1), "{rotated:?}");
        assert!(is_moved(&one, closes), "{closes} {dies}");
        assert!(!one.encryption_set("set").unwrap().previous_keys.is_empty());
        // And nothing is to be done here again.
        pass(&[&one, &stays.1]);
        assert!(one.auto_rotate(&quiet).unwrap().is_empty());
        drop(stays);
    }
}

/// More are open than are remembered one by one: a host looks at the set about once an hour all the same.
#[test]
fn one_of_many_disks_that_are_let_go_is_moved_in_about_an_hour() {
    let fleet = Fleet::new();
    let [one, second, third] = hosts::<3>(&fleet, 14);
    let stay = open(&second, (0..13).filter(|n| *n != 6));
    let goes = open(&third, [6]);
    fleet.world.customer(VAULT).rotate();
    assert!(is_left(&one.rotate_set("set", &quiet)));
    drop(goes);
    let (mut few, mut looks) = (0, 0);
    while !is_moved(&one, 6) {
        looks += 1;
        assert!(looks <= 12, "it isn't moved");
        pass(&[&one, &second, &third]);
        let before = one.asked() + third.asked();
        let rotated = [&one, &third].map(|host| host.auto_rotate(&quiet).unwrap());
        assert!(rotated.iter().flatten().all(|(_, rotation)| is_left(rotation)), "{rotated:?}");
        few += usize::from(one.asked() + third.asked() - before <= 16);
    }
    // The second host is asked nothing, and its turn passes.
    assert!(few + 1 >= looks, "{few} of {looks}");
    drop(stay);
}

/// The look for what can be moved doesn't stop at the first that waits.
#[test]
fn what_comes_after_a_disk_that_is_open_elsewhere_is_moved() {
    let fleet = Fleet::new();
    let [one, second, third] = hosts::<3>(&fleet, 300);
    let stays = open(&second, [0]);
    let goes = open(&third, [100, 299]);
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    assert!(is_left(&one.rotate_set("set", &quiet)));
    assert_eq!(one.rotation_progress("set").unwrap().done, 297);
    drop(goes);
    let wraps = customer.wraps.load(Ordering::Relaxed);
    let (before, told) = (one.asked(), one.rotate_set("set", &quiet).unwrap_err());
    assert!(told.to_string().contains("d000"), "{told}");
    assert!(one.asked() - before <= 40, "{}", one.asked() - before);
    assert!(is_moved(&one, 100));
    // Each look goes through 240 more than before.
    assert!(!is_moved(&one, 299));
    assert!(is_left(&one.rotate_set("set", &quiet)));
    assert!(is_moved(&one, 299));
    assert_eq!(customer.wraps.load(Ordering::Relaxed) - wraps, 2);
    // And begins anew then.
    let goes = open(&third, [100]);
    customer.rotate();
    assert!(is_left(&one.rotate_set("set", &quiet)));
    drop(goes);
    assert!(is_left(&one.rotate_set("set", &quiet)));
    assert_eq!(one.rotation_progress("set").unwrap().done, 299);
    drop(stays);
    one.rotate_set("set", &quiet).unwrap();
    assert!(one.encryption_set("set").unwrap().previous_keys.is_empty());
}
