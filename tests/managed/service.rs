//! Managed disks, by the numbers of their behaviours.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::device::Op;
use crate::common::world::{Customer, OTHER_VAULT, T, VAULT, World, counts, new_disk, new_set, quiet, rule, text};
use atrest::key::KeyId;
use atrest::managed::{OutagePolicy, ResourceKind, ResourceName, RotationProgress};
use atrest::{EncryptionType, Error, KeyRefusal};

const HEADER: usize = 1 << 20;

use EncryptionType::{CustomerKey, PlatformAndCustomerKeys, PlatformKey};

#[test]
fn disks_of_all_types_keep_what_they_hold_and_show_nothing() {
    // Behaviours 1, 2, 4, 9, 20, 21, 60
    let world = World::new();
    let service = world.service();
    world.set(&service, "customers", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    let disks =
        [("p", None, PlatformKey), ("c", Some("customers"), CustomerKey), ("d", Some("both"), PlatformAndCustomerKeys)];
    for (n, (name, set, kind)) in (0..).zip(disks) {
        let disk = service.create_disk(&new_disk(name, set)).unwrap();
        assert_eq!((disk.encryption_type, disk.set.as_deref()), (kind, set));
        let open = service.open_disk(name).unwrap();
        open.write_at(4096, &text(n)).unwrap();
        open.sync().unwrap();
        assert!(matches!(open.write_at(64 << 10, &[0; 4096]), Err(Error::OutOfBounds { .. })));
        let (bytes, plain) = (world.device(&service, name).bytes(), text(n));
        assert!(!bytes.windows(12).any(|window| window == &plain[..12]), "{name}");
    }
    drop(service);
    // The whole state is the store and the headers.
    let service = world.service();
    assert_eq!(service.names(ResourceKind::Disk).unwrap(), ["c", "d", "p"]);
    assert_eq!(service.members("customers").unwrap(), [ResourceName::disk("c")]);
    for (n, (name, ..)) in (0..).zip(disks) {
        let mut back = vec![0; 8192];
        service.open_disk(name).unwrap().read_at(4096, &mut back).unwrap();
        assert!(back == text(n), "{name}");
    }
    // Two layers: the lower one has another mode, and needs the platform's key.
    let bytes = world.device(&service, "d").bytes();
    let lower = atrest::MemoryDevice::from_bytes(bytes);
    let header = atrest::volume::Header::load(&lower).unwrap();
    assert_eq!(header.segments()[0].cipher, "aes-hctr2-plain64");
    assert!(header.tokens()[0].key_url.as_ref().unwrap().starts_with("platform/"));
}

#[test]
fn what_a_set_must_not_be_is_refused_by_its_rule() {
    // Behaviours 16, 18, 19, 20, 46, 47, 60
    let world = World::new();
    let service = world.service();
    assert_eq!(rule(service.create_set(&new_set("s", PlatformKey))), "20");
    let elsewhere = new_set("s", CustomerKey).region("south");
    assert_eq!(rule(service.create_set(&elsewhere)), "18");
    world.vaults.1.lock().unwrap().purge_protection = false;
    assert_eq!(rule(service.create_set(&new_set("s", CustomerKey))), "16");
    world.vaults.1.lock().unwrap().purge_protection = true;
    world.set(&service, "s", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    assert!(matches!(service.create_set(&new_set("s", CustomerKey)), Err(Error::ResourceExists(_))));
    assert_eq!(rule(service.create_disk(&new_disk("x", Some("s")).region("south"))), "18");
    assert_eq!(rule(service.create_disk(&new_disk("x", Some("s")).subscription("two"))), "47");
    assert!(matches!(service.create_disk(&new_disk("x", Some("none"))), Err(Error::NoSuchResource(_))));
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    assert_eq!(rule(service.put_into_set(&ResourceName::disk("x"), "both")), "60");
    assert_eq!(rule(service.delete_set("s")), "19");
    service.delete(&ResourceName::disk("x")).unwrap();
    service.delete_set("s").unwrap();
    assert!(world.disks.0.lock().unwrap().is_empty());
}

#[test]
fn a_set_without_access_makes_no_disk_and_leaves_none() {
    // Behaviours 17, 25
    let world = World::new();
    let service = world.service();
    service.create_set(&new_set("s", CustomerKey)).unwrap();
    assert!(matches!(
        service.create_disk(&new_disk("x", Some("s"))),
        Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })
    ));
    assert!(service.names(ResourceKind::Disk).unwrap().is_empty() && world.disks.0.lock().unwrap().is_empty());
}

