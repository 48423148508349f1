//! Disks that are zeroed and discarded in part: what they hold then, what snapshots of them hold, and what reaches the device.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::Error;
use atrest::managed::CopyProgress;

use crate::common::device::Op;
use crate::common::world::{VAULT, World, new_disk, snapshot_of, still};
use crate::copies::{CHUNK, content, restored};

const SECTOR: usize = 4096;

fn discarding() -> World {
    World { discard: true, ..World::new() }
}

#[test]
fn a_disk_holds_zeros_where_they_are_asked_for_and_nowhere_else() {
    // More than two of the pieces of 8 MiB in which it is done.
    const SIZE: usize = 20 << 20;
    let world = World::new();
    let service = world.service();
    world.set(&service, "both", PlatformAndCustomerKeys);
    for set in [None, Some("both")] {
        let name = set.unwrap_or("none");
        service.create_disk(&new_disk(name, set).size(SIZE as u64)).unwrap();
        let (disk, device) = (service.open_disk(name).unwrap(), world.device(&service, name));
        let mut plain = vec![7; SIZE];
        disk.write_at(0, &plain).unwrap();
        for (at, len) in [(0, 0), (SECTOR, SECTOR), (8 << 20, SECTOR), (SECTOR, 18 << 20), (SIZE - SECTOR, SECTOR)] {
            disk.write_zeroes(at as u64, len as u64).unwrap();
            plain[at..at + len].fill(0);
            assert!(content(&disk) == plain, "{name}: {len} zeros at {at}");
        }
        let raw = device.bytes();
        let data = (raw.len() - SIZE) / SECTOR * SECTOR;
        assert!(raw[data..].chunks(16).all(|block| block != [0; 16]), "zeros lie on the device in the clear");

        // Discards aren't allowed.
        disk.discard(0, SIZE as u64).unwrap();
        assert!(!disk.discards() && device.bytes() == raw);
        let end = SIZE as u64;
        for (at, len) in [(end, 4096), (4096, end), (0, u64::MAX - 4095), (u64::MAX - 4095, 4096)] {
            assert!(matches!(disk.write_zeroes(at, len), Err(Error::OutOfBounds { size, .. }) if size == end));
            assert!(matches!(disk.discard(at, len), Err(Error::OutOfBounds { .. })));
        }
        for (at, len) in [(512, 4096), (0, 512), (0, u64::MAX)] {
            assert!(matches!(disk.write_zeroes(at, len), Err(Error::Misaligned { sector_size: 4096, .. })));
            assert!(matches!(disk.discard(at, len), Err(Error::Misaligned { .. })));
        }
        assert!(device.bytes() == raw);
    }
}

#[test]
fn discards_reach_the_device_below_all_layers_while_the_key_may_be_used() {
    const SIZE: usize = 18 << 20;
    let world = discarding();
    let service = world.service();
    for (set, kind) in [("one", CustomerKey), ("two", PlatformAndCustomerKeys)] {
        world.set(&service, set, kind);
        service.create_disk(&new_disk(set, Some(set)).size(SIZE as u64)).unwrap();
        let (disk, device) = (service.open_disk(set).unwrap(), world.device(&service, set));
        disk.write_at(0, &vec![7; SIZE]).unwrap();
        let (before, first) = (device.bytes(), disk.begin_read(0, SECTOR).unwrap() as usize);
        disk.discard(SECTOR as u64, (SIZE - 2 * SECTOR) as u64).unwrap();
        let (after, discarded) = (device.bytes(), first + SECTOR..first + SIZE - SECTOR);
        assert!(disk.discards() && after[discarded.clone()].iter().all(|&byte| byte == 0xDD), "{set}");
        assert!(
            after[..discarded.start] == before[..discarded.start] && after[discarded.end..] == before[discarded.end..]
        );
        let now = content(&disk);
        assert!(now[..SECTOR] == [7; SECTOR] && now[SIZE - SECTOR..] == [7; SECTOR], "{set}");

        world.customer(VAULT).disabled.store(true, Ordering::Relaxed);
        world.clock.advance(Duration::from_secs(3601));
        service.maintain();
        assert!(matches!(disk.discard(0, SECTOR as u64), Err(Error::DiskSuspended { .. })));
        assert!(matches!(disk.write_zeroes(0, SECTOR as u64), Err(Error::DiskSuspended { .. })));
        assert!(device.bytes() == after);
        world.customer(VAULT).disabled.store(false, Ordering::Relaxed);
        world.clock.advance(Duration::from_secs(3601));
        service.maintain();
        disk.write_zeroes(0, SIZE as u64).unwrap();
        assert!(content(&disk) == vec![0; SIZE]);
    }
}

