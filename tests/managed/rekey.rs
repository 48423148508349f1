//! New DEKs for disks in use: behaviours 26 and 83, and what an attacker or a restore can put in a device's place meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::common::SetOnDrop;
use crate::common::device::{Call, TestDevice, reopen};
use crate::common::vaults::MemoryVault;
use crate::common::world::{T, VAULT, World, copy_to, new_disk, quiet, snapshot_of, still, text};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, KeyAccess, ProtectionStatus, RebuildSources, ResourceName, rebuild};
use atrest::volume::ReencryptOptions;
use atrest::{Credential, Error, OpenOptions, Protector, Result, Volume};

const SIZE: usize = 96 << 10;
const HEADER: usize = 1 << 20;
/// Of 96 KiB.
const STEP: u64 = 32 << 10;

fn name(disk: &str) -> ResourceName {
    ResourceName::disk(disk)
}

/// What a disk holds.
fn content(n: u8) -> Vec<u8> {
    text(n).into_iter().cycle().take(SIZE).collect()
}

fn make(service: &DiskService, disk: &str, set: Option<&str>, sector_size: u32) {
    service.create_disk(&new_disk(disk, set).size(SIZE as u64).sector_size(sector_size)).unwrap();
    let open = service.open_disk(disk).unwrap();
    open.write_at(0, &content(1)).unwrap();
    open.sync().unwrap();
}

fn read(service: &DiskService, disk: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    service.open_disk(disk)?.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn finish(service: &DiskService, disk: &str) {
    while !service.reencrypt_step(disk, STEP).unwrap().is_finished() {}
}

/// How far it is by the report: done, total, finished.
fn told(service: &DiskService, disk: &str) -> Option<(u64, u64, bool)> {
    service.report(&name(disk)).unwrap().reencryption.map(|of| (of.done, of.total, of.finished))
}

/// A disk in a set, written, and its device.
fn one() -> (World, DiskService, Arc<TestDevice>) {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    make(&service, "d", Some("s"), 4096);
    let device = world.device(&service, "d");
    (world, service, device)
}

#[test]
fn a_disk_gets_a_new_dek_in_steps_and_the_report_says_how_far_it_is() {
    // Behaviours 2, 83
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    for (disk, set, sector_size) in [("p", None, 512), ("c", Some("s"), 4096), ("b", Some("both"), 512)] {
        make(&service, disk, set, sector_size);
        let before = service.resource(&name(disk)).unwrap();
        let ciphertext = world.device(&service, disk).bytes();
        assert_eq!(told(&service, disk), None);
        world.clock.set(T + 10);
        let ordered = service.rekey_disk(disk).unwrap();
        let order = ordered.reencryption.unwrap();
        assert_eq!((order.ordered, order.begun, order.finished), (T + 10, Some(T + 10), None));
        assert_eq!(ordered.fingerprints, before.fingerprints, "the old one stays until the end");
        assert!(matches!(service.rekey_disk(disk), Err(Error::Busy { .. })));
        assert_eq!(service.reencrypting().unwrap(), [disk]);
        assert_eq!(told(&service, disk), Some((0, SIZE as u64, false)));
        let progress = service.reencrypt_step(disk, STEP).unwrap();
        assert_eq!((progress.done, progress.total), (STEP, SIZE as u64));
        // Nobody has it open.
        assert_eq!(told(&service, disk), Some((STEP, SIZE as u64, false)));
        assert_eq!(service.report(&name(disk)).unwrap().status, ProtectionStatus::Finished, "its key is what it was");
        assert!(read(&service, disk).unwrap() == content(1), "{disk}");
        finish(&service, disk);
        assert_eq!(told(&service, disk), Some((SIZE as u64, SIZE as u64, true)));
        assert_eq!(service.reencrypting().unwrap(), [""; 0]);
        let after = service.resource(&name(disk)).unwrap();
        assert_ne!(after.fingerprints[0], before.fingerprints[0]);
        assert_eq!(after.fingerprints[1..], before.fingerprints[1..]);
        let done = after.reencryption.unwrap();
        assert_eq!((done.former, done.finished), (Some(before.fingerprints[0]), Some(T + 10)));
        // 96 KiB are 6144 blocks.
        assert!((6144..6144 + 8192).contains(&after.used_blocks[0]), "{:?}", after.used_blocks);
        assert!(read(&service, disk).unwrap() == content(1), "{disk}");
        // No sector is as it was.
        let now = world.device(&service, disk).bytes();
        let data = HEADER * before.fingerprints.len();
        let same = now[data..].chunks(512).zip(ciphertext[data..].chunks(512)).filter(|(now, before)| now == before);
        assert_eq!(same.count(), 0, "{disk}");
        assert!(service.reencrypt_step(disk, STEP).unwrap().is_finished(), "there is no more to do");
    }
    // Once more, after a restart.
    drop(service);
    let service = world.service();
    service.rekey_disk("c").unwrap();
    finish(&service, "c");
    assert!(read(&service, "c").unwrap() == content(1));
    let reports = service.reports().unwrap();
    assert!(reports.iter().all(|report| report.reencryption.is_some_and(|of| of.finished)));
}

/// By the volume alone, as any other reader of LUKS2 has it.
#[test]
fn the_old_dek_reads_nothing_afterwards_and_the_new_one_all() {
    let (world, service, device) = one();
    let vault = &world.customer(VAULT).vault;
    let open = |bytes: &[u8]| {
        Volume::open(TestDevice::new(bytes.to_vec()), Credential::Vault(vault), &OpenOptions::new()).unwrap()
    };
    let old = open(&device.bytes()).dek();
    service.rekey_disk("d").unwrap();
    finish(&service, "d");
    let volume = open(&device.bytes());
    assert!(volume.reencryption().is_none());
    let mut bytes = vec![0; SIZE];
    volume.read_at(0, &mut bytes).unwrap();
    assert!(bytes == content(1));
    let stale = Volume::open(TestDevice::new(device.bytes()), Credential::Dek(&old), &OpenOptions::new());
    assert!(matches!(stale, Err(Error::WrongKey)), "{stale:?}");
}

#[test]
fn a_disk_is_read_and_written_while_it_is_re_encrypted() {
    let (_world, service, _) = one();
    let disk = service.open_disk("d").unwrap();
    service.rekey_disk("d").unwrap();
    let stop = AtomicBool::new(false);
    let expected = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut expected = content(1);
            let mut n = 0;
            while !stop.load(Relaxed) || n < 200 {
                let at = n * 5 % (SIZE / 4096) * 4096;
                expected[at..at + 4096].fill(n as u8);
                disk.write_at(at as u64, &expected[at..at + 4096]).unwrap();
                let mut bytes = [0; 4096];
                disk.read_at(at as u64, &mut bytes).unwrap();
                assert!(bytes == expected[at..at + 4096]);
                n += 1;
            }
            expected
        });
        let _stop = SetOnDrop(&stop);
        while !service.reencrypt_step("d", 4096).unwrap().is_finished() {}
        drop(_stop);
        writer.join().unwrap()
    });
    let mut bytes = vec![0; SIZE];
    disk.read_at(0, &mut bytes).unwrap();
    assert!(bytes == expected);
    drop(disk);
    assert!(read(&service, "d").unwrap() == expected);
}

