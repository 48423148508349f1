//! Orders of re-encryption that are withdrawn before they begin. Those that have begun stay, whatever was killed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::crash::{contents, killed, most};
use super::{adopt, import};
use crate::common::world::{VAULT, World, new_disk};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{AdoptOptions, DiskFolder, DiskService, ResourceKind, ResourceName, ServiceOptions};
use atrest::{Error, Result};

const SIZE: u64 = 64 << 10;

fn name(disk: &str) -> ResourceName {
    ResourceName::disk(disk)
}

/// The text of a refusal to withdraw.
fn refused(result: Result<()>) -> String {
    match result {
        Err(Error::InvalidOption(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The next wrap fails.
fn fail_wrap(world: &World) {
    let customer = world.customer(VAULT);
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 1, Relaxed);
}

#[test]
fn an_order_that_has_not_begun_is_withdrawn_and_the_disk_keeps_its_dek() {
    for kind in [CustomerKey, PlatformAndCustomerKeys] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", kind);
        service.create_disk(&new_disk("d", Some("s")).size(SIZE)).unwrap();
        service.open_disk("d").unwrap().write_at(0, &[7; 4096]).unwrap();
        let before = (service.resource(&name("d")).unwrap(), world.device(&service, "d").bytes());
        fail_wrap(&world);
        service.rekey_disk("d").unwrap_err();
        assert_eq!(service.reencrypting().unwrap(), ["d"]);
        // Also while it is in use.
        let disk = service.open_disk("d").unwrap();
        service.cancel_reencryption("d").unwrap();
        assert_eq!(service.reencrypting().unwrap(), [""; 0]);
        let after = service.resource(&name("d")).unwrap();
        assert_eq!((&after.fingerprints, &after.reencryption), (&before.0.fingerprints, &None));
        assert!(service.reencrypt_step("d", SIZE).unwrap().is_finished(), "there is nothing to do");
        assert!(world.device(&service, "d").bytes() == before.1);
        let mut sectors = [0; 4096];
        disk.read_at(0, &mut sectors).unwrap();
        assert_eq!(sectors, [7; 4096]);
        drop(disk);
        assert!(refused(service.cancel_reencryption("d")).contains("has no order"));
        // A later one is an order as any other, also after a restart.
        drop(service);
        let service = world.service();
        service.rekey_disk("d").unwrap();
        while !service.reencrypt_step("d", SIZE).unwrap().is_finished() {}
        assert!(refused(service.cancel_reencryption("d")).contains("has no order"));
        service.open_disk("d").unwrap().read_at(0, &mut sectors).unwrap();
        assert_eq!(sectors, [7; 4096]);
        assert_ne!(service.resource(&name("d")).unwrap().fingerprints[0], before.0.fingerprints[0]);
    }
}

#[test]
fn an_order_that_has_begun_stays_and_the_error_says_that_it_can_pause() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    assert!(matches!(service.cancel_reencryption("d"), Err(Error::NoSuchResource(_))));
    service.create_disk(&new_disk("d", Some("s")).size(SIZE)).unwrap();
    service.rekey_disk("d").unwrap();
    for _ in 0..2 {
        let (record, device) = (service.resource(&name("d")).unwrap(), world.device(&service, "d").bytes());
        let text = refused(service.cancel_reencryption("d"));
        assert!(text.contains("pauses while `reencrypt_step` isn't called"), "{text}");
        assert_eq!(service.resource(&name("d")).unwrap(), record);
        assert!(world.device(&service, "d").bytes() == device);
        service.reencrypt_step("d", 16 << 10).unwrap();
    }
    while !service.reencrypt_step("d", SIZE).unwrap().is_finished() {}
}

/// Only the device tells whether it has begun, and only the vault opens the device.
#[test]
fn nothing_is_withdrawn_while_nobody_knows_whether_it_has_begun() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("d", Some("s")).size(SIZE)).unwrap();
    fail_wrap(&world);
    service.rekey_disk("d").unwrap_err();
    drop(service);
    let service = world.service();
    let customer = world.customer(VAULT);
    customer.away.store(true, Relaxed);
    assert!(matches!(service.cancel_reencryption("d"), Err(Error::DiskSuspended { .. } | Error::Vault(_))));
    assert_eq!(service.reencrypting().unwrap(), ["d"]);
    customer.away.store(false, Relaxed);
    world.clock.advance(std::time::Duration::from_secs(600));
    service.cancel_reencryption("d").unwrap();
    assert_eq!(service.reencrypting().unwrap(), [""; 0]);
}

