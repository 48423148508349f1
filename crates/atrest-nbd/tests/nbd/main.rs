//! Devices on servers of other projects: nbdkit, qemu-nbd, and the one of `atrest-host`.
#![cfg(target_os = "linux")]

#[path = "../../../../tests/common/peers.rs"]
mod peers;
mod servers;
mod volumes;

use peers::peer;

fn nbdkit() -> bool {
    peer("nbdkit", &["--version"]).is_some()
}