#[test]
fn writes_that_callers_do_end_before_it_begins_and_are_refused_until_it_ends() {
    let (world, service, device) = one();
    let disk = service.open_disk("d").unwrap();
    let mut sectors = vec![9; 4096];
    let write = disk.begin_write(0, &mut sectors).unwrap();
    std::thread::scope(|scope| {
        let order = scope.spawn(|| service.rekey_disk("d").map(drop));
        // One that begins meanwhile is done at once.
        while service.resource(&name("d")).unwrap().reencryption.is_none_or(|of| of.fingerprint.is_none()) {
            std::thread::yield_now();
        }
        assert!(!order.is_finished());
        let offset = write.device_offset() as usize;
        device.edit(|image| image[offset..offset + 4096].copy_from_slice(&sectors));
        drop(write);
        order.join().unwrap().unwrap();
    });
    assert!(matches!(disk.begin_read(0, 4096), Err(Error::Busy { .. })));
    assert!(matches!(disk.begin_write(0, &mut [0; 4096]), Err(Error::Busy { .. })));
    finish(&service, "d");
    let offset = disk.begin_read(0, 4096).unwrap() as usize;
    sectors.copy_from_slice(&device.bytes()[offset..offset + 4096]);
    disk.complete_read(0, &mut sectors).unwrap();
    assert!(sectors == [9; 4096]);
    assert_eq!(world.disks.0.lock().unwrap().len(), 1);
}

