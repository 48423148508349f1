//! Random operations, against a plain array.

use std::sync::{Arc, Mutex};

use atrest_host::cache::{CacheMode, CachePlace};
use atrest_host::{Cache, Disk};

use crate::common::device::{Op, TestDevice};
use crate::support::*;

const MODES: [CacheMode; 3] = [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack];

/// A cache that is far smaller than its disk, whose last block isn't whole if sectors are small.
fn compare(mode: CacheMode, sector: u64, seed: u64, steps: u64) {
    let size = 150 * BLOCK + if sector == 512 { 1536 } else { 0 };
    let (disk, device) = (PlainDisk::new(size, sector as u32), Arc::new(TestDevice::new(vec![0; 60 * 4096])));
    let options = options(mode, 60 * 4096).dirty(12 * BLOCK);
    let mut cache = on(&device, &disk, &options).unwrap();
    // The content of discarded sectors is unknown.
    let (mut model, mut known) = (vec![0; size as usize], vec![true; (size / 512) as usize]);
    let same = |found: &[u8], model: &[u8], known: &[bool]| {
        let mut sectors = found.chunks(512).zip(model.chunks(512)).zip(known);
        sectors.all(|((found, model), known)| !known || found == model)
    };
    let mut noise = Noise(seed);
    for step in 0..steps {
        // Half of all go to a tenth of the disk.
        let reach = if noise.below(2) == 0 { size / sector } else { size / sector / 10 };
        let first = noise.below(reach);
        let most = [1, 8, 8, 24, 120][noise.below(5) as usize];
        let len = (1 + noise.below(most)).min(size / sector - first) * sector;
        let offset = first * sector;
        // Mostly whole blocks, as guests write them.
        let (offset, len) = match noise.below(3) {
            0 => (offset, len),
            _ => (offset / BLOCK * BLOCK, len.next_multiple_of(BLOCK).min(size - offset / BLOCK * BLOCK)),
        };
        let range = offset as usize..(offset + len) as usize;
        let sectors = range.start / 512..range.end / 512;
        match noise.below(24) {
            0..10 => {
                let found = read(&cache, offset, len as usize);
                assert!(same(&found, &model[range], &known[sectors]), "{mode:?}, step {step}: at {offset}");
            }
            10..20 => {
                let byte = noise.next() as u8;
                let bytes: Vec<u8> = (0..len / 512).flat_map(|i| [byte.wrapping_add(i as u8); 512]).collect();
                write(&cache, offset, &bytes);
                model[range].copy_from_slice(&bytes);
                known[sectors].fill(true);
            }
            20 => {
                cache.write_zeroes(offset, len).unwrap();
                model[range].fill(0);
                known[sectors].fill(true);
            }
            21 => {
                cache.discard(offset, len).unwrap();
                known[sectors].fill(false);
            }
            22 => cache.flush().unwrap(),
            _ => {
                match noise.below(3) {
                    0 => cache.detach().unwrap(),
                    1 => cache.drain().unwrap(),
                    _ => {} // as if the process was killed
                }
                drop(cache);
                cache = on(&device, &disk, &options).unwrap();
            }
        }
    }
    cache.detach().unwrap();
    assert!(same(&disk.device.bytes(), &model, &known), "{mode:?}");
}

#[test]
fn every_mode_is_a_disk() {
    for mode in MODES {
        for sector in [512, 4096] {
            compare(mode, sector, 0x5EED + sector, times("ATREST_STEPS", 500));
        }
    }
}

#[test]
fn threads_see_what_they_wrote() {
    for mode in MODES {
        let (disk, device) = (PlainDisk::new(64 * BLOCK, 512), Arc::new(TestDevice::new(vec![0; 40 * 4096])));
        let options = options(mode, 40 * 4096).dirty(8 * BLOCK).destage_after(std::time::Duration::from_millis(1));
        let cache = on(&device, &disk, &options).unwrap();
        std::thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|thread: u64| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut noise = Noise(thread + 1);
                    let mut known = [0u8; 128];
                    for step in 0..400 {
                        // Each has a sector of its own in each pair of blocks, and reads those of the others around it.
                        let at = noise.below(32);
                        let offset = at * 2 * BLOCK + thread * 512;
                        match noise.below(4) {
                            0 => {
                                known[at as usize] = noise.next() as u8 | 1;
                                write(cache, offset, &[known[at as usize]; 512]);
                            }
                            1 => cache.flush().unwrap(),
                            2 => {
                                let pair = read(cache, at * 2 * BLOCK, 2 * BLOCK as usize);
                                let own = &pair[thread as usize * 512..][..512];
                                assert!(own.iter().all(|byte| *byte == known[at as usize]), "{mode:?}, step {step}");
                            }
                            _ => {
                                assert_eq!(read(cache, offset, 512), [known[at as usize]; 512], "{mode:?}, step {step}")
                            }
                        }
                    }
                    known
                })
            });
            // In the middle of that it goes.
            while threads.iter().filter(|thread| thread.is_finished()).count() == 0 && disk.device.log_len() < 300 {
                std::thread::yield_now();
            }
            cache.detach().unwrap();
            for (thread, joined) in threads.into_iter().enumerate() {
                let (known, bytes) = (joined.join().unwrap(), disk.device.bytes());
                for (at, byte) in known[..32].iter().enumerate() {
                    assert_eq!(bytes[at * 2 * 4096 + thread * 512..][..512], [*byte; 512], "{mode:?}");
                }
            }
        });
    }
}

