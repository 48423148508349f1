//! Page blobs on Azurite: `npm install -g azurite`.

mod costs;
mod device;
#[path = "../../../../tests/common/emulators.rs"]
mod emulators;
#[path = "../../../../tests/common/fork.rs"]
mod fork;
mod forks;
mod kills;
mod late;
mod leases;
#[path = "../../../../tests/common/on_store.rs"]
mod on_store;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[path = "../../../../tests/common/proxy.rs"]
mod proxy;
mod server;
#[path = "../../../../tests/common/storm.rs"]
mod storm;
mod storms;
mod tls;
mod unsynced;
#[path = "../../../../tests/common/vaults.rs"]
#[allow(dead_code)] // this program uses its part
mod vaults;
mod vhd;
mod volume;
