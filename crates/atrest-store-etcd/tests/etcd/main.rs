//! etcd, as Debian has it: `apt-get install etcd-server etcd-client openssl`. Each test starts members of its own.

mod cluster;
#[path = "../../../../tests/common/counters.rs"]
mod counters;
mod faults;
mod fleet;
#[path = "../../../../tests/common/fleet_on.rs"]
mod fleet_on;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod rights;
mod server;
mod suite;
mod tls;
