//! etcd, as Debian has it: `apt-get install etcd-server etcd-client openssl`. Each test starts members of its own.

mod cluster;
#[path = "../../../../tests/common/counters.rs"]
mod counters;
mod faults;
mod fleet;
#[path = "../../../../tests/common/fleet_kills/mod.rs"]
mod fleet_kills;
#[path = "../../../../tests/common/fleet_on.rs"]
mod fleet_on;
#[cfg(target_os = "linux")]
#[path = "../../../../tests/common/fork.rs"]
mod fork;
#[cfg(target_os = "linux")]
mod forks;
mod kills;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/ports.rs"]
mod ports;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod rights;
mod server;
#[cfg(target_os = "linux")]
#[path = "../../../../tests/common/store_forks.rs"]
mod store_forks;
mod suite;
#[path = "../../../../tests/common/tcp_proxy.rs"]
mod tcp_proxy;
mod tls;
