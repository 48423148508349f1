//! Devices on servers of other projects: nbdkit, qemu-nbd, and the one of `atrest-host`.
#![cfg(target_os = "linux")]

mod backend;
mod faults;
#[path = "../../../../tests/common/fork.rs"]
mod fork;
mod forks;
mod hostile;
mod lossy;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/ports.rs"]
mod ports;
mod proxy;
mod servers;
#[path = "../../../../tests/common/storm.rs"]
mod storm;
#[cfg(feature = "tls")]
mod tls;
mod volumes;

use peers::peer;

fn nbdkit() -> bool {
    peer("nbdkit", &["--version"]).is_some()
}