#[test]
fn snapshots_and_copies_of_a_disk_are_right_meanwhile() {
    // Behaviours 44, 45
    let (_world, service, _) = one();
    let disk = service.open_disk("d").unwrap();
    service.create_snapshot(&snapshot_of("d", "first", true), &still).unwrap();
    disk.write_at(0, &[2; 4096]).unwrap();
    service.rekey_disk("d").unwrap();
    service.reencrypt_step("d", STEP).unwrap();
    service.create_snapshot(&snapshot_of("d", "second", true), &still).unwrap();
    service.create_snapshot(&snapshot_of("d", "whole", false), &still).unwrap();
    let mut expected = content(1);
    expected[..4096].fill(2);
    let place = |disk: &str| copy_to(disk, Some("s"));
    service.create_disk_from(&name("d"), &place("copy"), &still).unwrap();
    assert_eq!(service.resource(&name("copy")).unwrap().reencryption, None);
    disk.write_at(SIZE as u64 - 4096, &[3; 4096]).unwrap();
    finish(&service, "d");
    service.create_snapshot(&snapshot_of("d", "third", true), &still).unwrap();
    assert!(read(&service, "copy").unwrap() == expected);
    for snapshot in ["second", "whole", "third"] {
        if snapshot == "third" {
            expected[SIZE - 4096..].fill(3);
        }
        service.create_disk_from(&ResourceName::snapshot(snapshot), &place(snapshot), &still).unwrap();
        assert!(read(&service, snapshot).unwrap() == expected, "{snapshot}");
    }
}

#[test]
fn keys_rotate_and_sets_change_meanwhile() {
    // Behaviours 26, 27, 22
    for set in [None, Some("s"), Some("both")] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        world.set(&service, "both", PlatformAndCustomerKeys);
        make(&service, "d", set, 512);
        let disk = service.open_disk("d").unwrap();
        service.rekey_disk("d").unwrap();
        service.reencrypt_step("d", STEP).unwrap();
        world.platform.rotate();
        service.rotate_platform(&quiet).unwrap();
        world.platform.destroy(1);
        if set.is_none() {
            service.put_into_set(&name("d"), "s").unwrap();
        }
        let set = set.unwrap_or("s");
        world.customer(VAULT).rotate();
        assert_eq!(service.rotate_set(set, &quiet).unwrap().rewrapped, 1, "{set}");
        world.customer(VAULT).vault.destroy(1);
        assert!(service.report_set(set).unwrap().finished && service.report_platform().unwrap().finished, "{set}");
        drop(disk);
        drop(service);
        let service = world.service();
        assert!(read(&service, "d").unwrap() == content(1), "{set}");
        assert_eq!(told(&service, "d"), Some((STEP, SIZE as u64, false)));
        finish(&service, "d");
        assert!(read(&service, "d").unwrap() == content(1), "{set}");
        assert_eq!(service.report(&name("d")).unwrap().status, ProtectionStatus::Finished);
    }
}

#[test]
fn an_order_in_the_middle_of_a_rotation_is_under_the_new_key() {
    let (world, service, _) = one();
    make(&service, "e", Some("s"), 4096);
    drop(service);
    // One after the other, so that the failure leaves one of them.
    let store = world.folder.path().join("store");
    let service = reopen(|| DiskService::open(&store, world.options().parallel(1))).unwrap();
    let customer = world.customer(VAULT);
    customer.rotate();
    // The first wrap is a trial, and the second is of one of them.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    service.rotate_set("s", &quiet).unwrap_err();
    let waiting = || service.report_set("s").unwrap().waiting;
    assert_eq!(waiting().len(), 1);
    // One of them is under the old version, and the other under the new one.
    ["d", "e"].into_iter().for_each(|disk| drop(service.rekey_disk(disk).unwrap()));
    assert_eq!(waiting(), [""; 0]);
    ["d", "e"].into_iter().for_each(|disk| finish(&service, disk));
    service.clear_rotation_error("s").unwrap();
    service.rotate_set("s", &quiet).unwrap();
    customer.vault.destroy(1);
    ["d", "e"].into_iter().for_each(|disk| assert!(read(&service, disk).unwrap() == content(1), "{disk}"));
}

