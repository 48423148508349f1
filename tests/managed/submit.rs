//! Reads and writes of disks that their caller does on the device, as engines with queues do: they are the same bytes, they
//! end with the key, and snapshots see them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::SetOnDrop;
use crate::common::device::{Op, TestDevice};
use crate::common::world::{VAULT, World, copy_to, new_disk, snapshot_of, still};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DeviceWrite, DiskService, OpenDisk, ResourceName};
use atrest::{BlockDevice, Credential, Error, MemoryDevice, OpenOptions, Volume};

const SECTOR: usize = 4096;
const SIZE: u64 = 40 * (64 << 10);

fn read(disk: &OpenDisk, device: &TestDevice, offset: u64, len: usize) -> Vec<u8> {
    let mut sectors = vec![0; len];
    device.read_at(disk.begin_read(offset, len).unwrap(), &mut sectors).unwrap();
    disk.complete_read(offset, &mut sectors).unwrap();
    sectors
}

/// Begins a write, and says what is to be written.
fn begin(disk: &OpenDisk, offset: u64, sectors: &[u8]) -> (DeviceWrite, Vec<u8>) {
    let mut ciphertext = sectors.to_vec();
    let write = if offset.is_multiple_of(2 * SECTOR as u64) {
        disk.begin_write(offset, &mut ciphertext).unwrap()
    } else {
        disk.begin_write_from(offset, sectors, &mut ciphertext).unwrap()
    };
    assert!(ciphertext != sectors);
    (write, ciphertext)
}

fn complete(device: &TestDevice, (write, ciphertext): (DeviceWrite, Vec<u8>)) {
    device.write_at(write.device_offset(), &ciphertext).unwrap();
}

/// What a snapshot holds, by way of a disk that is made of it.
fn restored(service: &DiskService, snapshot: &str) -> Vec<u8> {
    service.create_disk_from(&ResourceName::snapshot(snapshot), &copy_to("restored", None), &still).unwrap();
    let disk = service.open_disk("restored").unwrap();
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    drop(disk);
    service.delete(&ResourceName::disk("restored")).unwrap();
    bytes
}

#[test]
fn the_caller_reads_and_writes_the_same_bytes_below_one_layer_or_two() {
    let world = World::new();
    let service = world.service();
    for (set, kind) in [(None, None), (Some("one"), Some(CustomerKey)), (Some("two"), Some(PlatformAndCustomerKeys))] {
        if let (Some(set), Some(kind)) = (set, kind) {
            world.set(&service, set, kind);
        }
        let name = set.unwrap_or("none");
        service.create_disk(&new_disk(name, set).size(SIZE)).unwrap();
        let (disk, device) = (service.open_disk(name).unwrap(), world.device(&service, name));
        let plain: Vec<u8> = (0..8 * SECTOR).map(|i| (i / 7) as u8).collect();
        for offset in [0, SECTOR as u64, SIZE - plain.len() as u64] {
            complete(&device, begin(&disk, offset, &plain));
            let mut back = vec![0; plain.len()];
            disk.read_at(offset, &mut back).unwrap();
            assert!(back == plain, "{name} at {offset}");
            disk.write_at(offset, &plain[SECTOR..]).unwrap();
            assert!(read(&disk, &device, offset, plain.len() - SECTOR) == plain[SECTOR..], "{name} at {offset}");
        }
        // The one layer of a customer's key is a volume at whose data the device offsets point.
        if kind == Some(CustomerKey) {
            let (vault, bytes) = (&world.customer(VAULT).vault, device.bytes());
            let device = MemoryDevice::from_bytes(bytes);
            let volume = Volume::open(device, Credential::Vault(vault), &OpenOptions::new()).unwrap();
            let [of_volume, of_disk] = [volume.begin_read(4096, SECTOR), disk.begin_read(4096, SECTOR)];
            assert_eq!(of_volume.unwrap(), of_disk.unwrap());
        }

        for (offset, len) in [(SIZE, SECTOR), (u64::MAX - 4095, SECTOR)] {
            assert!(matches!(disk.begin_read(offset, len), Err(Error::OutOfBounds { .. })));
            assert!(matches!(disk.begin_write(offset, &mut vec![0; len]), Err(Error::OutOfBounds { .. })));
        }
        assert!(matches!(disk.begin_read(512, SECTOR), Err(Error::Misaligned { .. })));
        assert!(matches!(disk.complete_read(SIZE - 4096, &mut [0; 2 * SECTOR]), Err(Error::OutOfBounds { .. })));
        assert!(matches!(
            disk.begin_write_from(0, &[0; SECTOR], &mut [0; 2 * SECTOR]),
            Err(Error::LengthMismatch { .. })
        ));
    }
}

