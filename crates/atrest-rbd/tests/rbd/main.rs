//! Disks on a real Ceph cluster, which these tests start in a folder and end again.
#![cfg(target_os = "linux")]

#[path = "../../../../tests/common/ceph.rs"]
mod ceph;
#[allow(dead_code)]
mod cluster;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/storm.rs"]
mod storm;

#[allow(dead_code)]
#[path = "../../../../tests/common"]
mod common {
    pub mod device;
    pub mod vaults;
    pub mod world;
}

mod clear;
mod faults;
#[path = "../../../../tests/common/fork.rs"]
mod fork;
mod forks;
mod interop;
mod locks;
mod managed;
mod queue;
mod ranges;
mod volume;

use atrest::FormatOptions;
use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;

/// Options with a KDF that takes no time.
fn fast(options: FormatOptions) -> FormatOptions {
    options.keyslot(KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 }))
}

/// How many rounds a test of faults has: a few, or as many as `ATREST_ROUNDS` says.
fn rounds(few: u64) -> u64 {
    std::env::var("ATREST_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}
