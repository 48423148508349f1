//! A full disk: a small file system in memory (tmpfs) with room for some more pages or files, for every number up to
//! success of the operation. A failed operation has no effect and leaves nothing half-made. Once there is room, work
//! goes on without a restart.

#![cfg(all(feature = "std", target_os = "linux"))]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "managed")]
mod stores;
mod vaults;
mod volumes;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::small_disk::{Disk, PAGE, Room, names, on_a_small_disk};

/// Writes a file with holes for its zeros.
fn put(image: &[u8], path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(image.len() as u64).unwrap();
    for (n, page) in image.chunks(PAGE as usize).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
        file.write_all_at(page, n as u64 * PAGE).unwrap();
    }
}
