//! Disks that grow while they are in use, and devices that nobody knows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::common::SetOnDrop;
use crate::common::device::Call;
use crate::common::world::{VAULT, World, copy_to, new_disk, snapshot_of, still};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskBackend, DiskService, OpenDisk, ResourceName, ServiceOptions};
use atrest::{BlockDevice, Error, Result};

const KIB: u64 = 1 << 10;
/// No whole number of the chunks of 64 KiB that snapshots are made of.
const SMALL: u64 = 96 * KIB;
const LARGE: u64 = 240 * KIB;

fn make(service: &DiskService, disk: &str, set: Option<&str>) -> OpenDisk {
    service.create_disk(&new_disk(disk, set).size(SMALL)).unwrap();
    service.open_disk(disk).unwrap()
}

/// Noise that is the same each time.
fn noise(seed: u8, len: u64) -> Vec<u8> {
    (0..len).map(|at| (at / 7 * u64::from(seed) + at) as u8 ^ seed).collect()
}

fn read(disk: &OpenDisk, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    disk.read_at(offset, &mut bytes).unwrap();
    bytes
}

#[test]
fn disks_of_all_kinds_grow_under_their_users() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    world.set(&service, "both", PlatformAndCustomerKeys);
    for (disk, set) in [("p", None), ("c", Some("s")), ("b", Some("both"))] {
        let open = make(&service, disk, set);
        open.write_at(0, &noise(1, SMALL)).unwrap();
        assert!(matches!(open.write_at(SMALL, &[1; 4096]), Err(Error::OutOfBounds { size: SMALL, .. })));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = SetOnDrop(&stop);
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    open.write_at(8192, &noise(1, SMALL)[8192..12288]).unwrap();
                    assert_eq!(read(&open, 0, SMALL), noise(1, SMALL));
                }
            });
            let mut size = SMALL;
            while size < LARGE {
                size += 16 * KIB;
                assert_eq!(service.resize_disk(disk, size).unwrap().size, size);
                assert_eq!(open.size(), size);
                open.write_at(size - 16 * KIB, &noise(2, 16 * KIB)).unwrap();
            }
        });
        open.sync().unwrap();
        let all = [noise(1, SMALL), noise(2, 16 * KIB).repeat(9)].concat();
        assert_eq!(read(&open, 0, LARGE), all, "{disk}");
        // A copy has all of it.
        let copy = format!("{disk}-copy");
        service.create_disk_from(&ResourceName::disk(disk), &copy_to(&copy, None), &still).unwrap();
        assert_eq!(read(&service.open_disk(&copy).unwrap(), 0, LARGE), all, "{disk}");
        drop(open);
        assert_eq!(service.resize_disk(disk, LARGE).unwrap().size, LARGE);
    }
    drop(service);
    let service = world.service();
    for disk in ["p", "c", "b"] {
        let open = service.open_disk(disk).unwrap();
        assert_eq!((open.size(), read(&open, 0, SMALL)), (LARGE, noise(1, SMALL)), "{disk}");
    }
    // A closed disk grows, too, and one that was re-encrypted.
    service.rekey_disk("c").unwrap();
    assert!(matches!(service.resize_disk("c", 2 * LARGE), Err(Error::Busy { .. })));
    while !service.reencrypt_step("c", 1 << 20).unwrap().is_finished() {}
    service.resize_disk("c", 2 * LARGE).unwrap();
    service.open_disk("c").unwrap().write_at(2 * LARGE - 4096, &[7; 4096]).unwrap();
    // Not under a key that may not be used.
    world.customer(VAULT).disabled.store(true, Relaxed);
    world.clock.advance(std::time::Duration::from_secs(7200));
    assert!(matches!(service.resize_disk("c", 3 * LARGE), Err(Error::DiskSuspended { .. })));
    assert_eq!(service.resource(&ResourceName::disk("c")).unwrap().size, 2 * LARGE);
}

#[test]
fn what_is_no_larger_size_is_refused() {
    let world = World::new();
    let service = world.service();
    let open = make(&service, "d", None);
    for size in [0, 4096, SMALL - 4096, SMALL + 512, (1 << 46) + 4096, u64::MAX] {
        assert!(matches!(service.resize_disk("d", size), Err(Error::InvalidOption(_))), "{size}");
    }
    assert!(matches!(service.resize_disk("none", LARGE), Err(Error::NoSuchResource(_))));
    assert_eq!((open.size(), world.device(&service, "d").bytes().len() as u64), (SMALL, SMALL + (1 << 20)));
    // While a copy is made of it, its size stays.
    let asked = AtomicBool::new(false);
    let resize = |_| {
        asked.store(true, Relaxed);
        assert!(matches!(service.resize_disk("d", LARGE), Err(Error::Busy { .. })));
    };
    service.create_snapshot(&snapshot_of("d", "whole", false), &resize).unwrap();
    service.create_snapshot(&snapshot_of("d", "one", true), &resize).unwrap();
    assert!(asked.load(Relaxed));
}

