//! Two hosts, and what one of them does between two steps of the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use atrest::managed::{LeasePolicy, OpenDisk, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error};

use super::world::{Fleet, Host, LEASE};
use crate::common::world::{OTHER_VAULT, VAULT, new_disk, new_set, quiet, text};

/// Lets hosts live on for so many quarters of a lease.
fn both_live(hosts: &[&Host], quarters: usize) {
    for _ in 0..quarters {
        hosts.iter().for_each(|host| host.live(LEASE / 4));
    }
}

/// The store doesn't answer it.
fn cut(host: &Host) {
    host.calls.store(0, Ordering::SeqCst);
}

fn mend(host: &Host) {
    host.calls.store(usize::MAX, Ordering::SeqCst);
}

/// Otherwise two hosts write one disk.
#[test]
fn a_device_that_a_batch_attached_again_isnt_let_go_by_the_next_round() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let open = one.open_disk("d").unwrap();
    cut(&one);
    drop(open);
    mend(&one);
    fleet.world.customer(VAULT).rotate();
    let opened = std::sync::Mutex::new(None::<OpenDisk>);
    let progress = |_: RotationProgress| {
        thread::scope(|scope| {
            scope.spawn(|| *opened.lock().unwrap() = Some(one.open_disk("d").unwrap()));
        });
    };
    one.rotate_set("set", &progress).unwrap();
    let open = opened.lock().unwrap().take().unwrap();
    one.maintain();
    open.write_at(0, &text(1)).unwrap();
    let second = other.open_disk("d").map(|disk| disk.write_at(0, &text(2)));
    let first = open.write_at(0, &text(1));
    assert!(matches!(second, Err(Error::Busy { .. })), "both write: {second:?} {first:?}");
}

fn other_set(fleet: &Fleet, host: &Host, name: &str) {
    let new = new_set(name, EncryptionType::CustomerKey).key(fleet.world.customer(OTHER_VAULT).key(1));
    let made = host.create_set(&new).unwrap();
    fleet.world.customer(OTHER_VAULT).granted.lock().unwrap().push(made.identity);
}

/// Two hosts put one disk into two sets.
#[test]
fn a_disk_that_moves_into_one_set_isnt_put_into_another() {
    let fleet = Fleet::new();
    let (one, other, third) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)), fleet.host("third", 0));
    fleet.world.set(&one, "a", EncryptionType::CustomerKey);
    fleet.world.set(&one, "b", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", None)).unwrap();
    let there = other.clone();
    *other.hooks.cut_after.lock().unwrap() = Some("joining/".into());
    let act = move || assert!(there.put_into_set(&ResourceName::disk("d"), "a").is_err());
    *one.hooks.before.lock().unwrap() = Some(("joining/".into(), Box::new(act)));
    let done = one.put_into_set(&ResourceName::disk("d"), "b").map(|of| of.set);
    println!("{done:?}");
    other.dead.store(true, Ordering::SeqCst);
    third.maintain();
    both_live(&[&one, &third], 8);
    let record = third.resource(&ResourceName::disk("d")).unwrap();
    let opened = third.open_disk("d").map(drop);
    assert!(opened.is_ok(), "{opened:?} {:?} {:?}", record.set, record.proven);
}

/// The record was read before the device was attached.
#[test]
fn what_is_finished_for_a_disk_goes_by_its_record_as_of_when_it_is_this_hosts() {
    let fleet = Fleet::new();
    let (one, mover) = (fleet.host("one", 0), Arc::new(fleet.host("mover", 0)));
    fleet.world.set(&one, "a", EncryptionType::CustomerKey);
    other_set(&fleet, &one, "b");
    one.create_disk(&new_disk("d", None)).unwrap();
    let begun = fleet.host("begun", 0);
    *begun.hooks.cut_after.lock().unwrap() = Some("joining/".into());
    assert!(begun.put_into_set(&ResourceName::disk("d"), "a").is_err());
    begun.die();
    one.maintain();
    both_live(&[&one, &mover], 8);
    let there = mover.clone();
    *mover.hooks.cut_after.lock().unwrap() = Some("joining/".into());
    let act = move || assert!(there.put_into_set(&ResourceName::disk("d"), "b").is_err());
    *one.hooks.before.lock().unwrap() = Some(("attachment/".into(), Box::new(act)));
    let _ = one.auto_rotate(&quiet);
    mover.dead.store(true, Ordering::SeqCst);
    one.live(2 * LEASE);
    let record = one.resource(&ResourceName::disk("d")).unwrap();
    let opened = one.open_disk("d").map(drop);
    assert!(opened.is_ok(), "{opened:?} {:?} {:?} {:?}", record.set, record.joining, record.proven);
}

