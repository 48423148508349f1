//! Which host has a disk open: one at a time, for as long as its lease holds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use atrest::managed::{DiskService, HostOptions, OpenDisk, ResourceName};
use atrest::{EncryptionType, Error};

use super::world::{Fleet, LEASE};
use crate::common::world::{VAULT, new_disk, quiet, snapshot_of, still, text};

fn is_busy<T>(done: Result<T, Error>, host: &str) {
    match done.map(drop) {
        Err(e @ Error::Busy { .. }) => assert!(format!("{e}").contains(&format!("{host:?}")), "{e}"),
        other => panic!("{other:?}"),
    }
}

fn is_refused<T>(done: Result<T, Error>, why: &str) {
    match done.map(drop) {
        Err(e @ (Error::DiskSuspended { .. } | Error::Busy { .. })) => assert!(format!("{e}").contains(why), "{e}"),
        other => panic!("{other:?}"),
    }
}

fn read(disk: &OpenDisk) -> Vec<u8> {
    let mut found = vec![0; 8192];
    disk.read_at(0, &mut found).unwrap();
    found
}

#[test]
fn a_disk_is_open_on_one_host_at_a_time() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 7));
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    open.write_at(0, &text(1)).unwrap();
    is_busy(other.open_disk("d"), "one");
    // Whatever needs its device is done on that host, too.
    is_busy(other.delete(&ResourceName::disk("d")), "one");
    is_busy(other.resize_disk("d", 128 << 10), "one");
    is_busy(other.rekey_disk("d"), "one");
    is_busy(other.create_snapshot(&snapshot_of("d", "s", false), &still), "one");
    one.create_snapshot(&snapshot_of("d", "s", false), &still).unwrap();
    drop(open);
    let open = other.open_disk("d").unwrap();
    assert_eq!(read(&open), text(1));
    is_busy(one.open_disk("d"), "other");
    drop(open);
    one.delete(&ResourceName::disk("d")).unwrap();
    assert!(matches!(other.open_disk("d"), Err(Error::NoSuchResource(_))));
    other.delete(&ResourceName::snapshot("s")).unwrap();
    assert_eq!(fleet.devices(), [""; 0]);
}

/// The host stands still for longer than its lease, and its clocks are minutes apart from the others'.
#[test]
fn a_host_that_stood_still_is_lost_and_writes_nothing_any_more() {
    let fleet = Fleet::new();
    for (minutes, others) in [(0, 0), (11, 0), (0, 11)] {
        let name = format!("d{minutes}{others}");
        let (one, other) = (fleet.host("one", minutes), fleet.host("other", others));
        one.create_disk(&new_disk(&name, None)).unwrap();
        let id = one.resource(&ResourceName::disk(&name)).unwrap().id;
        let open = one.open_disk(&name).unwrap();
        open.write_at(0, &text(1)).unwrap();
        // The other host sees it first, and waits for longer than the lease.
        other.maintain();
        other.live(LEASE);
        is_busy(other.open_disk(&name), "one");
        other.live(LEASE);
        let taken = other.open_disk(&name).unwrap();
        assert_eq!(read(&taken), text(1));
        taken.write_at(0, &text(2)).unwrap();
        // It goes on, and its clock has gone on, too.
        one.clock.advance(2 * LEASE);
        is_refused(open.write_at(0, &text(3)), "has run out");
        is_refused(open.read_at(0, &mut [0; 4096]), "has run out");
        is_refused(one.renew_host_lease(), "taken this one for lost");
        is_refused(open.write_at(0, &text(3)), "taken this one for lost");
        is_refused(one.open_disk(&name).map(drop), "taken this one for lost");
        drop(open);
        drop(one);
        assert_eq!(fleet.disks.writers.lock().unwrap()[&id], "other");
        assert_eq!(read(&taken), text(2));
        // The same host, started again, is another one.
        let again = fleet.host("one", minutes);
        is_busy(again.open_disk(&name), "other");
        drop(taken);
        assert_eq!(read(&again.open_disk(&name).unwrap()), text(2));
    }
}

