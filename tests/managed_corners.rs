//! Corners of managed disks that were wrong once: found by random fleets, by threads, and by looking.

#![cfg(feature = "managed")]

mod common;

use atrest::EncryptionType::CustomerKey;
use atrest::Error;
use atrest::managed::ResourceName;
use common::world::{World, new_disk, new_set, text};

#[test]
fn a_set_that_may_not_use_its_key_takes_no_disk() {
    // 22, 25: what was put into it could not be opened any more, nor taken out again.
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
