//! Caches of managed disks: keys from the DEK, the note in the store, and revocation.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{DiskService, NewCopy, NewSnapshot, OpenDisk, ResourceName};
use atrest::{Error, Result};
use atrest_host::cache::{CacheError, CacheMode, CachePlace};
use atrest_host::{Cache, Disk};

use crate::common::device::{Call, TestDevice};
use crate::common::world::{VAULT, World, new_disk};
use crate::support::*;

const SIZE: u64 = 64 * 4096;
const MODES: [CacheMode; 3] = [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack];

fn revoke(world: &World, service: &DiskService, revoked: bool) {
    world.customer(VAULT).disabled.store(revoked, Relaxed);
    // Later than any backoff.
    world.clock.advance(Duration::from_secs(900));
    service.maintain();
}

fn is_suspended<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::DiskSuspended { .. }))
}

fn set_up(world: &World) -> (DiskService, OpenDisk) {
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    (service, disk)
}

#[test]
fn a_revoked_key_closes_the_cache() {
    for mode in MODES {
        let world = World::new();
        let (service, disk) = set_up(&world);
        let cache = Cache::of(&disk, world.folder.path().join("cache"), &options(mode, SIZE)).unwrap();
        write(&cache, 0, &[7; 8192]);
        cache.flush().unwrap();
        assert_eq!(read(&cache, 0, 8192), [7; 8192]);
        assert!(cache.holds_keys());

        revoke(&world, &service, true);
        assert!(!cache.holds_keys(), "{mode:?}");
        assert!(is_suspended(cache.read_at(0, &mut [0; 4096])), "{mode:?}");
        assert!(is_suspended(cache.write_at(0, &mut [9; 4096])));
        assert!(is_suspended(cache.flush()));
        assert!(!cache.holds_keys());
        if mode == CacheMode::WriteBack {
            assert_eq!(cache.dirty(), 8192);
            assert!(is_suspended(cache.detach()));
            assert!(is_suspended(cache.drain()));
        }

        revoke(&world, &service, false);
        assert_eq!(read(&cache, 0, 8192), [7; 8192]);
        write(&cache, 4096, &[8; 4096]);
        assert!(cache.holds_keys());
        cache.detach().unwrap();
        assert_eq!(service.resource(&ResourceName::disk("x")).unwrap().host_cache, None);
        assert_eq!([read(&disk, 0, 4096), read(&disk, 4096, 4096)], [[7; 4096], [8; 4096]]);
    }
}

#[test]
fn what_waits_under_a_revoked_key_is_there_for_the_next_attachment() {
    let world = World::new();
    let (service, disk) = set_up(&world);
    let path = world.folder.path().join("cache");
    let cache = Cache::of(&disk, &path, &options(CacheMode::WriteBack, SIZE)).unwrap();
    write(&cache, 0, &[7; 8192]);
    revoke(&world, &service, true);
    assert!(is_suspended(cache.detach()));
    drop(cache);
    assert!(is_suspended(Cache::of(&disk, &path, &options(CacheMode::ReadOnly, SIZE))));
    revoke(&world, &service, false);
    let cache = Cache::of(&disk, &path, &options(CacheMode::ReadOnly, SIZE)).unwrap();
    assert_eq!(read(&disk, 0, 8192), [7; 8192]);
    cache.detach().unwrap();
}

#[test]
fn the_store_knows_the_last_cache() {
    let world = World::new();
    let (service, disk) = set_up(&world);
    let (path, older) = (world.folder.path().join("cache"), world.folder.path().join("older"));
    let options = options(CacheMode::WriteBack, SIZE);
    let cache = Cache::of(&disk, &path, &options).unwrap();
    write(&cache, 0, &[7; 4096]);
    let noted = service.resource(&ResourceName::disk("x")).unwrap().host_cache;
    assert!(noted.is_some());
    let alone = Cache::check_none(&disk).unwrap_err();
    assert_eq!(CacheError::of(&alone), Some(&CacheError::Missing));
    drop((cache, disk, service));
    std::fs::copy(&path, &older).unwrap();

    let service = world.service();
    assert_eq!(service.resource(&ResourceName::disk("x")).unwrap().host_cache, noted);
    let disk = service.open_disk("x").unwrap();
    let cache = Cache::of(&disk, &path, &options).unwrap();
    assert_ne!(service.resource(&ResourceName::disk("x")).unwrap().host_cache, noted);
    write(&cache, 0, &[8; 4096]);
    drop(cache);
    let refused = Cache::of(&disk, &older, &options).unwrap_err();
    assert_eq!(CacheError::of(&refused), Some(&CacheError::NotTheLast));
    let cache = Cache::of(&disk, &path, &options).unwrap();
    assert_eq!(read(&cache, 0, 4096), [8; 4096]);
    cache.detach().unwrap();
    Cache::check_none(&disk).unwrap();
}

