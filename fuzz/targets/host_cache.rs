//! The file of a write-back cache that was changed while nobody had it attached.
//!
//! An input is a byte with a number of writes and whether the cache has its thread, each write with its block and whether a flush
//! follows, and then edits of the file: bytes that are put somewhere, or a part of the file that is copied elsewhere.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use atrest::{BlockDevice, Secret};
use atrest_fuzz::disk::Disk as Device;
use atrest_fuzz::{Input, limits, seeds};
use atrest_host::cache::{CacheError, CacheMode, CacheOptions, CachePlace};
use atrest_host::{Cache, Disk, HazmatPlain, fuzzing};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;
const BLOCKS: usize = 24;
/// Of the cache's file.
const SIZE: usize = 64 * BLOCK;
/// With these bits of the first byte the cache has its thread. Few inputs do, since the thread takes most of their time.
const THREAD: u8 = 0xe0;

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| {
    limits::limited(|| run(data));
});

/// What the file of a cache that was detached begins with; zeros follow.
const DETACHED: &[u8; 10] = b"atrestHC\0\x01";

type Memory = Arc<Device<'static>>;

fn attach(disk: &Memory, file: &Memory, has_thread: bool) -> atrest::Result<Cache> {
    let options = CacheOptions::new(CacheMode::WriteBack, SIZE as u64).dirty(16 * BLOCK as u64);
    // Nothing goes to the disk by itself.
    let options = options.destage_after(Duration::from_secs(3600));
    let keeper = Arc::new(Secret::copy_from(&[7; 32]));
    let (disk, place) = (Arc::new(HazmatPlain(disk.clone())), CachePlace::Device(file.clone()));
    if has_thread {
        Cache::attach(disk, keeper, place, &options)
    } else {
        fuzzing::attach(disk, keeper, place, &options)
    }
}

fn run(data: &[u8]) {
    let mut input = Input(data);
    let disk = Arc::new(Device::new(&[], (BLOCKS * BLOCK) as u64));
    let file = Arc::new(Device::new(&[], SIZE as u64));
    // What was written to each block, from what was flushed last on.
    let mut written: [Vec<u8>; BLOCKS] = std::array::from_fn(|_| vec![0]);
    // All that was ever written to each block.
    let mut ever = written.clone();
    let flags = input.byte();
    let has_thread = flags & THREAD == THREAD;
    let cache = attach(&disk, &file, has_thread).expect("a blank file becomes a cache");
    for number in 1..=flags % 32 {
        let (block, flushes) = (usize::from(input.byte()), input.byte() & 1 == 1);
        let block = block % BLOCKS;
        cache.write_at((block * BLOCK) as u64, &mut [number; BLOCK]).expect("the file has room");
        written[block].push(number);
        ever[block].push(number);
        if flushes {
            cache.flush().expect("memory is synced");
            written.iter_mut().for_each(|numbers| *numbers = numbers.split_off(numbers.len() - 1));
        }
    }
    // As a crash leaves it.
    drop(cache);
    // Without them it can't be told what was flushed: the file is one of an earlier state then.
    let (marks, mut has_marks) = (BLOCK..3 * BLOCK, true);
    while !input.0.is_empty() {
        let (copies, at, len) = (input.byte() & 1 == 1, input.u32() as usize % SIZE, usize::from(input.u16()));
        if copies {
            let (from, len) = (input.u32() as usize % SIZE, len.min(SIZE - at));
            let mut copied = vec![0; len];
            file.read_at(from.min(SIZE - len) as u64, &mut copied).expect("it has that");
            file.put(at as u64, &copied);
            has_marks &= at >= marks.end || at + len <= marks.start;
        } else {
            let new = input.bytes(len.min(SIZE - at).min(64));
            file.put(at as u64, new);
            has_marks &= at >= marks.end || at + new.len() <= marks.start;
        }
    }
    // Nobody keeps a note of the cache here, so that a file which says that its cache was detached is believed.
    let mut start = [0; 512];
    file.read_at(0, &mut start).expect("it has that");
    let is_detached = start[..10] == *DETACHED && start[10..] == [0; 502];
    match attach(&disk, &file, has_thread) {
        Ok(cache) => {
            // A write that nobody has flushed may be taken for one that was torn.
            let may_be = if has_marks && !is_detached { &written } else { &ever };
            for (block, numbers) in may_be.iter().enumerate() {
                let mut found = [0xEE; BLOCK];
                cache.read_at((block * BLOCK) as u64, &mut found).expect("what is attached is sound");
                assert!(numbers.iter().any(|number| found == [*number; BLOCK]), "block {block}");
            }
        }
        Err(error) => {
            assert!(CacheError::of(&error).is_some(), "{error:#}");
            // Some of it may be on the disk, and nothing else.
            for (block, numbers) in ever.iter().enumerate() {
                let mut found = [0xEE; BLOCK];
                disk.read_at((block * BLOCK) as u64, &mut found).expect("it has that");
                assert!(numbers.iter().any(|number| found == [*number; BLOCK]), "block {block}");
            }
        }
    }
}

/// Writes of each number, with edits of each part of the file.
fn seeds() -> Vec<Vec<u8>> {
    // As if the cache had been detached after three writes: only its magic and its version are left of the header.
    let mut seeds = vec![[&[3, 0, 1, 15, 0, 0, 1, 1, 0, 0, 0, 10, 2, 0][..], &0x4000u32.to_be_bytes()].concat()];
    for count in [0u8, 1, 7, 31] {
        let writes: Vec<u8> = (0..count).flat_map(|n| [n * 5, n % 3]).collect();
        for at in [0u32, 8, 512, 520, 1024, 4096, 5000, 8192, 12288, 40960, 200_000] {
            for edit in [&[0, 0, 0][..], &[0, 4, 1], &[1, 16, 0]] {
                let to = [&[edit[0]][..], &at.to_be_bytes(), &[0, edit[1]]].concat();
                let what = if edit[0] == 1 { 4608u32.to_be_bytes().to_vec() } else { vec![edit[2]; edit[1].into()] };
                seeds.push([&[count][..], &writes, &to, &what].concat());
                if at == 0 {
                    seeds.push([&[count | THREAD][..], &writes, &to, &what].concat());
                }
            }
        }
    }
    seeds
}
