//! Snapshots of a disk that is written meanwhile: whom the copy keeps waiting, what it reads, and that it never takes a chunk
//! for unchanged that was changed, whatever was closed, killed, suspended or put back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::device::{Call, Op, TestDevice};
use crate::common::world::{VAULT, World, copy_to, new_disk, snapshot_of, still};
use crate::copies::{CHUNK, content, restored};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{CopyProgress, DiskService, OpenDisk, ResourceName};

const PAGE: usize = 4096;

/// How many bytes were read of a device since the last time.
fn read_of(device: &TestDevice) -> usize {
    device.take_log().iter().map(|op| if let Op::Read { len, .. } = op { *len } else { 0 }).sum()
}

#[test]
fn a_write_waits_for_the_chunk_that_it_writes_and_for_no_other() {
    for incremental in [false, true] {
        let world = World::new();
        let (armed, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
        let (film_armed, film_gate) = (armed.clone(), gate.clone());
        world.disks.film(Some(Arc::new(move |_: &str| {
            if thread::current().name() == Some("copier") && film_armed.swap(false, Ordering::SeqCst) {
                film_gate.wait(); // it is in the middle of a chunk
                film_gate.wait(); // and may go on
            }
        })));
        let service = world.service();
        service.create_disk(&new_disk("x", None).size(10 * CHUNK as u64)).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &vec![1; 10 * CHUNK]).unwrap();
        thread::scope(|scope| {
            let copier = thread::Builder::new().name("copier".into());
            let copy = copier.spawn_scoped(scope, || {
                let progress = |at: CopyProgress| armed.store(at.done == 3 * CHUNK as u64, Ordering::SeqCst);
                service.create_snapshot(&snapshot_of("x", "s", incremental), &progress).unwrap();
            });
            gate.wait();
            // Chunk 3 is being copied: 0 to 2 were, those from 4 on weren't.
            let (disk, (done, ends)) = (&disk, mpsc::channel());
            let write = |chunk: usize| {
                let done = done.clone();
                scope.spawn(move || {
                    disk.write_at((chunk * CHUNK) as u64, &[2; PAGE]).unwrap();
                    done.send(chunk).unwrap();
                });
            };
            for chunk in [0, 7, 7, 2, 9] {
                write(chunk);
                assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(chunk), "{incremental}");
            }
            write(3);
            assert!(ends.recv_timeout(Duration::from_millis(200)).is_err(), "{incremental}: it didn't wait");
            write(8);
            assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(8), "{incremental}");
            gate.wait();
            assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(3), "{incremental}");
            copy.unwrap().join().unwrap();
        });
        let written: Vec<usize> = content(&disk).chunks(CHUNK).map(|chunk| chunk[0] as usize).collect();
        assert_eq!(written, [2, 1, 2, 2, 1, 1, 1, 2, 2, 2]);
        assert!(restored(&service, "s").iter().all(|&byte| byte == 1), "{incremental}");
    }
}

