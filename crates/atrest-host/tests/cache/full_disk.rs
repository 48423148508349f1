//! A host whose own file system is full.

use atrest_host::cache::{CacheMode, CachePlace};
use atrest_host::{Cache, Disk};

use crate::common::small_disk::{Room, names, on_a_small_disk};
use crate::support::*;

const SIZE: u64 = 64 * BLOCK;

/// A cache that finds no room is refused, leaves nothing half-made, and comes once there is room. One that found it takes every
/// write, though nothing is left beside it.
#[test]
fn a_cache_needs_room_when_it_is_made_and_never_again() {
    on_a_small_disk("full_disk::a_cache_needs_room_when_it_is_made_and_never_again", 8, |host| {
        for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
            let options = options(mode, SIZE).dirty(16 * BLOCK);
            host.with_less_room(&[Room::Pages, Room::Files], |room| {
                let folder = host.folder();
                let keeper = Keeper::new(3);
                let disk = PlainDisk::new(64 * BLOCK, 512);
                let attach = || {
                    let place = CachePlace::File(folder.join("cache"));
                    Cache::attach(disk.clone(), keeper.clone(), place, &options)
                };
                host.leave(room);
                let first = attach();
                let fitted = first.is_ok();
                let cache = first.unwrap_or_else(|error| {
                    assert!(format!("{error:#}").contains("cache"), "{mode:?}, {room:?}: {error:#}");
                    assert_eq!(names(&folder), [""; 0], "{mode:?}, {room:?}");
                    host.make_room();
                    attach().unwrap_or_else(|e| panic!("{mode:?}, {room:?}: {e:#}"))
                });
                host.leave(Room::Pages(0));
                for round in 1..=2u8 {
                    (0..32).for_each(|block| write(&cache, block * BLOCK, &[round + block as u8; 4096]));
                    cache.flush().unwrap();
                    (0..32)
                        .for_each(|block| assert_eq!(read(&cache, block * BLOCK, 4096), [round + block as u8; 4096]));
                }
                // The host is killed, and comes back while its file system is full.
                drop(cache);
                let cache = attach().unwrap_or_else(|e| panic!("{mode:?}, {room:?}: {e:#}"));
                cache.detach().unwrap();
                (0..32).for_each(|block| assert_eq!(read(&*disk, block * BLOCK, 4096), [2 + block as u8; 4096]));
                assert_eq!(names(&folder), [""; 0], "{mode:?}, {room:?}");
                fitted
            });
        }
    });
}