/// Its clock stands still with it, as that of a virtual machine that is paused: the header that it reads stops it.
#[test]
fn a_header_that_was_taken_over_isnt_changed_by_the_host_before() {
    for kind in [EncryptionType::CustomerKey, EncryptionType::PlatformAndCustomerKeys] {
        let fleet = Fleet::new();
        let (one, other) = (fleet.host("one", 0), fleet.host("other", 3));
        fleet.world.set(&one, "set", kind);
        one.create_disk(&new_disk("d", Some("set"))).unwrap();
        let open = one.open_disk("d").unwrap();
        open.write_at(0, &text(1)).unwrap();
        other.maintain();
        other.live(2 * LEASE);
        let taken = other.open_disk("d").unwrap();
        fleet.world.customer(VAULT).rotate();
        let headers =
            |fleet: &Fleet| fleet.disks.devices.lock().unwrap().values().map(|d| d.bytes()).collect::<Vec<_>>();
        let before = headers(&fleet);
        let error = one.rotate_set("set", &quiet).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
        assert!(before == headers(&fleet), "{kind:?}");
        other.rotate_set("set", &quiet).unwrap();
        assert_eq!(read(&taken), text(1));
        drop((open, taken));
    }
}

#[test]
fn a_host_that_renews_its_lease_is_never_lost() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    for _ in 0..40 {
        one.live(LEASE / 4);
        other.live(LEASE / 4);
        open.write_at(0, &text(1)).unwrap();
        is_busy(other.open_disk("d"), "one");
    }
}

/// The store is away for longer than the lease: nothing is written meanwhile, and if nobody has taken the host for lost, it
/// goes on.
#[test]
fn a_host_without_the_store_stops_in_time_and_goes_on() {
    let fleet = Fleet::new();
    let one = fleet.host("one", 0);
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    one.calls.store(0, Ordering::SeqCst);
    one.clock.advance(LEASE - Duration::from_millis(1));
    assert!(matches!(one.renew_host_lease(), Err(Error::Io { .. })));
    open.write_at(0, &text(1)).unwrap();
    one.clock.advance(Duration::from_millis(1));
    is_refused(open.write_at(0, &text(2)), "has run out");
    is_refused(open.sync(), "has run out");
    one.calls.store(usize::MAX, Ordering::SeqCst);
    one.renew_host_lease().unwrap();
    assert_eq!(read(&open), text(1));
    open.write_at(0, &text(2)).unwrap();
}

#[test]
fn a_disk_is_handed_over_while_it_is_written_and_no_write_is_lost() {
    let fleet = Fleet::new();
    let hosts = [fleet.host("one", 0), fleet.host("two", 5), fleet.host("three", 9)];
    hosts[0].create_disk(&new_disk("d", None)).unwrap();
    let id = hosts[0].resource(&ResourceName::disk("d")).unwrap().id;
    assert!(matches!(hosts[0].hand_over("d", "nobody"), Err(Error::NoSuchResource(_))));
    let written = AtomicU64::new(0);
    let mut open = hosts[0].open_disk("d").unwrap();
    for round in 0..12 {
        let (here, there, third) = (&hosts[round % 2], &hosts[(round + 1) % 2], &hosts[2]);
        let names = ["one", "two"];
        let begun = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                loop {
                    let next = written.load(Ordering::SeqCst) + 1;
                    let mut sector = vec![0; 4096];
                    sector[..8].copy_from_slice(&next.to_le_bytes());
                    match open.write_at((next % 16) * 4096, &sector) {
                        Ok(()) => written.store(next, Ordering::SeqCst),
                        Err(e @ Error::DiskSuspended { .. }) => return format!("{e}"),
                        Err(e) => panic!("{e:?}"),
                    }
                    begun.store(true, Ordering::SeqCst);
                }
            });
            while !begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            here.hand_over("d", names[(round + 1) % 2]).unwrap();
            fleet.disks.writers.lock().unwrap().remove(&id);
            assert!(writer.join().unwrap().contains("handed over"));
            // Nothing was written since it was handed over.
            assert_eq!(fleet.disks.writers.lock().unwrap().get(&id), None);
        });
        is_busy(third.open_disk("d"), names[(round + 1) % 2]);
        let next = if round % 3 == 2 {
            // The other one didn't take it.
            here.open_disk("d").unwrap()
        } else {
            there.open_disk("d").unwrap()
        };
        let last = written.load(Ordering::SeqCst);
        for number in last.saturating_sub(15).max(1)..=last {
            let mut sector = vec![0; 4096];
            next.read_at((number % 16) * 4096, &mut sector).unwrap();
            assert_eq!(sector[..8], number.to_le_bytes(), "round {round}");
        }
        if round % 3 == 2 {
            // On with the other host, by an orderly end.
            drop((open, next));
            open = there.open_disk("d").unwrap();
        } else {
            open = next;
        }
    }
}