/// Its user has it open, and only its key is away.
#[test]
fn a_suspended_disk_stays_its_hosts() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let open = one.open_disk("d").unwrap();
    open.write_at(0, &text(1)).unwrap();
    let customer = fleet.world.customer(VAULT);
    customer.disabled.store(true, Ordering::Relaxed);
    both_live(&[&one, &other], 400);
    assert!(open.is_suspended());
    customer.disabled.store(false, Ordering::Relaxed);
    let second = other.open_disk("d").map(|disk| disk.write_at(0, &text(2)).unwrap());
    both_live(&[&one, &other], 8);
    let first = open.write_at(4096, &text(3)[..4096]);
    assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}, and the first: {first:?}");
    let deleted = other.delete(&ResourceName::disk("d"));
    assert!(matches!(deleted, Err(Error::Busy { .. })), "{deleted:?}");
}

/// A suspension doesn't wait for the store: not for what this host does for others there, nor for what a lease needs from it.
#[test]
fn a_store_that_hangs_delays_no_suspension() {
    let fleet = Fleet::new();
    let policy = LeasePolicy::default().deadline(Duration::from_millis(200));
    let one = Arc::new(fleet.host_with("one", 0, |options| options.lease(policy)).unwrap());
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    let open = ["d", "e"].map(|name| {
        one.create_disk(&new_disk(name, Some("set"))).unwrap();
        one.open_disk(name).unwrap()
    });
    open.iter().for_each(|disk| disk.write_at(0, &text(1)).unwrap());
    // The lease of the key ends; that of the host doesn't.
    for _ in 0..250 {
        one.clock.advance(LEASE / 4);
        one.renew_host_lease().unwrap();
    }
    let synced = fleet.disks.syncs.load(Ordering::SeqCst);
    one.hooks.hangs.store(true, Ordering::SeqCst);
    let (done, rounds) = channel();
    let host = one.clone();
    let maintaining = thread::spawn(move || {
        for _ in 0..3 {
            host.maintain();
            done.send(()).unwrap();
        }
    });
    for _ in 0..3 {
        let round = rounds.recv_timeout(Duration::from_secs(20));
        // A disk is synced once its DEK is wiped.
        let wiped = fleet.disks.syncs.load(Ordering::SeqCst) - synced;
        if round.is_err() || wiped < 2 {
            one.hooks.hangs.store(false, Ordering::SeqCst);
        }
        assert!(round.is_ok(), "a round waits for the store");
        assert!(wiped >= 2, "{wiped}");
    }
    maintaining.join().unwrap();
    // Once the store answers, all goes on.
    one.hooks.hangs.store(false, Ordering::SeqCst);
    one.live(20 * LEASE);
    open.iter().for_each(|disk| disk.read_at(0, &mut [0; 4096]).unwrap());
}

/// A disk that is closed while the store hangs gives its DEK up, though a round waits for the store.
#[test]
fn a_store_that_hangs_keeps_no_closed_disk() {
    let fleet = Fleet::new();
    let policy = LeasePolicy::default().deadline(Duration::from_millis(200));
    let one = fleet.host_with("one", 0, |options| options.lease(policy)).unwrap();
    let id = one.create_disk(&new_disk("d", None)).unwrap().id;
    let open = one.open_disk("d").unwrap();
    open.read_at(0, &mut [0; 4096]).unwrap();
    let device = fleet.disks.devices.lock().unwrap()[&id].clone();
    let users = || Arc::strong_count(&device);
    let with_the_disk = users();
    one.hooks.hangs.store(true, Ordering::SeqCst);
    one.maintain();
    thread::scope(|scope| {
        scope.spawn(|| drop(open));
        let until = Instant::now() + Duration::from_secs(20);
        while users() == with_the_disk && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let left = users();
        one.hooks.hangs.store(false, Ordering::SeqCst);
        assert!(left < with_the_disk, "{left} of {with_the_disk}");
    });
}

