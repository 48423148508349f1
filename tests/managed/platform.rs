//! Rotation of the platform's key: one call that can be resumed moves everything under it, including the lower layers
//! of double encryption.

use std::sync::atomic::Ordering::Relaxed;

use crate::common::world::{VAULT, World, copy_to, new_disk, quiet, snapshot_of, still, text};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, ProtectionStatus, ResourceKind, ResourceName};
use atrest::volume::Header;
use atrest::{Error, Result};

/// The keys that the header on a resource's device names: of two layers, the lower one's.
fn bottom(world: &World, service: &DiskService, name: &ResourceName) -> Vec<String> {
    let tokens = Header::load(&*world.device_of(service, name)).unwrap().tokens();
    tokens.into_iter().filter_map(|token| token.key_url).collect()
}

fn url(version: usize) -> String {
    format!("platform/keys/disks/{version}")
}

fn read(service: &DiskService, disk: &str) -> Result<()> {
    let mut bytes = vec![0; text(1).len()];
    service.open_disk(disk)?.read_at(0, &mut bytes)?;
    assert!(bytes == text(1), "{disk}");
    Ok(())
}

/// Disks under the platform's key, a customer's, and both, and an incremental snapshot.
fn fleet(world: &World) -> DiskService {
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "d", PlatformAndCustomerKeys);
    for (disk, set) in [("p", None), ("q", None), ("c", Some("s")), ("b", Some("d"))] {
        service.create_disk(&new_disk(disk, set)).unwrap();
        service.open_disk(disk).unwrap().write_at(0, &text(1)).unwrap();
    }
    service.create_snapshot(&snapshot_of("p", "snap", true), &still).unwrap();
    service
}

/// All that the platform's keys protect.
fn protected() -> [ResourceName; 4] {
    [ResourceName::disk("b"), ResourceName::disk("p"), ResourceName::disk("q"), ResourceName::snapshot("snap")]
}

