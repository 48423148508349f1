//! The form of the file, by the second implementation of `docs/formats/host-cache.md`.

use std::sync::Arc;

use atrest_host::cache::{CacheMode, CachePlace};
use atrest_host::{Cache, Disk};
use sha2::{Digest, Sha256};

use crate::common::peers::{python, run};
use crate::support::*;

#[test]
fn another_implementation_finds_what_waits() {
    let Some(python) = python("cryptography") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let disk = PlainDisk::new(64 * BLOCK, 4096);
    let options = options(CacheMode::WriteBack, 80 * 4096).dirty(40 * BLOCK);
    let place = CachePlace::File(path.clone());
    let cache = Cache::attach(disk, Arc::new(secret(9)), place, &options).unwrap();
    let content =
        |block: u64, version: u8| -> Vec<u8> { (0..4096).map(|i| (i * 7 + block as usize) as u8 ^ version).collect() };
    let put = |block: u64, version: u8| write(&cache, block * BLOCK, &content(block, version));
    // Some that the disk has, in the same slots or others; then a run over two records; then newer versions.
    (0..6).for_each(|block| put(block, 1));
    cache.drain().unwrap();
    let run_of: Vec<u8> = (20..33).flat_map(|block| content(block, 2)).collect();
    write(&cache, 20 * BLOCK, &run_of);
    put(3, 3);
    cache.flush().unwrap();
    put(21, 4);
    let expected: String = (0..64)
        .filter_map(|block| match block {
            3 => Some((block, 3)),
            21 => Some((block, 4)),
            20..33 => Some((block, 2)),
            _ => None,
        })
        .map(|(block, version)| {
            let digest = Sha256::digest(content(block, version));
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{block} {hex}\n")
        })
        .collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats.py");
    let found = run(&python, &[script, "cache", &"09".repeat(32), path.to_str().unwrap()]);
    assert_eq!(found, expected);
}