#[test]
fn a_snapshot_in_progress_holds_what_is_zeroed_and_discarded_meanwhile() {
    for incremental in [false, true] {
        let world = discarding();
        let (armed, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
        let (film_armed, film_gate) = (armed.clone(), gate.clone());
        world.disks.film(Some(Arc::new(move |_: &str| {
            if thread::current().name() == Some("copier") && film_armed.swap(false, Ordering::SeqCst) {
                film_gate.wait(); // it is in the middle of a chunk
                film_gate.wait(); // and may go on
            }
        })));
        let service = world.service();
        service.create_disk(&new_disk("x", None).size(12 * CHUNK as u64)).unwrap();
        let disk = service.open_disk("x").unwrap();
        let plain: Vec<u8> = (0..12 * CHUNK).map(|i| (i / 999) as u8 | 1).collect();
        disk.write_at(0, &plain).unwrap();
        thread::scope(|scope| {
            let copier = thread::Builder::new().name("copier".into());
            let copy = copier.spawn_scoped(scope, || {
                let progress = |at: CopyProgress| armed.store(at.done == 3 * CHUNK as u64, Ordering::SeqCst);
                service.create_snapshot(&snapshot_of("x", "s", incremental), &progress).unwrap();
            });
            gate.wait();
            // Chunk 3 is being copied: 0 to 2 were, those from 4 on weren't.
            disk.discard(CHUNK as u64, SECTOR as u64).unwrap();
            disk.write_zeroes(5 * CHUNK as u64 - SECTOR as u64, 2 * SECTOR as u64).unwrap();
            disk.discard(7 * CHUNK as u64 - SECTOR as u64, CHUNK as u64 + 2 * SECTOR as u64).unwrap();
            disk.write_zeroes(10 * CHUNK as u64, CHUNK as u64).unwrap();
            gate.wait();
            copy.unwrap().join().unwrap();
        });
        assert!(restored(&service, "s") == plain, "{incremental}");
        let now = content(&disk);
        assert!(now != plain && now[10 * CHUNK..11 * CHUNK] == vec![0; CHUNK]);
        // The next one takes the changes.
        service.create_snapshot(&snapshot_of("x", "t", incremental), &still).unwrap();
        assert!(restored(&service, "t") == now && restored(&service, "s") == plain, "{incremental}");
    }
}

#[test]
fn a_snapshot_stays_as_it_is_when_its_disk_is_zeroed_and_discarded_later() {
    let world = discarding();
    let service = world.service();
    service.create_disk(&new_disk("x", None).size(6 * CHUNK as u64)).unwrap();
    let disk = service.open_disk("x").unwrap();
    let plain: Vec<u8> = (0..6 * CHUNK).map(|i| (i / 777) as u8 | 1).collect();
    disk.write_at(0, &plain).unwrap();
    for (name, incremental) in [("whole", false), ("first", true)] {
        service.create_snapshot(&snapshot_of("x", name, incremental), &still).unwrap();
    }
    let device = world.device(&service, "x");
    disk.write_zeroes(CHUNK as u64, SECTOR as u64).unwrap();
    disk.discard(3 * CHUNK as u64, 2 * CHUNK as u64).unwrap();
    let held = content(&disk);
    device.take_log();
    service.create_snapshot(&snapshot_of("x", "second", true), &still).unwrap();
    let read: usize = device.take_log().iter().map(|op| if let Op::Read { len, .. } = op { *len } else { 0 }).sum();
    assert_eq!(read, 3 * CHUNK, "it reads what was changed");
    disk.write_zeroes(0, 6 * CHUNK as u64).unwrap();
    for (name, wanted) in [("whole", &plain), ("first", &plain), ("second", &held)] {
        assert!(restored(&service, name) == *wanted, "{name}");
    }
    assert!(content(&disk) == vec![0; 6 * CHUNK]);
}