#[test]
fn all_that_is_under_the_platforms_key_comes_under_its_newest_version() {
    let world = World::new();
    let service = fleet(&world);
    let report = service.report_platform().unwrap();
    assert!(report.finished && report.waiting.is_empty());
    assert_eq!((report.key.as_str(), report.progress.done, report.progress.total), ("disks", 4, 4));
    assert_eq!(report.keys.unwrap().active_key.to_string(), url(1));

    let open = service.open_disk("q").unwrap();
    world.platform.rotate();
    // No customer's vault is asked for it: it may be away.
    world.customer(VAULT).away.store(true, Relaxed);
    let progress = std::sync::Mutex::new(Vec::new());
    let rotation = service.rotate_platform(&|at| progress.lock().unwrap().push((at.done, at.total))).unwrap();
    assert_eq!((rotation.key.to_string(), rotation.rewrapped), (url(2), 4));
    let mut progress = progress.into_inner().unwrap();
    progress.sort_unstable();
    assert_eq!(progress, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    world.customer(VAULT).away.store(false, Relaxed);
    // As the headers themselves say.
    protected().iter().for_each(|name| assert_eq!(bottom(&world, &service, name), [url(2)], "{name}"));
    assert_eq!(bottom(&world, &service, &ResourceName::disk("c")), [world.customer(VAULT).key(1).to_string()]);
    let report = service.report_platform().unwrap();
    assert!(report.finished && report.waiting.is_empty(), "{report:?}");
    let keys = report.keys.unwrap();
    assert_eq!((keys.active_key.to_string(), keys.previous_keys.len()), (url(2), 0));
    assert_eq!(keys.former_keys.iter().map(ToString::to_string).collect::<Vec<_>>(), [url(1)]);
    assert!(keys.last_key_rotation_timestamp.is_some());

    // The old version isn't needed any more, neither by open disks nor after a restart.
    world.platform.destroy(1);
    open.write_at(0, &text(1)).unwrap();
    drop(open);
    drop(service);
    let service = world.service();
    ["p", "q", "c", "b"].iter().for_each(|disk| read(&service, disk).unwrap());
    service.create_disk_from(&ResourceName::snapshot("snap"), &copy_to("copy", None), &still).unwrap();
    read(&service, "copy").unwrap();
    assert_eq!(service.rotate_platform(&quiet).unwrap().rewrapped, 0);
}

#[test]
fn a_rotation_of_the_platforms_key_that_fails_goes_on_where_it_was() {
    let world = World::new();
    let service = fleet(&world);
    world.platform.rotate();
    // One of its devices is broken.
    let device = world.device(&service, "q");
    let image = device.bytes();
    device.edit(|bytes| bytes[..1 << 20].fill(0));
    service.rotate_platform(&quiet).unwrap_err();
    let report = service.report_platform().unwrap();
    assert!(!report.finished && report.waiting.contains(&r#"disk "q""#.to_owned()), "{report:?}");
    let keys = report.keys.unwrap();
    assert_eq!(keys.previous_keys.iter().map(ToString::to_string).collect::<Vec<_>>(), [url(1)]);
    assert_eq!(keys.rotation_error.unwrap().resource, r#"disk "q""#);
    device.edit(|bytes| bytes.copy_from_slice(&image));
    drop(service);
    let service = world.service();
    assert_eq!(service.report(&ResourceName::disk("q")).unwrap().status, ProtectionStatus::Rotating);
    // Disks still under the old version open meanwhile.
    read(&service, "q").unwrap();
    let rewrapped = service.rotate_platform(&quiet).unwrap().rewrapped;
    assert!((1..=4).contains(&rewrapped));
    let report = service.report_platform().unwrap();
    assert!(report.finished && report.keys.unwrap().rotation_error.is_none());
    protected().iter().for_each(|name| assert_eq!(bottom(&world, &service, name), [url(2)], "{name}"));
}

#[test]
fn what_is_made_under_a_newer_version_shows_that_the_others_are_not() {
    let world = World::new();
    let service = fleet(&world);
    world.platform.rotate();
    service.create_disk(&new_disk("new", None)).unwrap();
    let report = service.report_platform().unwrap();
    assert!(!report.finished);
    assert_eq!((report.progress.done, report.progress.total), (1, 5));
    assert_eq!(report.waiting.len(), 4);
    assert_eq!(service.rotate_platform(&quiet).unwrap().rewrapped, 4);
    assert!(service.report_platform().unwrap().finished);
}

#[test]
fn a_disk_put_into_a_set_leaves_the_platforms_key() {
    let world = World::new();
    let service = fleet(&world);
    world.platform.rotate();
    service.put_into_set(&ResourceName::disk("q"), "s").unwrap();
    assert_eq!(service.rotate_platform(&quiet).unwrap().rewrapped, 3);
    assert_eq!(bottom(&world, &service, &ResourceName::disk("q")), [world.customer(VAULT).key(1).to_string()]);
    assert!(service.report_platform().unwrap().finished);
    world.platform.destroy(1);
    ["p", "q", "c", "b"].iter().for_each(|disk| read(&service, disk).unwrap());
}

#[test]
fn a_disk_half_way_into_a_set_is_not_left_under_an_old_key() {
    let world = World::new();
    let service = fleet(&world);
    let customer = world.customer(VAULT);
    // The first wrap is a trial.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 2, Relaxed);
    service.put_into_set(&ResourceName::disk("q"), "s").unwrap_err();
    world.platform.rotate();
    service.rotate_platform(&quiet).unwrap();
    assert!(service.report_platform().unwrap().finished);
    world.platform.destroy(1);
    // It is finished at its next use.
    read(&service, "q").unwrap();
    assert_eq!(bottom(&world, &service, &ResourceName::disk("q")), [customer.key(1).to_string()]);
}

#[test]
fn a_key_of_the_platforms_vault_by_another_name_protects_nothing() {
    let world = World::new();
    let service = fleet(&world);
    world.device(&service, "p").edit(|image| {
        crate::common::header::edit_json(image, |json| {
            for token in json["tokens"].as_object_mut().unwrap().values_mut() {
                token["key_url"] = "platform/keys/tapes/1".into();
            }
        });
    });
    let error = read(&service, "p").unwrap_err();
    assert!(matches!(&error, Error::OtherKey { expected, .. } if expected == "disks"), "{error:?}");
    let names = service.names(ResourceKind::Disk).unwrap();
    names.iter().filter(|name| *name != "p").for_each(|disk| read(&service, disk).unwrap());
}
