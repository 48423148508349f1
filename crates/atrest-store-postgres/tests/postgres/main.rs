//! PostgreSQL, as Debian has it: `apt-get install postgresql openssl`. Each test starts servers of its own.

#[path = "../../../../tests/common/counters.rs"]
mod counters;
mod failover;
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
#[path = "../../../../tests/common/tcp_proxy.rs"]
mod proxy;
mod rights;
mod server;
#[cfg(target_os = "linux")]
#[path = "../../../../tests/common/store_forks.rs"]
mod store_forks;
mod suite;
mod tls;
