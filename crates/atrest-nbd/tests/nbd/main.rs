//! Devices on servers of other projects: nbdkit, qemu-nbd, and the one of `atrest-host`.
#![cfg(target_os = "linux")]

mod backend;
mod faults;
mod hostile;
mod lossy;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
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

struct Log;
impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata) -> bool { true }
    fn log(&self, r: &log::Record) { eprintln!("{:?} {} {}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() % 1000000, r.target(), r.args()); }
    fn flush(&self) {}
}
pub(crate) fn logs() { let _ = log::set_logger(&Log); log::set_max_level(log::LevelFilter::Warn); }