/// The size, after another host had it.
#[test]
fn a_disk_that_comes_back_has_the_size_that_another_host_gave_it() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    let old = one.open_disk("d").unwrap();
    one.hand_over("d", "other").unwrap();
    other.open_disk("d").unwrap();
    let size = 2 * old.size();
    other.resize_disk("d", size).unwrap();
    assert_eq!(one.open_disk("d").unwrap().size(), size);
}

/// Its key, after another host had it.
#[test]
fn a_disk_that_comes_back_opens_by_the_key_that_another_host_put_it_under() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let _old = one.open_disk("d").unwrap();
    one.hand_over("d", "other").unwrap();
    other.open_disk("d").unwrap();
    let customer = fleet.world.customer(VAULT);
    customer.rotate();
    other.rotate_set("set", &quiet).unwrap();
    customer.off.lock().unwrap().insert(1);
    both_live(&[&one, &other], 400);
    let opened = one.open_disk("d").map(drop);
    assert!(opened.is_ok(), "{opened:?}");
}

/// A handle from before the hand-over writes again.
#[test]
fn what_was_handed_over_stays_closed_if_it_cant_be_opened_again() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    let old = one.open_disk("d").unwrap();
    one.hand_over("d", "other").unwrap();
    let there = other.open_disk("d").unwrap();
    there.write_at(0, &text(1)).unwrap();
    assert!(matches!(one.open_disk("d").map(drop), Err(Error::Busy { .. })));
    drop(there);
    let wrote = old.write_at(0, &text(2));
    assert!(matches!(wrote, Err(Error::DiskSuspended { .. })), "{wrote:?}");
}

/// The answer to the attachment is lost.
#[test]
fn an_attachment_whose_answer_was_lost_is_let_go() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    *one.hooks.cut_after.lock().unwrap() = Some("attachment/".into());
    assert!(one.open_disk("d").is_err());
    mend(&one);
    both_live(&[&one, &other], 40);
    let opened = other.open_disk("d").map(drop);
    assert!(opened.is_ok(), "{opened:?}");
}

/// A device whose making failed because the store was away.
#[test]
fn a_device_that_nobody_wanted_any_more_is_removed_while_its_host_lives() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    *one.hooks.cut_before.lock().unwrap() = Some("resource/".into());
    assert!(one.create_disk(&new_disk("d", None)).is_err());
    mend(&one);
    both_live(&[&one, &other], 40);
    assert_eq!((fleet.devices(), fleet.keys("orphan/")), (vec![], vec![]));
}

/// A host that stood still changes the record of a disk that another one has.
#[test]
fn a_lost_host_changes_no_record_of_a_disk_that_another_one_has() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)));
    one.create_disk(&new_disk("d", None)).unwrap();
    other.maintain();
    let (there, hooks) = (other.clone(), one.hooks.clone());
    let clock = one.clock.clone();
    let taken = move || {
        clock.advance(3 * LEASE);
        there.live(2 * LEASE);
        let progress = there.reencrypt_step("d", 4096).unwrap();
        assert!(!progress.is_finished());
    };
    // The order, and then the DEK's fingerprint.
    let second = move || *hooks.before.lock().unwrap() = Some(("resource/".into(), Box::new(taken)));
    *one.hooks.before.lock().unwrap() = Some(("resource/".into(), Box::new(second)));
    let rekeyed = one.rekey_disk("d");
    assert!(rekeyed.is_err());
    let opened = other.open_disk("d").map(drop);
    assert!(opened.is_ok(), "{opened:?}");
    while !other.reencrypt_step("d", 4096).unwrap().is_finished() {}
}

