//! A device is open once on a host at each moment, also while its last user closes it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use atrest::managed::{DiskService, ResourceName};
use atrest::{EncryptionType, Error, Result};

use crate::common::world::{World, new_disk, quiet};

type Act = fn(&DiskService) -> Result<()>;

/// While `main` closes the device of the disk "x", in the sync of its map of written chunks, another thread does `act`.
fn while_it_closes(may: fn(&DiskService) -> bool, main: fn(&DiskService, &AtomicBool), act: Act) {
    let mut world = World::new();
    world.written_map = true;
    let service = Arc::new(world.service());
    world.set(&service, "s", EncryptionType::CustomerKey);
    let (armed, acting) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None::<JoinHandle<Result<()>>>)));
    let film = {
        let (service, armed, acting) = (service.clone(), armed.clone(), acting.clone());
        move |_: &str| {
            if armed.load(Relaxed) && may(&service) && armed.swap(false, Relaxed) {
                let service = service.clone();
                *acting.lock().unwrap() = Some(spawn(move || act(&service)));
                sleep(Duration::from_millis(300));
            }
        }
    };
    world.disks.film(Some(Arc::new(film)));
    main(&service, &armed);
    world.disks.film(None);
    let acting = acting.lock().unwrap().take().expect("nothing was closed");
    acting.join().unwrap().unwrap();
}

/// The store has it already.
fn is_made(service: &DiskService) -> bool {
    service.resource(&ResourceName::disk("x")).is_ok()
}

fn make(service: &DiskService, armed: &AtomicBool) {
    armed.store(true, Relaxed);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
}

#[test]
fn who_opens_a_disk_waits_until_its_maker_has_closed_it() {
    while_it_closes(is_made, make, |service| service.open_disk("x").map(drop));
    while_it_closes(is_made, make, |service| service.rotate_set("s", &quiet).map(drop));
}

/// Also if the disk was in use in between, and stayed closed.
#[test]
fn who_opens_a_disk_waits_until_the_last_user_has_closed_it() {
    let use_it = |service: &DiskService, armed: &AtomicBool| {
        service.create_disk(&new_disk("x", Some("s"))).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &[1; 4096]).unwrap();
        armed.store(true, Relaxed);
        drop(disk);
    };
    while_it_closes(|_| true, use_it, |service| service.open_disk("x").map(drop));
    while_it_closes(
        |_| true,
        use_it,
        |service| {
            assert!(matches!(service.resize_disk("x", 1 << 10), Err(Error::InvalidOption(_))));
            service.open_disk("x").map(drop)
        },
    );
}
