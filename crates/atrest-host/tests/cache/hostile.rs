//! Files that somebody else has changed or exchanged, and what they tell.

use std::path::Path;
use std::sync::Arc;

use atrest::{Error, Secret};
use atrest_host::cache::{CacheError, CacheMode, CacheOptions, CachePlace};
use atrest_host::{Cache, Disk};

use crate::common::device::{TestDevice, reopen};
use crate::support::*;

const SIZE: u64 = 64 * 4096;

fn write_back() -> CacheOptions {
    options(CacheMode::WriteBack, SIZE)
}

/// A step between bytes that are flipped.
fn times_less(step: u64) -> u64 {
    (step / times("ATREST_FLIPS", 1)).max(1)
}

/// A pattern that nobody takes for ciphertext.
fn secret_text(block: u64) -> Vec<u8> {
    format!("what block {block:4} holds is nobody's business. ").into_bytes().into_iter().cycle().take(4096).collect()
}

fn what(result: Result<Cache, Error>) -> CacheError {
    *CacheError::of(&result.unwrap_err()).unwrap()
}

#[test]
fn a_flipped_byte_is_told_or_does_no_harm() {
    let (disk, device) = (PlainDisk::new(32 * BLOCK, 4096), Arc::new(TestDevice::new(vec![0; SIZE as usize])));
    let cache = on(&device, &disk, &write_back()).unwrap();
    // Some of it lies on the disk, too; some was overwritten; and the last isn't flushed.
    (0..8).for_each(|block| write(&cache, block * BLOCK, &secret_text(block)));
    cache.flush().unwrap();
    cache.drain().unwrap();
    (4..12).for_each(|block| write(&cache, block * BLOCK, &secret_text(block + 100)));
    cache.flush().unwrap();
    (4..6).for_each(|block| write(&cache, block * BLOCK, &secret_text(block + 200)));
    cache.flush().unwrap();
    drop(cache);
    let (before, image) = (disk.device.bytes(), device.bytes());
    let expected = |block: u64| match block {
        0..4 => secret_text(block),
        4..6 => secret_text(block + 200),
        6..12 => secret_text(block + 100),
        _ => vec![0; 4096],
    };
    let (mut told, mut harmless) = (0, 0);
    let mut noise = Noise(99);
    let mut at = 0;
    while at < image.len() {
        let mut image = image.clone();
        image[at] ^= 1 << noise.below(8);
        let (disk, device) = (PlainDisk::of(before.clone(), 4096), Arc::new(TestDevice::new(image)));
        match on(&device, &disk, &write_back()) {
            Ok(cache) => {
                harmless += 1;
                (0..32).for_each(|block| assert_eq!(read(&cache, block * BLOCK, 4096), expected(block), "byte {at}"));
            }
            Err(error) => {
                told += 1;
                assert!(CacheError::of(&error).is_some(), "byte {at}: {error:#}");
            }
        }
        // More of what says where everything is.
        at += 1 + noise.below(if at < 512 { times_less(8) } else { times_less(2000) }) as usize;
    }
    assert!(told > 20 && harmless > 20, "{told} {harmless}");
}

#[test]
fn damage_under_a_cache_in_use_is_a_miss_or_told() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let (disk, device) = (PlainDisk::new(32 * BLOCK, 4096), Arc::new(TestDevice::new(vec![0; SIZE as usize])));
        let cache = on(&device, &disk, &options(mode, SIZE)).unwrap();
        (0..16).for_each(|block| write(&cache, block * BLOCK, &secret_text(block)));
        if mode == CacheMode::WriteBack {
            cache.drain().unwrap();
        }
        read(&cache, 0, 16 * BLOCK as usize);
        device.edit(|bytes| bytes[3 * 4096..].iter_mut().for_each(|byte| *byte ^= 1));
        (0..16).for_each(|block| assert_eq!(read(&cache, block * BLOCK, 4096), secret_text(block)));
        // Blocks that changed places are no better.
        let half = SIZE as usize / 2;
        device.edit(|bytes| bytes.copy_within(half.., 3 * 4096));
        (0..16).for_each(|block| assert_eq!(read(&cache, block * BLOCK, 4096), secret_text(block)));
        if mode != CacheMode::WriteBack {
            continue;
        }
        write(&cache, 5 * BLOCK, &secret_text(55));
        cache.flush().unwrap();
        device.edit(|bytes| bytes[3 * 4096..].iter_mut().for_each(|byte| *byte ^= 1));
        let damaged = CacheError::Damaged { offset: Some(5 * BLOCK) };
        let error = cache.read_at(5 * BLOCK, &mut [0; 4096]).unwrap_err();
        assert_eq!(CacheError::of(&error), Some(&damaged));
        assert_eq!(CacheError::of(&cache.detach().unwrap_err()), Some(&damaged));
        assert_eq!(read(&cache, 6 * BLOCK, 4096), secret_text(6));
        drop(cache);
        // The journal is lost: bytes were flipped in its place, too.
        assert_eq!(what(on(&device, &disk, &write_back())), CacheError::Damaged { offset: None });
        on(&device, &disk, &write_back().hazmat_give_up(true)).unwrap();
        assert_eq!(disk.device.bytes()[5 * 4096..6 * 4096], secret_text(5));
    }
}

