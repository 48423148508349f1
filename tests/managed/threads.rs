//! Disks used by many threads while their set is rotated, they are copied, and access to their key is revoked and
//! restored. No byte is ever wrong, a use fails only by a suspension, and no thread waits for ever.
//!
//! `ATREST_THREADS_SECONDS` sets the duration.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::device::TestDevice;
use crate::common::world::{VAULT, World, new_disk, quiet};
use atrest::BlockDevice;
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, NewCopy, NewSnapshot, OpenDisk, ResourceKind, ResourceName, Rule};
use atrest::{Error, KeyRefusal, Result};

const SECTOR: usize = 4096;
const CHUNK: u64 = 64 << 10;
const SIZE: u64 = 3 * CHUNK;
const DISKS: usize = 3;
const WRITERS: usize = 10;

/// Fails the test if `act` takes much longer than it should, so that a deadlock is noticed.
fn watched(seconds: u64, act: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let acting = thread::spawn(move || {
        act();
        let _ = done.send(());
    });
    if wait.recv_timeout(Duration::from_secs(seconds + 120)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a deadlock: threads still wait after {} seconds", seconds + 120);
    }
    if let Err(panic) = acting.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A sector that names its owner and the number of its writes.
fn sector(writer: usize, round: u64) -> Vec<u8> {
    let word = [(writer as u64).to_le_bytes(), round.to_le_bytes()].concat();
    word.into_iter().cycle().take(SECTOR).collect()
}

/// The owner of a sector and its round. The whole sector must agree.
fn round_of(bytes: &[u8]) -> (u64, u64) {
    assert!(bytes.chunks(16).all(|word| word == &bytes[..16]), "a sector of two");
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    (word(0), word(8))
}

/// Whether it succeeded; it may fail by a suspension only.
fn worked(what: &str, result: Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(Error::DiskSuspended { .. }) => false,
        Err(e) => panic!("{what}: {e:?}"),
    }
}

#[derive(Default)]
struct Counts {
    writes: AtomicUsize,
    suspended: AtomicUsize,
    rotations: AtomicUsize,
    snapshots: AtomicUsize,
    moves: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Reads a sector, by turns on the device itself.
fn read_sector(disk: &OpenDisk, device: &TestDevice, offset: u64, sector: &mut [u8], round: u64) -> Result<()> {
    if round.is_multiple_of(2) {
        return disk.read_at(offset, sector);
    }
    device.read_at(disk.begin_read(offset, sector.len())?, sector).unwrap();
    disk.complete_read(offset, sector)
}

fn write_sector(disk: &OpenDisk, device: &TestDevice, offset: u64, mut sector: Vec<u8>, round: u64) -> Result<()> {
    if round.is_multiple_of(3) {
        return disk.write_at(offset, &sector);
    }
    let write = disk.begin_write(offset, &mut sector)?;
    device.write_at(write.device_offset(), &sector).unwrap();
    Ok(())
}

/// Writes its own sectors of all disks, and reads them back.
fn write(writer: usize, disks: &[(OpenDisk, Arc<TestDevice>)], stop: &AtomicBool, counts: &Counts) {
    let sectors = SIZE as usize / SECTOR;
    let mut written = vec![0; disks.len() * sectors];
    let mut back = vec![0; SECTOR];
    let mine = (0..written.len()).filter(|at| at % sectors % WRITERS == writer).cycle();
    for (round, at) in (1..).zip(mine) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ((disk, device), n) = (&disks[at / sectors], at % sectors);
        let offset = (n * SECTOR) as u64;
        if worked("reading back", read_sector(disk, device, offset, &mut back, round)) {
            assert_eq!(round_of(&back), (writer as u64, written[at]), "sector {n} of {}", disk.name());
        }
        if worked("writing", write_sector(disk, device, offset, sector(writer, round), round)) {
            written[at] = round;
            add(&counts.writes);
        } else {
            add(&counts.suspended);
            thread::yield_now();
        }
    }
    // When all is back, so is the data.
    for (at, &round) in written.iter().enumerate().filter(|(_, round)| **round > 0) {
        let ((disk, _), n) = (&disks[at / sectors], at % sectors);
        while !worked("reading at the end", disk.read_at((n * SECTOR) as u64, &mut back)) {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(round_of(&back), (writer as u64, round), "sector {n} of {}, at the end", disk.name());
    }
}

/// Every sector of a copy is one that its writer wrote, or unwritten noise.
fn check_copy(service: &DiskService, from: &ResourceName) {
    let (name, region, subscription) = ("restored", "north", "one");
    match service.create_disk_from(from, &NewCopy::new(name).region(region).subscription(subscription), &|_| ()) {
        Err(Error::DiskSuspended { .. }) => return,
        made => made.map(drop).unwrap(),
    }
    let disk = service.open_disk("restored").unwrap();
    let mut bytes = vec![0; SIZE as usize];
    disk.read_at(0, &mut bytes).unwrap();
    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
        assert_eq!(round_of(sector).0, (n % WRITERS) as u64, "sector {n} of {from}");
    }
    drop(disk);
    service.delete(&ResourceName::disk("restored")).unwrap();
}

/// Failures here come only from the missing key.
fn tolerated<T: core::fmt::Debug>(what: &str, result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(
            Error::DiskSuspended { .. }
            | Error::KeyRefused { reason: KeyRefusal::Disabled, .. }
            | Error::NotAllowed { rule: Rule::RotationFailed, .. },
        ) => false,
        Err(e) => panic!("{what}: {e:?}"),
    }
}