#[test]
fn incremental_snapshots_of_a_disk_that_grew_hold_what_it_held() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    let open = make(&service, "d", Some("s"));
    let (mut size, mut expected) = (SMALL, Vec::new());
    for round in 0..5u8 {
        // The first and the last block, and one that stays.
        open.write_at(0, &noise(round + 1, 4096)).unwrap();
        open.write_at(size - 4096, &noise(round + 11, 4096)).unwrap();
        service.create_snapshot(&snapshot_of("d", &format!("{round}"), true), &still).unwrap();
        expected.push(read(&open, 0, size));
        if round % 2 == 0 {
            size += 40 * KIB;
            service.resize_disk("d", size).unwrap();
            open.write_at(size - 40 * KIB, &noise(round + 21, 4096)).unwrap();
        }
    }
    let check = |rounds: &[usize], tag: &str| {
        for &round in rounds {
            let copy = format!("{round}-{tag}");
            let made =
                service.create_disk_from(&ResourceName::snapshot(format!("{round}")), &copy_to(&copy, None), &still);
            assert_eq!(made.unwrap().size, expected[round].len() as u64);
            assert!(
                read(&service.open_disk(&copy).unwrap(), 0, expected[round].len() as u64) == expected[round],
                "{copy}"
            );
        }
    };
    check(&[0, 1, 2, 3, 4], "all");
    // The next one takes over what a smaller one had.
    service.delete(&ResourceName::snapshot("0")).unwrap();
    check(&[1, 2, 3, 4], "without-0");
    service.delete(&ResourceName::snapshot("2")).unwrap();
    check(&[1, 3, 4], "without-2");
    service.delete(&ResourceName::snapshot("1")).unwrap();
    check(&[3, 4], "without-1");
}

#[test]
fn a_growth_that_fails_anywhere_leaves_the_old_size_and_is_done_again() {
    for call in [Call::Size, Call::Write, Call::Sync] {
        for before in 0.. {
            let world = World::new();
            let service = world.service();
            world.set(&service, "both", PlatformAndCustomerKeys);
            let open = make(&service, "d", Some("both"));
            open.write_at(0, &noise(3, SMALL)).unwrap();
            open.sync().unwrap();
            let device = world.device(&service, "d");
            device.fail(call, before, false);
            let resized = service.resize_disk("d", LARGE);
            let done = device.heal();
            assert_eq!(resized.is_ok(), done, "{call:?} {before}: {resized:?}");
            let now = if done { LARGE } else { SMALL };
            assert_eq!((open.size(), read(&open, 0, SMALL)), (now, noise(3, SMALL)), "{call:?} {before}");
            // As after a kill.
            drop((open, service));
            let service = world.service();
            let open = service.open_disk("d").unwrap();
            assert_eq!((open.size(), read(&open, 0, SMALL)), (now, noise(3, SMALL)), "{call:?} {before}");
            service.resize_disk("d", LARGE).unwrap();
            open.write_at(SMALL, &noise(4, LARGE - SMALL)).unwrap();
            assert_eq!(read(&open, SMALL, LARGE - SMALL), noise(4, LARGE - SMALL));
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_map_of_written_chunks_grows_by_whole_chunks() {
    let mut world = World::new();
    world.written_map = true;
    let service = world.service();
    service.create_disk(&new_disk("d", None).size(128 * KIB)).unwrap();
    let open = service.open_disk("d").unwrap();
    open.write_at(0, &noise(5, 128 * KIB)).unwrap();
    assert!(matches!(service.resize_disk("d", 200 * KIB), Err(Error::InvalidOption(_))));
    service.resize_disk("d", 256 * KIB).unwrap();
    assert_eq!(read(&open, 0, 256 * KIB), [noise(5, 128 * KIB), vec![0; 128 << 10]].concat());
}

/// A backend whose devices keep their size.
struct Fixed(Arc<dyn BlockDevice>);

impl BlockDevice for Fixed {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

struct FixedDisks(Arc<dyn DiskBackend>);

impl DiskBackend for FixedDisks {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(Fixed(self.0.create(region, id, size)?)))
    }

    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(Fixed(self.0.open(region, id)?)))
    }

    fn remove(&self, region: &str, id: &str) -> Result<()> {
        self.0.remove(region, id)
    }
}

#[test]
fn a_backend_that_can_do_neither_says_so() {
    let world = World::new();
    let backend = Arc::new(FixedDisks(world.disks.clone()));
    let options = ServiceOptions::new(backend, world.vaults.clone(), world.platform.clone(), "disks");
    let service = DiskService::open(world.folder.path().join("store"), options).unwrap();
    let open = make(&service, "d", None);
    let error = service.resize_disk("d", LARGE).unwrap_err();
    assert!(matches!(&error, Error::InvalidOption(text) if text.contains("1294336")), "{error}");
    assert!(matches!(service.orphans("north"), Err(Error::InvalidOption(_))));
    // Who owns the device enlarges it first.
    world.device(&service, "d").set_size(LARGE + (1 << 20)).unwrap();
    assert_eq!(service.resize_disk("d", LARGE).unwrap().size, open.size());
}

#[test]
fn devices_that_nobody_knows_are_listed_and_removed_by_name() {
    let world = World::new();
    let service = world.service();
    drop(make(&service, "d", None));
    service.create_snapshot(&snapshot_of("d", "s", false), &still).unwrap();
    assert!(service.orphans("north").unwrap().is_empty());
    let ids = ["6f6f6f6f-0000-4000-8000-000000000002", "6f6f6f6f-0000-4000-8000-000000000001"];
    ids.iter().for_each(|id| drop(world.disks.create("north", id, 4096).unwrap()));
    assert_eq!(service.orphans("north").unwrap(), [ids[1], ids[0]]);
    let own = service.resource(&ResourceName::disk("d")).unwrap().id;
    assert!(matches!(service.remove_orphan("north", &own), Err(Error::Busy { .. })));
    let unknown = "6f6f6f6f-0000-4000-8000-000000000003";
    assert!(matches!(service.remove_orphan("north", unknown), Err(Error::NoSuchResource(_))));
    assert!(matches!(service.remove_orphan("north", "../d"), Err(Error::InvalidName(_))));
    service.remove_orphan("north", ids[0]).unwrap();
    assert_eq!(service.orphans("north").unwrap(), [ids[1]]);
    assert_eq!(world.disks.images().len(), 3);
}