#[test]
fn a_revoked_key_ends_io_and_comes_back() {
    // Behaviours 35, 36, 38, 39, 40
    type Turn = fn(&Customer, bool);
    let triggers: [(&str, Turn); 3] = [
        ("disabled", |c, on| c.disabled.store(on, Ordering::Relaxed)),
        ("expired", |c, on| c.expires.store(if on { T + 1 } else { 0 }, Ordering::Relaxed)),
        ("denied", |c, on| {
            let mut granted = c.granted.lock().unwrap();
            if on { granted[0].push('-') } else { granted[0].pop().map_or((), drop) }
        }),
    ];
    for (trigger, turn) in triggers {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        service.create_disk(&new_disk("x", Some("s"))).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &text(0)).unwrap();
        turn(world.customer(VAULT), true);
        // The key is asked for at the interval, and I/O fails at once then; never later than the grace.
        world.clock.advance(Duration::from_secs(899));
        service.maintain();
        disk.read_at(0, &mut [0; 4096]).unwrap_or_else(|e| panic!("{trigger}: {e}"));
        world.clock.advance(Duration::from_secs(1));
        service.maintain();
        assert!(disk.is_suspended(), "{trigger}");
        let error = disk.read_at(0, &mut [0; 4096]).unwrap_err();
        assert!(matches!(&error, Error::DiskSuspended { disk, .. } if disk == "x"), "{trigger}: {error:?}");
        assert!(matches!(service.open_disk("x"), Err(Error::DiskSuspended { .. })), "{trigger}");
        // Back again: nothing is lost.
        turn(world.customer(VAULT), false);
        world.clock.advance(Duration::from_secs(60));
        let mut back = vec![0; 8192];
        disk.read_at(0, &mut back).unwrap_or_else(|e| panic!("{trigger}: {e}"));
        assert!(back == text(0));
    }
}

#[test]
fn without_anybody_to_ask_io_ends_with_the_grace() {
    // Behaviour 36: without calls of `maintain`, the first read after the grace asks the vault.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    world.customer(VAULT).disabled.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(3599));
    disk.read_at(0, &mut [0; 4096]).unwrap();
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(disk.read_at(0, &mut [0; 4096]), Err(Error::DiskSuspended { .. })));
}

#[test]
fn a_vault_that_does_not_answer_is_no_revocation() {
    for (outage, lasts) in
        [(OutagePolicy::FailAfterGrace, 3600), (OutagePolicy::ContinueFor(Duration::from_secs(7200)), 7200)]
    {
        let mut world = World::new();
        world.lease.outage = outage;
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        service.create_disk(&new_disk("x", Some("s"))).unwrap();
        let disk = service.open_disk("x").unwrap();
        world.customer(VAULT).away.store(true, Ordering::Relaxed);
        for _ in 0..lasts / 60 - 1 {
            world.clock.advance(Duration::from_secs(60));
            service.maintain();
            disk.read_at(0, &mut [0; 4096]).unwrap_or_else(|e| panic!("{outage:?}: {e}"));
        }
        world.clock.advance(Duration::from_secs(60));
        service.maintain();
        let error = disk.read_at(0, &mut [0; 4096]).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        world.customer(VAULT).away.store(false, Ordering::Relaxed);
        world.clock.advance(Duration::from_secs(60));
        disk.read_at(0, &mut [0; 4096]).unwrap();
    }
}

#[test]
fn a_vault_that_no_longer_unwraps_what_it_did_has_taken_the_key_away() {
    // KMIP and PKCS #11 tell a right to decrypt that was taken away so. Behaviour 36 doesn't wait for the end of an outage then.
    let answers: [fn() -> Error; 2] = [|| Error::UnwrapFailed, || Error::UnsupportedAlgorithm("AES-256-KW".into())];
    for answer in answers {
        let mut world = World::new();
        world.lease.outage = OutagePolicy::ContinueFor(Duration::from_secs(86400));
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        service.create_disk(&new_disk("x", Some("s"))).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &text(0)).unwrap();
        *world.customer(VAULT).unwraps_by.lock().unwrap() = Some(answer);
        world.clock.advance(Duration::from_secs(900));
        service.maintain();
        let error = disk.read_at(0, &mut [0; 4096]).unwrap_err();
        assert!(matches!(&error, Error::DiskSuspended { disk, .. } if disk == "x"), "{error:?}");
        assert_eq!(service.metrics().key_leases.revoked, 1);
        // A vault that was broken for a moment is asked again, and nothing is lost.
        *world.customer(VAULT).unwraps_by.lock().unwrap() = None;
        world.clock.advance(Duration::from_secs(60));
        let mut back = vec![0; text(0).len()];
        disk.read_at(0, &mut back).unwrap();
        assert!(back == text(0));
    }
}

