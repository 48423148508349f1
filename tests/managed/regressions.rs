//! Former defects of managed disks, each with the steps that showed it: found by random fleets, by threads, and by
//! review.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::common::SetOnDrop;
use crate::common::device::Call;
use crate::common::header::edit_json;
use crate::common::world::{
    OTHER_VAULT, T, VAULT, World, copy_to, new_disk, new_set, quiet, rule, snapshot_of, still, text,
};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::key::KeyId;
use atrest::managed::ResourceName;
use atrest::{Error, KeyRefusal, volume::Header};

pub(super) const CHUNK: usize = 64 << 10;

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn what_is_copied_is_not_removed_and_nobody_gets_its_name() {
    let world = World::new();
    let service = world.service();
    let size = 4 * CHUNK as u64;
    for (name, byte) in [("a", 1), ("b", 2)] {
        service.create_disk(&new_disk(name, None).size(size)).unwrap();
        service.open_disk(name).unwrap().write_at(0, &vec![byte; size as usize]).unwrap();
    }
    for incremental in [false, true] {
        let name = ResourceName::snapshot("s");
        service.create_snapshot(&snapshot_of("a", "s", incremental), &still).unwrap();
        let progress = |_| assert!(matches!(service.delete(&name), Err(Error::Busy { .. })));
        service.create_disk_from(&name, &copy_to("c", None), &progress).unwrap();
        let mut bytes = vec![0; size as usize];
        service.open_disk("c").unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 1));
        service.delete(&ResourceName::disk("c")).unwrap();
        service.delete(&name).unwrap();
    }
    // A disk may go; the copy of it ends then, although another disk has got its name.
    let once = AtomicBool::new(false);
    let copied = service.create_disk_from(&ResourceName::disk("a"), &copy_to("c", None), &|_| {
        if !once.swap(true, Relaxed) {
            service.delete(&ResourceName::disk("a")).unwrap();
            service.create_disk(&new_disk("a", None).size(size)).unwrap();
        }
    });
    assert!(matches!(copied, Err(Error::NoSuchResource(_))), "{copied:?}");
    assert_eq!(world.disks.0.lock().unwrap().len(), 2);
}

#[test]
fn a_disk_that_was_opened_is_not_deleted_nor_another_of_its_name_used() {
    let world = World::new();
    let service = world.service();
    let (stop, deleted, outlived) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let before = deleted.load(Relaxed);
                let Ok(disk) = service.open_disk("x") else { continue };
                // From here on nothing deletes it. A deletion that was under way may have ended since `before`.
                let opened = deleted.load(Relaxed);
                std::thread::sleep(Duration::from_millis(2));
                let gone = deleted.load(Relaxed) > opened + 1 || deleted.load(Relaxed) > opened && before == opened;
                if gone && disk.read_at(0, &mut [0; 4096]).is_ok() {
                    outlived.fetch_add(1, Relaxed);
                }
            }
        });
        let _stops = SetOnDrop(&stop);
        let began = Instant::now();
        while began.elapsed() < seconds(2) {
            let _ = service.create_disk(&new_disk("x", None));
            if service.delete(&ResourceName::disk("x")).is_ok() {
                deleted.fetch_add(1, Relaxed);
            }
        }
    });
    assert_eq!(outlived.into_inner(), 0);
}

#[test]
fn a_forged_header_moves_no_lease_and_takes_no_other_disk_down() {
    // Behaviour 40: x is under version 1, which has expired, while its set is at 2, by a rotation that stopped.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for disk in ["x", "other"] {
        service.create_disk(&new_disk(disk, Some("s"))).unwrap();
    }
    let customer = world.customer(VAULT);
    customer.rotate();
    let device = world.device(&service, "x");
    device.fail(Call::Write, 0, false);
    assert!(service.rotate_set("s", &quiet).is_err());
    customer.expires_of.store(1, Relaxed);
    customer.expires.store(T + 1, Relaxed);
    world.clock.advance(seconds(900));
    service.maintain();
    let suspended = |disk: &str| matches!(service.open_disk(disk), Err(Error::DiskSuspended { .. }));
    assert!(suspended("x") && !suspended("other"));
    let honest = device.bytes();
    let forge = |urls: &[(&str, &str)]| {
        device.edit(|image| {
            image.copy_from_slice(&honest);
            edit_json(image, |metadata| {
                let tokens = metadata["tokens"].as_object_mut().unwrap();
                let token = tokens.values().next().unwrap().to_string();
                for (id, url) in urls {
                    let forged = serde_json::from_str(&token.replace("/keys/disks/1", url)).unwrap();
                    tokens.insert((*id).to_owned(), forged);
                }
            });
        });
    };
    forge(&[("7", "/keys/disks/2")]);
    world.clock.advance(seconds(60));
    assert!(service.open_disk("x").is_err());
    // A key that the vault doesn't know, beside one that it does.
    forge(&[("0", "/keys/disks/999"), ("7", "/keys/disks/2")]);
    world.clock.advance(seconds(60));
    let other = service.open_disk("other").unwrap();
    for _ in 0..3 {
        assert!(service.open_disk("x").is_err());
        world.clock.advance(seconds(60));
        other.read_at(0, &mut [0; 4096]).unwrap();
    }
    device.edit(|image| image.copy_from_slice(&honest));
    customer.expires.store(0, Relaxed);
    world.clock.advance(seconds(60));
    assert!(!suspended("x"));
}

