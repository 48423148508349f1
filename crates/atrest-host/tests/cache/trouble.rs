//! Local files and disks that fail.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use atrest::BlockDevice;
use atrest_host::cache::{CacheMode, CachePlace};
use atrest_host::{Cache, Disk};

use crate::common::device::{Call, TestDevice};
use crate::support::*;

const SIZE: u64 = 64 * 4096;

fn set(mode: CacheMode) -> (Arc<PlainDisk>, Arc<TestDevice>, Cache) {
    let (disk, device) = (PlainDisk::new(64 * BLOCK, 512), Arc::new(TestDevice::new(vec![0; SIZE as usize])));
    let cache = on(&device, &disk, &options(mode, SIZE).dirty(16 * BLOCK)).unwrap();
    (disk, device, cache)
}

#[test]
fn a_disk_goes_on_without_a_cache_whose_file_fails() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        for call in [Call::Read, Call::Write, Call::Sync] {
            for before in 0..6 {
                let (disk, device, cache) = set(mode);
                device.fail(call, before, false);
                let mut model = vec![0; 64 * 4096];
                let mut noise = Noise(before as u64 + 1);
                for _ in 0..60 {
                    let (offset, byte) = (noise.below(60) * 512 * 8 + noise.below(2) * 512, noise.next() as u8);
                    let len = if noise.below(2) == 0 { 512 } else { 3 * 4096 };
                    // Blocks that only the cache has can't be read while its file doesn't answer, not even to write a part of one.
                    if let Err(error) = cache.write_at(offset, &mut vec![byte; len]) {
                        assert!(mode == CacheMode::WriteBack && call == Call::Read, "{error:#}");
                        write(&cache, offset, &vec![byte; len]);
                    }
                    model[offset as usize..][..len].fill(byte);
                    let offset = noise.below(60) * BLOCK;
                    let mut found = vec![0; 2 * 4096];
                    match cache.read_at(offset, &mut found) {
                        Ok(()) => {
                            assert_eq!(found, model[offset as usize..][..2 * 4096], "{mode:?}, {call:?} {before}")
                        }
                        Err(_) => assert!(mode == CacheMode::WriteBack && call == Call::Read),
                    }
                    cache.flush().unwrap();
                }
                // The file's remaining content does no harm.
                let cache = if before % 2 == 0 {
                    drop(cache);
                    device.heal();
                    let again = on(&device, &disk, &options(mode, SIZE)).unwrap();
                    assert_eq!(read(&again, 0, model.len()), model, "{mode:?}, {call:?} {before}");
                    again
                } else {
                    cache
                };
                // The file may fail just when it is wiped.
                if let Err(error) = cache.detach() {
                    assert!(error.to_string().contains("wiping"), "{error:#}");
                    cache.detach().unwrap();
                }
                assert_eq!(disk.device.bytes(), model, "{mode:?}, {call:?} {before}");
            }
        }
    }
}

#[test]
fn a_disk_that_fails_loses_nothing_that_waits() {
    for call in [Call::Write, Call::Sync] {
        for before in 0..4 {
            let (disk, device, cache) = set(CacheMode::WriteBack);
            let mut model = vec![0; 64 * 4096];
            let mut failed = 0;
            disk.device.fail(call, before, true);
            let mut noise = Noise(before as u64 + 77);
            for step in 0..60u8 {
                let offset = noise.below(60) * BLOCK;
                let mut bytes = vec![step; 2 * 4096];
                match cache.write_at(offset, &mut bytes) {
                    Ok(()) => model[offset as usize..][..2 * 4096].fill(step),
                    Err(_) => {
                        failed += 1;
                        // It wasn't answered; once it is done again, it counts.
                        write(&cache, offset, &[step; 2 * 4096]);
                        model[offset as usize..][..2 * 4096].fill(step);
                    }
                }
                if step % 7 == 0 {
                    cache.flush().unwrap();
                }
            }
            // It may have been the cache's own thread that was told.
            assert!(failed <= 1 && !disk.device.heal(), "{call:?} {before}: {failed}");
            drop(cache);
            let cache = on(&device, &disk, &options(CacheMode::WriteBack, SIZE)).unwrap();
            assert_eq!(read(&cache, 0, model.len()), model, "{call:?} {before}");
        }
    }
}

#[test]
fn a_write_through_cache_keeps_nothing_of_a_write_that_failed() {
    let (disk, _, cache) = set(CacheMode::WriteThrough);
    write(&cache, 0, &[1; 4096]);
    disk.device.set_atom(512);
    disk.device.fail(Call::Write, 0, false);
    assert!(cache.write_at(0, &mut [2; 4096]).is_err());
    assert_eq!(read(&cache, 0, 4096), disk.device.bytes()[..4096]);
}