#[test]
fn a_rotation_moves_every_disk_and_touches_no_data() {
    // Behaviours 26 to 31
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", PlatformAndCustomerKeys);
    for n in 0..7 {
        let name = format!("disk-{n}");
        service.create_disk(&new_disk(&name, Some("s"))).unwrap();
        service.open_disk(&name).unwrap().write_at(0, &text(n)).unwrap();
    }
    let open = service.open_disk("disk-3").unwrap();
    let devices: Vec<_> = (0..7).map(|n| world.device(&service, &format!("disk-{n}"))).collect();
    let before: Vec<_> = devices.iter().map(|device| (device.take_log(), device.bytes()).1).collect();
    let new = world.customer(VAULT).rotate();
    let seen = Mutex::new(Vec::new());
    let note = |progress: RotationProgress| seen.lock().unwrap().push(counts(progress));
    world.clock.advance(Duration::from_secs(5));
    let rotation = service.rotate_set("s", &note).unwrap();
    assert_eq!((&rotation.key, rotation.rewrapped), (&new, 7));
    assert!(seen.lock().unwrap().contains(&(7, 7)));
    let set = service.encryption_set("s").unwrap();
    assert_eq!((set.active_key, set.previous_keys.len()), (new, 0));
    assert_eq!(set.last_key_rotation_timestamp, Some(T + 5));
    for (device, before) in devices.iter().zip(before) {
        // Two headers, one upon the other.
        for op in device.take_log() {
            let (offset, len) = match op {
                Op::Read { offset, len } => (offset, len),
                Op::Write { offset, bytes } => (offset, bytes.len()),
                Op::Sync => continue,
            };
            assert!(offset as usize + len <= 2 * HEADER, "{offset} {len}");
        }
        assert!(device.bytes()[2 * HEADER..] == before[2 * HEADER..]);
    }
    // Again: nothing is left to do. The old version is not needed any more.
    assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 0);
    world.customer(VAULT).vault.destroy(1);
    let mut back = vec![0; 8192];
    open.read_at(0, &mut back).unwrap();
    assert!(back == text(3));
    drop((open, service));
    let service = world.service();
    service.open_disk("disk-5").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(5));
}

#[test]
fn a_rotation_that_fails_says_so_and_goes_on_when_told() {
    // Behaviours 30, 32
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for n in 0..5 {
        service.create_disk(&new_disk(&format!("disk-{n}"), Some("s"))).unwrap();
    }
    let customer = world.customer(VAULT);
    let new = customer.rotate();
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 3, Ordering::Relaxed);
    assert!(matches!(service.rotate_set("s", &quiet), Err(Error::Vault(_))));
    let set = service.encryption_set("s").unwrap();
    let error = set.auto_key_rotation_error.unwrap();
    assert_eq!(error.code, "VaultFailed");
    assert!(error.message.contains("it broke down") && error.resource.starts_with("disk \"disk-"), "{error:?}");
    assert_eq!((set.active_key, set.previous_keys), (new.clone(), vec![customer.key(1)]));
    assert_eq!(rule(service.rotate_set("s", &quiet)), "32");
    // Of each key there is one at least, and all can be used.
    drop(service);
    let service = world.service();
    for n in 0..5 {
        service.open_disk(&format!("disk-{n}")).unwrap();
    }
    service.clear_rotation_error("s").unwrap();
    let rotation = service.rotate_set("s", &quiet).unwrap();
    assert!((1..=4).contains(&rotation.rewrapped), "{rotation:?}");
    customer.vault.destroy(1);
    assert!(service.encryption_set("s").unwrap().previous_keys.is_empty());
    for n in 0..5 {
        service.open_disk(&format!("disk-{n}")).unwrap().read_at(0, &mut [0; 4096]).unwrap();
    }
}

