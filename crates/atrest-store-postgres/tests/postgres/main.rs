//! PostgreSQL, as Debian has it: `apt-get install postgresql openssl`. Each test starts servers of its own.

mod failover;
mod faults;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
mod proxy;
mod rights;
mod server;
mod suite;
mod tls;