#[test]
fn a_revocation_stops_it_and_it_goes_on_once_the_key_is_back() {
    // Behaviours 36, 39
    let (world, service, device) = one();
    let customer = world.customer(VAULT);
    let disk = service.open_disk("d").unwrap();
    service.rekey_disk("d").unwrap();
    service.reencrypt_step("d", STEP).unwrap();
    customer.disabled.store(true, Relaxed);
    world.clock.advance(Duration::from_secs(3600));
    service.maintain();
    let before = device.bytes();
    assert!(matches!(service.reencrypt_step("d", STEP), Err(Error::DiskSuspended { .. })));
    assert!(disk.is_suspended() && device.bytes() == before);
    let report = service.report(&name("d")).unwrap();
    assert_eq!((report.access, report.reencryption.unwrap().done), (KeyAccess::Suspended, STEP));
    // Neither is one begun.
    customer.disabled.store(false, Relaxed);
    world.clock.advance(Duration::from_secs(60));
    finish(&service, "d");
    drop(disk);
    assert!(read(&service, "d").unwrap() == content(1));
    customer.disabled.store(true, Relaxed);
    world.clock.advance(Duration::from_secs(3600));
    assert!(matches!(service.rekey_disk("d"), Err(Error::DiskSuspended { .. })));
    assert_eq!(service.reencrypting().unwrap(), [""; 0]);
}

#[test]
fn a_vault_that_fails_leaves_an_order_that_the_first_step_begins() {
    let (world, service, _) = one();
    let customer = world.customer(VAULT);
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 1, Relaxed);
    assert!(matches!(service.rekey_disk("d"), Err(Error::Vault(_))));
    assert_eq!(told(&service, "d"), Some((0, SIZE as u64, false)));
    assert_eq!(service.resource(&name("d")).unwrap().reencryption.unwrap().begun, None);
    assert!(read(&service, "d").unwrap() == content(1));
    drop(service);
    let service = world.service();
    finish(&service, &service.reencrypting().unwrap()[0]);
    assert!(read(&service, "d").unwrap() == content(1));
}

/// `ATREST_FAULTS` tries each write and sync.
#[test]
fn a_device_that_fails_half_way_loses_nothing_and_it_goes_on() {
    let step = if std::env::var_os("ATREST_FAULTS").is_some() { 1 } else { 11 };
    for call in [Call::Write, Call::Sync] {
        let (_world, service, device) = one();
        let (mut at, mut failed) = (0, 0);
        loop {
            device.fail(call, at, true);
            let all = || {
                service.rekey_disk("d")?;
                while !service.reencrypt_step("d", STEP)?.is_finished() {}
                Ok::<(), Error>(())
            };
            let done = all();
            if device.heal() {
                done.unwrap();
                break;
            }
            failed += usize::from(done.is_err());
            if service.reencrypting().unwrap().is_empty() {
                // It failed before the order was stored, or after the end.
                service.rekey_disk("d").unwrap();
            }
            finish(&service, "d");
            assert!(read(&service, "d").unwrap() == content(1), "{call:?} {at}");
            at += step;
        }
        println!("{call:?}: {failed} failures, up to the number {at}");
        assert!(failed > 2);
    }
}

