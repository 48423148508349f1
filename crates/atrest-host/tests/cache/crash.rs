//! Power loss at every write: what was flushed is there, whatever became of what wasn't synced.

use std::sync::Arc;

use atrest_host::Disk;
use atrest_host::cache::CacheMode;

use crate::common::device::{Op, TestDevice, now, subsets};
use crate::support::*;

const SECTOR: usize = 512;
const BLOCKS: u64 = 24;
/// So small that slots and the journal are soon used again.
const CACHE: usize = 24 * 4096;

/// A change of a sector, and when it began and was answered.
#[derive(Clone, Copy)]
struct Change {
    begun: usize,
    answered: usize,
    value: u8,
}

/// All that a guest has done.
struct History {
    sectors: Vec<Vec<Change>>,
    flushes: Vec<(usize, usize)>,
}

impl History {
    fn new() -> Self {
        let first = Change { begun: 0, answered: 0, value: 0 };
        History { sectors: vec![vec![first]; (BLOCKS * 8) as usize], flushes: vec![(0, 0)] }
    }

    fn changed(&mut self, offset: u64, len: u64, begun: usize, value: u8) {
        let (first, count) = (offset as usize / SECTOR, len as usize / SECTOR);
        let answered = now();
        self.sectors[first..first + count].iter_mut().for_each(|all| all.push(Change { begun, answered, value }));
    }

    /// The values that a sector may hold if everything ended at a time. If only the process died, every answered change is there.
    fn allowed(&self, sector: usize, time: usize, only_killed: bool) -> Vec<u8> {
        let flushed = self.flushes.iter().filter(|(_, answered)| *answered <= time).map(|(begun, _)| *begun).max();
        let until = if only_killed { time } else { flushed.unwrap() };
        let changes = &self.sectors[sector];
        let base = changes.iter().rposition(|change| change.answered <= until).unwrap();
        changes[base..].iter().filter(|change| change.begun <= time).map(|change| change.value).collect()
    }
}

/// A device of which some of what wasn't synced is lost.
struct Platter {
    stable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl Platter {
    fn does(&mut self, op: &Op) {
        match op {
            Op::Read { .. } => {}
            Op::Write { offset, bytes } => {
                let sectors = bytes.chunks(SECTOR).enumerate();
                self.pending.extend(sectors.map(|(k, bytes)| (*offset as usize + k * SECTOR, bytes.to_vec())));
            }
            Op::Sync => {
                let all = vec![true; self.pending.len()];
                self.stable = self.image(&all);
                self.pending.clear();
            }
        }
    }

    fn image(&self, kept: &[bool]) -> Vec<u8> {
        let mut image = self.stable.clone();
        for ((offset, bytes), _) in self.pending.iter().zip(kept).filter(|(_, kept)| **kept) {
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    /// Some image, other than the one that has all.
    fn torn(&self, noise: &mut Noise) -> Vec<u8> {
        let ways = subsets(self.pending.len(), 8, noise.next());
        let (_, kept) = &ways[noise.below(ways.len() as u64) as usize];
        self.image(kept)
    }
}

fn run(seed: u64, steps: u64, ways: u64) -> u64 {
    let (disk, device) = (PlainDisk::new(BLOCKS * BLOCK, 512), Arc::new(TestDevice::new(vec![0; CACHE])));
    let options = options(CacheMode::WriteBack, CACHE as u64).dirty(8 * BLOCK);
    let mut platters = [&disk.device, &device].map(|device| Platter { stable: device.bytes(), pending: Vec::new() });
    let (mut history, mut noise) = (History::new(), Noise(seed));
    let mut cache = on(&device, &disk, &options).unwrap();
    for step in 0..steps {
        let first = noise.below(BLOCKS);
        let len = (1 + noise.below(4)).min(BLOCKS - first) * BLOCK;
        let (offset, len) = if noise.below(4) == 0 { (first * BLOCK + 512, 1024) } else { (first * BLOCK, len) };
        let (begun, value) = (now(), (step % 250) as u8 + 1);
        match noise.below(13) {
            0..7 => {
                write(&cache, offset, &vec![value; len as usize]);
                history.changed(offset, len, begun, value);
            }
            7 => {
                cache.write_zeroes(offset, len).unwrap();
                history.changed(offset, len, begun, 0);
            }
            // Every other run flushes seldom.
            8 | 9 if seed.is_multiple_of(2) || noise.below(6) == 0 => {
                cache.flush().unwrap();
                history.flushes.push((begun, now()));
            }
            8..11 => drop(read(&cache, 0, (BLOCKS * BLOCK) as usize)),
            _ => match noise.below(4) {
                0 => cache.drain().unwrap(),
                1 => {
                    cache.detach().unwrap();
                    cache = on(&device, &disk, &options).unwrap();
                }
                _ => {
                    drop(cache);
                    cache = on(&device, &disk, &options).unwrap();
                }
            },
        }
    }
    drop(cache);
    let logs = [&disk.device, &device].map(|device| device.take_timed_log()).into_iter().enumerate();
    let mut ops: Vec<_> =
        logs.flat_map(|(which, log)| log.into_iter().map(move |(time, op)| (time, which, op))).collect();
    ops.sort_by_key(|(time, ..)| *time);
    let mut count = 0;
    for (time, which, op) in ops.into_iter().filter(|(.., op)| !matches!(op, Op::Read { .. })) {
        platters[which].does(&op);
        let all = |platter: &Platter| platter.image(&vec![true; platter.pending.len()]);
        check(&history, time, true, [all(&platters[0]), all(&platters[1])], &options);
        // A mark must not be there before what it relies on.
        let is_mark = which == 1 && matches!(op, Op::Write { offset: 4096 | 8192, .. });
        let ways = if is_mark { 4 * ways } else { ways };
        for _ in 0..ways {
            check(&history, time, false, [platters[0].torn(&mut noise), platters[1].torn(&mut noise)], &options);
        }
        count += 1 + ways;
    }
    count
}

/// Attaches the cache again, and compares what the disk then has.
fn check(
    history: &History,
    time: usize,
    only_killed: bool,
    images: [Vec<u8>; 2],
    options: &atrest_host::cache::CacheOptions,
) {
    let [disk, device] = images;
    let (disk, device) = (PlainDisk::of(disk, 512), Arc::new(TestDevice::new(device)));
    let cache = on(&device, &disk, options).unwrap_or_else(|e| panic!("at {time}: {e:#}"));
    let found = read(&cache, 0, (BLOCKS * BLOCK) as usize);
    for (sector, bytes) in found.chunks(SECTOR).enumerate() {
        let allowed = history.allowed(sector, time, only_killed);
        let value = bytes[0];
        assert!(bytes == [value; SECTOR], "sector {sector} is torn at {time}");
        assert!(
            allowed.contains(&value),
            "sector {sector} has {value}, not one of {allowed:?}, at {time}, {only_killed}"
        );
    }
    // The new cache is a cache.
    assert!(cache.dirty() == 0);
}

#[test]
fn what_was_flushed_is_there_after_every_crash() {
    let mut count = 0;
    for seed in 0..times("ATREST_CRASHES", 2) {
        count += run(0xC0FFEE + seed, 50, 2);
    }
    assert!(count > 300, "{count} images");
}
