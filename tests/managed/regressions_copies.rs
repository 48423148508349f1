//! Former defects of copies, images, and what is on its way into a set, each with the steps that showed it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::world::{VAULT, World, copy_to, new_disk, snapshot_of, still, text};
use atrest::EncryptionType::CustomerKey;
use atrest::Error;
use atrest::managed::{CopyProgress, NewCopy, NewImage, NewSnapshot, ResourceName};

#[test]
fn a_copy_of_a_snapshot_that_is_just_merged_away_is_no_copy_of_another() {
    // Behaviour 44: it had the content of the snapshot before it.
    let world = World::new();
    let service = Arc::new(world.service());
    service.create_disk(&new_disk("x", None)).unwrap();
    for n in 0..3 {
        service.open_disk("x").unwrap().write_at(0, &text(n)).unwrap();
        let (name, disk) = (format!("i-{n}"), "x");
        service.create_snapshot(&NewSnapshot::new(name, disk).incremental(true), &|_| ()).unwrap();
    }
    // While the third takes over the chunks that it needs from the second, the second still exists under its name.
    let (copying, of) = (Arc::new(Mutex::new(None)), service.clone());
    let (started, begun) = (copying.clone(), AtomicBool::new(false));
    world.disks.film(Some(Arc::new(move |_: &str| {
        if !begun.swap(true, Relaxed) {
            let service = of.clone();
            let (region, subscription) = ("north", "one");
            let new = NewCopy::new("copy").region(region).subscription(subscription);
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
    let image = |region: &str| NewImage::new("golden").disk(region).region(region, [None]);
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
    let snapshot = NewSnapshot::new("i", "x").incremental(true);
    service.create_snapshot(&snapshot, &|_| ()).unwrap();
    let customer = world.customer(VAULT);
    // The first wrap is a trial, the second is the disk's.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("x"), "s").is_err());
    customer.disabled.store(true, Relaxed);
    let (name, region, subscription) = ("copy", "north", "one");
    let new = NewCopy::new(name).region(region).subscription(subscription);
    let copied = service.create_disk_from(&ResourceName::snapshot("i"), &new, &|_| ());
    assert!(matches!(copied, Err(Error::DiskSuspended { .. })), "{copied:?}");
}

#[test]
fn a_snapshot_whose_move_into_a_set_was_interrupted_is_removed() {
    // Behaviours 22, 45: to finish the move it waited for itself.
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", None)).unwrap();
    let disk = service.open_disk("x").unwrap();
    for n in 0..2 {
        disk.write_at(0, &text(n)).unwrap();
        service.create_snapshot(&snapshot_of("x", &format!("i-{n}"), true), &still).unwrap();
    }
    let customer = world.customer(VAULT);
    // The first shows whether the key can be used at all. The second is for the disk.
    customer.fail_wrap_at.store(customer.wraps.load(Relaxed) + 3, Relaxed);
    assert!(service.put_into_set(&ResourceName::disk("x"), "s").is_err());
    let (old, new) = (ResourceName::snapshot("i-0"), ResourceName::snapshot("i-1"));
    assert!([&old, &new].into_iter().all(|name| service.resource(name).unwrap().joining.is_some()));
    service.delete(&old).unwrap();
    assert_eq!(service.resource(&new).unwrap().joining, None);
    service.create_disk_from(&new, &copy_to("y", Some("s")), &still).unwrap();
    let mut back = vec![0; 8192];
    service.open_disk("y").unwrap().read_at(0, &mut back).unwrap();
    assert!(back == text(1));
}