/// It decided by the size that the disk had before the other one made it larger.
#[test]
fn a_disk_that_another_host_made_larger_gets_no_smaller() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)));
    one.create_disk(&new_disk("d", None)).unwrap();
    let size = one.resource(&ResourceName::disk("d")).unwrap().size;
    let there = other.clone();
    let act = move || drop(there.resize_disk("d", 3 * size).unwrap());
    *one.hooks.before.lock().unwrap() = Some(("attachment/".into(), Box::new(act)));
    let resized = one.resize_disk("d", 2 * size);
    assert!(matches!(resized, Err(Error::InvalidOption(_))), "{resized:?}");
    assert_eq!(other.open_disk("d").unwrap().size(), 3 * size);
}

/// It is on its way to its new host.
#[test]
fn what_is_handed_over_stays_promised_while_its_set_is_rotated() {
    let fleet = Fleet::new();
    let (one, other, third) = (fleet.host("one", 0), fleet.host("other", 0), fleet.host("third", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let _old = one.open_disk("d").unwrap();
    one.hand_over("d", "other").unwrap();
    fleet.world.customer(VAULT).rotate();
    let first = one.rotate_set("set", &quiet).map(drop);
    assert!(matches!(first, Err(Error::Busy { .. })), "{first:?}");
    let taken = third.open_disk("d").map(drop);
    assert!(matches!(taken, Err(Error::Busy { .. })), "{taken:?}");
    other.open_disk("d").unwrap();
    // It is nobody's now, and promised to nobody.
    third.open_disk("d").unwrap();
    assert_eq!(fleet.keys("attachment/"), Vec::<String>::new());
}

/// One host opens a disk that another one is about to remove.
#[test]
fn what_is_being_removed_isnt_opened_and_is_removed() {
    let fleet = Fleet::new();
    let (one, other) = (Arc::new(fleet.host("one", 0)), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    let there = one.clone();
    // The record is gone then, and the device isn't.
    *one.hooks.cut_after.lock().unwrap() = Some("orphan/".into());
    let act = move || drop(there.delete(&ResourceName::disk("d")));
    *other.hooks.before.lock().unwrap() = Some(("attachment/".into(), Box::new(act)));
    let opened = other.open_disk("d").map(drop);
    assert!(matches!(opened, Err(Error::NoSuchResource(_))), "{opened:?}");
    other.maintain();
    assert_eq!((fleet.devices(), fleet.keys("orphan/")), (vec![], vec![]));
}

/// A host that was lost, and doesn't know it, can't begin what it can't finish.
#[test]
fn a_lost_host_puts_no_disk_into_a_set() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), Arc::new(fleet.host("other", 0)));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", None)).unwrap();
    other.maintain();
    let (there, clock) = (other.clone(), one.clock.clone());
    let act = move || {
        clock.advance(3 * LEASE);
        there.live(2 * LEASE);
        there.open_disk("d").unwrap();
    };
    *one.hooks.before.lock().unwrap() = Some(("joining/".into(), Box::new(act)));
    let put = one.put_into_set(&ResourceName::disk("d"), "set").map(drop);
    assert!(matches!(put, Err(Error::Busy { .. })), "{put:?}");
    assert_eq!(other.resource(&ResourceName::disk("d")).unwrap().set, None);
}

/// Its key goes away and comes back while a copy of it is made. What another host wrote meanwhile would be in the copy in part.
#[test]
fn a_disk_that_is_copied_stays_its_hosts() {
    use crate::common::world::copy_to;
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    let customer = fleet.world.customer(VAULT);
    let looked = std::sync::Mutex::new(None);
    let progress = |_| {
        let mut looked = looked.lock().unwrap();
        if looked.is_none() {
            customer.disabled.store(true, Ordering::Relaxed);
            both_live(&[&one, &other], 400);
            customer.disabled.store(false, Ordering::Relaxed);
            *looked = Some(other.open_disk("d").map(drop));
        }
    };
    one.create_disk_from(&ResourceName::disk("d"), &copy_to("c", None), &progress).unwrap();
    let looked = looked.into_inner().unwrap().unwrap();
    assert!(matches!(looked, Err(Error::Busy { .. })), "{looked:?}");
    other.open_disk("d").unwrap();
}