/// Both that a disk was promised to are lost: it isn't lost with them.
#[test]
fn a_promise_to_a_lost_host_binds_nobody() {
    let fleet = Fleet::new();
    let (one, two, three) = (fleet.host("one", 0), fleet.host("two", 1), fleet.host("three", 2));
    one.create_disk(&new_disk("d", None)).unwrap();
    one.open_disk("d").unwrap().write_at(0, &text(1)).unwrap();
    one.hand_over("d", "two").unwrap();
    is_busy(three.open_disk("d"), "two");
    is_busy(three.delete(&ResourceName::disk("d")), "two");
    one.die();
    two.die();
    three.maintain();
    three.live(2 * LEASE);
    assert_eq!(read(&three.open_disk("d").unwrap()), text(1));
}

/// A rotation on the host that a disk was promised to attaches it for a moment. It stays promised.
#[test]
fn a_promise_outlives_a_rotation() {
    let fleet = Fleet::new();
    let (one, two, three) = (fleet.host("one", 0), fleet.host("two", 1), fleet.host("three", 2));
    fleet.world.set(&one, "set", EncryptionType::CustomerKey);
    one.create_disk(&new_disk("d", Some("set"))).unwrap();
    one.open_disk("d").unwrap().write_at(0, &text(1)).unwrap();
    one.hand_over("d", "two").unwrap();
    fleet.world.customer(VAULT).rotate();
    assert_eq!(two.rotate_set("set", &quiet).unwrap().rewrapped, 1);
    is_busy(three.open_disk("d"), "two");
    // Also if the store didn't say what became of attaching it.
    fleet.world.customer(VAULT).rotate();
    *two.hooks.cut_after.lock().unwrap() = Some("attachment/".into());
    two.rotate_set("set", &quiet).unwrap_err();
    two.calls.store(usize::MAX, Ordering::SeqCst);
    two.maintain();
    is_busy(three.open_disk("d"), "two");
    assert_eq!(read(&two.open_disk("d").unwrap()), text(1));
}

#[test]
fn hosts_leases_out_of_bounds_are_refused() {
    let fleet = Fleet::new();
    let open = |host: HostOptions| {
        let world = &fleet.world;
        DiskService::open_shared(std::sync::Arc::new(fleet.store.clone()), &host, world.options()).map(drop)
    };
    for host in [
        HostOptions::new("one").lease(Duration::from_millis(2999)),
        HostOptions::new("one").lease(Duration::from_secs(3601)),
        HostOptions::new("one").lease(Duration::ZERO),
    ] {
        assert!(matches!(open(host), Err(Error::InvalidOption(_))));
    }
    assert!(matches!(open(HostOptions::new("")), Err(Error::InvalidName(_))));
    open(HostOptions::new("one").lease(Duration::from_secs(3))).unwrap();
    // Whose service is closed leaves nothing behind.
    assert!(fleet.store.is_empty());
    assert!(matches!(
        fleet.world.service_over(&fleet.world.folder.path().join("f")).unwrap().renew_host_lease(),
        Err(Error::InvalidOption(_))
    ));
}

/// A thread of the service renews the lease, and ends with it.
#[test]
fn a_service_renews_its_lease_by_itself() {
    let fleet = Fleet::new();
    let store = fleet.store.clone().with_deadline(Duration::from_millis(1500));
    // Long enough for a busy machine to renew it in time.
    let host = HostOptions::new("one").lease(Duration::from_millis(4500));
    let options = fleet.world.options().clock(std::sync::Arc::new(atrest::SystemClock));
    let service = DiskService::open_shared(std::sync::Arc::new(store), &host, options).unwrap();
    service.create_disk(&new_disk("d", None)).unwrap();
    let open = service.open_disk("d").unwrap();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        open.write_at(0, &text(1)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    drop((open, service));
    // Of the disk, its device and the platform's keys. The thread may be about to renew the lease.
    while fleet.store.len() > 3 {
        assert!(begun.elapsed() < Duration::from_secs(90));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The store is away when a disk is closed, and still when that is to be told.
#[test]
fn a_disk_that_was_closed_while_the_store_was_away_is_let_go_later() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.host("one", 0), fleet.host("other", 0));
    one.create_disk(&new_disk("d", None)).unwrap();
    let open = one.open_disk("d").unwrap();
    one.calls.store(0, Ordering::SeqCst);
    drop(open);
    one.maintain();
    is_busy(other.open_disk("d"), "one");
    one.calls.store(usize::MAX, Ordering::SeqCst);
    one.maintain();
    other.open_disk("d").unwrap();
}