#[test]
fn an_order_that_is_killed_while_it_begins_is_withdrawn_or_stays() {
    let disk = "b";
    let act = |_: &World, service: &DiskService| {
        service.rekey_disk(disk).unwrap();
        service.reencrypt_step(disk, 36 << 10).unwrap();
    };
    let mut seen = [0; 2];
    killed("ordering a new DEK", 1, 4 * most(), act, |what, world, service, before| {
        let old = service.resource(&name(disk)).unwrap();
        if old.reencryption.is_some() {
            let withdrawn = service.cancel_reencryption(disk).is_ok();
            seen[usize::from(withdrawn)] += 1;
            let record = service.resource(&name(disk)).unwrap();
            assert_eq!(record.reencryption.is_none(), withdrawn, "{what}");
            assert!(withdrawn || record.reencryption.unwrap().begun.is_some(), "{what}");
            assert_eq!(record.fingerprints, old.fingerprints, "{what}");
        }
        drop(service);
        let service = world.service();
        assert!(contents(&service) == *before, "{what}: after a restart");
        if service.reencrypting().unwrap().is_empty() {
            service.rekey_disk(disk).unwrap();
        }
        while !service.reencrypt_step(disk, SIZE).unwrap().is_finished() {}
        assert!(contents(&service) == *before, "{what}: under another DEK");
    });
    println!("{} orders had begun, {} were withdrawn", seen[0], seen[1]);
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn an_import_is_withdrawn_as_long_as_its_image_is_what_it_was() {
    let world = World::new();
    let (folder, path) = (world.folder.path().join("disks"), world.folder.path().join("plain.img"));
    std::fs::create_dir(&folder).unwrap();
    for moved in [false, true] {
        std::fs::write(&path, import::image()).unwrap();
        let folder = DiskFolder::new(&folder);
        let backend = import::Failing { folder, before: (!moved).into(), after: moved.into() };
        let (vaults, platform) = (world.vaults.clone(), world.platform.clone());
        let options = ServiceOptions::new(Arc::new(backend), vaults, platform, "disks");
        let service = DiskService::open(world.folder.path().join(format!("store-{moved}")), options).unwrap();
        let import = || service.import_disk(&new_disk("d", None).size(0), path.to_str().unwrap());
        import().unwrap_err();
        assert_eq!(service.reencrypting().unwrap(), ["d"]);
        if moved {
            let text = refused(service.cancel_reencryption("d"));
            assert!(text.contains("its image is its device already"), "{text}");
        } else {
            service.cancel_reencryption("d").unwrap();
            assert_eq!(service.names(ResourceKind::Disk).unwrap(), [""; 0]);
            assert!(std::fs::read(&path).unwrap() == import::image());
            assert!(matches!(service.cancel_reencryption("d"), Err(Error::NoSuchResource(_))));
            import().unwrap();
            let text = refused(service.cancel_reencryption("d"));
            assert!(text.contains("pauses"), "{text}");
        }
        import::finish(&service, "d");
        assert!(import::read(&service, "d").unwrap() == import::image());
    }
}

/// Whoever had the volume has its old DEK.
#[test]
fn the_order_of_an_adoption_stays() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    adopt::give(&world, adopt::image());
    // Others wrap before: a trial, and for the token.
    let customer = world.customer(VAULT);
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    let options = AdoptOptions::new().guest_encrypted(true).reencrypt(true);
    adopt::adopt(&service, Some("s"), &options).unwrap_err();
    let record = service.resource(&name("d")).unwrap();
    assert!(record.adopting.is_none() && record.reencryption.is_some_and(|of| of.begun.is_none() && of.adopted));
    let text = refused(service.cancel_reencryption("d"));
    assert!(text.contains("was adopted with this order"), "{text}");
    assert_eq!(service.reencrypting().unwrap(), ["d"]);
    while !service.reencrypt_step("d", SIZE).unwrap().is_finished() {}
    assert!(adopt::read(&service, "d").unwrap() == adopt::data());
}