fn attach(disk: &Arc<PlainDisk>, keeper: &Arc<Keeper>, path: &Path, options: &CacheOptions) -> Result<Cache, Error> {
    reopen(|| Cache::attach(disk.clone(), keeper.clone(), path, options))
}

#[test]
fn a_foreign_missing_or_older_cache_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, older, gone) = (folder.path().join("cache"), folder.path().join("older"), folder.path().join("gone"));
    let (disk, keeper) = (PlainDisk::new(32 * BLOCK, 4096), Keeper::new(1));
    let cache = attach(&disk, &keeper, &path, &write_back()).unwrap();
    write(&cache, 0, &secret_text(1));
    cache.flush().unwrap();
    drop(cache);
    std::fs::copy(&path, &older).unwrap();

    // Another disk's.
    let (other, other_keeper) = (PlainDisk::new(32 * BLOCK, 4096), Keeper::new(2));
    assert_eq!(what(attach(&other, &other_keeper, &path, &write_back())), CacheError::Foreign);
    assert_eq!(other.device.bytes(), vec![0; 32 * 4096]);
    // In no mode does the disk go on without what only its cache has.
    std::fs::rename(&path, &gone).unwrap();
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        assert_eq!(what(attach(&disk, &keeper, &path, &options(mode, SIZE))), CacheError::Missing);
    }
    std::fs::rename(&gone, &path).unwrap();
    let cache = attach(&disk, &keeper, &path, &options(CacheMode::WriteThrough, SIZE)).unwrap();
    assert_eq!(disk.device.bytes()[..4096], secret_text(1));
    cache.detach().unwrap();

    // The old one comes back, after it was destaged and after a later one began.
    write(&*disk, 0, &secret_text(2));
    std::fs::copy(&older, &path).unwrap();
    assert_eq!(what(attach(&disk, &keeper, &path, &write_back())), CacheError::NotTheLast);
    std::fs::remove_file(&path).unwrap();
    let cache = attach(&disk, &keeper, &path, &write_back()).unwrap();
    write(&cache, 0, &secret_text(3));
    drop(cache);
    std::fs::rename(&path, &gone).unwrap();
    std::fs::copy(&older, &path).unwrap();
    assert_eq!(what(attach(&disk, &keeper, &path, &write_back())), CacheError::NotTheLast);
    assert_eq!(disk.device.bytes()[..4096], secret_text(2));

    // A store that was lost.
    *keeper.note.lock().unwrap() = None;
    assert_eq!(what(attach(&disk, &keeper, &gone, &write_back())), CacheError::NotTheLast);
    let cache = attach(&disk, &keeper, &gone, &write_back().hazmat_adopt(true)).unwrap();
    assert_eq!(read(&cache, 0, 4096), secret_text(3));
    write(&cache, 0, &secret_text(4));
    drop(cache);
    // Given up.
    std::fs::remove_file(&gone).unwrap();
    assert_eq!(what(attach(&disk, &keeper, &path, &write_back())), CacheError::NotTheLast);
    let cache = attach(&disk, &keeper, &path, &write_back().hazmat_give_up(true)).unwrap();
    assert_eq!(read(&cache, 0, 4096), secret_text(3));
}