fn is_older<T: core::fmt::Debug>(result: Result<T>) -> bool {
    matches!(&result, Err(Error::OlderDevice { resource, .. }) if resource == r#"disk "d""#)
}

#[test]
fn an_older_header_or_device_is_told_and_harms_nothing() {
    let (world, service, device) = one();
    let mut images = vec![device.bytes()];
    service.rekey_disk("d").unwrap();
    let mut wait = 0;
    loop {
        let newest = device.bytes();
        // Nobody has it open.
        for (n, older) in images.iter().enumerate() {
            for len in [HEADER, newest.len()] {
                device.edit(|image| image[..len].copy_from_slice(&older[..len]));
                let put_back = device.bytes();
                wait += 600;
                world.clock.set(T + wait);
                assert!(is_older(service.open_disk("d")), "{n} of {}, {len} bytes", images.len());
                assert!(is_older(service.reencrypt_step("d", STEP)) || told(&service, "d").unwrap().2);
                assert!(device.bytes() == put_back, "{n} of {}, {len} bytes", images.len());
                device.edit(|image| image.copy_from_slice(&newest));
            }
        }
        wait += 600;
        world.clock.set(T + wait);
        assert!(read(&service, "d").unwrap() == content(1), "{} older", images.len());
        if told(&service, "d").unwrap().2 {
            break;
        }
        images.push(newest);
        service.reencrypt_step("d", STEP).unwrap();
    }
    assert_eq!(images.len(), 4);
}

/// Whoever once had the DEK, and may wrap, begins to re-encrypt the disk under a DEK of their own.
#[test]
fn a_re_encryption_that_nobody_ordered_opens_nothing() {
    let (world, service, device) = one();
    let vault: &MemoryVault = &world.customer(VAULT).vault;
    let honest = device.bytes();
    let volume = Volume::open(TestDevice::new(honest.clone()), Credential::Vault(vault), &OpenOptions::new()).unwrap();
    volume.begin_reencryption(&[Protector::Vault(vault, "disks")], &ReencryptOptions::new()).unwrap();
    let planted = volume.device().bytes();
    let mut wait = 0;
    for ordered in [false, true] {
        if ordered {
            service.rekey_disk("d").unwrap();
        }
        let honest = device.bytes();
        device.edit(|image| image.copy_from_slice(&planted));
        wait += 600;
        world.clock.set(T + wait);
        let error = service.open_disk("d").and_then(|disk| disk.write_at(0, &[5; 4096])).unwrap_err();
        assert!(matches!(error, Error::OtherDek), "{ordered}: {error:?}");
        assert!(device.bytes() == planted);
        device.edit(|image| image.copy_from_slice(&honest));
        wait += 600;
        world.clock.set(T + wait);
        assert!(read(&service, "d").unwrap() == content(1));
    }
}

#[test]
fn a_lost_store_is_rebuilt_in_the_middle_and_it_goes_on() {
    let (world, service, device) = one();
    drop(service);
    let path = world.folder.path().join("store");
    let before_order = std::fs::read(&path).unwrap();
    let service = world.service();
    let old = service.resource(&name("d")).unwrap();
    service.rekey_disk("d").unwrap();
    service.reencrypt_step("d", STEP).unwrap();
    drop(service);
    let middle = std::fs::read(&path).unwrap();
    for (n, store) in [Some(&before_order), Some(&middle), None].into_iter().enumerate() {
        let (stale, new) = (world.folder.path().join(format!("old-{n}")), world.folder.path().join(format!("new-{n}")));
        // Without a record, there is a set to take it up in all the same.
        std::fs::write(&stale, store.unwrap_or(&before_order)).unwrap();
        if store.is_none() {
            let only_sets = world.service_over(&stale).unwrap();
            let image = device.bytes();
            only_sets.delete(&name("d")).unwrap();
            world.disks.0.lock().unwrap().insert(old.id.clone(), Arc::new(TestDevice::new(image)));
        }
        let sources = RebuildSources::new().device("north", &old.id).store(&stale);
        let told = rebuild(&new, &sources, &world.options()).unwrap();
        assert_eq!(told.unproven, [], "{n}");
        let service = world.service_over(&new).unwrap();
        let disk = if store.is_some() { "d" } else { &old.id };
        let order = service.resource(&name(disk)).unwrap().reencryption.unwrap();
        assert_eq!((order.done, order.total, order.finished), (STEP, SIZE as u64, None), "{n}");
        assert_eq!(service.resource(&name(disk)).unwrap().fingerprints, old.fingerprints, "{n}");
        assert!(read(&service, disk).unwrap() == content(1), "{n}");
        assert_eq!(service.reencrypting().unwrap(), [disk]);
        if store.is_none() {
            finish(&service, disk);
            assert!(read(&service, disk).unwrap() == content(1));
        }
    }
    // The device is newer than the store in the middle, and not at all that of the store before.
    for (store, is_taken) in [(&middle, true), (&before_order, false)] {
        let (stale, new) = (world.folder.path().join("stale"), world.folder.path().join("last"));
        std::fs::write(&stale, store).unwrap();
        let _ = std::fs::remove_file(&new);
        let sources = RebuildSources::new().device("north", &old.id).store(&stale);
        let told = rebuild(&new, &sources, &world.options()).unwrap();
        assert_eq!(told.restored.len(), usize::from(is_taken), "{told:?}");
        if is_taken {
            let service = world.service_over(&new).unwrap();
            assert!(service.resource(&name("d")).unwrap().reencryption.unwrap().is_finished());
            assert!(read(&service, "d").unwrap() == content(1));
        }
    }
}

/// A cache's key comes from the DEK, so that its writes would be lost with the old one.
#[test]
fn a_write_back_cache_and_a_new_dek_exclude_each_other() {
    let (_world, service, _device) = one();
    let disk = service.open_disk("d").unwrap();
    let is_busy = |result: Result<()>| matches!(result, Err(Error::Busy { .. }));
    disk.set_host_cache(Some("cache")).unwrap();
    assert!(is_busy(service.rekey_disk("d").map(drop)));
    assert_eq!(told(&service, "d"), None);
    disk.set_host_cache(None).unwrap();
    service.rekey_disk("d").unwrap();
    assert!(is_busy(disk.set_host_cache(Some("cache"))));
    disk.set_host_cache(None).unwrap();
    assert_eq!(disk.host_cache().unwrap(), None);
    finish(&service, "d");
    disk.set_host_cache(Some("cache")).unwrap();
}