#[test]
fn a_rotation_with_nothing_to_do_asks_nothing_of_each_disk() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for n in 0..20 {
        service.create_disk(&new_disk(&format!("d{n}"), Some("s"))).unwrap();
    }
    let customer = world.customer(VAULT);
    customer.rotate();
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 20);
    let before = customer.calls.load(Relaxed);
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 0);
    assert!(customer.calls.load(Relaxed) - before < 5);
}

#[test]
fn what_fails_is_asked_less_and_less_often() {
    // A suspended disk of two layers, a vault that can be queried but doesn't unwrap, and a clock that was put back.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    let customer = world.customer(VAULT);
    let calls = || world.platform.asked.load(Relaxed) + customer.calls.load(Relaxed);
    customer.disabled.store(true, Relaxed);
    world.clock.advance(seconds(900));
    service.maintain();
    let before = calls();
    for _ in 0..100 {
        assert!(disk.read_at(0, &mut [0; 4096]).is_err());
    }
    assert!(calls() - before <= 1, "{}", calls() - before);
    customer.disabled.store(false, Relaxed);
    world.clock.advance(seconds(60));
    disk.read_at(0, &mut [0; 4096]).unwrap();
    customer.away.store(true, Relaxed);
    world.clock.set(T + 5);
    let before = calls();
    for _ in 0..100 {
        assert!(disk.read_at(0, &mut [0; 4096]).is_err());
    }
    assert!(calls() - before <= 2, "{}", calls() - before);
    customer.away.store(false, Relaxed);
    world.clock.advance(seconds(60));
    disk.read_at(0, &mut [0; 4096]).unwrap();
    drop((disk, service));
    let service = world.service();
    customer.throttles.store(true, Relaxed);
    let before = customer.calls.load(Relaxed);
    for _ in 0..100 {
        assert!(service.open_disk("x").is_err());
    }
    assert!(customer.calls.load(Relaxed) - before <= 3);
    customer.throttles.store(false, Relaxed);
    world.clock.advance(seconds(60));
    service.open_disk("x").unwrap();
}

#[test]
fn snapshots_that_a_kill_left_on_their_way_into_a_set_get_there() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    for name in ["i0", "i1"] {
        service.create_snapshot(&snapshot_of("x", name, true), &still).unwrap();
    }
    let customer = world.customer(VAULT);
    // The first wrap is a trial; of the three that count the second fails.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("x"), "s").is_err());
    drop(service);
    let service = world.service();
    assert!(!service.report_set("s").unwrap().finished);
    service.auto_rotate(&quiet).unwrap();
    assert!(service.report_set("s").unwrap().finished);
    for name in ["i0", "i1"] {
        let tokens = Header::load(&*world.device_of(&service, &ResourceName::snapshot(name))).unwrap().tokens();
        assert!(tokens[0].key_url.as_ref().unwrap().starts_with(VAULT));
    }
}

#[test]
fn a_key_that_can_not_be_used_stops_no_auto_rotation() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for key in ["https://no.such/keys/disks/1", "https://fabrikam.vault.example/keys/disks/1"] {
        service.change_key("s", &key.parse::<KeyId>().unwrap(), &quiet).unwrap_err();
        let set = service.encryption_set("s").unwrap();
        assert_eq!((set.active_key, set.auto_key_rotation_error), (world.customer(VAULT).key(1), None));
    }
}

#[test]
fn a_set_that_was_put_under_an_older_version_follows_its_vault_again() {
    // Behaviour 28: a version made later is newer, even if the set was under it before.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let customer = world.customer(VAULT);
    customer.rotate();
    for _ in 0..2 {
        service.change_key("s", &customer.key(2), &quiet).unwrap();
        service.change_key("s", &customer.key(1), &quiet).unwrap();
        assert_eq!(service.rotate_set("s", &quiet).unwrap().key, customer.key(2));
    }
}

#[test]
fn nobody_is_told_that_a_key_was_taken_away_while_it_is_only_rotated() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let names: Vec<_> = (0..4).map(|n| format!("d{n}")).collect();
    names.iter().for_each(|name| drop(service.create_disk(&new_disk(name, Some("s"))).unwrap()));
    let (stop, failures) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    for name in &names {
                        let read = service.open_disk(name).and_then(|disk| disk.read_at(0, &mut [0; 4096]));
                        failures.lock().unwrap().extend(read.err().map(|e| e.to_string()));
                    }
                }
            });
        }
        let _stops = SetOnDrop(&stop);
        let began = Instant::now();
        while began.elapsed() < seconds(3) {
            world.customer(VAULT).rotate();
            service.rotate_set("s", &quiet).unwrap();
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} failures: {}", failures.len(), failures[0]);
}