#[test]
fn what_is_no_cache_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.txt");
    std::fs::write(&path, secret_text(1)).unwrap();
    let (disk, keeper) = (PlainDisk::new(32 * BLOCK, 4096), Keeper::new(1));
    for options in [write_back(), write_back().hazmat_give_up(true).hazmat_adopt(true)] {
        assert_eq!(what(attach(&disk, &keeper, &path, &options)), CacheError::NotACache);
    }
    assert_eq!(std::fs::read(&path).unwrap(), secret_text(1));
    // A few bytes, and what begins as some file systems do.
    for (name, bytes) in [("note", b"milk".to_vec()), ("btrfs", [vec![0; 65536], secret_text(1)].concat())] {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(what(attach(&disk, &keeper, &path, &write_back())), CacheError::NotACache);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    // An empty file is nothing.
    let path = folder.path().join("empty");
    std::fs::write(&path, b"").unwrap();
    attach(&disk, &keeper, &path, &write_back()).unwrap().detach().unwrap();
    let missing = attach(&disk, &keeper, &folder.path().join("no/cache"), &write_back());
    assert!(matches!(missing, Err(Error::NotFound { what: "folder", .. })), "{missing:?}");
    for size in [0, 4096, 16384, 80000] {
        let small =
            attach(&disk, &keeper, &folder.path().join("small"), &options(CacheMode::WriteBack, size).dirty(8192));
        assert!(matches!(small, Err(Error::InvalidOption(_))), "{size}: {small:?}");
    }
}

#[test]
fn the_file_holds_no_plaintext_and_is_worth_nothing_once_detached() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let disk = PlainDisk::new(32 * BLOCK, 4096);
        let keeper = Arc::new(secret(3));
        let cache = Cache::attach(disk.clone(), keeper.clone(), path.clone(), &options(mode, SIZE)).unwrap();
        (0..16).for_each(|block| write(&cache, block * BLOCK, &secret_text(block)));
        (0..16).for_each(|block| assert_eq!(read(&cache, block * BLOCK, 4096), secret_text(block)));
        cache.flush().unwrap();
        let image = std::fs::read(&path).unwrap();
        let has = |needle: &[u8]| image.windows(needle.len()).any(|window| window == needle);
        assert!(!has(b"nobody's business") && !has(&[3; 8]), "{mode:?}");
        assert!(image.iter().filter(|byte| **byte != 0).count() > 60_000, "it does hold them, encrypted");
        // Equal blocks don't look equal.
        (0..8).for_each(|block| write(&cache, block * BLOCK, &secret_text(1)));
        read(&cache, 0, 8 * 4096);
        let image = std::fs::read(&path).unwrap();
        let mut blocks: Vec<_> = image.chunks(4096).filter(|block| block.iter().any(|byte| *byte != 0)).collect();
        let count = blocks.len();
        blocks.sort();
        blocks.dedup();
        assert_eq!(blocks.len(), count);
        // A process that holds the file open finds no salt in it.
        let held = std::fs::File::open(&path).unwrap();
        cache.detach().unwrap();
        assert!(!path.exists());
        let mut header = [1; 4096];
        std::os::unix::fs::FileExt::read_exact_at(&held, &mut header, 0).unwrap();
        assert_eq!(header[10..], [0; 4086]);
        assert_eq!(read(&cache, 0, 4096), secret_text(1));
    }
}

#[test]
fn a_file_that_was_cut_off_is_told() {
    let (disk, device) = (PlainDisk::new(32 * BLOCK, 4096), Arc::new(TestDevice::new(vec![0; SIZE as usize])));
    let cache = on(&device, &disk, &write_back()).unwrap();
    (0..8).for_each(|block| write(&cache, block * BLOCK, &secret_text(block)));
    cache.flush().unwrap();
    drop(cache);
    let image = device.bytes();
    for len in [512, 4096, 5000, 12288, 20480, SIZE as usize / 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        std::fs::write(&path, &image[..len]).unwrap();
        let disk = PlainDisk::new(32 * BLOCK, 4096);
        let place = CachePlace::File(path);
        let cut = Cache::attach(disk.clone(), Arc::new(secret(7)) as Arc<Secret>, place, &write_back());
        // A third of it has all that was written.
        assert_eq!(cut.is_ok(), len > 60_000, "{len}: {cut:?}");
    }
}
