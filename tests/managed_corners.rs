//! Corners of managed disks that were wrong once: found by random fleets, by threads, and by looking.

#![cfg(feature = "managed")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::EncryptionType::CustomerKey;
use atrest::Error;
use atrest::managed::{CopyProgress, ImageRegion, NewCopy, NewImage, NewSnapshot, ResourceName};
use common::world::{VAULT, World, new_disk, new_set, text};

#[test]
fn a_set_that_may_not_use_its_key_takes_no_disk() {
    // Behaviours 22, 25: what was put into it could not be opened any more, nor taken out again.
    let world = World::new();
    let service = world.service();
    service.create_set(&new_set("s", CustomerKey)).unwrap();
    service.create_disk(&new_disk("x", None)).unwrap();
    service.open_disk("x").unwrap().write_at(0, &text(0)).unwrap();
    let name = ResourceName::disk("x");
    assert!(matches!(service.put_into_set(&name, Some("s")), Err(Error::AccessDenied { .. })));
    let disk = service.resource(&name).unwrap();
    assert_eq!((disk.set, disk.joining), (None, None));
    let mut back = vec![0; 8192];
    service.open_disk("x").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(0));
}

#[test]
fn a_vault_that_goes_away_after_it_has_said_no_gives_nothing_back() {
    // Behaviour 36: a disk that nobody had touched since the revocation worked again.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    for name in ["x", "y"] {
        service.create_disk(&new_disk(name, Some("s"))).unwrap();
    }
    let (customer, disk, mut back) = (world.customer(VAULT), service.open_disk("x").unwrap(), [0; 4096]);
    customer.disabled.store(true, Ordering::Relaxed);
    world.clock.advance(Duration::from_secs(900));
    assert!(matches!(service.open_disk("y"), Err(Error::DiskSuspended { .. })));
    customer.away.store(true, Ordering::Relaxed);
    for seconds in [1, 60] {
        world.clock.advance(Duration::from_secs(seconds));
        assert!(service.open_disk("y").is_err());
        assert!(matches!(disk.read_at(0, &mut back), Err(Error::DiskSuspended { .. })));
    }
}

#[test]
fn a_copy_of_a_snapshot_that_is_just_merged_away_is_no_copy_of_another() {
    // Behaviour 44: it held what the snapshot before it held.
    let world = World::new();
    let service = Arc::new(world.service());
    service.create_disk(&new_disk("x", None)).unwrap();
    for n in 0..3 {
        service.open_disk("x").unwrap().write_at(0, &text(n)).unwrap();
        let (name, disk) = (format!("i-{n}"), "x".into());
        service.create_snapshot(&NewSnapshot { name, disk, incremental: true, set: None }, &|_| ()).unwrap();
    }
    // While the third takes over what it needs of the second, the second is still there to be named.
    let (copying, of) = (Arc::new(Mutex::new(None)), service.clone());
    let (started, begun) = (copying.clone(), AtomicBool::new(false));
    world.disks.film(Some(Arc::new(move |_: &str| {
        if !begun.swap(true, Ordering::Relaxed) {
            let service = of.clone();
            let (region, subscription) = ("north".into(), "one".into());
            let new = NewCopy { name: "copy".into(), region, subscription, set: None };
            let copy = move || service.create_disk_from(&ResourceName::snapshot("i-1"), &new, &|_| ());
            *started.lock().unwrap() = Some(std::thread::spawn(copy));
            std::thread::sleep(Duration::from_millis(300));
        }
    })));
    service.delete(&ResourceName::snapshot("i-1")).unwrap();
    world.disks.film(None);
    let copied = copying.lock().unwrap().take();
    let copied = copied.unwrap().join().unwrap();
    if copied.is_ok() {
        let mut back = vec![0; 8192];
        service.open_disk("copy").unwrap().read_at(0, &mut back).unwrap();
        assert!(back == text(1));
    } else {
        assert!(matches!(copied, Err(Error::NoSuchResource(_))), "{copied:?}");
    }
}

#[test]
fn of_two_images_of_one_name_that_are_made_at_once_one_is_made() {
    // Behaviour 49: they became one, of two regions.
    let world = World::new();
    let service = world.service();
    ["north", "south"].iter().for_each(|name| drop(service.create_disk(&new_disk(name, None)).unwrap()));
    let image = |region: &str| NewImage {
        name: "golden".into(),
        disks: vec![region.into()],
        regions: vec![ImageRegion { region: region.into(), sets: vec![None] }],
    };
    let other = |_: CopyProgress| drop(service.create_image(&image("south"), &|_| ()).unwrap());
    assert!(matches!(service.create_image(&image("north"), &other), Err(Error::ResourceExists(_))));
    let names: Vec<_> = service.image("golden").unwrap().into_iter().map(|copy| copy.name).collect();
    assert_eq!(names, ["golden/south/0"]);
    assert_eq!(world.disks.0.lock().unwrap().len(), 3);
}

#[test]
fn what_is_on_its_way_into_a_set_whose_key_is_away_is_suspended() {
    // Behaviour 38: a move was killed before the snapshot was under the set's key, and then the key is disabled.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    let snapshot = NewSnapshot { name: "i".into(), disk: "x".into(), incremental: true, set: None };
    service.create_snapshot(&snapshot, &|_| ()).unwrap();
    let customer = world.customer(VAULT);
    // The first wrap is a trial, the second is the disk's.
    customer.fail_wrap_at.store(customer.wraps.load(Ordering::Relaxed) + 3, Ordering::Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("x"), Some("s")).is_err());
    customer.disabled.store(true, Ordering::Relaxed);
    let (name, region, subscription) = ("copy".into(), "north".into(), "one".into());
    let new = NewCopy { name, region, subscription, set: None };
    let copied = service.create_disk_from(&ResourceName::snapshot("i"), &new, &|_| ());
    assert!(matches!(copied, Err(Error::DiskSuspended { .. })), "{copied:?}");
}
