//! Managed disks on which what was never written reads as zeros.

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::ResourceName;

use crate::common::device::Op;
use crate::common::world::{World, new_disk, snapshot_of, still};
use crate::copies::{CHUNK, content, restored};

const CHUNKS: usize = 12;

#[test]
fn a_new_disk_is_blank_and_copies_of_it_take_what_was_written() {
    let world = World { written_map: true, ..World::new() };
    let service = world.service();
    for (set, kind) in [("one", CustomerKey), ("two", PlatformAndCustomerKeys)] {
        world.set(&service, set, kind);
        service.create_disk(&new_disk(set, Some(set)).size((CHUNKS * CHUNK) as u64)).unwrap();
        let mut plain = vec![0; CHUNKS * CHUNK];
        let disk = service.open_disk(set).unwrap();
        assert!(content(&disk) == plain, "{set}");
        for at in [3 * CHUNK + 4096, 7 * CHUNK] {
            disk.write_at(at as u64, &[7; 4096]).unwrap();
            plain[at..at + 4096].fill(7);
        }
        disk.sync().unwrap();
        assert!(content(&disk) == plain, "{set}");
        let extents = disk.extents(0, disk.size(), usize::MAX).unwrap();
        let written = extents.iter().filter(|extent| extent.is_written).map(|extent| extent.range.start / CHUNK as u64);
        assert!(written.eq([3, 7]), "{set}: {extents:?}");
        assert_eq!(disk.extents(0, disk.size(), 2).unwrap(), extents[..2]);
        assert!(matches!(disk.extents(4096, disk.size(), 1), Err(atrest::Error::OutOfBounds { .. })));

        let name = format!("full-{set}");
        service.create_snapshot(&snapshot_of(set, &name, false), &still).unwrap();
        let device = world.device_of(&service, &ResourceName::snapshot(&name));
        let headers = device.bytes().len() - CHUNKS * CHUNK;
        let log = device.take_log();
        let bytes = |op: &Op| match op {
            Op::Write { offset, bytes } if *offset as usize >= headers => bytes.len(),
            _ => 0,
        };
        assert_eq!(log.iter().map(bytes).sum::<usize>(), 2 * CHUNK, "{set}: blank chunks were written");
        assert!(restored(&service, &name) == plain, "{set}");

        // An incremental one has its own map.
        let name = format!("part-{set}");
        service.create_snapshot(&snapshot_of(set, &name, true), &still).unwrap();
        assert!(restored(&service, &name) == plain, "{set}");

        disk.write_zeroes(3 * CHUNK as u64, CHUNK as u64).unwrap();
        plain[3 * CHUNK..4 * CHUNK].fill(0);
        assert!(content(&disk) == plain);
        drop(disk);
        service.create_snapshot(&snapshot_of(set, &format!("later-{set}"), true), &still).unwrap();
        assert!(restored(&service, &format!("later-{set}")) == plain, "{set}");
    }
}

#[test]
fn a_disk_of_another_size_has_no_map_and_holds_what_was_written() {
    let world = World { written_map: true, ..World::new() };
    let service = world.service();
    let size = 2 * CHUNK + 4096;
    service.create_disk(&new_disk("x", None).size(size as u64)).unwrap();
    let disk = service.open_disk("x").unwrap();
    disk.write_at(0, &vec![7; size]).unwrap();
    assert!(content(&disk) == vec![7; size]);
    assert_eq!(disk.size(), size as u64);
}