/// Each of some threads writes the pages of a part of the disk, in order and again and again, and says in each in which round
/// it was. At any instant the rounds of a part fall from one number to the one before, at one place.
#[test]
fn a_snapshot_is_of_one_instant_beside_many_writers() {
    const PART: usize = 2 * CHUNK + 3 * PAGE;
    const PARTS: usize = 3;
    let world = World::new();
    let service = world.service();
    world.set(&service, "both", PlatformAndCustomerKeys);
    for set in [None, Some("both")] {
        let name = set.unwrap_or("plain");
        service.create_disk(&new_disk(name, set).size((PARTS * PART) as u64)).unwrap();
        let disk = service.open_disk(name).unwrap();
        disk.write_at(0, &vec![0; PARTS * PART]).unwrap();
        let stop = AtomicBool::new(false);
        let names: Vec<_> = [false, true, true, true].iter().enumerate().collect();
        thread::scope(|scope| {
            for part in 0..PARTS {
                let (disk, stop) = (&disk, &stop);
                scope.spawn(move || {
                    for round in 1u64.. {
                        for page in 0..PART / PAGE {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                            let bytes = round.to_le_bytes().repeat(PAGE / 8);
                            disk.write_at((part * PART + page * PAGE) as u64, &bytes).unwrap();
                        }
                    }
                });
            }
            for (n, incremental) in &names {
                service.create_snapshot(&snapshot_of(name, &format!("{name}-{n}"), **incremental), &still).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut before = [0; PARTS];
        for (n, _) in names {
            let held = restored(&service, &format!("{name}-{n}"));
            for (part, before) in before.iter_mut().enumerate() {
                let part = &held[part * PART..][..PART];
                let words: Vec<u64> = part.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
                assert!(
                    words.chunks(PAGE / 8).all(|page| page.iter().all(|word| *word == page[0])),
                    "{name}-{n}: torn"
                );
                let rounds: Vec<u64> = words.chunks(PAGE / 8).map(|page| page[0]).collect();
                assert!(rounds.is_sorted_by(|a, b| a >= b) && rounds[0] - rounds.last().unwrap() <= 1, "{rounds:?}");
                assert!(rounds.iter().sum::<u64>() >= *before, "{name}-{n}: older than the one before");
                *before = rounds.iter().sum();
            }
        }
    }
}

#[test]
fn an_incremental_snapshot_reads_what_was_written_since_the_one_before() {
    let world = World::new();
    let service = world.service();
    let (chunks, size) = (16, 16 * CHUNK as u64);
    service.create_disk(&new_disk("x", None).size(size)).unwrap();
    let disk = service.open_disk("x").unwrap();
    let device = world.device(&service, "x");
    let (mut held, mut devices) = (Vec::new(), Vec::<Arc<TestDevice>>::new());
    // Which chunks are written before each, and how many it reads: the first one knows nothing.
    for (n, (written, reads)) in [(0, chunks), (0, 0), (1, 1), (3, 3), (0, 0), (1, 1)].into_iter().enumerate() {
        for chunk in 0..written {
            disk.write_at(((n + 2 * chunk) * CHUNK) as u64, &[n as u8; PAGE]).unwrap();
        }
        device.take_log();
        let name = format!("s-{n}");
        service.create_snapshot(&snapshot_of("x", &name, true), &still).unwrap();
        assert_eq!(read_of(&device), reads * CHUNK, "{name}");
        // None of those before is looked at, so that many cost no more than one.
        assert!(devices.iter().all(|device| read_of(device) == 0), "{name}");
        devices.push(world.device_of(&service, &ResourceName::snapshot(name)));
        devices.iter().for_each(|device| drop(device.take_log()));
        held.push(content(&disk));
    }
    // One that is made anew, because the one before it goes, holds the same; and what was written is still known.
    service.delete(&ResourceName::snapshot("s-4")).unwrap();
    disk.write_at(5 * CHUNK as u64, &[77; PAGE]).unwrap();
    device.take_log();
    service.create_snapshot(&snapshot_of("x", "s-6", true), &still).unwrap();
    assert_eq!(read_of(&device), CHUNK);
    held.push(content(&disk));
    // When the last one is gone, it isn't.
    service.delete(&ResourceName::snapshot("s-6")).unwrap();
    device.take_log();
    service.create_snapshot(&snapshot_of("x", "s-6", true), &still).unwrap();
    assert_eq!(read_of(&device), chunks * CHUNK);
    // Nor when nobody had the disk open in between.
    drop(disk);
    service.create_snapshot(&snapshot_of("x", "s-7", true), &still).unwrap();
    assert!(read_of(&device) >= chunks * CHUNK);
    for n in [0, 1, 2, 3, 5, 6] {
        assert!(restored(&service, &format!("s-{n}")) == held[n], "{n}");
    }
    assert!(restored(&service, "s-7") == held[6]);
}

/// The store, or the disk's device, is put back to what it was, while the service is closed.
#[test]
fn what_was_put_back_is_not_taken_for_unchanged() {
    let size = 8 * CHUNK as u64;
    for of_store in [true, false] {
        let world = World::new();
        let service = world.service();
        service.create_disk(&new_disk("x", None).size(size)).unwrap();
        let write = |disk: &OpenDisk, n: u8| disk.write_at(n as u64 * CHUNK as u64, &[n; PAGE]).unwrap();
        let (disk, device) = (service.open_disk("x").unwrap(), world.device(&service, "x"));
        write(&disk, 1);
        service.create_snapshot(&snapshot_of("x", "s-1", true), &still).unwrap();
        let path = world.folder.path().join("store");
        drop((disk, service));
        let (store, image) = (std::fs::read(&path).unwrap(), device.bytes());
        let service = world.service();
        let disk = service.open_disk("x").unwrap();
        write(&disk, 2);
        if !of_store {
            service.create_snapshot(&snapshot_of("x", "s-2", true), &still).unwrap();
        }
        drop((disk, service));
        match of_store {
            true => std::fs::write(&path, store).unwrap(),
            false => device.edit(|bytes| bytes.copy_from_slice(&image)),
        }
        let service = world.service();
        let disk = service.open_disk("x").unwrap();
        service.create_snapshot(&snapshot_of("x", "last", true), &still).unwrap();
        assert!(restored(&service, "last") == content(&disk), "{of_store}");
    }
}

/// What snapshots are to hold, and everything that happens to a disk in between.
struct Model<'w> {
    world: &'w World,
    service: Option<Arc<DiskService>>,
    disk: Option<OpenDisk>,
    snapshots: BTreeMap<String, Vec<u8>>,
    random: u64,
    made: usize,
}

impl Model<'_> {
    fn below(&mut self, n: u64) -> u64 {
        // xorshift64: any noise will do, as long as it is the same each time.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn step(&mut self, size: u64) {
        let (service, disk) = (self.service.clone().unwrap(), self.disk.clone().unwrap());
        match self.below(16) {
            0..6 => {
                for _ in 0..=self.below(3) {
                    let (byte, pages) = (self.below(256) as u8, 1 + self.below(20));
                    let page = self.below(size / PAGE as u64 - pages + 1);
                    let (at, len) = (page * PAGE as u64, pages * PAGE as u64);
                    match self.below(4) {
                        0 => disk.write_zeroes(at, len).unwrap(),
                        1 => disk.discard(at, len).unwrap(),
                        _ => disk.write_at(at, &vec![byte; len as usize]).unwrap(),
                    }
                }
            }
            n @ 6..10 => assert!(self.snapshot(&service, &disk, n != 9, None)),
            10 => {
                let at = self.below(self.snapshots.len().max(1) as u64) as usize;
                if let Some(name) = self.snapshots.keys().nth(at).cloned() {
                    service.delete(&ResourceName::snapshot(&name)).unwrap();
                    self.snapshots.remove(&name);
                }
            }
            11 => {
                drop((disk, self.disk.take()));
                self.disk = Some(service.open_disk("x").unwrap());
            }
            12 => {
                drop((disk, self.disk.take(), service, self.service.take()));
                let service = self.world.service();
                self.disk = Some(service.open_disk("x").unwrap());
                self.service = Some(service.into());
            }
            13 => {
                // Its key is taken away and given back: its volumes are closed and opened.
                let customer = self.world.customer(VAULT);
                customer.disabled.store(true, Ordering::Relaxed);
                self.world.clock.advance(Duration::from_secs(3600));
                service.maintain();
                assert!(disk.is_suspended());
                customer.disabled.store(false, Ordering::Relaxed);
                self.world.clock.advance(Duration::from_secs(60));
                service.maintain();
            }
            14 => {
                // A copy that fails half-way, if it reads as much.
                let reads = self.below(12) as usize;
                self.snapshot(&service, &disk, true, Some(reads));
            }
            _ => {
                service.create_disk_from(&ResourceName::disk("x"), &copy_to("y", None), &still).unwrap();
                assert!(content(&service.open_disk("y").unwrap()) == content(&disk));
                service.delete(&ResourceName::disk("y")).unwrap();
            }
        }
    }

    /// Makes a snapshot, and says whether it was made. The read after some others is made to fail.
    fn snapshot(&mut self, service: &DiskService, disk: &OpenDisk, incremental: bool, reads: Option<usize>) -> bool {
        self.made += 1;
        let (name, held) = (format!("s-{:03}", self.made), content(disk));
        let device = self.world.device(service, "x");
        reads.iter().for_each(|reads| device.fail(Call::Read, *reads, false));
        let made = service.create_snapshot(&snapshot_of("x", &name, incremental), &still);
        assert_eq!(made.is_ok(), reads.is_none() || device.heal(), "{made:?}");
        if made.is_ok() {
            self.snapshots.insert(name, held);
        }
        made.is_ok()
    }
}

#[test]
fn whatever_happens_between_snapshots_they_hold_what_the_disk_held() {
    let size = 9 * CHUNK as u64 + PAGE as u64;
    let seeds = std::env::var("ATREST_SNAPSHOT_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    for seed in 1..=seeds {
        let world = World { discard: true, ..World::new() };
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        service.create_disk(&new_disk("x", Some("s")).size(size)).unwrap();
        let disk = service.open_disk("x").unwrap();
        let (service, disk) = (Some(Arc::new(service)), Some(disk));
        let random = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed);
        let mut model = Model { world: &world, service, disk, snapshots: BTreeMap::new(), random, made: 0 };
        for step in 0..60 {
            model.step(size);
            if step % 30 == 29 {
                for (name, held) in &model.snapshots {
                    let service = model.service.as_ref().unwrap();
                    assert!(restored(service, name) == *held, "seed {seed}, step {step}: {name}");
                }
            }
        }
    }
}