#[test]
fn a_disk_that_is_used_again_during_a_slow_rotation_stays_rotatable() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    let customer = world.customer(VAULT);
    customer.rotate();
    customer.hangs_to_wrap.store(true, Relaxed);
    std::thread::scope(|scope| {
        let rotation = scope.spawn(|| service.rotate_set("s", &quiet));
        std::thread::sleep(Duration::from_millis(200));
        // Suspended for a moment, while the vault is asked to wrap.
        world.clock.advance(seconds(3600));
        customer.disabled.store(true, Relaxed);
        service.maintain();
        assert!(disk.is_suspended());
        customer.disabled.store(false, Relaxed);
        world.clock.advance(seconds(60));
        let reading = scope.spawn(|| disk.read_at(0, &mut [0; 4096]));
        std::thread::sleep(Duration::from_millis(200));
        customer.hangs_to_wrap.store(false, Relaxed);
        let _ = rotation.join().unwrap();
        let _ = reading.join().unwrap();
    });
    let _ = service.clear_rotation_error("s");
    world.clock.advance(seconds(60));
    for _ in 0..2 {
        customer.rotate();
        service.rotate_set("s", &quiet).unwrap();
        let mut back = vec![0; 8192];
        disk.read_at(0, &mut back).unwrap();
        assert!(back == text(0));
    }
}

#[test]
fn a_vault_that_hangs_holds_up_nobody_else() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let key = KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    let other = service.create_set(&new_set("t", CustomerKey).key(key)).unwrap();
    world.customer(OTHER_VAULT).granted.lock().unwrap().push(other.identity);
    for (disk, set) in [("x", "s"), ("y", "t"), ("z", "t")] {
        service.create_disk(&new_disk(disk, Some(set))).unwrap();
    }
    let (_x, y) = (service.open_disk("x").unwrap(), service.open_disk("y").unwrap());
    world.clock.advance(seconds(900));
    world.customer(VAULT).hangs.store(true, Relaxed);
    world.customer(OTHER_VAULT).disabled.store(true, Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| service.maintain());
        std::thread::sleep(Duration::from_millis(200));
        // Another round, and a move of the set with the hanging vault, don't wait for it.
        service.maintain();
        assert!(y.is_suspended());
        service.move_set_to_tenant("s", "fabrikam").unwrap();
        world.customer(OTHER_VAULT).disabled.store(false, Relaxed);
        world.clock.advance(seconds(60));
        service.open_disk("z").unwrap().read_at(0, &mut [0; 4096]).unwrap();
        world.customer(VAULT).hangs.store(false, Relaxed);
    });
}

#[test]
fn a_lease_policy_and_names_that_make_no_sense_are_refused() {
    let mut world = World::new();
    let service = world.service();
    for region in ["../elsewhere", "..", ""] {
        let new = new_disk("x", None).region(region);
        assert!(matches!(service.create_disk(&new), Err(Error::InvalidName(_))), "{region:?}");
    }
    assert!(matches!(world.try_service(), Err(Error::Busy { .. })));
    drop(service);
    world.lease.interval = world.lease.grace;
    assert!(matches!(world.try_service(), Err(Error::InvalidOption(_))));
}

#[test]
fn a_group_moves_together_between_subscriptions() {
    // Behaviours 45, 47
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    service.create_snapshot(&snapshot_of("x", "i0", true), &still).unwrap();
    service.move_to_subscription(&ResourceName::snapshot("i0"), "two").unwrap();
    assert_eq!(service.resource(&ResourceName::disk("x")).unwrap().subscription, "two");
    assert_eq!(rule(service.put_into_set(&ResourceName::disk("x"), "s")), "47");
}

#[test]
fn a_set_that_may_not_use_its_key_takes_no_disk() {
    // Behaviours 22, 25: a disk put into the set could not be opened any more, nor taken out again.
    let world = World::new();
    let service = world.service();
    service.create_set(&new_set("s", CustomerKey)).unwrap();
    service.create_disk(&new_disk("x", None)).unwrap();
    service.open_disk("x").unwrap().write_at(0, &text(0)).unwrap();
    let name = ResourceName::disk("x");
    assert!(matches!(
        service.put_into_set(&name, "s"),
        Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })
    ));
    let disk = service.resource(&name).unwrap();
    assert_eq!((disk.set, disk.joining), (None, None));
    let mut back = vec![0; 8192];
    service.open_disk("x").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(0));
}

#[test]
fn a_vault_that_goes_away_after_it_has_said_no_gives_nothing_back() {
    // Behaviour 36: a disk without any use since the revocation worked again.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for name in ["x", "y"] {
        service.create_disk(&new_disk(name, Some("s"))).unwrap();
    }
    let (customer, disk, mut back) = (world.customer(VAULT), service.open_disk("x").unwrap(), [0; 4096]);
    customer.disabled.store(true, Relaxed);
    world.clock.advance(Duration::from_secs(900));
    assert!(matches!(service.open_disk("y"), Err(Error::DiskSuspended { .. })));
    customer.away.store(true, Relaxed);
    for seconds in [1, 60] {
        world.clock.advance(Duration::from_secs(seconds));
        assert!(service.open_disk("y").is_err());
        assert!(matches!(disk.read_at(0, &mut back), Err(Error::DiskSuspended { .. })));
    }
}