/// Reads of the device since the log was last taken.
fn reads(device: &TestDevice) -> usize {
    device.take_log().iter().filter(|op| matches!(op, Op::Read { .. })).count()
}

#[test]
fn what_was_read_or_written_is_read_again_without_the_disk() {
    for mode in MODES {
        let (disk, device) = (PlainDisk::new(256 * BLOCK, 4096), Arc::new(TestDevice::new(vec![0; 400 * 4096])));
        let cache = on(&device, &disk, &options(mode, 400 * 4096)).unwrap();
        write(&cache, 0, &[1; 16 * BLOCK as usize]);
        read(&cache, 0, 32 * BLOCK as usize);
        disk.device.take_log();
        for block in 0..32 {
            assert_eq!(read(&cache, block * BLOCK, 4096), [u8::from(block < 16); 4096]);
        }
        assert_eq!(reads(&disk.device), 0, "{mode:?}");
        // Only the cache of a mode that keeps writes has those.
        write(&cache, 40 * BLOCK, &[3; 4096]);
        read(&cache, 40 * BLOCK, 4096);
        assert_eq!(reads(&disk.device), usize::from(mode == CacheMode::ReadOnly), "{mode:?}");
    }
}

#[test]
fn a_scan_leaves_what_is_read_often() {
    let (disk, device) = (PlainDisk::new(2000 * BLOCK, 4096), Arc::new(TestDevice::new(vec![0; 100 * 4096])));
    let cache = on(&device, &disk, &options(CacheMode::ReadOnly, 100 * 4096)).unwrap();
    let hot = |cache: &Cache| (0..40).for_each(|block| drop(read(cache, block * BLOCK, 4096)));
    (0..4).for_each(|_| hot(&cache));
    // Twice as much as the cache has room for.
    (100..250).for_each(|block| drop(read(&cache, block * BLOCK, 4096)));
    disk.device.take_log();
    hot(&cache);
    assert_eq!(reads(&disk.device), 0);
}

/// A disk that does something else between a read and its answer.
struct Interrupted {
    disk: Arc<PlainDisk>,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Disk for Interrupted {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> atrest::Result<()> {
        self.disk.read_at(offset, sectors)?;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        meanwhile.into_iter().for_each(|act| act());
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> atrest::Result<()> {
        self.disk.write_at(offset, sectors)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> atrest::Result<()> {
        self.disk.write_zeroes(offset, len)
    }

    fn flush(&self) -> atrest::Result<()> {
        self.disk.flush()
    }
}

#[test]
fn what_was_read_before_a_write_is_not_kept_after_it() {
    for mode in MODES {
        for zeroed in [false, true] {
            let plain = PlainDisk::of(vec![5; 100 * 4096], 512);
            let disk = Arc::new(Interrupted { disk: plain, meanwhile: Mutex::default() });
            let place = CachePlace::Device(Arc::new(TestDevice::new(vec![0; 64 * 4096])));
            let cache = Cache::attach(disk.clone(), Arc::new(secret(7)), place, &options(mode, 64 * 4096)).unwrap();
            let cache = Arc::new(cache);
            let writer = cache.clone();
            let act = move || {
                if zeroed {
                    return writer.write_zeroes(0, BLOCK).unwrap();
                }
                write(&*writer, 0, &[9; 4096]);
                // Until the cache has forgotten the write.
                writer.drain().unwrap();
                (0..4).for_each(|_| drop(read(&*writer, 20 * BLOCK, 70 * 4096)));
            };
            *disk.meanwhile.lock().unwrap() = Some(Box::new(act));
            read(&*cache, 0, 2 * 4096);
            assert_eq!(read(&*cache, 0, 4096), [if zeroed { 0 } else { 9 }; 4096], "{mode:?}");
        }
    }
}
