//! Caches of disks.

mod crash;
#[cfg(target_os = "linux")]
mod forks;
mod format;
mod full_disk;
mod hostile;
mod kills;
mod managed;
mod model;
mod support;
mod trouble;

/// Helpers of the library's own tests.
#[allow(dead_code)]
#[path = "../../../../tests/common"]
mod common {
    pub mod device;
    #[cfg(target_os = "linux")]
    pub mod fork;
    pub mod peers;
    pub mod small_disk;
    pub mod vaults;
    pub mod world;
}
