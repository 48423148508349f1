//! Helpers shared by tests: vaults that open fast, and other people's programs to compare with.

#![allow(dead_code)] // each test file uses its part

#[cfg(feature = "std")]
pub mod device;
#[cfg(feature = "managed")]
pub mod fleet;
#[cfg(target_os = "linux")]
pub mod fork;
#[cfg(feature = "std")]
pub mod header;
#[cfg(feature = "std")]
pub mod keyslots;
#[cfg(all(feature = "std", target_os = "linux"))]
pub mod maps;
pub mod markdown;
pub mod model;
pub mod peers;
#[cfg(feature = "std")]
pub mod reencryption;
#[cfg(feature = "managed")]
pub mod runner;
#[cfg(all(feature = "std", target_os = "linux"))]
pub mod small_disk;
#[cfg(feature = "std")]
pub mod spent;
#[cfg(feature = "std")]
pub mod vaults;
#[cfg(feature = "std")]
pub mod volumes;
#[cfg(feature = "managed")]
pub mod world;

#[cfg(feature = "std")]
use std::path::Path;

#[cfg(feature = "std")]
use atrest::vault::{FileVault, KdfCost, Unlock};

pub use peers::*;

pub const PASSPHRASE: &[u8] = b"correct horse battery staple";

/// A vault with one key named `disks`, its passphrase stretched as little as the format allows.
#[cfg(feature = "std")]
pub fn vault_at(path: &Path) -> FileVault {
    let cost = KdfCost::new(64, 1, 1);
    let vault = FileVault::create_with_cost(path, Unlock::Passphrase(PASSPHRASE), cost).unwrap();
    vault.create_key("disks").unwrap();
    vault
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sets a flag when it is dropped, also by a panic: a scope that waits for threads which look at the flag then ends, and the
/// panic is seen.
pub struct SetOnDrop<'f>(pub &'f std::sync::atomic::AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