#[test]
fn a_rotation_and_two_layers_go_on_under_a_cache() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "two", PlatformAndCustomerKeys);
    service.create_disk(&new_disk("x", Some("two"))).unwrap();
    let disk = service.open_disk("x").unwrap();
    let path = world.folder.path().join("cache");
    let cache = Cache::of(&disk, &path, &options(CacheMode::WriteBack, SIZE)).unwrap();
    write(&cache, 0, &[7; 4096]);
    let key = world.customer(VAULT).rotate();
    service.auto_rotate(&|_| {}).unwrap();
    assert_eq!(service.encryption_set("two").unwrap().active_key, key);
    assert_eq!(read(&cache, 0, 4096), [7; 4096]);
    write(&cache, 4096, &[8; 4096]);
    drop(cache);
    let cache = Cache::of(&disk, &path, &options(CacheMode::WriteBack, SIZE)).unwrap();
    assert_eq!([read(&cache, 0, 4096), read(&cache, 4096, 4096)], [[7; 4096], [8; 4096]]);
    cache.detach().unwrap();
}

#[test]
fn other_disks_have_other_keys() {
    let world = World::new();
    let (service, disk) = set_up(&world);
    service.create_disk(&new_disk("y", Some("s"))).unwrap();
    let path = world.folder.path().join("cache");
    let cache = Cache::of(&disk, &path, &options(CacheMode::WriteBack, SIZE)).unwrap();
    write(&cache, 0, &[7; 4096]);
    drop(cache);
    let refused = Cache::of(&service.open_disk("y").unwrap(), &path, &options(CacheMode::WriteBack, SIZE));
    assert_eq!(CacheError::of(&refused.unwrap_err()), Some(&CacheError::Foreign));
}

/// A guest that syncs each write before the next: whatever instant a snapshot is of, it has all before the last.
#[test]
fn a_snapshot_has_what_the_guest_was_answered() {
    let world = World::new();
    // A slow disk is nearly always between two writes.
    world.disks.film(Some(Arc::new(|_| std::thread::sleep(Duration::from_micros(200)))));
    let (service, disk) = set_up(&world);
    // As little as may wait, so that it goes to the disk all the time.
    let options = options(CacheMode::WriteBack, SIZE).dirty(16 * BLOCK).destage_after(Duration::from_millis(1));
    let cache = Cache::of(&disk, world.folder.path().join("cache"), &options).unwrap();
    // Unwritten blocks read as noise, and a snapshot may be of an instant before the first round has ended.
    for block in [9, 2, 5] {
        write(&cache, block * BLOCK, &[0; 4096]);
    }
    cache.flush().unwrap();
    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        scope.spawn(|| {
            for number in 1u64.. {
                if stop.load(Relaxed) {
                    break;
                }
                // Three blocks apart, in an order that isn't theirs on the disk; now and then past the cache.
                for block in [9, 2, 5] {
                    write(&cache, block * BLOCK, &number.to_le_bytes().repeat(512));
                    cache.flush().unwrap();
                }
                if number % 7 == 0 {
                    cache.write_zeroes(12 * BLOCK, BLOCK).unwrap();
                }
                answered.store(number, SeqCst);
            }
        });
        for round in 0..12 {
            let before = answered.load(SeqCst);
            let name = format!("s{round}");
            service.create_snapshot(&NewSnapshot::new(&name, "x").incremental(round % 2 == 0), &|_| {}).unwrap();
            let copy = NewCopy::new(&name).region("north").subscription("one");
            service.create_disk_from(&ResourceName::snapshot(&name), &copy, &|_| {}).unwrap();
            let copy = service.open_disk(&name).unwrap();
            let numbers =
                [9, 2, 5].map(|block| u64::from_le_bytes(read(&copy, block * BLOCK, 4096)[..8].try_into().unwrap()));
            assert!(numbers[2] >= before, "{numbers:?} after {before} was answered");
            assert!(numbers.is_sorted_by(|a, b| a >= b) && numbers[0] - numbers[2] <= 1, "{numbers:?}");
        }
    });
    // The cache that has the rest isn't here.
    write(&cache, 0, &[3; 4096]);
    drop(cache);
    let refused = service.create_snapshot(&NewSnapshot::new("last", "x"), &|_| {});
    assert!(matches!(refused, Err(Error::Busy { .. })));
    let cache = Cache::of(&disk, world.folder.path().join("cache"), &options).unwrap();
    cache.detach().unwrap();
    service.create_snapshot(&NewSnapshot::new("last", "x"), &|_| {}).unwrap();
}

#[test]
fn a_snapshot_is_made_though_the_file_of_the_cache_fails() {
    let world = World::new();
    let (service, disk) = set_up(&world);
    let device = Arc::new(TestDevice::new(vec![0; SIZE as usize]));
    let options = options(CacheMode::WriteBack, SIZE);
    let place = CachePlace::Device(device.clone());
    let cache = Cache::attach(Arc::new(disk.clone()), Arc::new(disk.clone()), place, &options).unwrap();
    write(&cache, 0, &[7; 4096]);
    device.fail(Call::Sync, 0, false);
    service.create_snapshot(&NewSnapshot::new("s", "x"), &|_| {}).unwrap();
    let copy = NewCopy::new("c").region("north").subscription("one");
    service.create_disk_from(&ResourceName::snapshot("s"), &copy, &|_| {}).unwrap();
    assert_eq!(read(&service.open_disk("c").unwrap(), 0, 4096), [7; 4096]);
}