#[test]
fn a_set_moves_to_the_key_of_another_vault() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    let key = KeyId::new(OTHER_VAULT, "disks", "1").unwrap();
    assert!(matches!(
        service.change_key("s", &key, &quiet),
        Err(Error::KeyRefused { reason: KeyRefusal::AccessDenied { .. }, .. })
    ));
    service.clear_rotation_error("s").unwrap();
    world.customer(OTHER_VAULT).granted.lock().unwrap().push(service.encryption_set("s").unwrap().identity);
    service.change_key("s", &key, &quiet).unwrap();
    world.customer(VAULT).vault.destroy(1);
    drop((disk, service));
    let mut back = vec![0; 8192];
    world.service().open_disk("x").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(0));
}

#[test]
fn a_disk_comes_under_a_customers_key_while_it_is_in_use() {
    // Behaviour 22, and the lease that comes with it
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &text(0)).unwrap();
    let before = world.device(&service, "x").bytes();
    assert_eq!(service.put_into_set(&ResourceName::disk("x"), "s").unwrap().encryption_type, CustomerKey);
    assert!(world.device(&service, "x").bytes()[HEADER..] == before[HEADER..]);
    let mut back = vec![0; 8192];
    disk.read_at(0, &mut back).unwrap();
    assert!(back == text(0));
    assert_eq!(service.members("s").unwrap(), [ResourceName::disk("x")]);
    // A user with the disk open all the time loses it with the key.
    world.customer(VAULT).disabled.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(3600));
    assert!(matches!(disk.read_at(0, &mut back), Err(Error::DiskSuspended { .. })));
}

#[test]
fn a_move_into_a_set_that_was_killed_is_finished_at_the_next_use() {
    // Behaviours 22, 74: the record was written, the header was not.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    service.open_disk("x").unwrap().write_at(0, &text(0)).unwrap();
    let before = world.device(&service, "x").bytes();
    let customer = world.customer(VAULT);
    // The first shows whether the key can be used at all.
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 2, Ordering::Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("x"), "s").is_err());
    assert!(world.device(&service, "x").bytes() == before);
    drop(service);
    let service = world.service();
    assert!(service.resource(&ResourceName::disk("x")).unwrap().joining.is_some());
    let mut back = vec![0; 8192];
    service.open_disk("x").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(0));
    let disk = service.resource(&ResourceName::disk("x")).unwrap();
    assert_eq!((disk.joining, disk.set.as_deref()), (None, Some("s")));
    let device = world.device(&service, "x");
    let header = atrest::volume::Header::load(&*device).unwrap();
    assert!(header.tokens()[0].key_url.as_ref().unwrap().starts_with(VAULT));
}

#[test]
fn vault_calls_are_few() {
    // One unwrap a disk, however many open it; one look at the key for the whole set.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for n in 0..20 {
        service.create_disk(&new_disk(&format!("disk-{n}"), Some("s"))).unwrap();
    }
    drop(service);
    let service = world.service();
    let customer = world.customer(VAULT);
    let calls = || (customer.unwraps.load(Ordering::Relaxed), customer.looks.load(Ordering::Relaxed));
    let before = calls();
    let open = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..20 {
                    let disk = service.open_disk(&format!("disk-{n}")).unwrap();
                    disk.read_at(0, &mut [0; 4096]).unwrap();
                    open.lock().unwrap().push(disk);
                }
            });
        }
    });
    let after = calls();
    assert_eq!((after.0 - before.0, after.1 - before.1), (20, 1));
    // Later, one look and one unwrap for all of them.
    world.clock.advance(Duration::from_secs(900));
    service.maintain();
    assert_eq!((calls().0 - after.0, calls().1 - after.1), (1, 1));
}

#[test]
fn names_come_in_pages_in_order() {
    let world = World::new();
    let service = world.service();
    let mut all: Vec<String> = ["a", "a-1", "a.b", "B", "z", "a_", "0"].into_iter().map(String::from).collect();
    all.iter().for_each(|name| drop(service.create_disk(&new_disk(name, None)).unwrap()));
    all.sort();
    assert_eq!(service.names(ResourceKind::Disk).unwrap(), all);
    for limit in 1..=8 {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = service.names_page(ResourceKind::Disk, after.as_deref(), limit).unwrap();
            assert!(page.len() <= limit);
            found.extend(page.clone());
            after = page.last().cloned().or(after);
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(found, all, "{limit}");
    }
    for limit in [0, 1001] {
        assert!(matches!(service.names_page(ResourceKind::Disk, None, limit), Err(Error::InvalidOption(_))));
    }
    assert_eq!(service.names_page(ResourceKind::Snapshot, None, 10).unwrap(), [""; 0]);
}