#[test]
fn a_read_that_began_before_its_key_was_revoked_shows_nothing() {
    for kind in [CustomerKey, PlatformAndCustomerKeys] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", kind);
        service.create_disk(&new_disk("x", Some("s")).size(SIZE)).unwrap();
        let (disk, device) = (service.open_disk("x").unwrap(), world.device(&service, "x"));
        complete(&device, begin(&disk, 0, &[7; SECTOR]));

        let mut sectors = vec![0; SECTOR];
        device.read_at(disk.begin_read(0, SECTOR).unwrap(), &mut sectors).unwrap();
        let (ciphertext, under_way) = (sectors.clone(), begin(&disk, 8192, &[8; SECTOR]));
        world.customer(VAULT).disabled.store(true, Ordering::Relaxed);
        world.clock.advance(Duration::from_secs(901));
        service.maintain();
        assert!(disk.is_suspended());
        assert!(matches!(disk.complete_read(0, &mut sectors), Err(Error::DiskSuspended { .. })));
        assert!(sectors == ciphertext);
        assert!(matches!(disk.begin_read(0, SECTOR), Err(Error::DiskSuspended { .. })));
        let mut plain = [9; SECTOR];
        assert!(matches!(disk.begin_write(0, &mut plain), Err(Error::DiskSuspended { .. })));
        assert_eq!(plain, [9; SECTOR]);
        // What was encrypted before may still be written.
        complete(&device, under_way);

        world.customer(VAULT).disabled.store(false, Ordering::Relaxed);
        world.clock.advance(Duration::from_secs(61));
        service.maintain();
        disk.complete_read(0, &mut sectors).unwrap();
        assert_eq!(sectors, [7; SECTOR]);
        assert_eq!(read(&disk, &device, 8192, SECTOR), [8; SECTOR]);
    }
}

#[test]
fn a_snapshot_waits_for_writes_that_were_begun_and_nobody_waits_for_the_snapshot() {
    let world = World::new();
    let service = world.service();
    service.create_disk(&new_disk("x", None).size(SIZE)).unwrap();
    let (disk, device) = (service.open_disk("x").unwrap(), world.device(&service, "x"));
    disk.write_at(0, &vec![1; SIZE as usize]).unwrap();
    let first = begin(&disk, 0, &[2; SECTOR]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            service.create_snapshot(&snapshot_of("x", "s", false), &still).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        // Once the snapshot waits, what is begun is on the device before the caller writes it.
        let second = loop {
            thread::sleep(Duration::from_millis(5));
            device.take_log();
            let second = begin(&disk, 4 * SECTOR as u64, &[3; SECTOR]);
            let (at, log) = (second.0.device_offset(), device.take_log());
            if log.iter().any(|op| matches!(op, Op::Write { offset, bytes } if *offset == at && *bytes == second.1)) {
                break second;
            }
            complete(&device, second);
        };
        thread::sleep(Duration::from_millis(50));
        assert!(!done.load(Ordering::Relaxed), "a snapshot was made while a write was under way");
        complete(&device, first);
        while !done.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        complete(&device, second);
    });
    complete(&device, begin(&disk, 8 * SECTOR as u64, &[4; SECTOR]));
    let held = restored(&service, "s");
    let byte = |n: usize| {
        let sector = &held[n * SECTOR..][..SECTOR];
        assert!(sector.iter().all(|byte| *byte == sector[0]), "sector {n} is torn");
        sector[0]
    };
    assert_eq!([byte(0), byte(4), byte(8)], [2, 3, 1]);
    assert_eq!(read(&disk, &device, 8 * SECTOR as u64, SECTOR), [4; SECTOR]);
}

/// Of a sector that all says the same.
fn number(sector: &[u8]) -> u64 {
    assert!(sector.chunks(8).all(|word| word == &sector[..8]), "a torn sector");
    u64::from_le_bytes(sector[..8].try_into().unwrap())
}

#[test]
fn snapshots_are_of_one_instant_although_one_thread_keeps_writes_under_way() {
    const DEPTH: usize = 16;
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("x", Some("s")).size(SIZE)).unwrap();
    let (disk, device) = (service.open_disk("x").unwrap(), world.device(&service, "x"));
    let sectors = SIZE / SECTOR as u64;
    disk.write_at(0, &vec![0; SIZE as usize]).unwrap();
    let (stop, mut written) = (AtomicBool::new(false), vec![]);
    let snapshots = 6;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Which sector each write went to. They are completed in their order, so that each is on the device when the
            // one of `DEPTH` later begins.
            let (mut to, mut queue) = (vec![u64::MAX], VecDeque::new());
            while !stop.load(Ordering::Relaxed) {
                let n = to.len() as u64;
                let sector = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % sectors;
                to.push(sector);
                queue.push_back(begin(&disk, sector * SECTOR as u64, &n.to_le_bytes().repeat(SECTOR / 8)));
                if queue.len() == DEPTH {
                    complete(&device, queue.pop_front().unwrap());
                }
            }
            queue.into_iter().for_each(|write| complete(&device, write));
            to
        });
        let stops = SetOnDrop(&stop);
        for n in 0..snapshots {
            service.create_snapshot(&snapshot_of("x", &format!("s-{n}"), n % 2 == 1), &still).unwrap();
        }
        drop(stops);
        written = writer.join().unwrap();
    });
    let mut last = 0;
    for n in 0..snapshots {
        let held: Vec<u64> = restored(&service, &format!("s-{n}")).chunks(SECTOR).map(number).collect();
        let newest = *held.iter().max().unwrap();
        assert!(newest >= last, "snapshot {n} is older than the one before");
        last = newest;
        // All that was on the device when the newest write that it holds began.
        let completed = (newest as usize + 1).saturating_sub(DEPTH);
        for (write, &sector) in written.iter().enumerate().take(completed).skip(1) {
            let held = held[sector as usize];
            assert!(held >= write as u64, "snapshot {n} has write {held} of sector {sector}, and not {write}");
        }
    }
    assert!(last > 0, "nothing was written before the last snapshot");
}