/// It dies at every call of the cache's device or of the disk, and comes back.
#[test]
fn an_attachment_that_is_cut_off_can_be_done_again() {
    let keeper = Keeper::new(5);
    let (disk, device) = (PlainDisk::new(64 * BLOCK, 512), Arc::new(TestDevice::new(vec![0; SIZE as usize])));
    let options = options(CacheMode::WriteBack, SIZE).dirty(32 * BLOCK);
    let attach = |disk: &Arc<PlainDisk>, device: &Arc<TestDevice>, keeper: &Arc<Keeper>| {
        Cache::attach(disk.clone(), keeper.clone(), CachePlace::Device(device.clone()), &options)
    };
    let cache = attach(&disk, &device, &keeper).unwrap();
    (0..10).for_each(|block| write(&cache, 2 * block * BLOCK, &[block as u8 + 1; 4096]));
    cache.flush().unwrap();
    drop(cache);
    let (images, note) = ([disk.device.bytes(), device.bytes()], keeper.note.lock().unwrap().clone());
    let mut count = 0;
    for on_disk in [true, false] {
        for call in [Call::Read, Call::Write, Call::Sync] {
            for before in 0.. {
                let (disk, device) =
                    (PlainDisk::of(images[0].clone(), 512), Arc::new(TestDevice::new(images[1].clone())));
                let keeper = Keeper::new(5);
                keeper.note.lock().unwrap().clone_from(&note);
                let fails = if on_disk { &disk.device } else { &device };
                fails.set_atom(512);
                fails.fail(call, before, false);
                let attached = attach(&disk, &device, &keeper);
                let done = fails.heal();
                assert_eq!(attached.is_ok(), done, "{call:?} {before}: {attached:?}");
                drop(attached);
                let cache = attach(&disk, &device, &keeper).unwrap_or_else(|e| panic!("{call:?} {before}: {e:#}"));
                (0..10).for_each(|block| assert_eq!(read(&cache, 2 * block * BLOCK, 4096), [block as u8 + 1; 4096]));
                count += 1;
                if done {
                    break;
                }
            }
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn a_flush_is_not_answered_after_a_sync_that_failed() {
    // While the writes are still in memory, they go to the disk.
    let (disk, device, cache) = set(CacheMode::WriteBack);
    write(&cache, 0, &[1; 4096]);
    device.fail(Call::Sync, 0, false);
    cache.drain().unwrap();
    write(&cache, 0, &[2; 4096]);
    cache.flush().unwrap();
    assert_eq!(disk.device.bytes()[..4096], [2; 4096]);
    // Without, there is nothing to answer with: neither now nor later.
    let (disk, device, cache) = set(CacheMode::WriteBack);
    write(&cache, 0, &[1; 4096]);
    cache.flush().unwrap();
    device.fail(Call::Sync, 0, true);
    write(&cache, 4096, &[2; 4096]);
    (0..3).for_each(|_| assert!(cache.flush().is_err()));
    assert!(cache.write_at(8192, &mut [3; 4096]).is_err());
    assert!(cache.read_at(4096, &mut [0; 4096]).is_err());
    assert_eq!(read(&cache, 0, 4096), [1; 4096]);
    drop(cache);
    // Flushed writes are there.
    let cache = on(&device, &disk, &options(CacheMode::WriteBack, SIZE)).unwrap();
    assert_eq!([read(&cache, 0, 4096), read(&cache, 4096, 4096)], [[1; 4096], [0; 4096]]);
}

#[test]
fn a_guest_is_told_of_a_flush_that_failed_for_another() {
    let (disk, _device, cache) = set(CacheMode::WriteBack);
    cache.write_zeroes(0, 8192).unwrap();
    write(&cache, 8192, &[1; 4096]);
    disk.device.fail(Call::Sync, 0, false);
    assert!(cache.drain().is_err());
    assert!(cache.flush().is_err());
    cache.flush().unwrap();
}

/// A local file that says when a write begins, and lets it go on when it is told to.
struct Gate {
    device: TestDevice,
    stops: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl BlockDevice for Gate {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let stops = self.stops.lock().unwrap().take();
        if let Some((begun, go_on)) = stops {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        self.device.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync()
    }
}

#[test]
fn a_write_of_several_pieces_ends_while_its_cache_is_given_up() {
    let disk = PlainDisk::new(64 * BLOCK, 512);
    let gate = Arc::new(Gate { device: TestDevice::new(vec![0; SIZE as usize]), stops: Mutex::default() });
    let options = options(CacheMode::WriteBack, SIZE).dirty(16 * BLOCK);
    let place = CachePlace::Device(gate.clone());
    let cache = Arc::new(Cache::attach(disk.clone(), Arc::new(secret(7)), place, &options).unwrap());
    read(&*cache, 0, 4 * 4096); // so that the first write to the file is the guest's
    let ((begun, has_begun), (go_on, goes_on), (end, ended)) = (channel(), channel(), channel());
    *gate.stops.lock().unwrap() = Some((begun, goes_on));
    for detaches in [false, true] {
        let (cache, end) = (cache.clone(), end.clone());
        std::thread::spawn(move || {
            match detaches {
                true => cache.detach().unwrap(),
                // Parts of two blocks, and whole ones between.
                false => write(&*cache, 512, &[1; 3 * 4096]),
            }
            end.send(()).unwrap();
        });
        if !detaches {
            has_begun.recv().unwrap();
        }
    }
    sleep(Duration::from_millis(100)); // so that it waits for the write that is under way
    go_on.send(()).unwrap();
    for _ in 0..2 {
        ended.recv_timeout(Duration::from_secs(60)).expect("both end");
    }
    let mut expected = vec![0; 64 * 4096];
    expected[512..][..3 * 4096].fill(1);
    assert_eq!(disk.device.bytes(), expected);
}