fn play(seconds: u64) {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "t", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    let sets = ["s", "s", "both"];
    let disks: Vec<_> = (0..DISKS)
        .map(|n| {
            let (name, set) = (format!("disk-{n}"), Some(sets[n]));
            service.create_disk(&new_disk(&name, set).size(SIZE)).unwrap();
            let disk = service.open_disk(&name).unwrap();
            // From the start, each sector names its owner.
            let all: Vec<_> = (0..SIZE as usize / SECTOR).flat_map(|n| sector(n % WRITERS, 0)).collect();
            disk.write_at(0, &all).unwrap();
            (disk, world.device(&service, &name))
        })
        .collect();
    let (stop, end, counts) =
        (AtomicBool::new(false), Instant::now() + Duration::from_secs(seconds), Counts::default());
    let going = || !stop.load(Ordering::Relaxed);
    let customer = world.customer(VAULT);
    customer.takes.store(500, Ordering::Relaxed);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (disks, stop, counts) = (&disks, &stop, &counts);
                scope.spawn(move || write(writer, disks, stop, counts))
            })
            .collect();
        scope.spawn(|| {
            let mut bytes = vec![0; SIZE as usize];
            while going() {
                for (disk, _) in &disks {
                    if worked("reading all", disk.read_at(0, &mut bytes)) {
                        let mine = |(n, sector): (usize, &[u8])| round_of(sector).0 == (n % WRITERS) as u64;
                        assert!(bytes.chunks(SECTOR).enumerate().all(mine), "{}", disk.name());
                    }
                }
            }
        });
        // Rotations. Some fail because of the key.
        scope.spawn(|| {
            while going() {
                customer.rotate();
                for set in ["s", "t", "both"] {
                    if tolerated("rotating", service.rotate_set(set, &quiet)) {
                        add(&counts.rotations);
                    }
                    service.clear_rotation_error(set).unwrap();
                }
            }
        });
        // Full and incremental snapshots. One in the middle is deleted.
        scope.spawn(|| {
            for n in 0.. {
                if !going() {
                    break;
                }
                let (disk, name) = (format!("disk-{}", n % DISKS), format!("snap-{n}"));
                let new = NewSnapshot::new(name.clone(), disk).incremental(n % 4 != 0);
                if tolerated("a snapshot", service.create_snapshot(&new, &|_| ())) {
                    check_copy(&service, &ResourceName::snapshot(&name));
                    add(&counts.snapshots);
                }
                let names = service.names(ResourceKind::Snapshot).unwrap();
                if names.len() > 8 {
                    tolerated("deleting", service.delete(&ResourceName::snapshot(&names[n % names.len()])));
                }
            }
        });
        // One disk moves between two sets.
        scope.spawn(|| {
            for set in ["t", "s"].into_iter().cycle() {
                if !going() {
                    break;
                }
                if tolerated("a move", service.put_into_set(&ResourceName::disk("disk-1"), set)) {
                    add(&counts.moves);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        // The key is taken away and given back, alternately before and after the grace. One thread maintains the
        // leases.
        while Instant::now() < end {
            for (off, by) in [(true, 900), (true, 60), (false, 60), (false, 1), (true, 3600), (false, 60)] {
                customer.disabled.store(off, Ordering::Relaxed);
                world.clock.advance(Duration::from_secs(by));
                if by != 3600 {
                    service.maintain();
                }
                thread::sleep(Duration::from_millis(if off { 5 } else { 40 }));
            }
        }
        customer.disabled.store(false, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        // Writers that are suspended still wait for it to come back. A vault that has just said no is asked again
        // after a while, by the clock.
        while writers.iter().any(|writer| !writer.is_finished()) {
            world.clock.advance(Duration::from_secs(60));
            thread::sleep(Duration::from_millis(10));
        }
    });
    println!(
        "{counts:?}",
        counts = [&counts.writes, &counts.suspended, &counts.rotations, &counts.snapshots, &counts.moves]
    );
    for count in [&counts.writes, &counts.suspended, &counts.rotations, &counts.snapshots, &counts.moves] {
        assert!(count.load(Ordering::Relaxed) > 0);
    }
    // Nothing was left behind, and the last version is enough.
    for set in ["s", "t", "both"] {
        service.rotate_set(set, &quiet).unwrap();
        assert!(service.encryption_set(set).unwrap().previous_keys.is_empty());
    }
    let versions = customer.versions.load(Ordering::Relaxed);
    (1..versions).for_each(|version| customer.vault.destroy(version));
    drop((disks, service));
    let service = world.service();
    let mut bytes = vec![0; SIZE as usize];
    for n in 0..DISKS {
        service.open_disk(&format!("disk-{n}")).unwrap().read_at(0, &mut bytes).unwrap();
        for (n, sector) in bytes.chunks(SECTOR).enumerate() {
            assert_eq!(round_of(sector).0, (n % WRITERS) as u64);
        }
    }
    for name in service.names(ResourceKind::Snapshot).unwrap() {
        check_copy(&service, &ResourceName::snapshot(name));
    }
    let resources = DISKS + service.names(ResourceKind::Snapshot).unwrap().len();
    assert_eq!(world.disks.0.lock().unwrap().len(), resources);
}

#[test]
fn no_byte_is_wrong_whatever_goes_on_meanwhile() {
    // Behaviours 8, 26, 27, 29, 35, 36, 39, 44
    let seconds = std::env::var("ATREST_THREADS_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    watched(seconds, move || play(seconds));
}
